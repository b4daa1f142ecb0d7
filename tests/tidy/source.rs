//! One Rust file, with what the compiler does not read taken out.

/// The text with comments and the insides of literals blanked; lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    let mut before = ' ';
    while let Some(next) = rest.chars().next() {
        let (skipped, shown) = skip(rest, before);
        if skipped == 0 {
            code.push(next);
            before = next;
            rest = &rest[next.len_utf8()..];
        } else {
            code.push_str(shown);
            code.extend(rest[..skipped].chars().filter(|letter| *letter == '\n'));
            before = ' ';
            rest = &rest[skipped..];
        }
    }
    code
}

/// The code without its unit tests: they come last, behind `#[cfg(test)]`.
pub(crate) fn shipped(code: &str) -> &str {
    match code.rsplit_once("#[cfg(test)]\nmod tests {") {
        Some((shipped, _)) => shipped,
        None => code,
    }
}

/// How many bytes of a comment or literal begin here, and what is shown in their place.
fn skip(rest: &str, before: char) -> (usize, &'static str) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), "");
    }
    if rest.starts_with("/*") {
        return (block(rest), " ");
    }
    let within_name = before.is_alphanumeric() || before == '_';
    if !within_name && let Some(raw) = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let inside = hashes + 1;
            let length = raw[inside..].find(&end).map_or(raw.len(), |at| inside + at + end.len());
            return (rest.len() - raw.len() + length, "\"\"");
        }
    }
    if rest.starts_with('"') {
        return (quoted(rest, '"').unwrap_or(rest.len()), "\"\"");
    }
    // A lifetime has no closing quote right behind its first letter.
    let mut letters = rest.chars().skip(1);
    if rest.starts_with('\'') && (letters.next() == Some('\\') || letters.next() == Some('\'')) {
        return (quoted(rest, '\'').unwrap_or(1), "''");
    }
    (0, "")
}

fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn block(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Whether the code names a path or word, whole: `foo` is in `foo::bar` and not in `foobar`.
pub(crate) fn names(code: &str, word: &str) -> bool {
    let part = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(part);
        let after = code[at + word.len()..].chars().next().is_some_and(part);
        let open = |edge: Option<char>| edge.is_some_and(part);
        !(before && open(word.chars().next()) || after && open(word.chars().next_back()))
    })
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "let a = \"x // \\\" y\"; // gone\n/* gone /* too */\n */let b: &'a str = r#\"raw \" text\"#;\nlet c = ('\\'', '\"', b'z');";
    let expected = "let a = \"\"; \n \nlet b: &'a str = \"\";\nlet c = ('', '', b'');";
    assert_eq!(code(text), expected);
}

#[test]
fn words_are_whole() {
    assert!(names("use libp2p::swarm;", "libp2p"));
    assert!(!names("use libp2p_swarm;", "libp2p"));
    assert!(names("std::time::SystemTime::now()", "SystemTime"));
    assert!(!names("let todos = 1;", "todo!"));
    assert!(names("  todo!()", "todo!"));
}
