//! People I know.

use std::collections::BTreeSet;

use klp::message::{Negotiated, Wants, kind};
use klp::statement::certificate::Credential;
use klp::statement::ticket::{self, Ticket, TicketError};
use klp::{Cbor as _, Did, NodeId, Refusal, Timestamp, Verified, limits};
use serde_json::json;
use store::audit::Entry;
use store::contacts::{AddError, Added, Contact, Device};
use store::{Store, StoreError, Tx};

use super::directory::Directory;
use super::grants::Grants;
use crate::address::petname;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::keys::Keys;
use crate::me::Me;
use crate::outbound::Outbound;
use crate::people::People;
use crate::{show, view, words};

/// People I know.
#[derive(Clone)]
pub struct Contacts {
    store: Store,
    clock: Clock,
    bus: Bus,
    me: Me,
    keys: Keys,
    people: People,
    outbound: Outbound,
    directory: Directory,
    grants: Grants,
}

/// What contacts are made of.
pub(crate) struct Needs {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) bus: Bus,
    pub(crate) me: Me,
    pub(crate) keys: Keys,
    pub(crate) people: People,
    pub(crate) outbound: Outbound,
    pub(crate) directory: Directory,
    pub(crate) grants: Grants,
}

impl Contacts {
    pub(crate) fn new(needs: Needs) -> Self {
        let Needs { store, clock, bus, me, keys, people, outbound, directory, grants } = needs;
        Self { store, clock, bus, me, keys, people, outbound, directory, grants }
    }

    /// My own ticket, to hand to others.
    ///
    /// # Errors
    /// `internal`
    pub async fn ticket(&self) -> Result<view::Ticket, Fault> {
        let ticket = self.signed_ticket(self.outbound.ticket_addresses())?;
        Ok(view::Ticket { ticket: ticket::to_line(&ticket), expires: show::time(ticket.expires) })
    }

    /// My ticket with these addresses.
    pub(super) fn signed_ticket(&self, addresses: Vec<String>) -> Result<Verified<Ticket>, Fault> {
        let now = self.clock.now();
        let exchange = self.keys.exchange().ok_or_else(|| Fault::internal("there is no exchange key"))?;
        Ok(self.me.sign(Ticket {
            node: self.me.node(),
            owner: self.me.owner(),
            introduction: self.me.introduction(),
            addresses,
            exchange,
            issued: now,
            expires: now.after(limits::TICKET_LIFE),
        }))
    }

    /// Adds the person of a ticket under a name.
    ///
    /// # Errors
    /// `invalid` (damaged, own or oddly named), `expired`, `exists` (the name is taken, or known with another key).
    pub async fn add(&self, line: &str, name: &str) -> Result<view::Contact, Fault> {
        let name = petname(name)?;
        let now = self.clock.now();
        let (ticket, credential) = ticket::from_line(line, now).map_err(not_a_ticket)?;
        self.admits(&ticket, &credential)?;
        let contact = of_ticket(name, &ticket, &credential, now);
        let (row, actor) = (contact.clone(), self.me.owner().0);
        let written = self.store.write(move |tx| keep(tx, &row, actor, now));
        written.await.map_err(not_added)?;
        self.added(&contact).await?;
        Ok(self.shown(&contact))
    }

    /// Whether somebody with this ticket may become a contact.
    ///
    /// # Errors
    /// `invalid` for our own, `revoked`, `signature` when another next key was pinned.
    pub(super) fn admits(&self, ticket: &Ticket, credential: &Credential) -> Result<(), Fault> {
        if ticket.owner == self.me.owner() {
            return Err(Fault::new(Refusal::Invalid, "this is your own ticket").hint("give it to somebody else"));
        }
        if !store::revocations::stands(&self.store.view()?, credential) {
            return Err(Fault::new(Refusal::Revoked, "the owner of this node has revoked its certificate")
                .hint("nothing was added; ask them for a ticket of another device"));
        }
        let pinned = self.people.owner(&ticket.owner).and_then(|known| known.next);
        if pinned.is_some_and(|next| next != credential.certificate().next_key) {
            return Err(Fault::new(
                Refusal::Signature,
                "this ticket names another next key than the one that was pinned",
            )
            .hint("nothing was changed; compare the six words of the owner with them by voice"));
        }
        Ok(())
    }

