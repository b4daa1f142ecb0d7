//! Text that a terminal can show safely: whatever could move the cursor, hide or reorder text becomes `U+FFFD`.

/// Whether a character steers the terminal or the reading order instead of being read.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Marks, embeddings and isolates of the bidirectional algorithm.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators, deprecated format characters, invisible tags.
            | '\u{2028}' | '\u{2029}' | '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// One line: tabs become spaces, everything else that steers is replaced.
pub fn line(text: &str) -> String {
    let safe = |character| match character {
        '\t' => ' ',
        other if steers(other) => '\u{fffd}',
        other => other,
    };
    text.chars().map(safe).collect()
}

/// Several lines, each as [`line()`] leaves it.
pub fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, part) in text.lines().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        out.push_str(&line(part));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_bidi_marks_are_replaced() {
        for bad in ['\u{1b}', '\u{7}', '\u{9b}', '\r', '\u{202e}', '\u{2067}', '\u{200f}', '\u{2028}', '\u{e0041}'] {
            assert_eq!(line(&format!("a{bad}b")), "a\u{fffd}b");
        }
        assert_eq!(line("grün 日本 \u{1f600}\t!"), "grün 日本 \u{1f600} !");
        assert_eq!(lines("a\r\nb\u{0}c"), "a\nb\u{fffd}c");
    }
}
