//! Who else is reached, by which path, and how this node itself is.

use clap::Args;

use super::client::{Call, part, query};
use super::terminal::{Answer, Failure, Terminal, fields, line, table};
use crate::view;

#[derive(Debug, Args)]
pub(super) struct Ping {
    /// Petname, owner DID or node DID
    who: String,
    /// How many times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    count: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct Path {
    /// Petname, owner DID or node DID
    who: String,
}

#[derive(Debug, Args)]
pub(super) struct Netcheck {}

impl Ping {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let count = self.count.map(|count| count.to_string());
        let path = query(&format!("/v1/ping/{}", part(&self.who)), &[("count", count)]);
        let ping: view::Ping = terminal.client.call(Call::get(path)).await?;
        terminal.answer(&ping, |ping| {
            let asked = ping.rtts_ms.len() + ping.lost as usize;
            let [least, most] = [ping.rtts_ms.iter().min(), ping.rtts_ms.iter().max()];
            let several = match (least, most) {
                (Some(least), Some(most)) if asked > 1 => {
                    format!(", from {least} to {most} ms; {} of {asked} lost", ping.lost)
                }
                _ => String::new(),
            };
            format!("{} {} ms{several}\n{}", ping.path, ping.rtt_ms, attempts(&ping.attempts))
        })
    }
}

fn attempts(attempts: &[view::Attempt]) -> String {
    let rows = attempts.iter().map(|attempt| {
        [attempt.step.clone(), attempt.address.clone(), attempt.result.clone(), format!("{} ms", attempt.took_ms)]
    });
    table(["TRIED", "ADDRESS", "RESULT", "TOOK"], rows.collect(), "")
}

impl Path {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let route: view::Route = terminal.client.call(Call::get(format!("/v1/path/{}", part(&self.who)))).await?;
        terminal.answer(&route, show_route)
    }
}

fn show_route(route: &view::Route) -> String {
    let relay = route.relay.as_ref().map_or_else(String::new, |relay| {
        let bytes = relay.limit_bytes.map_or_else(|| "any number of".to_owned(), |bytes| bytes.to_string());
        let time = relay.limit_s.map_or_else(String::new, |seconds| format!(" in {seconds} s"));
        format!("{}, {bytes} bytes{time}", relay.address)
    });
    let carried =
        route.carried.iter().map(|one| format!("{} bytes {} to it, {} from it", one.way, one.sent, one.received));
    let best = match route.over.as_str() {
        "" if route.rtt_ms == 0 => route.path.clone(),
        "" => format!("{}, {} ms", route.path, route.rtt_ms),
        over => format!("{} over {over}, {} ms", route.path, route.rtt_ms),
    };
    let mut text = fields(&[
        ("path", best),
        ("why", route.why.clone()),
        ("better", route.better.clone().unwrap_or_default()),
        ("address", route.address.clone()),
        ("relay", relay),
        ("others", route.others.join("; ")),
        ("carried", carried.collect::<Vec<_>>().join("; ")),
        ("moved", if route.moved > 0 { route.moved.to_string() } else { String::new() }),
    ]);
    let moves = route.moves.iter().map(|moved| [moved.at.clone(), moved.from.clone(), moved.to.clone()]);
    text.push_str(&table(["MOVED AT", "FROM", "TO"], moves.collect(), ""));
    text.push_str(&attempts(&route.attempts));
    text
}

impl Netcheck {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        terminal.note("asking the network; this takes some seconds");
        let found: view::Netcheck = terminal.client.call(Call::get("/v1/netcheck")).await?;
        terminal.answer(&found, show_netcheck)
    }
}

fn show_netcheck(found: &view::Netcheck) -> String {
    let known = |fact: Option<bool>, yes: &str, no: &str| match fact {
        Some(true) => yes.to_owned(),
        Some(false) => no.to_owned(),
        None => "not tried".to_owned(),
    };
    let mut text = format!("{}\n", line(&found.headline));
    if !found.fix.is_empty() {
        text.push_str(&format!("-> {}\n", line(&found.fix)));
    }
    text.push('\n');
    text.push_str(&fields(&[
        ("reach", found.reach.clone()),
        ("UDP", known(found.udp, "gets through", "does not get through")),
        ("mapping", format!("UDP {}, TCP {}", found.mapping_udp, found.mapping_tcp)),
        ("UPnP", found.upnp.clone()),
        ("IPv6", if found.ipv6 { "yes" } else { "no" }.to_owned()),
        ("bootstrap", known(found.bootstrap, "answers", "does not answer")),
        ("DNS", known(found.dns, "answers", "does not answer")),
    ]));
    let addresses = found.addresses.iter().map(|one| {
        let by = if one.confirmed_by.is_empty() { "nobody yet" } else { one.confirmed_by.as_str() };
        [one.address.clone(), by.to_owned()]
    });
    text.push_str(&table(["OWN ADDRESS", "CONFIRMED BY"], addresses.collect(), ""));
    let relays = found.relays.iter().map(|relay| {
        let rtt = relay.rtt_ms.map_or_else(|| "-".to_owned(), |rtt| format!("{rtt} ms"));
        let place = if relay.address.is_empty() { relay.node.clone() } else { relay.address.clone() };
        [place, relay.state.clone(), relay.source.clone(), rtt, relay.lost.clone().unwrap_or_default()]
    });
    text.push_str(&table(["RELAY", "STATE", "FROM", "RTT", "LOST BECAUSE"], relays.collect(), ""));
    for check in found.checks.iter().filter(|check| check.state == "failed") {
        text.push_str(&format!("{}: {}\n-> {}\n", check.name, line(&check.cause), line(&check.fix)));
    }
    text
}
