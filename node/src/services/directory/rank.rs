//! The order in which agents are shown: what answers before what does not, and the shorter path before the longer one.

use std::cmp::Ordering;

use crate::view::Found;

/// Paths, the best one first; what has no path now comes after all of them.
const PATHS: [&str; 4] = ["local", "lan", "direct", "relayed"];
/// Ways to be found, the best one first.
const SOURCES: [&str; 5] = ["here", "contact", "lan", "dht", "cache"];

fn place(words: &[&str], word: Option<&str>) -> usize {
    word.and_then(|word| words.iter().position(|known| *known == word)).unwrap_or(words.len())
}

/// Healthy ones first, then by path, by how they were found, and by name.
pub(super) fn order(one: &Found, other: &Found) -> Ordering {
    let key = |found: &Found| {
        let ill = found.health != "healthy";
        (ill, place(&PATHS, found.via.as_deref()), place(&SOURCES, Some(&found.path)))
    };
    key(one).cmp(&key(other)).then_with(|| one.name.cmp(&other.name)).then_with(|| one.did.cmp(&other.did))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d1_what_answers_over_a_short_path_comes_first() {
        let row = |name: &str, health: &str, via: Option<&str>, path: &str| Found {
            name: name.to_owned(),
            did: String::new(),
            owner: String::new(),
            contact: None,
            node: String::new(),
            description: String::new(),
            kind: "librarian".to_owned(),
            capabilities: Vec::new(),
            health: health.to_owned(),
            reputation: None,
            path: path.to_owned(),
            via: via.map(str::to_owned),
            reason: String::new(),
        };
        let mut rows = [
            row("g", "unknown", None, "cache"),
            row("f", "unknown", Some("lan"), "contact"),
            row("e", "healthy", None, "dht"),
            row("d", "healthy", Some("relayed"), "contact"),
            row("c", "healthy", Some("direct"), "dht"),
            row("b", "healthy", Some("direct"), "contact"),
            row("a", "healthy", Some("local"), "here"),
        ];
        rows.sort_by(order);
        assert_eq!(rows.map(|row| row.name).concat(), "abcdefg");
    }
}
