//! Documents as lines, lines as blocks that are indexed, blocks as passages that are quoted.

/// A block breaks at a blank line once it has this many lines.
const LINES_ENOUGH: usize = 10;
/// A block breaks anywhere at this many lines.
const LINES_MAX: usize = 40;
/// A block breaks anywhere at this many bytes.
const BYTES_MAX: usize = 4 * 1024;
/// A longer line becomes several pieces with the same number.
const LINE_MAX: usize = 1024;
/// Bytes of a title: file title and headings above the block.
const TITLE_MAX: usize = 256;

/// A quoted part of a file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Passage {
    /// The file, relative to the folder.
    pub path: String,
    /// The page, in files that have pages; lines then count within it.
    pub page: Option<u32>,
    /// First quoted line, from 1.
    pub line_start: u32,
    /// Last quoted line.
    pub line_end: u32,
    /// The quoted lines.
    pub text: String,
    /// How well it fits; comparable within one answer only.
    pub score: f32,
}

/// A line of a document.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Line {
    /// Its number in the file or on the page, from 1.
    pub number: u32,
    /// Its page, in files that have pages.
    pub page: Option<u32>,
    /// Its text without line end.
    pub text: String,
    /// Its level, 1 to 6, when it is a heading.
    pub heading: Option<u8>,
}

/// The text of one file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Document {
    /// What the file calls itself, or nothing.
    pub title: String,
    /// Its lines in order; numbers may skip where markup has no text.
    pub lines: Vec<Line>,
}

impl Document {
    /// Adds a line, cut into pieces when it is too long to be quoted whole.
    pub fn push(&mut self, line: Line) {
        if line.text.len() <= LINE_MAX {
            return self.lines.push(line);
        }
        let mut rest = line.text.as_str();
        while !rest.is_empty() {
            let at = cut(rest, LINE_MAX);
            self.lines.push(Line { text: rest[..at].to_owned(), ..line.clone() });
            rest = &rest[at..];
        }
    }

    /// The blocks to index, in order.
    pub fn blocks(self) -> Vec<Block> {
        let mut splitter = Splitter { title: self.title, ..Splitter::default() };
        for line in self.lines {
            splitter.take(line);
        }
        splitter.flush();
        splitter.blocks
    }
}

/// What is indexed as one: neighbouring lines under the same headings, on the same page.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Block {
    /// Title of the file and headings above.
    pub title: String,
    /// Page, in files that have pages.
    pub page: Option<u32>,
    /// Line numbers and texts, never empty.
    pub lines: Vec<(u32, String)>,
}

#[derive(Default)]
struct Splitter {
    title: String,
    headings: Vec<(u8, String)>,
    open: Block,
    bytes: usize,
    only_headings: bool,
    blocks: Vec<Block>,
}

impl Splitter {
    fn take(&mut self, line: Line) {
        let blank = line.text.trim().is_empty();
        let other_page = line.page != self.open.page;
        let enough = blank && self.open.lines.len() >= LINES_ENOUGH;
        let full = self.open.lines.len() >= LINES_MAX || self.bytes + line.text.len() > BYTES_MAX;
        let section = line.heading.is_some() && !self.only_headings;
        if other_page || enough || full || section {
            self.flush();
        }
        if blank && self.open.lines.is_empty() {
            return;
        }
        if self.open.lines.is_empty() {
            self.only_headings = true;
            self.open.page = line.page;
        }
        if let Some(level) = line.heading {
            self.headings.retain(|(above, _)| *above < level);
            self.headings.push((level, line.text.trim_matches(['#', ' ']).to_owned()));
        } else if !blank {
            self.only_headings = false;
        }
        self.bytes += line.text.len() + 1;
        self.open.lines.push((line.number, line.text));
    }

    fn flush(&mut self) {
        let mut block = std::mem::take(&mut self.open);
        self.bytes = 0;
        self.only_headings = false;
        while block.lines.last().is_some_and(|(_, text)| text.trim().is_empty()) {
            block.lines.pop();
        }
        if block.lines.is_empty() {
            return;
        }
        let parts = std::iter::once(self.title.as_str()).chain(self.headings.iter().map(|(_, text)| text.as_str()));
        let mut title = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" > ");
        title.truncate(cut(&title, TITLE_MAX));
        self.blocks.push(Block { title, ..block });
    }
}

/// The last character boundary at or before `limit` bytes.
pub(crate) fn cut(text: &str, limit: usize) -> usize {
    if text.len() <= limit {
        return text.len();
    }
    (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(lines: &[&str]) -> Document {
        let mut document = Document { title: "T".into(), ..Document::default() };
        for (index, text) in lines.iter().enumerate() {
            let level = text.bytes().take_while(|byte| *byte == b'#').count();
            let heading = u8::try_from(level).ok().filter(|level| *level > 0);
            document.push(Line { number: index as u32 + 1, text: (*text).to_owned(), heading, page: None });
        }
        document
    }

    fn ranges(blocks: &[Block]) -> Vec<(u32, u32)> {
        blocks.iter().map(|block| (block.lines[0].0, block.lines[block.lines.len() - 1].0)).collect()
    }

    #[test]
    fn headings_open_blocks_and_become_titles() {
        let blocks = document(&["# A", "## B", "text", "", "## C", "more", "# D", "end"]).blocks();
        assert_eq!(ranges(&blocks), [(1, 3), (5, 6), (7, 8)]);
        let titles: Vec<_> = blocks.iter().map(|block| block.title.as_str()).collect();
        assert_eq!(titles, ["T > A > B", "T > A > C", "T > D"]);
    }

    #[test]
    fn blocks_break_at_blank_lines_and_never_grow_beyond_their_bounds() {
        let mut lines = vec!["a"; 12];
        lines.push("");
        lines.extend(vec!["b"; 100]);
        let blocks = document(&lines).blocks();
        assert_eq!(ranges(&blocks), [(1, 12), (14, 53), (54, 93), (94, 113)]);
        let long = "ä".repeat(LINE_MAX * 4);
        let blocks = document(&[&long]).blocks();
        assert!(blocks.len() > 1);
        for block in &blocks {
            assert!(block.lines.iter().all(|(number, text)| *number == 1 && text.len() <= LINE_MAX));
            assert!(block.lines.iter().map(|(_, text)| text.len()).sum::<usize>() <= BYTES_MAX);
        }
        let total: usize = blocks.iter().flat_map(|block| &block.lines).map(|(_, text)| text.len()).sum();
        assert_eq!(total, long.len(), "nothing is lost");
    }

    #[test]
    fn pages_are_never_mixed() {
        let mut document = Document::default();
        for page in 1..=3 {
            document.push(Line { number: 1, page: Some(page), text: "x".into(), heading: None });
        }
        let pages: Vec<_> = document.blocks().iter().map(|block| block.page).collect();
        assert_eq!(pages, [Some(1), Some(2), Some(3)]);
    }
}
