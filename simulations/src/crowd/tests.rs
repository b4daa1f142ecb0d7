//! What must hold holds in every crowd, a seed fixes all of it, and a broken rule is noticed.

use klp::Verified;
use klp::rule::record::{Put, Standing};
use klp::statement::card::NodeRecord;

use super::rules::Rules;
use super::world::run_by;
use super::{Fault, Setting, run};
use crate::scenario::Scenario;

fn setting(name: &str) -> Setting {
    Scenario::named(name).and_then(|scenario| scenario.crowd).expect("a built-in crowd")
}

#[test]
fn many_a_thousand_nodes_find_an_agent_and_lose_it_when_it_has_gone() {
    let outcome = run(setting("thousand"), 1).unwrap_or_else(|broken| panic!("thousand 1: {broken}"));
    assert!(outcome.found > 700, "{outcome:?}");
    assert!(outcome.lost > outcome.messages / 50 && outcome.searches > 1500, "{outcome:?}");
}

#[test]
fn many_in_every_small_crowd_the_agent_is_found_and_lost_and_no_lie_is_believed() {
    let crowds = Scenario::built_in().into_iter().filter_map(|scenario| Some((scenario.name, scenario.crowd?)));
    for (name, small) in crowds.filter(|(_, setting)| setting.nodes <= 100) {
        for seed in 0..4 {
            let outcome = run(small, seed).unwrap_or_else(|broken| panic!("{name} {seed}: {broken}"));
            assert!(outcome.found > small.nodes / 2, "{name} {seed}: {outcome:?}");
            assert_eq!(outcome.lost > 0, small != setting("quiet"), "{name} {seed}: the weather is as it should be");
        }
    }
}

#[test]
fn a_seed_fixes_everything_that_happens_in_a_crowd() {
    let lying = setting("lying");
    assert_eq!(run(lying, 7), run(lying, 7));
    assert_ne!(run(lying, 7).map(|outcome| outcome.trace), run(lying, 8).map(|outcome| outcome.trace));
}

/// The first seed with which the world notices a broken rule, and what it says.
fn noticed(rules: Rules) -> String {
    let noticed = (0..8).find_map(|seed| run_by(rules, setting("lying"), seed).err());
    noticed.expect("a broken rule is noticed")
}

#[test]
fn nodes_that_ignore_lifetimes_are_noticed() {
    let forever: Rules = Rules { has_expired: |_, _| false, ..Rules::OURS };
    let said = noticed(forever);
    assert!(said.contains("after its lifetime") || said.contains("has left"), "{said}");
}

#[test]
fn nodes_that_believe_whoever_signs_are_noticed() {
    let said = noticed(Rules { believes: |entry, _, _| entry.card.verify().ok(), ..Rules::OURS });
    assert!(said.contains("forged card"), "{said}");
    let gullible = |_: &[u8], value: &[u8], _, _| {
        let record: Verified<NodeRecord> = klp::Signed::from_bytes(value.to_vec()).verify().ok()?;
        Some(Standing { seq: record.seq, expires: record.expires })
    };
    let said = noticed(Rules { standing: gullible, ..Rules::OURS });
    assert!(said.contains("forged record"), "{said}");
}

#[test]
fn nodes_that_take_whatever_comes_last_are_noticed() {
    let said = noticed(Rules { put: |_, _, _| Put::Kept, ..Rules::OURS });
    assert!(said.contains("replaces") || said.contains("though it has seen"), "{said}");
}

#[test]
fn n10_a_fault_that_is_planted_in_a_file_is_noticed() {
    for (fault, word) in [(Fault::Forever, "lifetime"), (Fault::Gullible, "forged card"), (Fault::LastWins, "")] {
        let planted = Setting { fault: Some(fault), ..setting("lying") };
        let said = (0..8).find_map(|seed| run(planted, seed).err()).expect("it is noticed");
        assert!(said.contains(word), "{fault:?}: {said}");
    }
}
