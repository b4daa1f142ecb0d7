//! The pages of `specs/` say what the code says: limits, refusals, domains, kinds of request, the sections that the code names.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use klp::{Refusal, limits, message};

use crate::vectors::statements::TYPES;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Holds the part of a page between two marks to `made`.
fn hold_part(page: &str, mark: &str, made: &str) {
    let text = read(page);
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let (head, rest) = text.split_once(&begin).expect("the mark is there");
    let (part, tail) = rest.split_once(&end).expect("the mark ends");
    if std::env::var_os("KOS_BLESS").is_some_and(|bless| bless == "1") {
        // Other tests read the page at the same time: it is replaced whole.
        let fresh = root().join(format!("{page}.new"));
        std::fs::write(&fresh, format!("{head}{begin}{made}{end}{tail}")).expect("the page can be written");
        std::fs::rename(fresh, root().join(page)).expect("the page can be replaced");
    } else {
        assert_eq!(part, made, "{page}, {mark}");
    }
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

macro_rules! numbers {
    ($($name:ident)+) => { vec![$((stringify!($name), limits::$name.to_string())),+] };
}

macro_rules! spans {
    ($($name:ident)+) => { vec![$((stringify!($name), span(limits::$name))),+] };
}

/// Name and value of every limit.
fn values() -> Vec<(&'static str, String)> {
    let mut values = numbers! {
        FRAME PACKED MESSAGE STATEMENT GOSSIP RECORD CHAIN GRANT_DEPTH DEPTH IN_FLIGHT EARLY STRIKES CALLER_QUEUE UNREAD KEPT EVENTS
        NONCES NONCES_PER_PEER NAME TEXT ARGUMENT ARGUMENTS ADDRESSES ADDRESS TAGS LIST OFFERS PUBLIC_CALLS
        RELAYS_OFFERED BLOB BLOB_OFFERS BLOB_OFFERS_ALL BLOB_STREAMS BLOB_STREAMS_ALL
        PAIR_TRIES PAIR_CODES PAIR_RUNS PAIR_RATE PAIR_IDENTITY PAIR_ASKED
        ERRAND HOPS HOPS_MAX FORWARD_TRIES FORWARDS FORWARDS_ALL FORWARDED
    };
    values.extend(spans! {
        SKEW HELLO_WAIT STALL ORDER_LIFE MAIL_LIFE TICKET_LIFE CERTIFICATE_LIFE ROOT_CERTIFICATE_LIFE GRANT_LIFE RECORD_LIFE
        RELAYS_LIFE EXCHANGE_LIFE EXCHANGE_KEPT BLOB_OFFER_LIFE PAIR_LIFE PAIR_RUN_LIFE SILENCE
    });
    values
}

#[test]
fn the_overview_lists_every_limit_with_its_reason() {
    let source = read("protocol/klp/src/limits.rs");
    let values = values();
    let (mut table, mut reason, mut count) =
        (String::from("| name | value | what and why |\n|---|---|---|\n"), String::new(), 0);
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("///") {
            reason.push_str(text);
        } else if let Some((name, _)) = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(':')) {
            let value = values.iter().find(|(known, _)| *known == name);
            let (_, value) = value.unwrap_or_else(|| panic!("{name} is missing in the list of this test"));
            writeln!(table, "| `{name}` | {value} | {} |", reason.trim()).expect("writes");
            reason.clear();
            count += 1;
        } else {
            reason.clear();
        }
    }
    assert_eq!(count, values.len());
    hold_part("specs/00-overview.md", "limits", &table);
}

#[test]
fn the_session_page_lists_every_refusal() {
    let mut table =
        String::from("| number | code | retry | exit | HTTP | message | hint |\n|---|---|---|---|---|---|---|\n");
    for refusal in Refusal::ALL {
        let retry = if refusal.retryable() { "yes" } else { "no" };
        let (number, code, exit, http) = (refusal.number(), refusal.code(), refusal.exit(), refusal.http());
        let (message, hint) = (refusal.message(), refusal.hint());
        writeln!(table, "| {number} | `{code}` | {retry} | {exit} | {http} | {message} | {hint} |").expect("writes");
    }
    hold_part("specs/03-session.md", "refusals", &table);
}

