use klp::rule::address::{Audience, Cidr, Scope, may_tell};
use serde_json::{Value as Json, json};

use super::{hold, text};

fn scope(address: &str, trusted: &[&str]) -> Scope {
    let trusted: Vec<Cidr> = trusted.iter().map(|range| range.parse().expect("a range")).collect();
    Scope::of(address.parse().expect("an address"), &trusted)
}

fn word(scope: Scope) -> &'static str {
    match scope {
        Scope::Loopback => "loopback",
        Scope::Private(_) => "private",
        Scope::Public => "public",
    }
}

fn scoped(address: &str, trusted: &[&str]) -> Json {
    json!({ "address": address, "trusted": trusted, "scope": word(scope(address, trusted)) })
}

/// `audience` is an address that the peer has, `everybody`, `ticket`, or `ticket, only loopback`.
fn audience(word: &str) -> Audience {
    match word {
        "everybody" => Audience::Everybody,
        "ticket" => Audience::Ticket { only_loopback: false },
        "ticket, only loopback" => Audience::Ticket { only_loopback: true },
        peer => Audience::Peer(scope(peer, &[])),
    }
}

fn told(address: &str, confirmed: bool, to: &str) -> Json {
    let told = may_tell(scope(address, &[]), confirmed, audience(to));
    json!({ "address": address, "confirmed": confirmed, "audience": to, "told": told })
}

#[test]
fn s25_address_vectors() {
    let scopes = ["127.0.0.1", "127.8.8.8", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"]
        .into_iter()
        .chain(["10.0.0.1", "172.16.0.1", "172.31.255.1", "192.168.1.5", "169.254.1.1", "100.64.0.1", "100.127.1.1"])
        .chain([
            "255.255.255.255",
            "224.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd12:3456:789a::1",
            "ff02::1",
            "::ffff:10.0.0.1",
        ])
        .chain(["172.32.0.1", "100.63.0.1", "100.128.0.1", "93.184.216.34", "2001:db8::1", "2606:4700::1111"]);
    let trusted = [("10.9.3.4", "10.9.0.0/16"), ("10.8.3.4", "10.9.0.0/16"), ("fd00::7", "fd00::/8")];
    let trusted = trusted.into_iter().map(|(address, range)| scoped(address, &[range]));
    let everyone =
        ["127.0.0.1", "192.168.7.7", "10.1.2.3", "93.184.216.34", "everybody", "ticket", "ticket, only loopback"];
    let table = ["127.0.0.1", "192.168.1.5", "fd12:3456:789a::1", "93.184.216.34"].into_iter().flat_map(|address| {
        everyone.into_iter().flat_map(move |to| [true, false].map(|confirmed| told(address, confirmed, to)))
    });
    let cases = scopes.map(|address| scoped(address, &[])).chain(trusted).chain(table).collect();
    let about =
        "The scope of an address, and who may be told it. An audience that is an address means a peer reached there.";
    for case in hold("addresses", "specs/04-records.md, section 4", about, cases) {
        let address = text(&case, "address");
        let again = match case["told"].as_bool() {
            Some(_) => told(address, case["confirmed"] == true, text(&case, "audience")),
            None => {
                let trusted = case["trusted"].as_array().expect("a list").iter();
                let trusted: Vec<&str> = trusted.map(|range| range.as_str().expect("a text")).collect();
                scoped(address, &trusted)
            }
        };
        assert_eq!(again, case);
    }
}
