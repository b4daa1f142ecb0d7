//! The doctor: each of ten planted faults is named with its cause and what to do, and a node without a fault is well.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use kos_tests::{Disk, Hub, Lan, Program, Shell, has, is_root, path};
use serde_json::Value;

/// What the doctor says, and its exit code.
#[track_caller]
fn examined(shell: &Shell, flags: &[&str]) -> (Value, i32) {
    shell.json(&[&["doctor"], flags].concat())
}

/// The check of this name.
#[track_caller]
fn check<'a>(found: &'a Value, name: &str) -> &'a Value {
    let checks = found["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check {name}: {found:#}"))
}

/// Holds when just this check has failed, with these words in its cause and its fix, each on one line.
#[track_caller]
fn blames((found, exit): &(Value, i32), name: &str, cause: &str, fix: &str) {
    let failed: Vec<&Value> =
        found["checks"].as_array().unwrap().iter().filter(|check| check["state"] == "failed").collect();
    assert_eq!((*exit, &found["well"]), (1, &Value::from(false)), "{found:#}");
    assert_eq!(failed.iter().map(|check| check["name"].as_str().unwrap()).collect::<Vec<_>>(), [name], "{found:#}");
    for (part, words) in [("cause", cause), ("fix", fix)] {
        let text = failed[0][part].as_str().unwrap();
        assert!(text.contains(words) && !text.contains('\n'), "{part}: {text}");
    }
}

#[track_caller]
fn is_well((found, exit): &(Value, i32)) {
    assert_eq!((*exit, &found["well"]), (0, &Value::from(true)), "{found:#}");
}

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

#[test]
fn n12_a_home_without_a_fault_is_well_before_with_and_after_its_node() {
    let ada = Shell::new();
    is_well(&examined(&ada, &[]));
    assert!(!ada.home().exists(), "the doctor makes nothing");
    ada.up(&[]);
    is_well(&examined(&ada, &[]));
    let shown = ada.run(&["doctor"]);
    assert!(String::from_utf8(shown.stdout).unwrap().ends_with("all is well\n"));
    ada.ok(&["down"]);
    is_well(&examined(&ada, &[]));
    blames(&examined(&ada, &["--relay", "nonsense"]), "settings", "relay: \"nonsense\"", "/p2p/PEERID");
    fs::write(ada.home().join("kos.toml"), "mdsn = false\n").unwrap();
    blames(&examined(&ada, &[]), "settings", "unknown key mdsn", "kos config schema");
}

#[test]
fn n12_a_taken_port_is_named() {
    let ada = Shell::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    blames(&examined(&ada, &["--listen", &address]), "ports", &address, "--listen");
    drop(taken);
    is_well(&examined(&ada, &["--listen", &address]));
}

#[tokio::test(flavor = "multi_thread")]
async fn n12_a_clock_that_is_off_is_named_by_what_others_refuse_and_by_the_age_of_the_home() {
    let right = Hub::open(91, None).await;
    let ada = Shell::new();
    blocking(|| ada.up(&["--bootstrap", &right.address]));
    blocking(|| is_well(&examined(&ada, &[])));
    let off = [
        Hub::open_ahead(92, None, Duration::from_secs(900)).await,
        Hub::open_ahead(93, None, Duration::from_secs(900)).await,
    ];
    let bob = Shell::new();
    let others = ["--bootstrap", &off[0].address, "--bootstrap", &off[1].address];
    blocking(|| {
        let found = examined(&bob, &others);
        blames(&found, "clock", "2 of 2 peers", "set the clock");
        bob.up(&others);
        blames(&examined(&bob, &[]), "clock", "off by more than 5 minutes", "timedatectl");

        ada.ok(&["down"]);
        let later = SystemTime::now() + Duration::from_secs(3600);
        fs::File::open(ada.home().join("kos.redb")).unwrap().set_modified(later).unwrap();
        blames(&examined(&ada, &["--bootstrap", &right.address]), "clock", "is behind", "set the clock");
    });
}

#[test]
fn n12_udp_that_does_not_get_through_is_named() {
    let story = "n12_udp_that_does_not_get_through_is_named";
    if !is_root(story) || !has(story, "ip") {
        return;
    }
    let (lan, folder) = (Lan::new(), tempfile::tempdir().unwrap());
    let mut command = lan.command(0, &path("kos-bootstrap"));
    command.arg("--home").arg(folder.path().join("hub"));
    command.args(["--listen", "/ip4/10.77.0.1/tcp/4712", "--listen", "/ip4/10.77.0.1/udp/4712/quic-v1"]);
    let mut hub = Program::run(command, folder.path().join("hub.log"));
    let (one, other) = (hub.line(), hub.line());
    let ada = lan.shell(1);
    let flags = ["--bootstrap", &one, "--bootstrap", &other];
    let well = examined(&ada, &flags);
    is_well(&well);
    assert_eq!(check(&well.0, "udp")["state"], "ok", "{well:?}");
    lan.block_udp(0);
    blames(&examined(&ada, &flags), "udp", "UDP does not get through", "firewall");
    hub.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn n12_a_dead_bootstrap_peer_is_named_with_its_address() {
    let hub = Hub::open(94, None).await;
    let ada = Shell::new();
    let flags = ["--bootstrap", hub.address.as_str()];
    blocking(|| is_well(&examined(&ada, &flags)));
    let address = hub.address.clone();
    hub.close();
    let port = address.split('/').nth(4).unwrap().to_owned();
    kos_tests::until("the port of the peer to be free", async || TcpListener::bind(format!("127.0.0.1:{port}")).ok())
        .await;
    let place = address.split("/p2p/").next().unwrap();
    blocking(|| blames(&examined(&ada, &["--bootstrap", &address]), "bootstrap", place, "--bootstrap"));
}

#[test]
fn n12_a_private_file_that_others_can_read_is_named_with_the_command_that_closes_it() {
    let ada = Shell::new();
    ada.up(&[]);
    let keys = ada.home().join("machine.keys");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&keys, 0o644);
    let fix = format!("chmod 600 {}", keys.display());
    blames(&examined(&ada, &[]), "files", "mode 644", &fix);
    ada.ok(&["down"]);
    blames(&examined(&ada, &[]), "files", "mode 644", &fix);
    mode(&keys, 0o600);
    is_well(&examined(&ada, &[]));
    mode(&ada.unlock_file(), 0o640);
    blames(&examined(&ada, &[]), "files", "mode 640", "chmod 600");
}

