//! The side that was told a code: finding who made it, and proving that it is known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use klp::message::{FirstGrant, PairFinish, PairFinished, PairIdentity, PairOpened, PairProved, kind};
use klp::pairing::{Claim, Code, Joiner};
use klp::{NodeId, OwnerId, Refusal, limits};
use mesh::Multiaddr;
use serde_json::json;
use store::audit::Entry;
use store::contacts::{AddError, Contact};
use tokio::time::Instant;

use super::{Pairing, Terms, choose_name};
use crate::bus::{Heard, Listener};
use crate::entropy;
use crate::fault::Fault;
use crate::services::contacts::{self, not_added};
use crate::services::vaults::Secret;
use crate::view;

/// How long one node may take to say whether the code is its own.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the DHT is asked at a time.
const LOOKUP: Duration = Duration::from_secs(5);
/// How long it is tried to say the last word, whose answer may have been lost.
const LAST_WORD: Duration = Duration::from_secs(15);
/// Between two looks around.
const PAUSE: Duration = Duration::from_millis(500);
/// A node that knew of no such code is asked again after this, and one that could not be asked after a shorter while.
const AGAIN: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(1);
/// Nodes that are asked at once, and in all.
const AT_ONCE: usize = 8;
const ASKED: usize = 64;

/// A code to pair with.
pub struct Join {
    /// The code, as typed.
    pub code: Secret,
    /// What is wished for.
    pub terms: Terms,
    /// Where the other side is, when that is known: a multiaddr that ends in `/p2p/PEERID`.
    pub at: Option<String>,
    /// How long to look for the other side.
    pub timeout: Duration,
    /// How long to wait for their first grant.
    pub wait: Duration,
}

/// A node that answered, and what goes on with it.
type Opened = (NodeId, Joiner, PairOpened);

/// Who was met, and what they give.
struct Met {
    claim: Claim,
    first: FirstGrant,
}

impl Pairing {
    /// Pairs with whoever made this code.
    ///
    /// # Errors
    /// `invalid`, `not_found` when nobody with this code was met in time, `wrong_code`, `burnt`, `expired`, `signature` when the other side
    /// could not show that it knows the code.
    pub async fn join(&self, join: Join) -> Result<view::Paired, Fault> {
        let code = Code::parse(&join.code).map_err(|error| {
            Fault::new(Refusal::Invalid, error.to_string()).hint("type all of it: kos pair WORD-NUMBER-WORD-WORD-WORD")
        })?;
        let at = join.at.as_deref().map(address).transpose()?;
        let wish = self.wish(&join.terms)?;
        let looking = self.meeting.join();
        self.bus.say("pair.joining", json!({ "mailbox": code.mailbox.as_str() }));
        let met = self.meet(&code, self.identity(wish.me.clone())?, at, join.timeout).await;
        drop(looking);
        self.bus.say("pair.joined", json!({ "mailbox": code.mailbox.as_str(), "met": met.is_ok() }));
        let Met { claim, first } = met?;
        let mut news = self.bus.listen("grant.received", None);
        let contact = self.keep(&code, &claim, wish.name).await?;
        let node = claim.ticket.node;
        // Whatever fails from here on is tried again by itself, or can be done by hand: they are a contact.
        if let Err(fault) = self.grants.fetch_from(node).await {
            tracing::debug!(%fault, "their grants were not fetched now");
        }
        let wait = if first == FirstGrant::Nothing { Duration::ZERO } else { join.wait };
        let mut grant = self.first_grant(contact.owner, &mut news, wait).await?;
        // Its agent has a name on its card, which is shown only now.
        if grant.is_some() && self.directory.cards_at(node, None, None).await.is_ok() {
            grant = self.grants.newest_from(contact.owner).await?;
        }
        let given = match wish.grant.filter(|grant| grant.approved) {
            Some(wish) => {
                let limits = super::Limits { calls: wish.calls, days: wish.days, ..super::Limits::default() };
                Some(self.grants.add(&contact.name, &wish.what, limits).await?)
            }
            None => None,
        };
        let shown = self.contacts.shown(&contact);
        Ok(view::Paired {
            contact: shown.name,
            did: shown.did,
            node: shown.node,
            fingerprint: shown.fingerprint,
            path: shown.path,
            first: first.as_str().to_owned(),
            grant,
            given,
        })
    }

