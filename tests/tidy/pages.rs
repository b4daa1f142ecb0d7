//! The pages that promise something: `specs/status.md` names tests that exist, the README has the two commands.

use std::collections::BTreeSet;

use crate::{source, tree};

/// The word in the last cell of a row that is not done.
const OPEN: &str = "open";

/// The rows of all tables: id and last cell. A row's id has no space and begins with a letter.
fn rows(text: &str) -> Vec<(&str, &str)> {
    let tables = text.lines().map(str::trim).filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let rows = tables.filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let id = cells[0].trim_matches(['`', '*']);
        let dashes = cells.iter().all(|cell| cell.trim_matches([':', '-']).is_empty());
        (cells.len() >= 3 && !dashes && !id.contains(' ') && id.starts_with(|letter: char| letter.is_alphabetic()))
            .then(|| (id, cells[cells.len() - 1]))
    });
    rows.collect()
}

/// The tests that a cell names between backticks; a path before the name is for people.
fn named(cell: &str) -> Vec<&str> {
    let names = cell.split('`').skip(1).step_by(2);
    names.map(|name| name.rsplit("::").next().unwrap_or(name).trim_end_matches("()")).collect()
}

/// The names of all test functions in a file.
fn tests(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut marked = false;
    for line in code.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((_, rest)) = line.split_once("fn ") {
            if marked {
                found.extend(rest.split(['(', '<']).next());
            }
            marked = false;
        }
    }
    found
}

fn unproved(page: &str, known: &BTreeSet<String>) -> Vec<String> {
    let mut findings = Vec::new();
    for (id, cell) in rows(page) {
        let names = named(cell);
        if names.is_empty() && !cell.contains(OPEN) && !matches!(cell, "Test" | "test" | "Tests" | "tests") {
            findings.push(format!("{id} names no test and is not marked `{OPEN}`"));
        }
        findings.extend(
            names.iter().filter(|name| !known.contains(**name)).map(|name| format!("{id}: there is no test {name}")),
        );
    }
    findings
}

/// The commands of the first block of shell; a picture may come before it.
fn first_commands(readme: &str) -> Vec<&str> {
    let block = readme.split("```").skip(1).step_by(2).find_map(|block| block.strip_prefix("sh\n")).unwrap_or_default();
    block.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn every_row_of_the_status_page_names_tests_that_exist() {
    let known = tree::rust()
        .iter()
        .flat_map(|(_, text)| tests(&source::code(text)).into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let Some(page) = tree::text("specs/status.md") else { return };
    assert!(!rows(&page).is_empty(), "specs/status.md has no rows");
    tree::none(&unproved(&page, &known));
}

#[test]
fn the_readme_begins_with_the_two_commands() {
    let Some(readme) = tree::text("README.md") else { return };
    assert_eq!(first_commands(&readme), ["cargo run --release -- up", "tests/run"]);
}

#[test]
fn every_spec_is_in_the_index() {
    let Some(index) = tree::text("specs/README.md") else { return };
    let specs = tree::files().into_iter().filter_map(|leaf| leaf.path.strip_prefix("specs/").map(str::to_owned));
    let specs = specs.filter(|path| path.ends_with(".md") && !path.contains('/') && path != "README.md");
    let lost = specs.filter(|path| !index.contains(&format!("({path})")));
    tree::none(&lost.map(|path| format!("specs/README.md has no link to {path}")).collect::<Vec<_>>());
}

/// What the commands of a page filter by: `--test BINARY FILTER` or `--test BINARY -- FILTER FILTER`.
fn filters(page: &str) -> Vec<&str> {
    let commands = page.split('`').filter(|code| code.contains("cargo test "));
    let after = commands.filter_map(|code| code.split_once(" --test ")?.1.split_once(' '));
    after
        .flat_map(|(_, rest)| rest.split(' ').take_while(|word| *word != "--nocapture").filter(|word| *word != "--"))
        .collect()
}

#[test]
fn the_commands_of_the_readme_run_tests_that_exist() {
    let Some(readme) = tree::text("README.md") else { return };
    // A filter is part of a test's path: of its name or of the file that holds it.
    let known: Vec<String> = tree::rust()
        .iter()
        .flat_map(|(path, text)| {
            let code = source::code(text);
            let names: Vec<String> = tests(&code).iter().map(|name| format!("{path} {name}")).collect();
            names
        })
        .collect();
    let lost = filters(&readme).into_iter().filter(|filter| !known.iter().any(|test| test.contains(filter)));
    tree::none(&lost.map(|filter| format!("README.md: no test fits {filter}")).collect::<Vec<_>>());
}

/// The files that the links of a page lead to, from the folder of the page.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let inside = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    inside.filter_map(|target| target.split('#').next()).filter(|path| !path.contains(' '))
}

#[test]
fn every_link_of_a_page_leads_to_a_file() {
    let mut lost = Vec::new();
    for leaf in tree::files().into_iter().filter(|leaf| leaf.path.ends_with(".md")) {
        let folder = tree::root().join(&leaf.path).parent().unwrap().to_owned();
        let text = leaf.text.unwrap();
        lost.extend(
            links(&text).filter(|link| !folder.join(link).exists()).map(|link| format!("{}: {link}", leaf.path)),
        );
    }
    tree::none(&lost);
}

#[test]
fn missing_tests_and_bare_rows_are_found() {
    let code = "#[test]\nfn a() {}\n#[tokio::test(flavor = \"\")]\n#[expect(x)]\nasync fn b() {}\nfn c() {}\n";
    assert_eq!(tests(code), ["a", "b"]);
    let known = tests(code).into_iter().map(str::to_owned).collect();
    let page = "| Row | What | Test |\n|---|---|:-:|\n| P9 | x | `tidy::a`, `b` |\n| P8 | x | open: next |\n| P7 | x | `c` |\n| P6 | x | |\n";
    assert_eq!(unproved(page, &known), ["P7: there is no test c", "P6 names no test and is not marked `open`"]);
    assert_eq!(links("[a](b.md#c) [f](#g) [h](../i)").collect::<Vec<_>>(), ["b.md", "../i"]);
    assert_eq!(
        filters(
            "`X=1 cargo test --release --test stories idle -- --nocapture` and `cargo test --test stories -- p11 s14`"
        ),
        ["idle", "p11", "s14"]
    );
    assert_eq!(first_commands("# A\n```text\nb\n```\n```sh\n# start\na\n\nb\n```\n```\nc\n```\n"), ["a", "b"]);
}
