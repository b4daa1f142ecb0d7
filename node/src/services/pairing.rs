//! Pairing: a code of four words and a number makes two people contacts, with a first grant.
//!
//! The exchange itself is `klp::pairing`; here a code is made and kept, tries are counted durably, and both become contacts as if by tickets.
//! Source: `specs/09-pairing.md`.

mod answering;
mod joining;
mod runs;

use std::sync::Arc;
use std::time::Duration;

use klp::message::PairIdentity;
use klp::pairing::{Code, End, Mailbox, Slot};
use klp::statement::ticket::Ticket;
use klp::{Cbor as _, OwnerId, Refusal, Verified, limits};
use serde_json::json;
use store::audit::Entry;
use store::pairings::{First, Pairing as Row, Wish, WishedGrant};
use store::{Store, StoreError, View};

use super::contacts::Contacts;
use super::directory::Directory;
use super::grants::{Grants, Limits};
use crate::address::petname;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::entropy;
use crate::fault::Fault;
use crate::inbound::Inbound;
use crate::me::Me;
use crate::meeting::Meeting;
use crate::outbound::Outbound;
use crate::people::People;
use crate::{show, view, words};
use runs::Runs;

pub use joining::Join;

/// What a ticket in a pairing may measure: it has room for some addresses, and a name fits beside it.
const TICKET: usize = limits::PAIR_IDENTITY - limits::NAME - 16;
/// Calls and days of a first grant when nobody says how many.
const FIRST: (u64, u64) = (20, 7);

/// Pairing.
#[derive(Clone)]
pub struct Pairing {
    store: Store,
    clock: Clock,
    bus: Bus,
    me: Me,
    people: People,
    outbound: Outbound,
    contacts: Contacts,
    grants: Grants,
    directory: Directory,
    meeting: Meeting,
    runs: Arc<Runs>,
    life: Duration,
}

/// What pairing is made of.
pub(crate) struct Needs {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) bus: Bus,
    pub(crate) me: Me,
    pub(crate) people: People,
    pub(crate) outbound: Outbound,
    pub(crate) contacts: Contacts,
    pub(crate) grants: Grants,
    pub(crate) directory: Directory,
    pub(crate) life: Duration,
}

/// A first grant, as it is wished for.
#[derive(Clone, Debug)]
pub struct Gift {
    /// What, as `AGENT.CAPABILITY`.
    pub what: String,
    /// Calls; 20 when absent.
    pub calls: Option<u64>,
    /// Days; 7 when absent.
    pub days: Option<u64>,
}

/// What both sides may say before they know each other.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// What they are to be called here; else what they propose, or the first word of the code.
    pub name: Option<String>,
    /// What I would like to be called there.
    pub me: Option<String>,
    /// What they get to begin with.
    pub gift: Option<Gift>,
    /// Whether they get it without my being asked again.
    pub approved: bool,
}

impl Gift {
    fn limits(&self) -> Limits {
        let (calls, days) = (self.calls.unwrap_or(FIRST.0), self.days.unwrap_or(FIRST.1));
        Limits { calls: Some(calls), days: Some(days), ..Limits::default() }
    }
}

impl Pairing {
    pub(crate) fn new(needs: Needs) -> Self {
        let Needs { store, clock, bus, me, people, outbound, contacts, grants, directory, life } = needs;
        let (meeting, runs) = (Meeting::default(), Arc::default());
        Self { store, clock, bus, me, people, outbound, contacts, grants, directory, meeting, runs, life }
    }

