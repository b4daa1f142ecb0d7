//! The checkout as it is: every file that git tracks or would track.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;

/// A file of the repository.
pub(crate) struct Leaf {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// Its text; `None` when it is not UTF-8.
    pub(crate) text: Option<Arc<str>>,
}

pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Every file, sorted.
pub(crate) fn files() -> Vec<Leaf> {
    let list = run(Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]));
    let mut paths: Vec<&str> = list.split_terminator('\0').collect();
    paths.sort_unstable();
    paths.dedup();
    assert!(paths.len() > 20, "git lists no files here");
    let read = |path: &str| {
        // A file that was deleted and not yet committed is still listed.
        let bytes = std::fs::read(root().join(path)).ok()?;
        Some(Leaf { path: path.to_owned(), text: String::from_utf8(bytes).ok().map(Arc::from) })
    };
    paths.into_iter().filter_map(read).collect()
}

/// The Rust files with their text.
pub(crate) fn rust() -> Vec<(String, Arc<str>)> {
    let rust = files().into_iter().filter(|leaf| leaf.path.ends_with(".rs"));
    rust.map(|leaf| (leaf.path, leaf.text.expect("Rust files are UTF-8"))).collect()
}

/// A file of the repository, when it is there.
pub(crate) fn text(path: &str) -> Option<String> {
    std::fs::read_to_string(root().join(path)).ok()
}

/// What cargo says about our own packages.
pub(crate) fn metadata() -> Value {
    let text = run(cargo().args(["metadata", "--format-version=1", "--no-deps", "--locked"]));
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from))
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Fails with every finding on a line of its own.
#[track_caller]
pub(crate) fn none(findings: &[String]) {
    assert!(findings.is_empty(), "\n  {}\n", findings.join("\n  "));
}