    /// Somebody was kept: they count from now on, and it is told.
    pub(super) async fn added(&self, contact: &Contact) -> Result<(), Fault> {
        self.reload().await?;
        self.bus.say("contact.added", json!({ "name": contact.name, "did": contact.owner.to_string() }));
        Ok(())
    }

    /// Brings what is stored into memory.
    pub(crate) async fn reload(&self) -> Result<(), Fault> {
        self.people.replace(self.store.read(store::contacts::list).await?);
        Ok(())
    }

    /// Everybody.
    ///
    /// # Errors
    /// `internal`
    pub async fn list(&self) -> Result<Vec<view::Contact>, Fault> {
        Ok(self.people.all().iter().map(|contact| self.shown(contact)).collect())
    }

    /// One person, with the agents that they show me and what I may use of `wants` (`agent.capability`; empty: all of theirs).
    ///
    /// # Errors
    /// `not_found`
    pub async fn show(&self, name: &str, wants: &[String]) -> Result<view::Contact, Fault> {
        let contact = self.named(name)?;
        let mut shown = self.shown(&contact);
        let Some(node) = contact.nodes.first().map(|device| device.node) else { return Ok(shown) };
        // Somebody who is not to be reached is still somebody I know.
        let Ok(cards) = self.directory.cards_at(node, None, None).await else { return Ok(shown) };
        let theirs = || cards.iter().filter(|card| card.owner == contact.owner);
        shown.agents = theirs()
            .map(|card| view::AgentName { name: agent::plain::line(&card.name), did: card.agent.to_string() })
            .collect();
        let all =
            || theirs().flat_map(|card| card.capabilities.iter().map(move |one| format!("{}.{}", card.name, one.name)));
        let wants: BTreeSet<String> = if wants.is_empty() { all().collect() } else { wants.iter().cloned().collect() };
        let wants = wants.into_iter().filter(|want| want.len() <= 2 * limits::NAME).take(limits::OFFERS).collect();
        if let Ok(answer) = self.negotiate(node, Wants { wants }).await {
            shown.capabilities = answer.outcomes.into_iter().map(negotiated).collect();
        }
        shown.path = self.outbound.path_now(node);
        Ok(shown)
    }

    async fn negotiate(&self, node: NodeId, wants: Wants) -> Result<Negotiated, Fault> {
        self.outbound.introduce(node).await?;
        self.outbound.ask(node, kind::CAPABILITIES, &wants).await
    }

    /// Gives another name.
    ///
    /// # Errors
    /// `not_found`, `exists`, `invalid`
    pub async fn rename(&self, name: &str, new: &str) -> Result<view::Contact, Fault> {
        self.named(name)?;
        let (old, new) = (name.to_owned(), petname(new)?);
        let (to, now, actor) = (new.clone(), self.clock.now(), self.me.owner().0);
        let written = self.store.write(move |tx| {
            store::contacts::rename(tx, &old, &to)?;
            tx.audit(Entry::new("contact", "renamed", now).by(Some(actor)).on(&old).with("to", &to))?;
            Ok(())
        });
        written.await.map_err(not_added)?;
        self.reload().await?;
        self.bus.say("contact.renamed", json!({ "name": new, "was": name }));
        Ok(self.shown(&self.named(&new)?))
    }