    /// Looks for whoever made this code: where we were told, in the local network, and in the DHT.
    async fn meet(
        &self,
        code: &Code,
        me: PairIdentity,
        at: Option<(NodeId, Multiaddr)>,
        timeout: Duration,
    ) -> Result<Met, Fault> {
        let deadline = Instant::now() + timeout;
        let mut asked: BTreeMap<NodeId, Instant> = BTreeMap::new();
        let (mut proofs, mut settled, mut worst) = (0, BTreeSet::new(), None::<Fault>);
        if let Some((node, address)) = &at {
            self.outbound.told_of(*node, vec![address.clone()]);
        }
        loop {
            for stage in 0..2 {
                let nodes = match stage {
                    0 => at.iter().map(|(node, _)| *node).chain(self.outbound.nearby()).collect(),
                    _ => {
                        let found = self.outbound.providers(code.mailbox.key());
                        tokio::time::timeout(LOOKUP, found).await.unwrap_or_default()
                    }
                };
                let nodes = self.unasked(nodes, &mut asked, &settled);
                let mut answers = futures::stream::iter(nodes.into_iter().map(|node| self.knock(code, node)))
                    .buffer_unordered(AT_ONCE);
                while let Some(answer) = answers.next().await {
                    let (node, tried) = match answer {
                        Ok((node, joiner, opened)) => {
                            // Each node that we prove ourselves to may try one password of its own.
                            if proofs >= limits::PAIR_ASKED {
                                continue;
                            }
                            proofs += 1;
                            (node, self.prove(node, joiner, &opened, &me).await)
                        }
                        Err((node, fault)) => (node, Err(fault)),
                    };
                    match tried {
                        Ok(met) => return Ok(met),
                        Err(fault) => {
                            tracing::debug!(%node, %fault, "not paired with this one");
                            if weight(&fault) > 1 {
                                settled.insert(node);
                            } else if is_lost(&fault) {
                                asked.insert(node, Instant::now() + SOON);
                            }
                            if weight(&fault) > worst.as_ref().map_or(0, weight) {
                                worst = Some(fault);
                            }
                        }
                    }
                }
            }
            // Somebody has the code, and it is no good: waiting helps nobody. Whoever only claims to have it holds up nobody.
            let ends = |fault: &mut Fault| weight(fault) > 1 && fault.refusal != Refusal::Signature;
            if let Some(fault) = worst.take_if(ends) {
                return Err(fault);
            }
            if Instant::now() + PAUSE >= deadline {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(fault) = worst.filter(|fault| weight(fault) > 1) {
            return Err(fault);
        }
        Err(Fault::new(Refusal::NotFound, format!("nobody with an open code of {} was found", code.mailbox))
            .hint("check the first word and the number; both nodes need a network or a relay in common, or use --at"))
    }

    /// Those that are worth asking now.
    fn unasked(
        &self,
        nodes: Vec<NodeId>,
        asked: &mut BTreeMap<NodeId, Instant>,
        settled: &BTreeSet<NodeId>,
    ) -> Vec<NodeId> {
        let now = Instant::now();
        let mut worth = BTreeSet::new();
        for node in nodes {
            let again = asked.get(&node).is_none_or(|from| now >= *from);
            if node != self.me.node()
                && !settled.contains(&node)
                && again
                && (asked.len() < ASKED || asked.contains_key(&node))
            {
                asked.insert(node, now + AGAIN);
                worth.insert(node);
            }
        }
        worth.into_iter().collect()
    }

    /// Asks a node whether this code is its own.
    async fn knock(&self, code: &Code, node: NodeId) -> Result<Opened, (NodeId, Fault)> {
        let secret = entropy::bytes().map(zeroize::Zeroizing::new).map_err(|fault| (node, fault))?;
        let (joiner, open) = Joiner::begin(code, node, self.me.node(), &secret);
        let answer = self.outbound.ask::<PairOpened>(node, kind::PAIR_OPEN, &open);
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(opened)) => Ok((node, joiner, opened)),
            Ok(Err(fault)) => Err((node, fault)),
            Err(_) => Err((node, Refusal::Timeout.into())),
        }
    }

