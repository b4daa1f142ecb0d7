//! What others may do here, and I elsewhere.

mod exchange;

use std::collections::BTreeMap;
use std::time::Duration;

use agent::Manifest;
use klp::forward::CAPABILITY;
use klp::rule::permit::{Counter, Facts as _};
use klp::statement::grant::{Budget, Grant, Window};
use klp::{AgentId, Digest, OwnerId, Refusal, SecretKey, Signed, Timestamp, Verified, limits};
use serde_json::json;
use store::audit::Entry;
use store::grants::{Held, Side};
use store::{Store, StoreError, Tx};

use super::agents::Agents;
use super::calls::Known;
use super::revocations::Revocations;
use super::vaults::Vaults;
use crate::address::Who;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::me::Me;
use crate::offers::Offers;
use crate::outbound::Outbound;
use crate::people::People;
use crate::{show, view};

/// What stands before the dot where a grant is about a node and none of its agents.
const NODE: &str = "node";
/// Days that a grant lives when nobody says how many.
const DAYS: u64 = 30;

/// Limits of a new grant.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Calls; unbounded when absent.
    pub calls: Option<u64>,
    /// Bytes of answers; unbounded when absent.
    pub bytes: Option<u64>,
    /// Days; 30 when absent.
    pub days: Option<u64>,
    /// Patterns by argument name; any arguments when absent.
    pub args: Option<BTreeMap<String, String>>,
}

/// Grants.
#[derive(Clone)]
pub struct Grants {
    store: Store,
    clock: Clock,
    bus: Bus,
    me: Me,
    people: People,
    outbound: Outbound,
    vaults: Vaults,
    agents: Agents,
    revocations: Revocations,
    offers: Offers,
}

/// What grants are made of.
pub(crate) struct Needs {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) bus: Bus,
    pub(crate) me: Me,
    pub(crate) people: People,
    pub(crate) outbound: Outbound,
    pub(crate) vaults: Vaults,
    pub(crate) agents: Agents,
    pub(crate) revocations: Revocations,
    pub(crate) offers: Offers,
}

impl Grants {
    pub(crate) fn new(needs: Needs) -> Self {
        let Needs { store, clock, bus, me, people, outbound, vaults, agents, revocations, offers } = needs;
        Self { store, clock, bus, me, people, outbound, vaults, agents, revocations, offers }
    }

    /// Grants `who` (petname or DID) a capability of one of my agents, written `AGENT.CAPABILITY`.
    ///
    /// # Errors
    /// `not_found`, `invalid`, `locked`, `rolled_back`
    pub async fn add(&self, who: &str, what: &str, limits: Limits) -> Result<view::Grant, Fault> {
        let holder = self.holder(who)?;
        let (agent, capability) = self.named(what)?;
        self.sound()?;
        let owner = self.vaults.owner()?;
        let statement = self.statement(holder, self.me.node(), agent, &capability, None, limits)?;
        let grant = Verified::sign(statement, &owner);
        self.issue(&grant, "added").await?;
        self.deliver(vec![grant.clone()], holder);
        self.shown(&self.held(grant.id()).await?)
    }

    /// Whether this could be granted now.
    ///
    /// # Errors
    /// As [`Grants::add`].
    pub(super) fn could(&self, what: &str, limits: Limits) -> Result<(), Fault> {
        let (agent, capability) = self.named(what)?;
        self.sound()?;
        self.vaults.owner()?;
        self.statement(self.me.owner(), self.me.node(), agent, &capability, None, limits).map(drop)
    }

    /// The newest grant of this person that I hold.
    pub(super) async fn newest_from(&self, issuer: OwnerId) -> Result<Option<view::Grant>, Fault> {
        let now = self.clock.now();
        let held = self.store.read(move |view| store::grants::with(view, Side::Received, &issuer.0, now)).await?;
        let mine = held.iter().filter(|held| self.is_mine(held)).max_by_key(|held| held.added);
        mine.map(|held| self.shown(held)).transpose()
    }

    /// An agent of mine and one of its capabilities, written `AGENT.CAPABILITY`.
    fn named(&self, what: &str) -> Result<(AgentId, String), Fault> {
        let (name, capability) = what.rsplit_once('.').ok_or_else(|| {
            Fault::new(Refusal::Invalid, format!("\"{what}\" names no capability")).hint("write it as AGENT.CAPABILITY")
        })?;
        Ok((self.granted(name, capability)?, capability.to_owned()))
    }

