//! The node itself.

use clap::Args;

use super::client::Call;
use super::terminal::{Answer, Failure, Terminal, fields};
use crate::view;

#[derive(Debug, Args)]
pub(super) struct Status {}

#[derive(Debug, Args)]
pub(super) struct Whoami {}

impl Status {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let status: view::Status = terminal.client.call(Call::get("/v1/status")).await?;
        terminal.answer(&status, show_status)
    }
}

fn show_status(status: &view::Status) -> String {
    let reach = match &status.reach.via {
        Some(via) => format!("{} via {via}", status.reach.state),
        None => status.reach.state.clone(),
    };
    let ill = status.health.iter().filter(|(_, state)| *state != "ok").map(|(name, state)| format!("{name}: {state}"));
    let ill = ill.collect::<Vec<_>>().join("; ");
    let health = if ill.is_empty() { "ok".to_owned() } else { ill };
    let agents = status.agents.iter().map(|agent| format!("{} ({})", agent.name, agent.state));
    let calls = format!("{} running, {} waiting", status.queue.running, status.queue.waiting);
    let later = if status.queue.later > 0 { format!("{} for later", status.queue.later) } else { String::new() };
    fields(&[
        ("owner", status.did.clone()),
        ("node", status.node.clone()),
        ("version", format!("{}, up {}, pid {}", status.version, span(status.uptime_s), status.pid)),
        ("health", health),
        ("vault", status.vault.clone()),
        ("reach", reach),
        ("peers", status.peers.to_string()),
        ("agents", agents.collect::<Vec<_>>().join(", ")),
        ("calls", calls),
        ("questions", later),
        ("listen", status.listen.join(" ")),
        ("api", status.api.clone()),
    ])
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

impl Whoami {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let me: view::Whoami = terminal.client.call(Call::get("/v1/whoami")).await?;
        terminal.answer(&me, |me| {
            let agents = me.agents.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>().join(", ");
            fields(&[
                ("owner", me.owner.clone()),
                ("fingerprint", me.fingerprint.join(" ")),
                ("node", me.node.clone()),
                ("peer id", me.peer_id.clone()),
                ("agents", agents),
                ("created", me.created.clone()),
                ("algorithm", me.algorithm.clone()),
            ])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn uptime_is_short() {
        let shown = [59, 61, 3600 + 125, 2 * 86_400 + 3 * 3600].map(span);
        assert_eq!(shown, ["59 s", "1 min", "1 h 2 min", "2 d 3 h"]);
    }
}