#[test]
fn n12_a_full_disk_is_named() {
    let story = "n12_a_full_disk_is_named";
    if !is_root(story) || !has(story, "nsenter") {
        return;
    }
    let disk = Disk::new();
    let bob = disk.shell();
    disk.mount_small(&bob.home(), "24m");
    bob.up(&[]);
    is_well(&examined(&bob, &[]));
    bob.ok(&["down"]);
    disk.fill(&bob.home(), 0);
    blames(&examined(&bob, &[]), "disk", "is full", "free some megabytes");
    disk.free(&bob.home());
    is_well(&examined(&bob, &[]));
}

#[test]
fn n12_a_locked_vault_is_named_while_its_node_runs_and_while_it_does_not() {
    let ada = Shell::new();
    let line = ["up", "--detach", "--json", "--seal", "passphrase", "--passphrase-fd", "0", "--no-mdns"];
    let at = ["--listen", "/ip4/127.0.0.1/tcp/0", "--api", "127.0.0.1:0"];
    let started = ada.typed(&[&line[..], &at].concat(), "correct horse\n");
    assert!(started.status.success(), "{started:?}");
    is_well(&examined(&ada, &[]));
    ada.ok(&["vault", "lock"]);
    blames(&examined(&ada, &[]), "vault", "locked", "kos vault unlock");
    ada.ok(&["down"]);
    blames(&examined(&ada, &[]), "vault", "opens with a passphrase", "KOS_PASSPHRASE_FILE");

    let bob = Shell::new();
    bob.up(&[]);
    bob.ok(&["down"]);
    fs::rename(bob.unlock_file(), bob.folder().join("elsewhere")).unwrap();
    blames(&examined(&bob, &[]), "vault", "unlock file", "--unlock-file");
}

#[test]
fn n12_a_stale_lock_is_named_and_gone_with_the_next_start() {
    let ada = Shell::new();
    let pid = ada.up(&[])["pid"].to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    kos_tests::eventually("the end of the node", || {
        // Its first thread may be a zombie while others still hold what is open.
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        (state.is_empty() || state.contains(") Z ") && threads <= 1).then_some(())
    });
    blames(&examined(&ada, &[]), "lock", &format!("process {pid} ended without stopping"), "kos up");
    ada.up(&[]);
    is_well(&examined(&ada, &[]));
}

#[test]
fn n12_a_relay_that_refuses_is_named_and_a_silent_one_is_another_fault() {
    let folder = tempfile::tempdir().unwrap();
    let line = ["--listen", "/ip4/127.0.0.1/tcp/0", "--reservations", "1", "--rates=false"];
    let mut relay = Program::start("kos-relay", &folder.path().join("relay"), line);
    let address = relay.line();
    let [ada, bob] = [Shell::new(), Shell::new()];
    ada.up(&["--relay", &address]);
    kos_tests::eventually("the only place", || {
        let found = examined(&ada, &[]);
        (check(&found.0, "relay")["state"] == "ok").then_some(())
    });
    bob.up(&[]);
    bob.ok(&["down"]);
    blames(&examined(&bob, &["--relay", &address]), "relay", "refuses a place", "full");
    bob.up(&["--relay", &address]);
    blames(&examined(&bob, &[]), "relay", "refuses a place", "another with --relay");
    relay.stop();
    blames(&examined(&bob, &[]), "relay", "no answer", "check the address");
}

#[test]
fn n12_names_that_nobody_can_look_up_are_named() {
    let story = "n12_names_that_nobody_can_look_up_are_named";
    if !is_root(story) || !has(story, "ip") {
        return;
    }
    let (lan, folder) = (Lan::new(), tempfile::tempdir().unwrap());
    let mut command = lan.command(0, &path("kos-bootstrap"));
    command.arg("--home").arg(folder.path().join("hub")).args(["--listen", "/ip4/10.77.0.1/tcp/4712"]);
    let mut hub = Program::run(command, folder.path().join("hub.log"));
    let address = hub.line();
    let named = address.replace("/ip4/10.77.0.1/", "/dns4/bootstrap.example/");
    let ada = lan.shell(1);
    is_well(&examined(&ada, &["--bootstrap", &address]));
    // The wire leads to no name server.
    blames(&examined(&ada, &["--bootstrap", &address, "--relay", &named]), "dns", "bootstrap.example", "name servers");
    hub.stop();
}