    /// Forgets a person and revokes what I granted them.
    ///
    /// # Errors
    /// `not_found`
    pub async fn remove(&self, name: &str) -> Result<view::Contact, Fault> {
        let contact = self.named(name)?;
        self.grants.revoke_all(contact.owner).await?;
        let (gone, now, actor) = (name.to_owned(), self.clock.now(), self.me.owner().0);
        self.store
            .write(move |tx| {
                store::contacts::remove(tx, &gone)?;
                tx.audit(Entry::new("contact", "removed", now).by(Some(actor)).on(&gone))?;
                Ok::<_, StoreError>(())
            })
            .await?;
        self.reload().await?;
        self.bus.say("contact.removed", json!({ "name": name, "did": contact.owner.to_string() }));
        Ok(self.shown(&contact))
    }

    fn named(&self, name: &str) -> Result<Contact, Fault> {
        let found = self.people.named(name).or_else(|| {
            let did = name.parse().ok()?;
            self.people.owner(&klp::OwnerId(did)).or_else(|| self.people.node(&NodeId(did)))
        });
        found.ok_or_else(|| Fault::not_found("contact", name).hint("see `kos contact list`"))
    }

    pub(super) fn shown(&self, contact: &Contact) -> view::Contact {
        let node = contact.nodes.first().map(|device| device.node);
        view::Contact {
            name: contact.name.clone(),
            did: contact.owner.to_string(),
            node: node.map(|node| node.to_string()).unwrap_or_default(),
            fingerprint: words::of(&contact.owner.0),
            added: show::time(contact.added),
            agents: Vec::new(),
            capabilities: Vec::new(),
            path: node.and_then(|node| self.outbound.path_now(node)),
        }
    }
}

/// What is kept of somebody whose ticket holds.
pub(super) fn of_ticket(name: String, ticket: &Verified<Ticket>, credential: &Credential, now: Timestamp) -> Contact {
    Contact {
        name,
        owner: ticket.owner,
        nodes: vec![Device { node: ticket.node, addresses: ticket.addresses.clone() }],
        next: Some(credential.certificate().next_key),
        ticket: ticket.signed().as_bytes().to_vec(),
        certificates: vec![ticket.introduction.to_bytes()],
        added: now,
    }
}

/// Keeps somebody, with the entry that says so.
pub(super) fn keep(tx: &mut Tx, contact: &Contact, actor: Did, now: Timestamp) -> Result<Added, AddError> {
    let added = store::contacts::add(tx, contact)?;
    let kind = if added == Added::New { "added" } else { "refreshed" };
    tx.audit(Entry::new("contact", kind, now).by(Some(actor)).on(&contact.name).with("did", contact.owner))?;
    Ok(added)
}

fn negotiated(outcome: klp::message::Outcomes) -> view::Capability {
    view::Capability {
        name: agent::plain::line(&outcome.name),
        outcome: outcome.answer.as_str().to_owned(),
        reason: agent::plain::line(&outcome.reason),
        calls_left: outcome.calls_left,
        expires: outcome.expires.map(show::time),
    }
}

fn not_a_ticket(error: TicketError) -> Fault {
    let refusal = match &error {
        TicketError::Expired | TicketError::Certificate(Refusal::Expired) => Refusal::Expired,
        _ => Refusal::Invalid,
    };
    let fault = Fault::new(refusal, error.to_string());
    fault
        .hint("nothing was added; ask for a fresh ticket (`kos contact ticket` on their side) and paste the whole line")
}

pub(super) fn not_added(error: AddError) -> Fault {
    match error {
        AddError::AnotherKey { name, known } => Fault::new(
            Refusal::Exists,
            format!("\"{name}\" is already the name of another key ({})", known.0.short()),
        )
        .hint("choose another name; if this is the same person with a new key, remove the old contact first, after asking them"),
        AddError::Known { name } => Fault::new(Refusal::Exists, format!("this person is already known as \"{name}\""))
            .hint("rename them with `kos contact rename`"),
        AddError::Unknown { name } => Fault::not_found("contact", &name),
        AddError::Store(error) => error.into(),
        other => Fault::new(Refusal::Invalid, other.to_string()),
    }
}
