//! The scenarios that are built in, in the order in which they are run.

macro_rules! shelf {
    ($($name:literal)+) => { &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml"))),)+] };
}

/// Name and text of each file.
pub(super) const FILES: &[(&str, &str)] = shelf![
    "quiet" "lossy" "restless" "split" "lying" "thousand"
    "two-homes" "provider" "bad-line" "hard-nat" "firewall" "relay-killed" "hub-gone" "names-gone" "moved" "unread" "relays-dead"
    "found-relays"
    "parted" "sleep" "sleep-asking"
];
