//! Every Rust file belongs to a crate, and modules are `foo.rs` beside `foo/`.

use std::collections::BTreeSet;

use crate::{source, tree};

/// The modules that a file declares without a body.
fn declared(code: &str) -> Vec<&str> {
    let lines = code.lines().map(str::trim).filter(|line| line.ends_with(';'));
    lines
        .filter_map(|line| {
            let line = line.trim_end_matches(';');
            let name = line.strip_prefix("mod ").or_else(|| {
                let rest = line.strip_prefix("pub")?;
                rest.split_once("mod ")
                    .filter(|(between, _)| between.trim().is_empty() || between.trim().starts_with('('))
                    .map(|pair| pair.1)
            })?;
            name.chars().all(|letter| letter.is_alphanumeric() || letter == '_').then_some(name)
        })
        .collect()
}

/// Where the modules of a file lie: a crate root shares its folder with them, another file has a folder of its name.
fn folder(path: &str, is_root: bool) -> String {
    match (is_root, path.rsplit_once('/')) {
        (true, Some((folder, _))) => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    }
}

/// The targets of crates with a workspace of their own, as their manifests name them.
fn apart() -> Vec<String> {
    let mut paths = Vec::new();
    for leaf in tree::files().iter().filter(|leaf| leaf.path.ends_with("/Cargo.toml")) {
        let manifest: toml::Table = leaf.text.as_deref().unwrap_or_default().parse().unwrap();
        if !manifest.contains_key("workspace") {
            continue;
        }
        let folder = leaf.path.trim_end_matches("Cargo.toml");
        let bins = manifest.get("bin").and_then(toml::Value::as_array).into_iter().flatten();
        let targets = bins.chain(manifest.get("lib")).filter_map(|target| target.get("path")?.as_str());
        paths.extend(targets.map(|path| format!("{folder}{path}")));
    }
    paths
}

#[test]
fn every_rust_file_belongs_to_a_crate() {
    let rust = tree::rust();
    let root = tree::root().canonicalize().unwrap();
    let mut waiting: Vec<(String, bool)> = Vec::new();
    for package in tree::metadata()["packages"].as_array().unwrap() {
        for target in package["targets"].as_array().unwrap() {
            let path = std::path::Path::new(target["src_path"].as_str().unwrap());
            let path = path.strip_prefix(&root).expect("targets lie in the checkout");
            waiting.push((path.to_str().unwrap().replace('\\', "/"), true));
        }
    }
    waiting.extend(apart().into_iter().map(|path| (path, true)));
    let mut reached = BTreeSet::new();
    while let Some((path, is_root)) = waiting.pop() {
        let Some((_, text)) = rust.iter().find(|(known, _)| *known == path) else { continue };
        if reached.insert(path.clone()) {
            let folder = folder(&path, is_root);
            waiting.extend(declared(&source::code(text)).iter().map(|name| (format!("{folder}/{name}.rs"), false)));
        }
    }
    let lost = rust.iter().filter(|(path, _)| !reached.contains(path));
    tree::none(&lost.map(|(path, _)| format!("{path} belongs to no crate: nobody compiles it")).collect::<Vec<_>>());
}

#[test]
fn no_module_is_called_mod_rs() {
    let named = tree::rust().into_iter().filter(|(path, _)| path.ends_with("/mod.rs"));
    tree::none(&named.map(|(path, _)| format!("{path}: write foo.rs beside foo/")).collect::<Vec<_>>());
}

#[test]
fn declarations_are_read() {
    let code = "mod a;\npub mod b;\n    pub(crate) mod c;\nmod d {\n}\nlet e;\n#[cfg(test)]\nmod tests;";
    assert_eq!(declared(code), ["a", "b", "c", "tests"]);
    assert_eq!(folder("x/src/lib.rs", true), "x/src");
    assert_eq!(folder("x/src/rule.rs", false), "x/src/rule");
}
