//! Names that say nothing, of files and of types.

use crate::{source, tree};

const EMPTY: &[&str] = &["manager", "handler", "helper", "helpers", "util", "utils", "common", "misc", "types"];

/// The words of `FooBar`, `foo_bar` and `foo-bar`, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter.is_uppercase() || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (letter.is_alphanumeric(), words.last_mut()) {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

fn empty(name: &str) -> bool {
    words(name).iter().any(|word| EMPTY.contains(&word.as_str()))
}

/// The types and modules that a file defines.
fn defined(code: &str) -> Vec<&str> {
    let mut defined = Vec::new();
    let mut tokens =
        code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).filter(|word| !word.is_empty());
    while let Some(word) = tokens.next() {
        if matches!(word, "struct" | "enum" | "trait" | "union" | "mod") {
            defined.extend(tokens.next());
        }
    }
    defined
}

#[test]
fn no_file_and_no_type_has_an_empty_name() {
    let mut findings = Vec::new();
    for leaf in tree::files() {
        findings.extend(
            leaf.path
                .split('/')
                .filter(|part| {
                    let stem = part.trim_start_matches('.').split('.').next().unwrap_or_default();
                    empty(stem)
                })
                .map(|part| format!("{}: {part} says nothing", leaf.path)),
        );
    }
    for (path, text) in tree::rust() {
        let code = source::code(&text);
        findings.extend(
            defined(&code).iter().filter(|name| empty(name)).map(|name| format!("{path}: {name} says nothing")),
        );
    }
    tree::none(&findings);
}

#[test]
fn empty_names_are_found() {
    let code = "pub struct PeerManager; enum Utilities {} trait Handler {} mod common; impl ConnectionHandler for X {}";
    assert_eq!(defined(code), ["PeerManager", "Utilities", "Handler", "common"]);
    let found: Vec<_> = defined(code).into_iter().filter(|name| empty(name)).collect();
    assert_eq!(found, ["PeerManager", "Handler", "common"]);
    assert!(empty("crypto_util") && empty("helpers") && !empty("manage") && !empty("commons"));
}
