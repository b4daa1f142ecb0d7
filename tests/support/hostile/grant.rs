//! Grants one by one: what they say, and which arguments their patterns match.

use std::collections::BTreeMap;

use klp::rule::permit::matches;
use klp::statement::grant::Grant;
use klp::{Cbor as _, Signed, limits};

use super::cast::BOB;
use super::input::{Input, part};
use super::{envelope, vectors};

type Texts = BTreeMap<String, String>;

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let pairs = [
        ("*", "anything/at all"),
        ("docs", "docs"),
        ("docs/*", "docs/a"),
        ("docs/*/c", "docs/b/c"),
        ("do*", "docs"),
        ("", ""),
        ("/", "/"),
        ("*/*", "a/"),
    ];
    let texts = |text: &str| Texts::from([("path".to_owned(), text.to_owned())]).to_bytes();
    let pair = |(pattern, value): &(&str, &str)| [vec![2], part(&texts(pattern)), texts(value)].concat();
    let pairs: Vec<_> = pairs.iter().map(pair).collect();
    [vectors::statements("Grant", &[0]), vectors::payloads("Grant", &[1]), pairs].concat()
}

/// The way, and a grant, its payload, or patterns and arguments.
pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 3 {
        0 => {
            if let Ok(grant) = Signed::<Grant>::from_bytes(input.rest().to_vec()).verify() {
                envelope::holds(&grant, input.rest());
                bounded(&grant);
            }
        }
        1 => {
            if let Some(grant) = envelope::signed::<Grant>(input.rest(), BOB) {
                bounded(&grant);
            }
        }
        _ => {
            let (patterns, arguments) = (Texts::from_bytes(input.part(), 4096), Texts::from_bytes(input.rest(), 4096));
            if let (Ok(patterns), Ok(arguments)) = (patterns, arguments) {
                assert_eq!(matches(&patterns, &arguments), oracle(&patterns, &arguments), "{patterns:?} {arguments:?}");
                let more = arguments.iter().map(|(name, value)| (format!("{name} more"), value.clone())).collect();
                assert!(!matches(&patterns, &more) || patterns.is_empty(), "a name matches whole");
            }
        }
    }
}

fn bounded(grant: &Grant) {
    assert!(grant.capability.len() <= limits::NAME);
    assert!(grant.arguments.as_ref().is_none_or(|patterns| patterns.len() <= limits::ARGUMENTS));
}

/// The patterns of `specs/05-grants.md`, section 3, character by character instead of segment by segment.
pub(super) fn oracle(patterns: &Texts, arguments: &Texts) -> bool {
    patterns.keys().eq(arguments.keys())
        && patterns.iter().all(|(name, pattern)| pattern == "*" || walks(pattern, &arguments[name]))
}

fn walks(pattern: &str, value: &str) -> bool {
    let cut = |text: &str| text.split_once('/').map(|(first, rest)| (first.to_owned(), rest.to_owned()));
    let fits = |pattern: &str, value: &str| pattern == value || (pattern == "*" && !value.is_empty());
    match (cut(pattern), cut(value)) {
        (None, None) => fits(pattern, value),
        (Some((pattern, patterns)), Some((value, values))) => fits(&pattern, &value) && walks(&patterns, &values),
        _ => false,
    }
}
