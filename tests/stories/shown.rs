//! What the front page promises: the demo.

use std::process::Command;

use serde_json::Value;

fn kos() -> Command {
    let mut command = Command::new(kos_tests::path("kos"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KOS_")) {
        command.env_remove(name);
    }
    command
}

#[test]
fn n10_the_demo_ends_in_one_pass_for_each_step() {
    let output = kos().args(["demo", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{report:#}");
    assert_eq!((report["failed"].as_u64(), report["passed"].as_u64()), (Some(0), Some(19)), "{report:#}");
    let total: u64 = report["steps"].as_array().unwrap().iter().filter_map(|step| step["ms"].as_u64()).sum();
    assert!(total < 60_000, "{total} ms");
}