#[test]
fn the_pages_name_every_domain_and_every_kind_of_request() {
    let (overview, grammar, session) =
        (read("specs/00-overview.md"), read("specs/klp.cddl"), read("specs/03-session.md"));
    for kind in TYPES {
        assert!(overview.contains(&format!("| `{}` |", kind.domain)), "00-overview.md lacks {}", kind.domain);
        assert!(
            grammar.contains(&format!("domain {},", kind.domain))
                || grammar.contains(&format!("domain {}\n", kind.domain)),
            "klp.cddl lacks {}",
            kind.domain
        );
    }
    for kind in message::kind::ALL {
        assert!(session.contains(&format!("| `{kind}` |")), "03-session.md lacks {kind}");
    }
}

/// The headings of a page, as text.
fn headings(page: &str) -> Vec<String> {
    let lines = page.lines().filter(|line| line.starts_with('#'));
    lines.map(|line| line.trim_start_matches('#').trim().to_owned()).collect()
}

#[test]
fn every_section_that_the_code_names_is_there() {
    let mut folders =
        vec![root().join("protocol"), root().join("node"), root().join("relay"), root().join("bootstrap")];
    let mut named = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text =
                    std::fs::read_to_string(&path).expect("a file").replace("\n//! ", " ").replace("\n/// ", " ");
                for rest in text.split("Source: `specs/").skip(1) {
                    let (page, rest) = rest.split_once('`').expect("a page's name ends");
                    let headings = headings(&read(format!("specs/{page}")));
                    let found = match rest.strip_prefix(", section ") {
                        None => true,
                        Some(rest) if rest.starts_with('"') => {
                            let name = rest[1..].split('"').next().unwrap_or_default();
                            headings
                                .iter()
                                .any(|heading| heading.split_once(". ").is_some_and(|(_, text)| text == name))
                        }
                        Some(rest) => {
                            let number = rest.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
                            headings.iter().any(|heading| heading.starts_with(&format!("{number}. ")))
                        }
                    };
                    assert!(found, "{} names a section of {page} that is not there", path.display());
                    named += 1;
                }
            }
        }
    }
    assert!(named > 10, "the code names its pages");
}

#[test]
fn every_source_that_a_page_names_and_every_link_is_there() {
    for entry in std::fs::read_dir(root().join("specs")).expect("specs").flatten() {
        let page = std::fs::read_to_string(entry.path()).unwrap_or_default();
        if entry.path().extension().is_none_or(|end| end != "md") {
            continue;
        }
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            let known = target.is_empty() || target.starts_with("http") || root().join("specs").join(target).exists();
            // The table of rows is written by whoever merges the work.
            assert!(known || target == "status.md", "{}: {link}", entry.path().display());
        }
        for source in page.lines().filter(|line| line.starts_with("Source:") || line.starts_with("`protocol/")) {
            for path in source.split('`').skip(1).step_by(2) {
                assert!(root().join(path).exists() || path.starts_with("node/"), "{}: {path}", entry.path().display());
            }
        }
    }
}

#[test]
fn every_dependency_has_a_line_with_its_reason() {
    let manifest = read("Cargo.toml");
    let (_, listed) = manifest.split_once("[workspace.dependencies]").expect("the table");
    let listed = listed.split("\n[").next().unwrap_or_default().lines();
    let declared = listed.filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
    let declared = declared.filter(|line| !line.contains("path = ")).filter_map(|line| line.split([' ', '.']).next());
    let page = read("specs/decisions/0006-dependencies.md");
    let lines = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(declared.collect::<Vec<_>>(), lines.collect::<Vec<_>>());
}
