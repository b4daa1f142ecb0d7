//! How passages are written down: as plain text for people, as one JSON object a line for programs.

use crate::passage::Passage;
use crate::plain;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// `1. path/to/file.md:12-18` and the quoted lines below it.
    #[default]
    Text,
    /// One object a line: `{path, line_start, line_end, text, score}`, and `page` where the file has pages.
    Json,
}

impl Format {
    /// The passage as the `number`th of an answer.
    pub fn passage(self, number: usize, passage: &Passage) -> String {
        match self {
            Self::Text => text(number, passage),
            Self::Json => json(passage),
        }
    }

    /// What is said when nothing fits; JSON says it by having no line.
    pub fn nothing(self) -> Option<String> {
        (self == Self::Text).then(|| "Nothing here matches that question.\n".to_owned())
    }

    /// What is said while the folder is still being indexed.
    pub fn incomplete(self) -> Option<String> {
        (self == Self::Text).then(|| "(still indexing: this answer knows only a part of the folder)\n\n".to_owned())
    }
}

fn text(number: usize, passage: &Passage) -> String {
    let place = match (passage.page, passage.line_start == passage.line_end) {
        (Some(page), _) => format!(" page {page}"),
        (None, true) => format!(":{}", passage.line_start),
        (None, false) => format!(":{}-{}", passage.line_start, passage.line_end),
    };
    let mut out = format!("{number}. {}{place}\n", plain::line(&passage.path));
    for line in passage.text.lines() {
        out.push_str("   > ");
        out.push_str(&plain::line(line));
        out.push('\n');
    }
    out.push('\n');
    out
}

fn json(passage: &Passage) -> String {
    let mut object = serde_json::json!({
        "path": plain::line(&passage.path),
        "line_start": passage.line_start,
        "line_end": passage.line_end,
        "text": plain::lines(&passage.text),
        "score": passage.score,
    });
    if let Some(page) = passage.page {
        object["page"] = page.into();
    }
    format!("{object}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage() -> Passage {
        Passage {
            path: "a\u{202e}b\n.md".to_owned(),
            line_start: 3,
            line_end: 4,
            text: "one\u{1b}[2J\ntwo".to_owned(),
            score: 1.5,
            ..Passage::default()
        }
    }

    #[test]
    fn text_quotes_file_and_lines_and_no_control_characters() {
        let said = Format::Text.passage(1, &passage());
        assert_eq!(said, "1. a\u{fffd}b\u{fffd}.md:3-4\n   > one\u{fffd}[2J\n   > two\n\n");
        let page = Passage { page: Some(7), ..passage() };
        assert!(Format::Text.passage(2, &page).starts_with("2. a\u{fffd}b\u{fffd}.md page 7\n"));
    }

    #[test]
    fn json_has_every_field() {
        let said = Format::Json.passage(1, &Passage { page: Some(7), ..passage() });
        let value: serde_json::Value = serde_json::from_str(&said).expect("json");
        assert_eq!(value["line_start"], 3);
        assert_eq!(value["line_end"], 4);
        assert_eq!(value["page"], 7);
        assert_eq!(value["score"], 1.5);
        assert_eq!(value["text"], "one\u{fffd}[2J\ntwo");
        assert_eq!(said.lines().count(), 1);
    }
}