    /// Answers joiners from now on, also for the codes that were open when the node stopped.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) async fn open(&self, inbound: &Inbound) -> Result<(), Fault> {
        let now = self.clock.now();
        for mut row in self.store.read(store::pairings::list).await? {
            if row.slot.admit(now).is_ok() {
                self.meeting.open(row.mailbox.clone(), row.slot.expires);
            }
            // The node stopped between the yes and the grant.
            if let Some(pair) = row.pair.as_mut().filter(|pair| pair.first == First::Given && pair.grant.is_none()) {
                pair.first = First::Waiting;
                let kept = self.store.write(move |tx| {
                    store::pairings::save(tx, &row);
                    Ok::<_, StoreError>(())
                });
                if let Err(error) = kept.await {
                    tracing::warn!(%error, "a first grant waits for another yes, and could not be marked");
                }
            }
        }
        self.answer(inbound);
        Ok(())
    }

    /// Who wants to be met, for the directory.
    pub(crate) fn meeting(&self) -> &Meeting {
        &self.meeting
    }

    /// Codes whose time is over are closed. Call it every few seconds.
    pub(crate) fn tick(&self) {
        for mailbox in self.meeting.expired(self.clock.now()) {
            self.bus.say("pair.ended", json!({ "mailbox": mailbox.as_str(), "why": "expired" }));
        }
    }

    /// Makes a code.
    ///
    /// # Errors
    /// `invalid`, `exists` when the name is taken, `not_found` or `locked` when the grant could not be made, `busy` when too many are open.
    pub async fn issue(&self, terms: Terms) -> Result<view::PairCode, Fault> {
        let wish = self.wish(&terms)?;
        let now = self.clock.now();
        let slot = Slot::new(now.after(self.life.min(limits::PAIR_LIFE)));
        let code = Code::from_entropy(&entropy::bytes()?);
        let row = Row {
            mailbox: code.mailbox.clone(),
            password: Some(code.password.clone()),
            slot: slot.clone(),
            made: now,
            wish,
            pair: None,
        };
        let (kept, actor) = (row.clone(), self.me.owner().0);
        let written = self.store.write(move |tx| {
            store::pairings::forget_expired(tx, now)?;
            let all = store::pairings::list(tx)?;
            let open = all.iter().filter(|row| row.slot.admit(now).is_ok());
            if open.count() >= limits::PAIR_CODES || all.iter().any(|row| row.mailbox == kept.mailbox) {
                return Ok::<_, StoreError>(false);
            }
            store::pairings::save(tx, &kept);
            tx.audit(Entry::new("pair", "opened", now).by(Some(actor)).on(&kept.mailbox))?;
            Ok(true)
        });
        if !written.await? {
            let message = format!("{} codes are open already", limits::PAIR_CODES);
            return Err(Fault::new(Refusal::Busy, message).hint("`kos pair --list` shows them; cancel one, or wait"));
        }
        self.meeting.open(row.mailbox.clone(), slot.expires);
        let expires = show::time(slot.expires);
        self.bus.say("pair.opened", json!({ "mailbox": row.mailbox.as_str(), "expires": expires }));
        Ok(view::PairCode {
            code: code.expose().to_string(),
            mailbox: row.mailbox.to_string(),
            expires,
            offer: row.wish.grant.map(|grant| grant.what),
        })
    }

    /// Checks what is wished for before anybody comes.
    fn wish(&self, terms: &Terms) -> Result<Wish, Fault> {
        let name = terms.name.as_deref().map(petname).transpose()?;
        if let Some(taken) = name.as_deref().and_then(|name| self.people.named(name)) {
            return Err(Fault::new(Refusal::Exists, format!("\"{}\" is somebody already", taken.name))
                .hint("choose another name with --as"));
        }
        let me = terms.me.as_deref().map(petname).transpose()?;
        let grant = terms.gift.as_ref().map(|gift| {
            if terms.approved {
                self.grants.could(&gift.what, gift.limits())?;
            }
            let Limits { calls, days, .. } = gift.limits();
            Ok::<_, Fault>(WishedGrant { what: gift.what.clone(), calls, days, approved: terms.approved })
        });
        Ok(Wish { name, me, grant: grant.transpose()? })
    }

    /// What we say of ourselves under the key of a run.
    fn identity(&self, me: Option<String>) -> Result<PairIdentity, Fault> {
        let mut addresses = self.outbound.ticket_addresses();
        loop {
            let ticket: Verified<Ticket> = self.contacts.signed_ticket(addresses.clone())?;
            if ticket.signed().as_bytes().len() <= TICKET || addresses.pop().is_none() {
                return Ok(PairIdentity { ticket: ticket.signed().clone(), name: me });
            }
        }
    }

    /// All codes that are remembered, the newest first.
    ///
    /// # Errors
    /// `internal`
    pub async fn list(&self) -> Result<Vec<view::PairState>, Fault> {
        let rows = self.store.read(store::pairings::list).await?;
        Ok(rows.iter().map(|row| self.shown(row)).collect())
    }

    /// What became of a code; waits for as long as it is open and nothing happens with it, but no longer than `wait`.
    ///
    /// # Errors
    /// `not_found`
    pub async fn show(&self, mailbox: &str, wait: Duration) -> Result<view::PairState, Fault> {
        let mut changes = self.bus.listen("pair.*", None);
        let first = self.row(mailbox).await?;
        let mut row = first.clone();
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        while row.slot.admit(self.clock.now()).is_ok() && row == first {
            tokio::select! {
                _ = changes.next() => row = self.row(mailbox).await?,
                () = &mut deadline => break,
            }
        }
        Ok(self.shown(&row))
    }

    /// Takes a code back.
    ///
    /// # Errors
    /// `not_found`, `state` when it has ended.
    pub async fn cancel(&self, mailbox: &str) -> Result<view::PairState, Fault> {
        let (row, now, actor) = (self.row(mailbox).await?, self.clock.now(), self.me.owner().0);
        let mailbox = row.mailbox.clone();
        let ended = self.store.write(move |tx| {
            let Some(mut row) = store::pairings::get(tx, &mailbox)? else { return Ok::<_, StoreError>(None) };
            if row.slot.admit(now).is_err() {
                return Ok(None);
            }
            row.slot.end(End::Cancelled);
            store::pairings::save(tx, &row);
            tx.audit(Entry::new("pair", "cancelled", now).by(Some(actor)).on(&row.mailbox))?;
            Ok(Some(row))
        });
        let row = ended.await?.ok_or_else(|| Fault::new(Refusal::State, "this code has ended already"))?;
        self.closed(&row.mailbox, End::Cancelled);
        Ok(self.shown(&row))
    }

    /// Says yes or no to the first grant of a code with which somebody has paired.
    ///
    /// # Errors
    /// `not_found`, `state` when there is nothing to decide, `locked`
    pub async fn decide(&self, mailbox: &str, yes: bool) -> Result<view::PairState, Fault> {
        let mailbox = self.row(mailbox).await?.mailbox;
        let decided = if yes { First::Given } else { First::Declined };
        // Whoever decides first has decided; the grant itself needs the owner's key and comes after.
        let Some(row) = self.advance(&mailbox, First::Waiting, decided, None).await? else {
            return Err(Fault::new(Refusal::State, "there is no first grant of this code to be decided on"));
        };
        if yes { self.give(row).await } else { Ok(self.shown(&row)) }
    }

    /// Makes the first grant of a code, which is marked as given.
    async fn give(&self, row: Row) -> Result<view::PairState, Fault> {
        let (Some(pair), Some(wish)) = (&row.pair, &row.wish.grant) else { return Err(Refusal::State.into()) };
        let limits = Limits { calls: wish.calls, days: wish.days, ..Limits::default() };
        match self.grants.add(&pair.owner.to_string(), &wish.what, limits).await {
            Ok(grant) => {
                let id = grant.id.parse().map_err(Fault::internal)?;
                let kept = self.advance(&row.mailbox, First::Given, First::Given, Some(id)).await?;
                Ok(self.shown(&kept.unwrap_or(row)))
            }
            Err(fault) => {
                self.advance(&row.mailbox, First::Given, First::Waiting, None).await?;
                Err(fault)
            }
        }
    }

    async fn advance(
        &self,
        mailbox: &Mailbox,
        from: First,
        to: First,
        grant: Option<klp::Digest>,
    ) -> Result<Option<Row>, Fault> {
        let mailbox = mailbox.clone();
        let written = self.store.write(move |tx| {
            let Some(mut row) = store::pairings::get(tx, &mailbox)? else { return Ok::<_, StoreError>(None) };
            let Some(pair) = row.pair.as_mut().filter(|pair| pair.first == from) else { return Ok(None) };
            pair.first = to;
            pair.grant = grant;
            store::pairings::save(tx, &row);
            Ok(Some(row))
        });
        let row = written.await?;
        if let Some(row) = &row {
            self.bus.say("pair.decided", json!({ "mailbox": row.mailbox.as_str(), "grant": to.as_str() }));
        }
        Ok(row)
    }

    /// A code has ended: nobody is to find it any more.
    fn closed(&self, mailbox: &Mailbox, end: End) {
        self.meeting.close(mailbox);
        self.bus.say("pair.ended", json!({ "mailbox": mailbox.as_str(), "why": end.as_str() }));
    }

    async fn row(&self, mailbox: &str) -> Result<Row, Fault> {
        let unknown = || Fault::not_found("pairing code", mailbox).hint("see `kos pair --list`");
        let wanted = Mailbox::parse(mailbox).map_err(|_| unknown())?;
        self.store.read(move |view| store::pairings::get(view, &wanted)).await?.ok_or_else(unknown)
    }

    fn shown(&self, row: &Row) -> view::PairState {
        let state = match row.slot.end {
            Some(End::Used) => "paired",
            Some(end) => end.as_str(),
            None if row.slot.admit(self.clock.now()).is_err() => "expired",
            None => "open",
        };
        let pair = row.pair.as_ref();
        let known = pair.and_then(|pair| self.people.owner(&pair.owner));
        view::PairState {
            mailbox: row.mailbox.to_string(),
            state: state.to_owned(),
            expires: show::time(row.slot.expires),
            tries_left: row.slot.left(),
            contact: known.map(|contact| contact.name).or_else(|| pair.map(|pair| pair.name.clone())),
            did: pair.map(|pair| pair.owner.to_string()),
            fingerprint: pair.map(|pair| words::of(&pair.owner.0)),
            offer: row.wish.grant.as_ref().map(|grant| grant.what.clone()),
            calls: row.wish.grant.as_ref().and_then(|grant| grant.calls),
            days: row.wish.grant.as_ref().and_then(|grant| grant.days),
            first: pair.map_or(First::None, |pair| pair.first).as_str().to_owned(),
            grant: pair.and_then(|pair| pair.grant).map(|id| id.to_string()),
        }
    }
}

