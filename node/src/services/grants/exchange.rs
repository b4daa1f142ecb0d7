//! Grants on their way: given to their holders, asked for, and negotiated about.

use std::collections::{BTreeMap, BTreeSet};

use klp::message::{self, Answer, Empty, Negotiated, Outcomes, Wants, kind};
use klp::rule::permit::{Counter, Facts as _};
use klp::statement::grant::{Grant, Window};
use klp::statement::revocation::Revocation;
use klp::{AgentId, Did, NodeId, OwnerId, Refusal, Signed, Timestamp, Verified, limits};
use serde_json::json;
use store::audit::Entry;
use store::grants::{Held, Side};
use store::{StoreError, View};

use super::{Grants, keep, verified};
use crate::fault::Fault;
use crate::inbound::{Access, Caller, Inbound};
use crate::services::calls::Known;

impl Grants {
    /// Answers questions about grants from now on.
    pub(crate) fn open(&self, inbound: &Inbound) {
        self.revocations.open(inbound);
        let grants = self.clone();
        inbound.answer(kind::GRANTS, Access::Introduced, move |caller: Caller, _: Empty| {
            let grants = grants.clone();
            async move { grants.held_by(caller.principal.ok_or(Refusal::Denied)?.owner).await }
        });
        let grants = self.clone();
        inbound.answer(kind::DELIVER_GRANT, Access::Contact, move |caller: Caller, given: message::Grants| {
            let grants = grants.clone();
            async move { grants.receive(caller.principal.ok_or(Refusal::Denied)?.owner, given).await.map(|()| Empty) }
        });
        let grants = self.clone();
        inbound.answer(kind::CAPABILITIES, Access::Introduced, move |caller: Caller, wants: Wants| {
            let grants = grants.clone();
            async move { grants.negotiate(caller.principal.ok_or(Refusal::Denied)?.owner, &wants).await }
        });
    }

    /// Gives a chain to its holder, in the background: who is away asks for it later.
    pub(super) fn deliver(&self, chain: Vec<Verified<Grant>>, holder: OwnerId) {
        let Some(contact) = self.people.owner(&holder) else { return };
        let chain = chain.iter().map(|grant| grant.signed().clone()).collect();
        let given = message::Grants { chains: vec![chain] };
        for device in contact.nodes {
            let (grants, given) = (self.clone(), given.clone());
            tokio::spawn(async move {
                let told = async {
                    grants.outbound.introduce(device.node).await?;
                    grants.outbound.ask::<Empty>(device.node, kind::DELIVER_GRANT, &given).await
                };
                if let Err(fault) = told.await {
                    tracing::debug!(%fault, "the grant was not delivered; its holder will ask for it");
                }
            });
        }
    }

    /// What this person holds here: given to them by me, or standing for everybody.
    async fn held_by(&self, holder: OwnerId) -> Result<message::Grants, Refusal> {
        let now = self.clock.now();
        let found = self.store.read(move |view| {
            let mut theirs = Vec::new();
            for held in store::grants::list(view)?.into_iter().filter(|held| held.expires > now) {
                let Ok(grant) = verified(&held) else { continue };
                if held.side == Side::Issued && grant.holder.is_none_or(|one| one == holder) {
                    theirs.push((is_over(view, &grant, now), std::cmp::Reverse(grant.seq), held.id));
                }
            }
            // One answer has no room for all that were ever given: what was taken back goes last, and the newest first.
            theirs.sort_unstable();
            let chain = |(_, _, id): &(bool, std::cmp::Reverse<u64>, klp::Digest)| {
                let links = store::grants::chain(view, id)?;
                Ok::<_, StoreError>(links.into_iter().map(|link| Signed::from_bytes(link.signed)).collect())
            };
            let chains: Result<Vec<_>, _> = theirs.iter().take(limits::LIST).map(chain).collect();
            Ok::<_, StoreError>(message::Grants { chains: chains? })
        });
        found.await.map_err(|error| Fault::from(error).refusal)
    }

