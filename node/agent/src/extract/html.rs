//! HTML: what a reader sees, line by line, with the line numbers of the source.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::{Rawtext, Rcdata, ScriptData};
use html5ever::tokenizer::{BufferQueue, StartTag, Tag, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use crate::passage::{Document, Line};

pub(super) fn document(text: &str) -> Document {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(text));
    let tokenizer = Tokenizer::new(Sink::default(), TokenizerOpts::default());
    // A script stops the tokenizer; there is nobody to run it.
    while !input.is_empty() {
        let _stopped = tokenizer.feed(&input);
    }
    tokenizer.end();
    let mut page = tokenizer.sink.page.into_inner();
    page.end_line();
    page.document
}

#[derive(Default)]
struct Sink {
    page: RefCell<Page>,
}

#[derive(Default)]
struct Page {
    document: Document,
    /// Source line of the first word of `text`; 0 while there is none.
    number: u32,
    text: String,
    heading: Option<u8>,
    title: bool,
    preformatted: usize,
    /// How deep we are inside something that is not shown.
    hidden: usize,
}

/// Not shown, or not part of what the page says.
fn is_hidden(name: &str) -> bool {
    matches!(
        name,
        "script" | "style" | "noscript" | "template" | "iframe" | "object" | "nav" | "button" | "select" | "textarea"
    )
}

/// Flows within a line; everything else begins a new one.
fn is_inline(name: &str) -> bool {
    matches!(
        name,
        "a" | "abbr"
            | "b"
            | "bdi"
            | "bdo"
            | "cite"
            | "code"
            | "data"
            | "dfn"
            | "del"
            | "em"
            | "font"
            | "i"
            | "img"
            | "ins"
            | "input"
            | "kbd"
            | "label"
            | "mark"
            | "q"
            | "rp"
            | "rt"
            | "ruby"
            | "s"
            | "samp"
            | "small"
            | "span"
            | "strong"
            | "sub"
            | "sup"
            | "td"
            | "th"
            | "time"
            | "tspan"
            | "tt"
            | "u"
            | "var"
            | "wbr"
            | "rustdoc-topbar"
    )
}

fn heading(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'h', level @ b'1'..=b'6'] => Some(level - b'0'),
        _ => None,
    }
}

impl Page {
    fn characters(&mut self, text: &str, number: u32) {
        if self.title {
            self.document.title.push_str(text);
            return;
        }
        if self.hidden > 0 {
            return;
        }
        // The tokenizer counts the line ends of a run before it hands the run over.
        let ends = text.bytes().filter(|byte| *byte == b'\n').count();
        let first = number.saturating_sub(u32::try_from(ends).unwrap_or(u32::MAX));
        for (number, part) in (first..).zip(text.split('\n')) {
            if number > first {
                self.end_line();
            }
            if self.preformatted > 0 {
                self.begin(number, part);
                self.text.push_str(part);
                continue;
            }
            for word in part.split_inclusive(char::is_whitespace) {
                let trimmed = word.trim_end();
                if !trimmed.is_empty() && trimmed != "\u{a7}" {
                    self.begin(number, trimmed);
                    self.text.push_str(trimmed);
                }
                if trimmed.len() < word.len() {
                    self.space();
                }
            }
        }
    }

    fn begin(&mut self, number: u32, part: &str) {
        if self.number == 0 && !part.trim().is_empty() {
            self.number = number;
        }
    }

    fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(' ') {
            self.text.push(' ');
        }
    }

    fn end_line(&mut self) {
        let text = std::mem::take(&mut self.text);
        let number = std::mem::take(&mut self.number);
        let text = if self.preformatted > 0 { text.trim_end() } else { text.trim() };
        if number > 0 {
            self.document.push(Line { number, page: None, text: text.to_owned(), heading: self.heading });
        }
    }

    fn tag(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name: &str = &tag.name;
        let start = tag.kind == StartTag;
        if is_hidden(name) {
            self.end_line();
            self.hidden = if start { self.hidden + 1 } else { self.hidden.saturating_sub(1) };
        } else if matches!(name, "body" | "main" | "article") {
            // Whatever was left open before, this is what the page is about.
            self.end_line();
            self.hidden = 0;
        } else if name == "title" {
            self.title = start && self.document.title.is_empty() && self.hidden == 0;
        } else if self.hidden == 0 && is_inline(name) {
            if matches!(name, "td" | "th") {
                self.space();
            }
        } else if self.hidden == 0 {
            self.end_line();
            if let Some(level) = heading(name) {
                self.heading = start.then_some(level);
            }
            if name == "pre" {
                self.preformatted = if start { self.preformatted + 1 } else { self.preformatted.saturating_sub(1) };
            }
            if name == "li" && start {
                self.text.push_str("- ");
            }
        }
        match name {
            "script" if start => TokenSinkResult::RawData(ScriptData),
            "style" | "iframe" | "noembed" | "noframes" | "xmp" if start => TokenSinkResult::RawData(Rawtext),
            "title" | "textarea" if start => TokenSinkResult::RawData(Rcdata),
            _ => TokenSinkResult::Continue,
        }
    }
}

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<()> {
        let mut page = self.page.borrow_mut();
        match token {
            Token::CharacterTokens(text) => page.characters(&text, u32::try_from(line).unwrap_or(u32::MAX)),
            Token::TagToken(tag) => return page.tag(&tag),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Vec in std</title>\n<style>p{color:red}</style>\n\
        <script>var hidden = '</p>';</script></head>\n<body><nav>menu <a>entry</a></nav>\n<main><h1>Struct\n<b>Vec</b></h1>\n\
        <p>A contiguous &amp; growable\narray.</p><ul><li>one<li>two</ul>\n<h2 id=x><a>\u{a7}</a>Examples</h2>\n<pre><code>let x = 1;\n  \
        let y = 2;</code></pre>\n<table><tr><td>a</td><td>b</td></tr></table></main></body></html>";

    #[test]
    fn what_is_shown_comes_with_its_source_lines() {
        let document = document(PAGE);
        assert_eq!(document.title, "Vec in std");
        let lines: Vec<(u32, &str, Option<u8>)> =
            document.lines.iter().map(|line| (line.number, line.text.as_str(), line.heading)).collect();
        assert_eq!(
            lines,
            [
                (6, "Struct", Some(1)),
                (7, "Vec", Some(1)),
                (8, "A contiguous & growable", None),
                (9, "array.", None),
                (9, "- one", None),
                (9, "- two", None),
                (10, "Examples", Some(2)),
                (11, "let x = 1;", None),
                (12, "  let y = 2;", None),
                (13, "a b", None),
            ]
        );
    }

    #[test]
    fn broken_markup_never_hangs_or_panics() {
        for broken in
            ["<", "<p", "<script>", "<title>x", "</nav></nav>x", "<nav>x", "&#x110000;", "<!--", "<pre><li>\n\n"]
        {
            document(broken);
        }
        let deep = "<div>".repeat(100_000) + "end";
        assert_eq!(document(&deep).lines.len(), 1);
    }
}