    /// The agent of this name that has the capability; for `node.forward` the node itself.
    fn granted(&self, name: &str, capability: &str) -> Result<AgentId, Fault> {
        if (name, capability) == (NODE, CAPABILITY) {
            return Ok(AgentId(self.me.node().0));
        }
        let entry =
            self.agents.named(name).ok_or_else(|| Fault::not_found("agent", name).hint("see `kos agent list`"))?;
        if !entry.manifest.capabilities.iter().any(|one| one.name == capability) {
            let known: Vec<&str> = entry.manifest.capabilities.iter().map(|one| one.name.as_str()).collect();
            let what = format!("{name}.{capability}");
            return Err(Fault::not_found("capability", &what).hint(format!("{name} has: {}", known.join(", "))));
        }
        Ok(entry.id)
    }

    /// Hands a grant that I hold on to somebody else.
    ///
    /// # Errors
    /// `not_found`, `invalid` (too deep), `locked`
    pub async fn delegate(&self, id: &str, to: &str, limits: Limits) -> Result<view::Grant, Fault> {
        let parent = self.find(id).await?;
        let holder = self.holder(to)?;
        if parent.side != Side::Received {
            return Err(Fault::new(Refusal::Invalid, "this grant is of your own agent: there is nothing to hand on")
                .hint("grant it to them with `kos grant add`"));
        }
        let mut chain = self.chain(&parent).await?;
        if chain.len() >= klp::limits::GRANT_DEPTH {
            return Err(Fault::new(Refusal::Invalid, "this grant was handed on too often to be handed on again")
                .hint("ask its owner for a grant of their own"));
        }
        let last = chain.last().ok_or(Refusal::Integrity)?.clone();
        if last.holder != Some(self.me.owner()) {
            return Err(Fault::new(Refusal::Invalid, "a grant that everybody holds cannot be handed on"));
        }
        let owner = self.vaults.owner()?;
        let mut statement = self.statement(holder, last.node, last.agent, &last.capability, Some(last.id()), limits)?;
        // Longer than its parent would gain nothing and only mislead.
        statement.expires = statement.expires.min(last.expires);
        let grant = Verified::sign(statement, &owner);
        self.issue(&grant, "delegated").await?;
        chain.push(grant.clone());
        self.deliver(chain, holder);
        self.shown(&self.held(grant.id()).await?)
    }

    fn statement(
        &self,
        holder: OwnerId,
        node: klp::NodeId,
        agent: AgentId,
        capability: &str,
        parent: Option<Digest>,
        limits: Limits,
    ) -> Result<Grant, Fault> {
        let now = self.clock.now();
        let days = limits.days.unwrap_or(DAYS);
        let life = Duration::from_secs(days.saturating_mul(24 * 3600));
        if days == 0 || life > klp::limits::GRANT_LIFE {
            return Err(Fault::new(Refusal::Invalid, "a grant lives from 1 day to 10 years"));
        }
        let bounded =
            |(name, pattern): (&String, &String)| name.len() <= klp::limits::NAME && pattern.len() <= klp::limits::TEXT;
        if limits.args.as_ref().is_some_and(|args| args.len() > klp::limits::ARGUMENTS || !args.iter().all(bounded)) {
            return Err(Fault::new(Refusal::Invalid, "a pattern has at most 512 bytes, and a grant 16 of them"));
        }
        Ok(Grant {
            issuer: self.me.owner(),
            holder: Some(holder),
            node,
            agent,
            capability: capability.to_owned(),
            arguments: limits.args,
            budget: Budget { calls: limits.calls, bytes: limits.bytes, window: Window::Total },
            issued: now,
            expires: now.after(life),
            parent,
            seq: now.0,
        })
    }

