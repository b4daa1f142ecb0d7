//! Nodes that can be reached over WebRTC Direct and in no other way.

use kos_tests::Shell;
use serde_json::{Value, json};

/// Starts a node that listens here and nowhere else.
#[track_caller]
fn up(shell: &Shell, listen: &str) -> Value {
    shell.ok(&["up", "--detach", "--listen", listen, "--api", "127.0.0.1:0", "--no-mdns"])
}

/// Its address without its name, and the port.
fn place(up: &Value) -> (String, String) {
    let listen = up["listen"][0].as_str().unwrap();
    let place = listen.split("/p2p/").next().unwrap().to_owned();
    let port = place.split('/').nth(4).unwrap().to_owned();
    (place, port)
}

#[test]
fn c11_two_people_ask_each_other_over_webrtc_and_an_address_outlives_a_restart() {
    let (ada, bob) = (Shell::new(), Shell::new());
    let (there, port) = place(&up(&bob, "/ip4/127.0.0.1/udp/0/webrtc-direct"));
    assert!(there.contains("/webrtc-direct/certhash/"), "{there}");
    up(&ada, "/ip4/127.0.0.1/udp/0/webrtc-direct");
    let documents = bob.documents("notes", &[("tea.md", b"# Tea\n\nGreen tea takes eighty degrees.\n")]);
    bob.ok(&["serve", documents.to_str().unwrap(), "--as", "notes"]);
    ada.ok(&["contact", "add", &bob.ticket(), "--as", "bob"]);
    bob.ok(&["contact", "add", &ada.ticket(), "--as", "ada"]);
    bob.ok(&["grant", "add", "ada", "notes.ask", "--calls", "20"]);
    let ask = || {
        let answer = ada.run(&["ask", "bob/notes", "how hot is green tea?"]);
        let shown = String::from_utf8(answer.stdout).unwrap();
        let told = String::from_utf8(answer.stderr).unwrap();
        assert!(answer.status.success() && shown.contains("eighty degrees"), "{shown}{told}");
    };
    ask();
    let path = ada.ok(&["path", "bob"]);
    assert_eq!((&path["path"], &path["over"]), (&json!("lan"), &json!("webrtc")), "{path}");

    // What Ada knows of Bob from his ticket still holds.
    bob.ok(&["down"]);
    let (again, _) = place(&up(&bob, &format!("/ip4/127.0.0.1/udp/{port}/webrtc-direct")));
    assert_eq!(again, there);
    ask();
    for shell in [&ada, &bob] {
        shell.ok(&["down"]);
    }
}
