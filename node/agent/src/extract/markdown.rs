//! Markdown: lines as they are, and which of them are headings.

use crate::passage::{Document, Line};

pub(super) fn document(text: &str) -> Document {
    let lines: Vec<&str> = text.lines().collect();
    let mut document = Document::default();
    let mut fence: Option<&str> = None;
    for (index, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
        let heading = match (fence, mark) {
            (None, Some(_)) => {
                fence = mark;
                None
            }
            (Some(open), Some(mark)) if open == mark => {
                fence = None;
                None
            }
            (Some(_), _) => None,
            (None, None) => heading(line, lines.get(index + 1)),
        };
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        document.push(Line { number, page: None, text: (*line).to_owned(), heading });
    }
    document
}

/// The level of a heading: `#` marks before the text, or a line of `=` or `-` below it.
fn heading(line: &str, below: Option<&&str>) -> Option<u8> {
    let level = line.bytes().take_while(|byte| *byte == b'#').count();
    if (1..=6).contains(&level) && line[level..].starts_with([' ', '\t']) {
        return u8::try_from(level).ok();
    }
    let words = !line.trim().is_empty() && line.starts_with(|first: char| first.is_alphanumeric());
    let underlined =
        |mark| below.is_some_and(|below| below.len() >= 3 && below.trim_end().bytes().all(|byte| byte == mark));
    match (words, underlined(b'='), underlined(b'-')) {
        (true, true, _) => Some(1),
        (true, _, true) => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_known_and_code_is_not_taken_for_them() {
        let text = "# One\n\nTwo\n===\n\n```sh\n# a comment\n```\n#hash\n### Three\nFour\n---\n- item\n---\n";
        let headings: Vec<_> =
            document(text).lines.iter().filter_map(|line| line.heading.map(|level| (line.number, level))).collect();
        assert_eq!(headings, [(1, 1), (3, 1), (10, 3), (11, 2)]);
    }
}