    async fn issue(&self, grant: &Verified<Grant>, kind: &'static str) -> Result<(), Fault> {
        let (row, now, actor) = (grant.clone(), self.clock.now(), self.me.owner().0);
        self.store
            .write(move |tx| {
                keep(tx, &row, Side::Issued, now)?;
                let entry = Entry::new("grant", kind, now).by(Some(actor)).on(row.id());
                let entry = row.holder.iter().fold(entry, |entry, holder| entry.with("to", holder));
                tx.audit(entry.with("agent", row.agent).with("capability", &row.capability))?;
                Ok::<_, StoreError>(())
            })
            .await?;
        let holder = grant.holder.map(|holder| holder.to_string());
        self.refresh_offers().await?;
        self.bus
            .say("grant.added", json!({ "id": grant.id().to_string(), "to": holder, "capability": grant.capability }));
        Ok(())
    }

    /// Somebody that both sides know: nothing is granted to a bare key.
    fn holder(&self, who: &str) -> Result<OwnerId, Fault> {
        let contact = match Who::parse(who)? {
            Who::Any => return Err(Fault::new(Refusal::Invalid, "a grant is for somebody: name a contact")),
            Who::Me => return Err(Fault::new(Refusal::Invalid, "you need no grant for your own agents")),
            Who::Petname(name) => self.people.named(&name),
            Who::Did(did) => self.people.owner(&OwnerId(did)).or_else(|| self.people.node(&klp::NodeId(did))),
        };
        contact
            .map(|contact| contact.owner)
            .ok_or_else(|| Fault::not_found("contact", who).hint("add them first with `kos contact add`"))
    }

    /// Those that I issued and those that I hold.
    ///
    /// # Errors
    /// `internal`
    pub async fn list(&self) -> Result<Vec<view::Grant>, Fault> {
        let all = self.store.read(store::grants::list).await?;
        let theirs = |held: &&Held| held.side == Side::Issued || self.is_mine(held);
        all.iter().filter(theirs).map(|held| self.shown(held)).collect()
    }

    /// Whether I hold this grant myself; others are links of a chain that I hold the end of.
    fn is_mine(&self, held: &Held) -> bool {
        verified(held).is_ok_and(|grant| grant.holder.is_none_or(|holder| holder == self.me.owner()))
    }

    /// One, by id or an unambiguous beginning of it.
    ///
    /// # Errors
    /// `not_found`
    pub async fn show(&self, id: &str) -> Result<view::Grant, Fault> {
        self.shown(&self.find(id).await?)
    }

    /// Takes one back that I issued. Works while the vault is locked: refused from now on, signed at the next unlock.
    ///
    /// # Errors
    /// `not_found`, `denied` for a grant of somebody else's.
    pub async fn revoke(&self, id: &str) -> Result<view::Grant, Fault> {
        let held = self.find(id).await?;
        if held.side != Side::Issued {
            return Err(
                Fault::new(Refusal::Denied, "only its issuer can take a grant back").hint("you need not use it")
            );
        }
        self.revoke_one(held.id).await?;
        self.shown(&held)
    }

    async fn revoke_one(&self, id: Digest) -> Result<(), Fault> {
        self.revocations.deny(id).await?;
        self.refresh_offers().await?;
        self.sign_pending().await
    }

    /// Tells those who must know and have not heard yet.
    pub(crate) async fn pay(&self) -> Result<(), Fault> {
        self.revocations.pay().await
    }