    /// Works out anew what Hellos offer and want.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) async fn refresh_offers(&self) -> Result<(), Fault> {
        let (now, me) = (self.clock.now(), self.me.owner());
        let found = self.store.read(move |view| {
            let all = store::grants::list(view)?;
            let grants = all.iter().filter_map(|held| Some((held.side, verified(held).ok()?)));
            Ok::<_, StoreError>(grants.filter(|(_, grant)| !is_over(view, grant, now)).collect::<Vec<_>>())
        });
        let (mut offered, mut wanted) = (BTreeMap::new(), BTreeMap::new());
        for (side, grant) in found.await? {
            let name = match side {
                _ if grant.agent.0 == grant.node.0 => Some(super::NODE.to_owned()),
                Side::Issued => self.agents.by_id(&grant.agent).map(|entry| entry.manifest.name),
                Side::Received => self.remembered_name(&grant),
            };
            let (Some(name), Some(holder)) = (name, grant.holder) else { continue };
            let (map, other): (&mut BTreeMap<OwnerId, BTreeSet<String>>, _) = match side {
                Side::Issued => (&mut offered, holder),
                Side::Received if holder == me => (&mut wanted, grant.issuer),
                Side::Received => continue,
            };
            map.entry(other).or_default().insert(format!("{name}.{}", grant.capability));
        }
        self.offers.replace(offered, wanted);
        Ok(())
    }

    fn remembered_name(&self, grant: &Grant) -> Option<String> {
        let view = self.store.view().ok()?;
        let record = store::records::get(&view, store::records::Kind::Card, &grant.agent.0, self.clock.now());
        super::super::directory::name_in(record.ok()??)
    }

    /// How many revocations a contact's node says that its owner has made.
    pub(crate) fn claimed(&self, owner: OwnerId, node: NodeId, seq: u64) {
        self.revocations.claim(owner, node, seq);
    }

    /// A session with a node is open: what it is owed is delivered.
    pub(crate) async fn met(&self, node: NodeId) -> Result<(), Fault> {
        self.revocations.met(node).await
    }

    /// A session with a node is over.
    pub(crate) fn gone(&self, node: NodeId) {
        self.revocations.gone(node);
    }

    /// Fetches what this owner has revoked meanwhile.
    pub(crate) async fn catch_up(&self, owner: &OwnerId) -> Result<(), Refusal> {
        self.revocations.catch_up(owner).await
    }

    /// Learns a revocation from gossip.
    pub(crate) async fn learn_revocation(&self, signed: &Signed<Revocation>) -> Result<(), Refusal> {
        self.revocations.learn(signed).await
    }

    /// The agents here that this person has a grant for.
    pub(crate) async fn agents_of(&self, holder: OwnerId) -> Result<BTreeSet<Did>, Fault> {
        let now = self.clock.now();
        let found = self.store.read(move |view| {
            let all = store::grants::with(view, Side::Issued, &holder.0, now)?;
            let grants = all.iter().filter_map(|held| verified(held).ok());
            Ok::<_, StoreError>(grants.filter(|grant| !is_over(view, grant, now)).map(|grant| grant.agent.0).collect())
        });
        Ok(found.await?)
    }

    /// Asks a node which grants it holds for me.
    ///
    /// # Errors
    /// `unreachable`, or what the node refuses.
    pub(crate) async fn fetch_from(&self, node: NodeId) -> Result<(), Fault> {
        self.outbound.introduce(node).await?;
        let given: message::Grants = self.outbound.ask(node, kind::GRANTS, &Empty).await?;
        for chain in given.chains {
            let one = message::Grants { chains: vec![chain] };
            // Whatever the node sends, each grant says itself who gave it.
            let issuer = one.chains[0].last().and_then(|signed| signed.verify().ok()).map(|grant| grant.issuer);
            if let Some(issuer) = issuer {
                let _kept = self.receive(issuer, one).await;
            }
        }
        Ok(())
    }

    /// Keeps chains that end with a grant to me, given by `giver`. Anything else is refused and not kept.
    async fn receive(&self, giver: OwnerId, given: message::Grants) -> Result<(), Refusal> {
        for signed in given.chains {
            let links: Result<Vec<_>, _> = signed.iter().map(Signed::verify).collect();
            let links = links.map_err(|error| Refusal::from(&error))?;
            let last = links.last().ok_or(Refusal::Malformed)?;
            let mine = last.holder.is_none_or(|holder| holder == self.me.owner());
            let linked = links.windows(2).all(|pair| {
                pair[1].parent == Some(pair[0].id())
                    && pair[0].holder == Some(pair[1].issuer)
                    && pair[1].node == pair[0].node
            });
            let size: usize = signed.iter().map(|link| link.as_bytes().len()).sum();
            if !mine || !linked || last.issuer != giver || links[0].parent.is_some() || size > limits::CHAIN {
                return Err(Refusal::Malformed);
            }
            if last.issuer == self.me.owner() {
                continue;
            }
            let (now, id, issuer) = (self.clock.now(), last.id(), last.issuer);
            let capability = last.capability.clone();
            let new = self.store.write(move |tx| {
                let mut new = false;
                for link in &links {
                    new = keep(tx, link, Side::Received, now)?;
                }
                if new {
                    tx.audit(Entry::new("grant", "received", now).by(Some(issuer.0)).on(id))?;
                }
                Ok::<_, StoreError>(new)
            });
            if new.await.map_err(|error| Fault::from(error).refusal)? {
                let data = json!({ "id": id.to_string(), "from": issuer.to_string(), "capability": capability });
                self.bus.say("grant.received", data);
            }
        }
        Ok(())
    }

    /// Chains that I hold for a capability of an agent: those that may still hold first, and of these the newest.
    pub(crate) async fn held_for(&self, agent: &AgentId, capability: &str) -> Result<Vec<Vec<Verified<Grant>>>, Fault> {
        let mut chains = self.for_agent(agent).await?;
        chains.retain(|chain| chain.last().is_some_and(|last| last.capability == capability));
        Ok(chains)
    }

    /// Chains that I hold for an agent, in the same order.
    pub(crate) async fn for_agent(&self, agent: &AgentId) -> Result<Vec<Vec<Verified<Grant>>>, Fault> {
        let (agent, me, now) = (*agent, self.me.owner(), self.clock.now());
        let found = self.store.read(move |view| {
            let mut found = Vec::new();
            for held in store::grants::list(view)?.into_iter().filter(|held| held.side == Side::Received) {
                let Ok(last) = verified(&held) else { continue };
                if last.agent != agent || last.holder.is_some_and(|holder| holder != me) {
                    continue;
                }
                let links = store::grants::chain(view, &held.id)?;
                let links: Result<Vec<_>, _> = links.iter().map(verified).collect();
                if let Ok(links) = links {
                    let over = links.iter().any(|link| is_over(view, link, now));
                    found.push((over, std::cmp::Reverse((last.seq, held.added)), links));
                }
            }
            Ok::<_, StoreError>(found)
        });
        let mut found = found.await?;
        found.sort_by_key(|(over, added, _)| (*over, *added));
        Ok(found.into_iter().map(|(_, _, links)| links).collect())
    }

    /// The chain that ends with this grant.
    pub(super) async fn chain(&self, held: &Held) -> Result<Vec<Verified<Grant>>, Fault> {
        let id = held.id;
        let links = self.store.read(move |view| store::grants::chain(view, &id)).await?;
        links.iter().map(verified).collect()
    }

    /// What this person may use here. For a stranger to me, and for an agent that does not exist, the answer is the same.
    async fn negotiate(&self, principal: OwnerId, wants: &Wants) -> Result<Negotiated, Refusal> {
        let all = self.store.read(store::grants::list).await.map_err(|error| Fault::from(error).refusal)?;
        let view = self.store.view().map_err(|error| Fault::from(error).refusal)?;
        let grants: Vec<_> =
            all.iter().filter(|held| held.side == Side::Issued).filter_map(|held| verified(held).ok()).collect();
        let outcomes = wants.wants.iter().take(limits::OFFERS).map(|want| self.answer(&view, principal, want, &grants));
        Ok(Negotiated { outcomes: outcomes.collect() })
    }

    fn answer(&self, view: &View, principal: OwnerId, want: &str, grants: &[Verified<Grant>]) -> Outcomes {
        let now = self.clock.now();
        let none = |reason: &str| Outcomes {
            name: want.to_owned(),
            answer: Answer::Denied,
            reason: reason.to_owned(),
            calls_left: None,
            expires: None,
        };
        let named = want.rsplit_once('.').and_then(|(name, capability)| Some((self.agents.named(name)?, capability)));
        let Some((entry, capability)) = named else { return none("no grant") };
        let fits = |grant: &&Verified<Grant>| {
            grant.agent == entry.id
                && grant.capability == capability
                && grant.holder.is_none_or(|holder| holder == principal)
        };
        let facts = Known { view, issuers: &[] };
        let mut refused = none("no grant");
        for grant in grants.iter().filter(fits) {
            let slot = (grant.budget.window == Window::DayAndCaller).then(|| (principal, now.day()));
            let used = facts.used(&Counter { grant: grant.id(), slot });
            let left = grant.budget.calls.map(|calls| calls.saturating_sub(used.calls));
            if facts.revoked(&grant.id(), &grant.issuer) {
                refused.reason = Refusal::Revoked.message().to_owned();
            } else if now > grant.expires {
                refused.reason = Refusal::Expired.message().to_owned();
            } else if left == Some(0) {
                refused.reason = Refusal::Budget.message().to_owned();
            } else {
                let bounded = left.is_some() || grant.arguments.is_some() || grant.budget.bytes.is_some();
                let names: BTreeSet<&str> = grant.arguments.iter().flatten().map(|(name, _)| name.as_str()).collect();
                let reason = match (left, names.is_empty()) {
                    _ if !bounded => "granted".to_owned(),
                    (Some(left), true) => format!("{left} more calls"),
                    (None, true) => "bounded in bytes".to_owned(),
                    (left, false) => {
                        let names: Vec<&str> = names.into_iter().collect();
                        let calls = left.map(|left| format!(", {left} more calls")).unwrap_or_default();
                        format!("only with certain {}{calls}", names.join(", "))
                    }
                };
                return Outcomes {
                    name: want.to_owned(),
                    answer: if bounded { Answer::Partial } else { Answer::Granted },
                    reason,
                    calls_left: left,
                    expires: Some(grant.expires),
                };
            }
        }
        refused
    }
}

/// Whether a grant can no longer hold, as far as this node knows.
fn is_over(view: &View, grant: &Verified<Grant>, now: Timestamp) -> bool {
    now > grant.expires || Known { view, issuers: &[] }.revoked(&grant.id(), &grant.issuer)
}