/// What somebody is to be called: as before, when they are known; else what was wished for, what they propose, or the word of the mailbox,
/// with a number where it is taken.
fn choose_name(
    view: &View,
    owner: &OwnerId,
    wished: Option<&str>,
    proposed: Option<&str>,
    mailbox: &Mailbox,
) -> Result<String, StoreError> {
    if let Some(known) = store::contacts::by_owner(view, owner)? {
        return Ok(known.name);
    }
    let fitting = |name: Option<&str>| name.and_then(|name| petname(name).ok());
    let name = fitting(wished).or_else(|| fitting(proposed)).unwrap_or_else(|| mailbox.word().to_owned());
    let numbered = std::iter::once(name.clone()).chain((2..1000).map(|number| {
        let end = name.char_indices().map(|(at, _)| at).take_while(|at| *at <= limits::NAME - 4).last().unwrap_or(0);
        let whole = if name.len() + 4 <= limits::NAME { &name[..] } else { &name[..end] };
        format!("{whole}-{number}")
    }));
    // One word of the list means somebody already: `any`.
    let mut numbered = numbered.filter(|name| petname(name).is_ok());
    let free = numbered.find_map(|name| match store::contacts::get(view, &name) {
        Ok(None) => Some(Ok(name)),
        Ok(Some(_)) => None,
        Err(error) => Some(Err(error)),
    });
    free.unwrap_or_else(|| Ok(owner.0.short()))
}

/// The bytes of a last proof, as they are kept.
fn proof_digest(finish: &klp::message::PairFinish) -> klp::Digest {
    klp::Digest::of(&[&finish.to_bytes()])
}

#[cfg(test)]
mod tests {
    use klp::SecretKey;
    use store::DatabaseKey;

    use super::*;

    #[test]
    fn n1_a_word_of_a_code_that_means_somebody_is_no_name() {
        let store = Store::in_memory(&DatabaseKey::from_bytes([1; 32]), &SecretKey::from_seed(&[2; 32])).unwrap();
        let (view, owner) = (store.view().unwrap(), OwnerId(SecretKey::from_seed(&[3; 32]).did()));
        for (mailbox, name) in [("river-3", "river"), ("any-3", "any-2")] {
            let mailbox = Mailbox::parse(mailbox).unwrap();
            assert_eq!(choose_name(&view, &owner, None, None, &mailbox).unwrap(), name);
            assert_eq!(choose_name(&view, &owner, Some("any"), Some("self"), &mailbox).unwrap(), name);
            assert_eq!(choose_name(&view, &owner, Some("any"), Some("bob"), &mailbox).unwrap(), "bob");
        }
    }
}
