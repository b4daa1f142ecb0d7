//! What a story needs of its machine: root, for namespaces and other users; a program that is not ours.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Whether this process is root. Where it is not, the story that asks is skipped, and says so; in CI nothing may be skipped.
///
/// # Panics
/// In CI (`CI=true`), when it is not.
pub fn is_root(story: &str) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    needs(story, "root", root)
}

/// Whether a program is there. Where it is not, the story that asks is skipped, and says so; in CI nothing may be skipped.
///
/// # Panics
/// In CI (`CI=true`), when it is not.
pub fn has(story: &str, program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    needs(story, program, std::env::split_paths(&path).any(|folder| folder.join(program).exists()))
}

/// Whether something else is there, as the story has found out.
///
/// # Panics
/// In CI (`CI=true`), when it is not.
pub fn needs(story: &str, what: &str, there: bool) -> bool {
    if !there {
        assert_ne!(std::env::var("CI").ok().as_deref(), Some("true"), "{story} needs {what}");
        println!("SKIPPED {story}: it needs {what}");
        if let Some(file) = std::env::var_os("GATE_SKIPPED") {
            let mut file = OpenOptions::new().append(true).create(true).open(file).unwrap();
            writeln!(file, "{story}").unwrap();
        }
    }
    there
}
