//! What the front page shows is what happens: its transcripts are typed, and each printed line is compared.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A command, and what the page says that it prints.
struct Step<'a> {
    command: &'a str,
    shown: Vec<&'a str>,
}

/// The steps of every block of console text.
fn steps(page: &str) -> Vec<Step<'_>> {
    let blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("console\n"));
    let mut steps: Vec<Step<'_>> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command, shown: Vec::new() }),
            (None, Some(step)) => step.shown.push(line),
            (None, None) => panic!("output before any command: {line}"),
        }
    }
    steps
}

/// Whether a printed line is the shown one, in which `…` stands for anything.
fn fits(shown: &str, printed: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A line of only `…` stands for any number of lines.
fn compare(step: &Step<'_>, printed: &str) {
    let mut lines = printed.lines().peekable();
    let mut shown = step.shown.iter().peekable();
    while let Some(expected) = shown.next() {
        if *expected == "…" {
            let Some(next) = shown.peek() else { return };
            while lines.peek().is_some_and(|line| !fits(next, line)) {
                lines.next();
            }
            continue;
        }
        let line = lines.next();
        assert!(
            line.is_some_and(|line| fits(expected, line)),
            "{}\nexpected: {expected}\nbut: {line:?}\n\nall of it:\n{printed}",
            step.command
        );
    }
    assert_eq!(lines.next(), None, "{} prints more than the page shows:\n{printed}", step.command);
}

fn shell(command: &str, folder: &Path, programs: &Path) -> (bool, String) {
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec 2>&1; {command}")]).env("PATH", path).env("D", folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KOS_")) {
        shell.env_remove(name);
    }
    let mut child = shell.stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    (child.wait().unwrap().success(), printed)
}

#[test]
fn x1_the_five_minutes_of_the_readme_happen_as_they_are_shown() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let steps = steps(&page);
    assert!(steps.len() > 8, "{} steps", steps.len());
    let folder = tempfile::tempdir().unwrap();
    let kos = kos_tests::path("kos");
    let programs = kos.parent().unwrap();
    let mut ended = Ok(());
    for step in &steps {
        // `specs` is the folder of this repository.
        let command =
            step.command.replace("kos serve specs", concat!("kos serve ", env!("CARGO_MANIFEST_DIR"), "/../specs"));
        let (good, printed) = shell(&command, folder.path(), programs);
        ended = std::panic::catch_unwind(|| {
            let refused = step.shown.first().is_some_and(|line| line.starts_with("error: "));
            assert_eq!(good, !refused, "{}\n{printed}", step.command);
            compare(step, &printed);
        });
        if ended.is_err() {
            break;
        }
    }
    for name in ["alice", "bob"] {
        shell(&format!("kos down --home $D/{name}"), folder.path(), programs);
    }
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn shown_lines_fit_printed_ones() {
    for (shown, printed, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a…", "ab", true),
        ("…b", "ab", true),
        ("a…c", "abc", true),
        ("a…c", "abx", false),
        ("", "x", false),
    ] {
        assert_eq!(fits(shown, printed), expected, "{shown} {printed}");
    }
    let steps = steps("x\n```console\n$ one\na\n…\nb\n$ two\n```\n");
    assert_eq!((steps.len(), steps[0].shown.len(), steps[1].shown.len()), (2, 3, 0));
    compare(&steps[0], "a\nx\ny\nb\n");
    compare(&steps[0], "a\nb\n");
    assert!(std::panic::catch_unwind(|| compare(&steps[1], "more\n")).is_err());
}
