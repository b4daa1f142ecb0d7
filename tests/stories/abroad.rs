//! Homes behind routers of every kind, in network namespaces: real programs, driven as a user drives them. `kos sim` plays each scenario
//! and says what came of it.

use std::process::Command;

use kos_tests::shell::is_error;
use kos_tests::{Shell, has, is_root, needs};
use serde_json::Value;

/// Whether a lab can be made here.
fn can(story: &str) -> bool {
    if !is_root(story) || !["ip", "nft", "unshare"].into_iter().all(|program| has(story, program)) {
        return false;
    }
    let made = Command::new("unshare").args(["--net", "--mount", "--pid", "--fork", "true"]).status();
    needs(story, "the right to make network namespaces", made.is_ok_and(|status| status.success()))
}

/// Plays scenarios, each of which must hold, and returns what was seen of each.
#[track_caller]
fn play(words: &[&str]) -> Vec<Value> {
    let ada = Shell::new();
    let output = ada.run(&[&["sim"], words, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let scenarios = report["scenarios"].as_array().unwrap_or_else(|| panic!("{report}")).clone();
    for scenario in &scenarios {
        println!("{} {}: {}", scenario["passed"], scenario["name"], scenario["detail"]);
    }
    assert_eq!((output.status.code(), &report["failed"]), (Some(0), &0.into()), "{report:#}\n{said}");
    scenarios
}

#[test]
fn k16_n9_every_pair_of_routers_talks_at_once_and_directly_where_that_is_possible() {
    if !can("k16_n9_every_pair_of_routers_talks_at_once_and_directly_where_that_is_possible") {
        return;
    }
    // Each kind on both sides, and the two sorts of pairs for which there is no direct path.
    let pairs = [
        "open:symmetric",
        "symmetric:open",
        "full-cone:port-remapping",
        "port-restricted:port-restricted",
        "port-remapping:full-cone",
        "udp-blocked:udp-blocked",
        "symmetric:symmetric",
        "port-restricted:symmetric",
    ];
    let played = play(&["nat", "--pairs", &pairs.join(",")]);
    let rows = played[0]["figures"].as_array().unwrap();
    assert_eq!(rows.len(), pairs.len());
    for row in rows {
        println!("{row}");
        let hard = ["symmetric:symmetric", "port-restricted:symmetric"];
        let pair = format!("{}:{}", row["asks"].as_str().unwrap(), row["answers"].as_str().unwrap());
        let expected = if hard.contains(&pair.as_str()) { "relayed" } else { "direct" };
        assert_eq!((row["got"].as_str(), row["expected"].as_str()), (Some(expected), Some(expected)), "{row}");
        assert!(row["first_answer_s"].as_f64().unwrap() < 10.0, "the first answer waits for no punch: {row}");
    }
}

#[test]
fn k17_c13_c15_c16_a_firewall_between_them_and_then_a_direct_path_that_spares_the_relay() {
    if can("k17_c13_c15_c16_a_firewall_between_them_and_then_a_direct_path_that_spares_the_relay") {
        play(&["firewall", "two-homes", "hub-gone"]);
    }
}

#[test]
fn k16_n9_behind_a_second_router_of_the_provider_it_is_the_same() {
    if can("k16_n9_behind_a_second_router_of_the_provider_it_is_the_same") {
        play(&["provider"]);
    }
}

#[test]
fn k2_what_passes_a_relay_in_the_open_holds_no_word_and_no_owner() {
    if can("k2_what_passes_a_relay_in_the_open_holds_no_word_and_no_owner") {
        play(&["unread"]);
    }
}

#[test]
fn n9_a_machine_that_was_asleep_is_reached_again() {
    if can("n9_a_machine_that_was_asleep_is_reached_again") {
        play(&["sleep"]);
    }
}

#[test]
fn n9_a_machine_that_was_asleep_reaches_others_again() {
    if can("n9_a_machine_that_was_asleep_reaches_others_again") {
        play(&["sleep-asking"]);
    }
}

#[test]
fn n9_a_home_that_moves_is_reached_again() {
    if can("n9_a_home_that_moves_is_reached_again") {
        play(&["moved"]);
    }
}

#[test]
fn k17_a_relay_that_dies_under_an_answer_is_replaced_by_another() {
    if can("k17_a_relay_that_dies_under_an_answer_is_replaced_by_another") {
        play(&["relay-killed"]);
    }
}

#[test]
fn k17_n12_who_names_no_relay_finds_some_and_is_told_what_network_it_is_in() {
    if can("k17_n12_who_names_no_relay_finds_some_and_is_told_what_network_it_is_in") {
        play(&["found-relays"]);
    }
}

#[test]
fn d4_whose_relays_are_dead_leaves_the_searches_and_comes_back_with_a_relay() {
    if can("d4_whose_relays_are_dead_leaves_the_searches_and_comes_back_with_a_relay") {
        play(&["relays-dead"]);
    }
}

#[test]
fn l1_9_d4_two_halves_of_a_mesh_agree_again_and_no_revoked_grant_is_honoured() {
    if can("l1_9_d4_two_halves_of_a_mesh_agree_again_and_no_revoked_grant_is_honoured") {
        play(&["parted"]);
    }
}

#[test]
fn n10_a_planted_fault_ends_with_a_failure_and_a_mistake_with_its_line() {
    let ada = Shell::new();
    let (report, exit) = ada.json(&["sim", "calm", "quiet", "--count", "1"]);
    assert_eq!((exit, &report["passed"], &report["failed"]), (0, &2.into(), &0.into()), "{report}");
    let (report, exit) = ada.json(&["sim", "quiet", "--fault"]);
    assert_eq!((exit, &report["failed"]), (1, &1.into()), "{report}");
    assert!(report["scenarios"][0]["detail"].as_str().unwrap().contains("seed 0"), "{report}");
    is_error(&ada.json(&["sim", "no-such-scenario"]), "invalid", 7);
    let file = ada.folder().join("mine.toml");
    std::fs::write(&file, "about = \"mine\"\n\n[crowd]\nnodes = 60\nlose = 5\n").unwrap();
    let mistaken = ada.json(&["sim", file.to_str().unwrap()]);
    is_error(&mistaken, "invalid", 7);
    let message = mistaken.0["error"]["message"].as_str().unwrap();
    assert!(message.contains("mine.toml, line 5:") && message.contains("lose"), "{message}");
    let text = String::from_utf8(ada.run(&["sim", "quiet", "--count", "1"]).stdout).unwrap();
    assert!(text.starts_with("PASS quiet ") && text.lines().count() == 1, "{text}");
    if can("n10_a_planted_fault_ends_with_a_failure_and_a_mistake_with_its_line") {
        let (report, exit) = ada.json(&["sim", "hub-gone", "--fault"]);
        assert_eq!((exit, &report["failed"]), (1, &1.into()), "{report}");
    }
}

#[test]
fn k16_a_router_that_opens_a_port_makes_a_node_reachable_behind_a_symmetric_nat() {
    let story = "k16_a_router_that_opens_a_port_makes_a_node_reachable_behind_a_symmetric_nat";
    if can(story) && has(story, "miniupnpd") {
        play(&[concat!(env!("CARGO_MANIFEST_DIR"), "/../simulations/scenarios/apart/upnp.toml")]);
    }
}
