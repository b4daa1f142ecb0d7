//! Private by default: what a node says of itself before its owner wants to be found, and what two nodes on one wire see then.

use klp::statement::card::{did_key, node_key};
use klp::{Did, NodeId};
use kos_tests::{Hub, Lan, Person, Puppet, Shell, eventually, is_root, until};
use serde_json::json;

fn up(shell: &Shell) {
    shell.ok(&["up", "--detach", "--api", "127.0.0.1:0"]);
}

#[test]
fn p3_a_fresh_node_sends_no_packet_until_it_has_a_contact_or_a_listed_agent() {
    if !is_root("p3_a_fresh_node_sends_no_packet_until_it_has_a_contact_or_a_listed_agent") {
        return;
    }
    let (lan, other) = (Lan::new(), Shell::new());
    let ada = lan.shell(0);
    up(&ada);
    let documents = ada.documents("diary", &[("today.md", b"# Today\n\nA secret meeting at noon.\n")]);
    ada.ok(&["serve", documents.to_str().unwrap(), "--as", "diary"]);
    let asked = ada.ok(&["ask", "self/diary", "secret", "meeting"]);
    assert_eq!(asked["verified"], true);
    ada.ok(&["find", "diary"]);
    ada.ok(&["audit", "verify"]);
    assert_eq!(lan.sent(0), 0, "not one packet, although it listens on every address and works");

    other.up(&[]);
    ada.ok(&["contact", "add", &other.ticket(), "--as", "other"]);
    eventually("it looks for its contact on the local network", || (lan.sent(0) > 0).then_some(()));
    ada.ok(&["down"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_the_dht_hears_nothing_of_a_node_without_contacts_and_listed_agents() {
    let hub = Hub::open(19, None).await;
    let bob = Person::new(&["--bootstrap", &hub.address]).await;
    bob.serve(&bob.documents("diary", &[("a.md", "a secret meeting")]), "diary", "private").await;
    let agent: Did = bob.node.agents.show("diary").await.unwrap().did.parse().unwrap();
    until("Bob has joined", async || (bob.node.status().await.unwrap().peers > 0).then_some(())).await;
    bob.ask("self/diary", "secret meeting").await.unwrap();

    let peer = Puppet::open(91).await;
    let address: mesh::Multiaddr = hub.address.parse().unwrap();
    peer.mesh().dial(mesh::node_in(&address).unwrap(), vec![address]).await.unwrap();
    let who = bob.node.whoami().await.unwrap();
    let [owner, node]: [Did; 2] = [&who.owner, &who.node].map(|did| did.parse().unwrap());
    let known = async || {
        let mut known =
            usize::from(peer.mesh().get(node_key(&NodeId(node))).await.is_ok_and(|record| record.is_some()));
        for did in [owner, node, agent] {
            known += peer.mesh().find_providers(did_key(&did)).await.unwrap_or_default().len();
        }
        known
    };
    until("the peer has joined", async || peer.mesh().find_providers(did_key(&owner)).await.ok()).await;
    assert_eq!(known().await, 0, "the hub knows nothing of Bob, his node and his agent");

    bob.node.contacts.add(&peer.ticket(), "peer").await.unwrap();
    until("now his node may be found", async || (known().await > 0).then_some(())).await;
    let found = peer.mesh().find_providers(did_key(&agent)).await.unwrap();
    assert!(found.is_empty(), "but never his private agent");
    bob.stop().await;
    hub.close();
}

#[test]
fn two_nodes_on_one_wire_find_each_other_without_any_bootstrap_peer() {
    if !is_root("two_nodes_on_one_wire_find_each_other_without_any_bootstrap_peer") {
        return;
    }
    let lan = Lan::new();
    let (ada, bert) = (lan.shell(0), lan.shell(1));
    for (person, name) in [(&ada, "birds"), (&bert, "bees")] {
        up(person);
        let text = format!("# About {name}\n\nThe {name} are in the garden.\n");
        let documents = person.documents(name, &[("a.md", text.as_bytes())]);
        person.ok(&["serve", documents.to_str().unwrap(), "--as", name, "--public"]);
    }
    let found = eventually("Ada finds Bert's agent", || {
        let rows = ada.ok(&["find", "bees"]);
        rows.as_array().unwrap().first().cloned()
    });
    assert_eq!((&found["name"], &found["path"], &found["health"]), (&json!("bees"), &json!("lan"), &json!("healthy")));
    let asked = ada.ok(&["ask", found["did"].as_str().unwrap(), "where are the bees?"]);
    assert_eq!((&asked["verified"], &asked["path"]), (&json!(true), &json!("lan")), "{asked}");
    for person in [&ada, &bert] {
        person.ok(&["down"]);
    }
}
