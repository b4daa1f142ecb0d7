//! Revocations that those concerned have not heard yet, said again until they have: to the node that honours the grant until the grant's
//! time is over, and to whoever holds it while it is news.

use std::collections::BTreeMap;
use std::time::Duration;

use klp::message::{self, Empty, kind};
use klp::statement::grant::Grant;
use klp::statement::revocation::Revocation;
use klp::{Digest, NodeId, Signed, Timestamp, Verified};
use store::StoreError;
use store::grants::{self, Side};
use store::revocations::{self, Target};
use tokio::time::Instant;

use super::Revocations;
use crate::fault::Fault;

/// Deliveries that are owed at once; more are owed again after the next start.
const OWED: usize = 4096;
/// Deliveries that are tried at once.
const AT_ONCE: usize = 16;
/// Before the second try; each further one waits twice as long.
const SOON: Duration = Duration::from_secs(5);
/// The longest wait between two tries while it is news: a network that was broken for a few minutes is soon made up for.
const NEWS: Duration = Duration::from_secs(15);
/// How long it is.
const NEWS_FOR: Duration = Duration::from_secs(10 * 60);
/// The longest wait afterwards. Whoever opens a session is told at once.
const LATE: Duration = Duration::from_secs(10 * 60);

/// What is owed to whom.
#[derive(Default)]
pub(super) struct Owed {
    rows: BTreeMap<(NodeId, Digest), Row>,
    loaded: bool,
}

struct Row {
    signed: Signed<Revocation>,
    until: Timestamp,
    since: Instant,
    at: Instant,
    wait: Duration,
}

impl Owed {
    fn add(&mut self, node: NodeId, grant: Digest, signed: Signed<Revocation>, until: Timestamp, at: Instant) {
        if self.rows.len() < OWED {
            self.rows.entry((node, grant)).or_insert(Row { signed, until, since: at, at, wait: SOON });
        }
    }

    /// What is to be tried now. Each is tried again later, unless [`Owed::paid`] says that it arrived.
    fn due(&mut self, now: Instant, wall: Timestamp) -> Vec<(NodeId, Digest, Signed<Revocation>)> {
        self.rows.retain(|_, row| row.until > wall);
        let due = self.rows.iter_mut().filter(|(_, row)| row.at <= now).take(AT_ONCE);
        due.map(|((node, grant), row)| {
            row.at = now + row.wait;
            let longest = if now.saturating_duration_since(row.since) < NEWS_FOR { NEWS } else { LATE };
            row.wait = (row.wait * 2).min(longest);
            (*node, *grant, row.signed.clone())
        })
        .collect()
    }

    /// This node can be told now.
    fn met(&mut self, node: NodeId, now: Instant) {
        self.rows.iter_mut().filter(|((owed, _), _)| *owed == node).for_each(|(_, row)| row.at = now);
    }

    fn paid(&mut self, node: NodeId, grant: Digest) {
        self.rows.remove(&(node, grant));
    }
}

impl Revocations {
    /// Tries what is owed. Called every few seconds, and at once when something new is owed.
    pub(crate) async fn pay(&self) -> Result<(), Fault> {
        let first = !std::mem::replace(&mut self.lock().owed.loaded, true);
        if first {
            self.load().await?;
        }
        let due = self.lock().owed.due(Instant::now(), self.clock.now());
        for (node, grant, signed) in due {
            let revocations = self.clone();
            tokio::spawn(async move {
                let told = message::Revocations { revocations: vec![signed], head: None };
                let said: Result<Empty, Fault> = revocations.outbound.ask(node, kind::DELIVER_REVOCATION, &told).await;
                match said {
                    Ok(_) => revocations.lock().owed.paid(node, grant),
                    Err(fault) => tracing::debug!(%fault, %node, "a revocation is not delivered yet"),
                }
            });
        }
        Ok(())
    }

    /// A session with a node is open: it is told what it is owed.
    pub(crate) async fn met(&self, node: NodeId) -> Result<(), Fault> {
        self.lock().owed.met(node, Instant::now());
        self.pay().await
    }

    /// What may not have been heard before the last stop: whoever has heard it loses nothing by hearing it again.
    async fn load(&self) -> Result<(), Fault> {
        let (me, now) = (self.me.owner(), self.clock.now());
        let found = self.store.read(move |view| {
            let mut found = Vec::new();
            for held in grants::list(view)?.into_iter().filter(|held| held.parent.is_some() && held.expires > now) {
                let revoked = revocations::get(view, &Target::Statement(held.id), &me)?;
                if held.side == Side::Issued
                    && let Some(signed) = revoked.and_then(|revoked| revoked.signed)
                    && let Ok(grant) = Signed::<Grant>::from_bytes(held.signed).verify()
                {
                    found.push((grant, Signed::from_bytes(signed)));
                }
            }
            Ok::<_, StoreError>(found)
        });
        for (grant, signed) in found.await? {
            self.owe(&grant, signed);
        }
        Ok(())
    }

    /// Whoever holds this grant should hear of its end, also when a network that is broken just now keeps us apart. After a while they hear
    /// of it when they come by.
    pub(super) fn owe_holder(&self, grant: &Verified<Grant>, signed: &Signed<Revocation>) {
        let contact = grant.holder.and_then(|holder| self.people.owner(&holder));
        let until = self.clock.now().after(NEWS_FOR).min(grant.expires);
        for device in contact.iter().flat_map(|contact| &contact.nodes) {
            self.lock().owed.add(device.node, grant.id(), signed.clone(), until, Instant::now());
        }
    }

    /// The node that honours this grant has to hear of its end.
    pub(super) fn owe(&self, grant: &Verified<Grant>, signed: Signed<Revocation>) {
        if grant.node != self.me.node() {
            self.lock().owed.add(grant.node, grant.id(), signed, grant.expires, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_9_what_is_owed_is_tried_more_and_more_rarely_until_it_is_paid_or_over() {
        let key = klp::SecretKey::from_seed(&[1; 32]);
        let (node, grant, start) = (NodeId(key.did()), Digest([2; 32]), Instant::now());
        let mut owed = Owed::default();
        owed.add(node, grant, Signed::from_bytes(Vec::new()), Timestamp(1000), start);
        let mut tries = |after: u64| owed.due(start + Duration::from_secs(after), Timestamp(1)).len();
        assert_eq!([tries(0), tries(4), tries(5), tries(14), tries(15)], [1, 0, 1, 0, 1]);
        let mut waits = |from: u64, to: u64| (from..=to).filter(|after| tries(*after) > 0).collect::<Vec<_>>();
        assert_eq!(waits(16, 60), [30, 45, 60], "while it is news");
        let later = waits(61, 3 * 3600);
        assert_eq!(later[later.len() - 1] - later[later.len() - 2], LATE.as_secs());
        owed.met(NodeId(klp::SecretKey::from_seed(&[9; 32]).did()), start);
        assert_eq!(owed.due(start + Duration::from_secs(3 * 3600 + 1), Timestamp(1)).len(), 0, "somebody else is here");
        owed.met(node, start + Duration::from_secs(3 * 3600 + 2));
        assert_eq!(owed.due(start + Duration::from_secs(3 * 3600 + 2), Timestamp(1)).len(), 1, "it is here");
        assert_eq!(owed.due(start + LATE * 50, Timestamp(1000)).len(), 0, "the grant is over by itself");
        owed.add(node, grant, Signed::from_bytes(Vec::new()), Timestamp(1000), start);
        owed.paid(node, grant);
        assert_eq!(owed.due(start, Timestamp(1)).len(), 0);
    }
}