    /// Signs revocations that wait for the owner's key, if it is there.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn sign_pending(&self) -> Result<(), Fault> {
        match self.vaults.owner() {
            Ok(owner) => self.revocations.sign(&owner).await,
            Err(_) => Ok(()),
        }
    }

    /// Takes everything back that this person was given.
    pub(super) async fn revoke_all(&self, holder: OwnerId) -> Result<(), Fault> {
        let all = self.store.read(store::grants::list).await?;
        for held in all.iter().filter(|held| held.side == Side::Issued && held.other == holder.0) {
            self.revoke_one(held.id).await?;
        }
        Ok(())
    }

    async fn find(&self, id: &str) -> Result<Held, Fault> {
        let wanted = id.to_lowercase();
        let all = self.store.read(store::grants::list).await?;
        let mut fitting = all.into_iter().filter(|held| held.id.to_string().starts_with(&wanted));
        match (fitting.next(), fitting.next()) {
            (Some(held), None) if wanted.len() >= 4 => Ok(held),
            (Some(_), Some(_)) => Err(Fault::new(Refusal::NotFound, format!("more than one grant begins with {id}"))),
            _ => Err(Fault::not_found("grant", id).hint("see `kos grant list`")),
        }
    }

    async fn held(&self, id: Digest) -> Result<Held, Fault> {
        let held = self.store.read(move |view| store::grants::get(view, &id)).await?;
        held.ok_or_else(|| Fault::not_found("grant", &id.short()))
    }

    /// No new grants while this node's data is older than what it once signed.
    fn sound(&self) -> Result<(), Fault> {
        match self.store.condition() {
            store::audit::Condition::Sound => Ok(()),
            store::audit::Condition::RolledBack { .. } => Err(Refusal::RolledBack.into()),
            _ => Err(Refusal::ReadOnly.into()),
        }
    }

    fn shown(&self, held: &Held) -> Result<view::Grant, Fault> {
        let grant = verified(held)?;
        let view = self.store.view()?;
        let facts = Known { view: &view, issuers: &[] };
        let used = facts.used(&Counter { grant: grant.id(), slot: None });
        let issued = held.side == Side::Issued;
        let other = if issued { grant.holder } else { Some(grant.issuer) };
        let of_node = (grant.agent.0 == grant.node.0).then(|| NODE.to_owned());
        let agent = of_node.or_else(|| self.agents.by_id(&grant.agent).map(|entry| entry.manifest.name));
        let card = || store::records::get(&view, store::records::Kind::Card, &grant.agent.0, self.clock.now());
        let remembered = || super::directory::name_in(card().ok().flatten()?);
        Ok(view::Grant {
            id: grant.id().to_string(),
            from: grant.issuer.to_string(),
            to: grant.holder.map_or_else(|| "anybody".to_owned(), |holder| holder.to_string()),
            contact: other.and_then(|other| self.people.owner(&other)).map(|contact| contact.name),
            node: grant.node.to_string(),
            agent: agent.or_else(remembered).unwrap_or_else(|| grant.agent.to_string()),
            agent_did: grant.agent.to_string(),
            capability: grant.capability.clone(),
            args: grant.arguments.clone(),
            calls: grant.budget.calls,
            calls_left: grant.budget.calls.map(|calls| calls.saturating_sub(used.calls)),
            expires: show::time(grant.expires),
            revoked: facts.revoked(&grant.id(), &grant.issuer),
            direction: if issued { "issued" } else { "held" }.to_owned(),
            parent: grant.parent.map(|parent| parent.to_string()),
        })
    }
}

/// The standing grants of a public agent: so many calls a day for each owner who asks, of every capability.
pub(super) fn standing(
    me: &Me,
    owner: &SecretKey,
    agent: AgentId,
    manifest: &Manifest,
    now: Timestamp,
) -> Vec<Verified<Grant>> {
    let capabilities = manifest.capabilities.iter();
    capabilities
        .map(|capability| {
            let grant = Grant {
                issuer: me.owner(),
                holder: None,
                node: me.node(),
                agent,
                capability: capability.name.clone(),
                arguments: None,
                budget: Budget { calls: Some(limits::PUBLIC_CALLS), bytes: None, window: Window::DayAndCaller },
                issued: now,
                expires: now.after(limits::ROOT_CERTIFICATE_LIFE),
                parent: None,
                seq: now.0,
            };
            Verified::sign(grant, owner)
        })
        .collect()
}

/// Stores a grant.
pub(super) fn keep(tx: &mut Tx, grant: &Verified<Grant>, side: Side, now: Timestamp) -> Result<bool, StoreError> {
    let other = match side {
        Side::Issued => grant.holder.map_or(grant.issuer.0, |holder| holder.0),
        Side::Received => grant.issuer.0,
    };
    let held = Held {
        id: grant.id(),
        side,
        other,
        parent: grant.parent,
        expires: grant.expires,
        signed: grant.signed().as_bytes().to_vec(),
        added: now,
    };
    store::grants::add(tx, &held)
}

fn verified(held: &Held) -> Result<Verified<Grant>, Fault> {
    let signed = Signed::<Grant>::from_bytes(held.signed.clone());
    signed
        .verify()
        .map_err(|_| Fault::new(Refusal::Integrity, format!("the stored grant {} does not verify", held.id.short())))
}
