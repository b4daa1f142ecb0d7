//! Revocations of delegated grants that the node which honours them has not heard yet: said again until it has, or until the grant's
//! time is over.

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
/// The longest wait between two tries.
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
    at: Instant,
    wait: Duration,
}

impl Owed {
    fn add(&mut self, node: NodeId, grant: Digest, signed: Signed<Revocation>, until: Timestamp, at: Instant) {
        if self.rows.len() < OWED {
            self.rows.entry((node, grant)).or_insert(Row { signed, until, at, wait: SOON });
        }
    }

    /// What is to be tried now. Each is tried again later, unless [`Owed::paid`] says that it arrived.
    fn due(&mut self, now: Instant, wall: Timestamp) -> Vec<(NodeId, Digest, Signed<Revocation>)> {
        self.rows.retain(|_, row| row.until > wall);
        let due = self.rows.iter_mut().filter(|(_, row)| row.at <= now).take(AT_ONCE);
        due.map(|((node, grant), row)| {
            row.at = now + row.wait;
            row.wait = (row.wait * 2).min(LATE);
            (*node, *grant, row.signed.clone())
        })
        .collect()
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
    fn what_is_owed_is_tried_more_and_more_rarely_until_it_is_paid_or_over() {
        let key = klp::SecretKey::from_seed(&[1; 32]);
        let (node, grant, start) = (NodeId(key.did()), Digest([2; 32]), Instant::now());
        let mut owed = Owed::default();
        owed.add(node, grant, Signed::from_bytes(Vec::new()), Timestamp(1000), start);
        let mut tries = |after: u64| owed.due(start + Duration::from_secs(after), Timestamp(1)).len();
        assert_eq!([tries(0), tries(4), tries(5), tries(14), tries(15)], [1, 0, 1, 0, 1]);
        assert_eq!(owed.due(start + LATE * 2, Timestamp(1000)).len(), 0, "the grant is over by itself");
        owed.add(node, grant, Signed::from_bytes(Vec::new()), Timestamp(1000), start);
        owed.paid(node, grant);
        assert_eq!(owed.due(start, Timestamp(1)).len(), 0);
    }
}
