//! Reaching other nodes: by which path, and why.

use std::time::Duration;

use klp::{NodeId, OwnerId, Refusal};
use tokio::time::Instant;

use crate::address::Who;
use crate::fault::Fault;
use crate::me::Me;
use crate::outbound::{self, Outbound};
use crate::people::People;
use crate::view;

/// How long one round trip may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reaching other nodes.
#[derive(Clone)]
pub struct Reach {
    me: Me,
    people: People,
    outbound: Outbound,
}

impl Reach {
    pub(crate) fn new(me: Me, people: People, outbound: Outbound) -> Self {
        Self { me, people, outbound }
    }

    /// Is this contact's node (petname, owner DID or node DID) there, and by which path?
    ///
    /// # Errors
    /// `not_found`, `unreachable` listing what was tried.
    pub async fn ping(&self, who: &str) -> Result<view::Ping, Fault> {
        let Some(node) = self.node(who)? else {
            return Ok(view::Ping { path: "local".to_owned(), rtt_ms: 0, attempts: Vec::new() });
        };
        let attempts = self.outbound.reach(node).await?;
        let begun = Instant::now();
        let measured = self.outbound.mesh().ping(node, PATIENCE).await.map_err(outbound::fault)?;
        let rtt_ms = u64::try_from(measured.min(begun.elapsed()).as_millis()).unwrap_or(u64::MAX);
        Ok(view::Ping { path: self.outbound.path(node), rtt_ms, attempts })
    }

    /// Which node is meant; none for this one.
    fn node(&self, who: &str) -> Result<Option<NodeId>, Fault> {
        let unknown = || Fault::not_found("contact", who).hint("see `kos contact list`");
        let contact = match Who::parse(who)? {
            Who::Me => return Ok(None),
            Who::Petname(name) => self.people.named(&name).ok_or_else(unknown)?,
            Who::Did(did) if did == self.me.node().0 || did == self.me.owner().0 => return Ok(None),
            Who::Did(did) => match self.people.owner(&OwnerId(did)) {
                Some(contact) => contact,
                // A node's DID is an address of its own.
                None => return Ok(Some(NodeId(did))),
            },
        };
        let node = contact.nodes.first().map(|device| device.node);
        node.map(Some).ok_or_else(|| Fault::new(Refusal::NotFound, format!("no node of {} is known", contact.name)))
    }
}
