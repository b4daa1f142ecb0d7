//! Nodes to which no session leads: contacts carry what is asked of them.

use std::time::Duration;

use klp::NodeId;
use klp::message::{Empty, Pong, kind};
use tokio::time::Instant;

use super::{PATIENCE, Reach, millis};
use crate::fault::Fault;
use crate::outbound::{self, Outbound};
use crate::view;

impl Reach {
    /// Looks for a way through others to a node to which nothing else led, and adds it to what was tried.
    ///
    /// # Errors
    /// `unreachable` listing what was tried, and what each carrier said.
    pub(super) async fn found_by_others(
        &self,
        node: NodeId,
        mut attempts: Vec<view::Attempt>,
    ) -> Result<Vec<view::Attempt>, Fault> {
        let unreached = outbound::unreached(node, &attempts);
        if !self.outbound.may_be_carried(node, &unreached).await? {
            return Err(unreached);
        }
        let begun = Instant::now();
        // A way that is in use is measured at once; else the first round trip finds it, which may mean several nodes and their keys.
        if self.outbound.carried_by(node).is_none() {
            carried_ping(&self.outbound, node).await?;
        }
        let address = self.outbound.carried_by(node).map_or_else(String::new, |(via, _)| via);
        let (step, result) = ("forwarded".to_owned(), "ok".to_owned());
        attempts.push(view::Attempt { step, address, result, took_ms: millis(begun.elapsed()) });
        Ok(attempts)
    }

    /// One round trip: over the session, or through others.
    pub(super) async fn round_trip(&self, node: NodeId, reached: bool) -> Result<Duration, Fault> {
        if reached {
            return self.outbound.mesh().ping(node, PATIENCE).await.map_err(outbound::fault);
        }
        let begun = Instant::now();
        carried_ping(&self.outbound, node).await?;
        Ok(begun.elapsed())
    }

    /// The path to a node to which only others lead.
    pub(super) async fn carried_route(&self, node: NodeId, tried: Vec<view::Attempt>) -> Result<view::Route, Fault> {
        let attempts = self.found_by_others(node, tried).await?;
        let rtt = self.round_trip(node, false).await?;
        let via = self.outbound.carried_by(node).map_or_else(|| "others".to_owned(), |(via, _)| via);
        let why =
            format!("no address answers and no relay joins the two: {via} carries each request, and can read none");
        let better = "a relay that both can reach, or a port that is open on either side: run `kos netcheck` on both";
        Ok(view::Route {
            node: node.to_string(),
            path: self.outbound.path(node),
            why,
            better: Some(better.to_owned()),
            rtt_ms: millis(rtt),
            attempts,
            ..view::Route::default()
        })
    }
}

/// Asks whether a node is there, in a request that others carry.
async fn carried_ping(outbound: &Outbound, node: NodeId) -> Result<(), Fault> {
    outbound.ask::<Pong>(node, kind::PING, &Empty).await.map(drop)
}