    /// Proves to a node that we know the code, and has it proved by it.
    async fn prove(&self, node: NodeId, joiner: Joiner, opened: &PairOpened, me: &PairIdentity) -> Result<Met, Fault> {
        let (proving, prove) = joiner.prove(opened, me)?;
        let proved: PairProved = self.outbound.ask(node, kind::PAIR_PROVE, &prove).await?;
        let (claim, finish) = proving.finish(&proved, self.clock.now()).map_err(|refusal| match refusal {
            Refusal::Signature => Fault::new(
                Refusal::Signature,
                "the other side could not show that it knows the code: it is not whom you meant, or somebody sits between you",
            )
            .hint("nothing was added; make a new code and compare all of it"),
            other => other.into(),
        })?;
        self.contacts.admits(&claim.ticket, &claim.credential)?;
        let first = self.last_word(node, &finish).await?.first;
        Ok(Met { claim, first })
    }

    /// Says the last word until it is answered: it means the same however often it is said.
    async fn last_word(&self, node: NodeId, finish: &PairFinish) -> Result<PairFinished, Fault> {
        let deadline = Instant::now() + LAST_WORD;
        loop {
            let lost = match self.outbound.ask(node, kind::PAIR_FINISH, finish).await {
                Ok(finished) => return Ok(finished),
                Err(fault) => fault,
            };
            if !is_lost(&lost) || Instant::now() + PAUSE >= deadline {
                return Err(lost);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Keeps whom we have paired with, as if by their ticket.
    async fn keep(&self, code: &Code, claim: &Claim, wished: Option<String>) -> Result<Contact, Fault> {
        let (now, me, claim, mailbox) = (self.clock.now(), self.me.owner().0, claim.clone(), code.mailbox.clone());
        let written = self.store.write(move |tx| {
            let (wished, proposed) = (wished.as_deref(), claim.name.as_deref());
            let name = choose_name(tx, &claim.ticket.owner, wished, proposed, &mailbox)?;
            let contact = contacts::of_ticket(name, &claim.ticket, &claim.credential, now);
            contacts::keep(tx, &contact, me, now)?;
            let entry = Entry::new("pair", "joined", now).by(Some(me)).on(&mailbox);
            tx.audit(entry.with("contact", &contact.name).with("node", claim.ticket.node)).map_err(AddError::from)?;
            Ok::<_, AddError>(contact)
        });
        let contact = written.await.map_err(not_added)?;
        self.contacts.added(&contact).await?;
        Ok(contact)
    }

    /// The first grant of this person, once it is there.
    async fn first_grant(
        &self,
        issuer: OwnerId,
        news: &mut Listener,
        wait: Duration,
    ) -> Result<Option<view::Grant>, Fault> {
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        loop {
            if let Some(grant) = self.grants.newest_from(issuer).await? {
                return Ok(Some(grant));
            }
            tokio::select! {
                heard = news.next() => if let None | Some(Heard::Gap(_)) = heard { return Ok(None) },
                () = &mut deadline => return Ok(None),
            }
        }
    }
}

/// Which of two failures says more: that a node has the code counts more than that others have not.
fn weight(fault: &Fault) -> u8 {
    match fault.refusal {
        Refusal::WrongCode => 5,
        Refusal::Burnt | Refusal::Expired => 4,
        Refusal::Signature | Refusal::Invalid | Refusal::Exists | Refusal::Revoked | Refusal::Clock => 3,
        Refusal::NotFound | Refusal::NoHandler | Refusal::Busy => 1,
        _ if is_lost(fault) => 1,
        _ => 2,
    }
}

/// Whether the line broke: the same may be said again.
fn is_lost(fault: &Fault) -> bool {
    use Refusal::{Cancelled, Interrupted, Stalled, Timeout, UnknownOutcome, Unreachable};
    matches!(fault.refusal, Unreachable | UnknownOutcome | Timeout | Interrupted | Stalled | Cancelled)
}

fn address(text: &str) -> Result<(NodeId, Multiaddr), Fault> {
    let read: Option<Multiaddr> = text.trim().parse().ok();
    let found = read.and_then(|address| Some((mesh::node_in(&address)?, address)));
    found.ok_or_else(|| {
        Fault::new(Refusal::Invalid, format!("\"{text}\" is no address of a node"))
            .hint("it ends in /p2p/PEERID: `kos status` on their side shows some")
    })
}
