//! No room outgrows its page.

use crate::tree;

/// Lines of a file, its tests included.
const LINES: usize = 450;

fn outgrown(path: &str, text: &str) -> Option<String> {
    let code = [".rs", ".js", ".mjs", ".css"].iter().any(|end| path.ends_with(end));
    let lines = text.lines().count();
    (code && lines > LINES).then(|| format!("{path} has {lines} lines, more than {LINES}: make it a folder of rooms"))
}

#[test]
fn rooms_have_at_most_450_lines() {
    let files = tree::files();
    let findings: Vec<String> =
        files.iter().filter_map(|leaf| outgrown(&leaf.path, leaf.text.as_deref().unwrap_or_default())).collect();
    tree::none(&findings);
}

#[test]
fn an_outgrown_room_is_found() {
    assert_eq!(outgrown("a.rs", &"\n".repeat(LINES)), None);
    assert!(outgrown("a.rs", &"\n".repeat(LINES + 1)).is_some());
    assert_eq!(outgrown("Cargo.lock", &"\n".repeat(LINES + 1)), None);
}
