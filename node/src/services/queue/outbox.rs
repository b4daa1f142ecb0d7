//! Which of the waiting questions is tried next. Pure: time, chance and who is there are arguments.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klp::{Digest, OwnerId, Timestamp, limits};
use store::outbox::{Priority, Question};
use tokio::time::Instant;

/// Questions that may wait, in all.
pub(super) const ALL: usize = 512;
/// Questions that may wait for one contact.
pub(super) const EACH: usize = 64;
/// Bytes of all questions that wait.
pub(super) const BYTES: usize = 4 * 1024 * 1024;
/// The longest that one may wait: as long as any signed request that is kept for somebody.
pub(super) const LONGEST: Duration = limits::MAIL_LIFE;
/// Questions that are under way at once.
const AT_ONCE: usize = 16;
/// Before the second try; each further one waits twice as long.
const SOON: Duration = Duration::from_secs(5);
/// Between two tries in any case.
const BREATH: Duration = Duration::from_secs(1);
/// The longest wait between two tries. Whoever opens a session is asked at once.
const LATE: Duration = Duration::from_secs(10 * 60);

/// Why a question is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoRoom {
    /// Too many wait already.
    #[error("{ALL} questions wait already")]
    All,
    /// Too many wait for this contact.
    #[error("{EACH} questions wait for this contact already")]
    Each,
    /// What waits is too long already.
    #[error("the questions that wait would have more than {BYTES} bytes together")]
    Bytes,
    /// No time, or more than is allowed.
    #[error("a question may wait from one second to {} days", LONGEST.as_secs() / (24 * 3600))]
    Deadline,
}

/// This moment: by the wall for deadlines, and by a clock that never jumps for waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) wall: Timestamp,
    pub(super) tick: Instant,
}

/// Until when something is left alone, and for how long the next time.
#[derive(Clone, Copy, Debug)]
struct Pause {
    since: Instant,
    until: Instant,
    next: Duration,
}

#[derive(Debug)]
struct Slot {
    owner: OwnerId,
    priority: Priority,
    queued: Timestamp,
    expires: Timestamp,
    bytes: usize,
    /// Whether somebody works on it.
    taken: bool,
    pause: Option<Pause>,
}

/// The questions that wait.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    slots: BTreeMap<Digest, Slot>,
    /// Contacts that were not there when they were tried last.
    away: BTreeMap<OwnerId, Pause>,
}

impl Pause {
    /// The pause after this one: twice as long, and a quarter of it more or less, so that not everybody knocks in step.
    fn after(last: Option<Self>, now: Instant, chance: u8) -> Self {
        let span = last.map_or(SOON, |last| last.next);
        let wait = span.mul_f64(0.75 + 0.5 * f64::from(chance) / 255.0);
        Self { since: now, until: now + wait, next: (span * 2).min(LATE) }
    }
}

impl Outbox {
    /// Makes room for a question. It is not due before [`Self::ready`].
    pub(super) fn enqueue(&mut self, question: &Question, now: Now) -> Result<(), NoRoom> {
        let (slots, bytes) = (self.slots.values(), question.bytes());
        let life = question.expires.since(now.wall);
        if life.is_zero() || life > LONGEST {
            Err(NoRoom::Deadline)
        } else if slots.len() >= ALL {
            Err(NoRoom::All)
        } else if slots.clone().filter(|slot| slot.owner == question.owner).count() >= EACH {
            Err(NoRoom::Each)
        } else if slots.map(|slot| slot.bytes).sum::<usize>() + bytes > BYTES {
            Err(NoRoom::Bytes)
        } else {
            self.restore(question);
            self.slots.entry(question.id).and_modify(|slot| slot.taken = true);
            Ok(())
        }
    }

    /// It was queued before the last stop.
    pub(super) fn restore(&mut self, question: &Question) {
        let slot = Slot {
            owner: question.owner,
            priority: question.priority,
            queued: question.queued,
            expires: question.expires,
            bytes: question.bytes(),
            taken: false,
            pause: None,
        };
        self.slots.insert(question.id, slot);
    }

    /// It is kept, and may be tried.
    pub(super) fn ready(&mut self, id: &Digest) {
        self.slots.entry(*id).and_modify(|slot| slot.taken = false);
    }

    /// What is to be tried now; each is under way until [`Self::again`] or [`Self::over`] says otherwise. To one contact the more urgent
    /// goes first, the older of equals, and one at a time, unless it overtakes what is under way.
    pub(super) fn due(&mut self, now: Now, reached: impl Fn(&OwnerId) -> bool) -> Vec<Digest> {
        let mut room = AT_ONCE.saturating_sub(self.slots.values().filter(|slot| slot.taken).count());
        let mut order: Vec<(Digest, &Slot)> = self.slots.iter().map(|(id, slot)| (*id, slot)).collect();
        order.sort_by_key(|(id, slot)| (Reverse(slot.priority), slot.queued, *id));
        let mut closed: BTreeSet<OwnerId> = BTreeSet::new();
        closed.extend(
            self.away.iter().filter(|(owner, pause)| !is_over(pause, now.tick, reached(owner))).map(|(owner, _)| owner),
        );
        let mut due = Vec::new();
        for (id, slot) in order {
            let waits = slot.pause.is_some_and(|pause| pause.until > now.tick);
            if slot.taken {
                closed.insert(slot.owner);
            } else if room > 0 && !waits && slot.expires > now.wall && closed.insert(slot.owner) {
                room -= 1;
                due.push(id);
            }
        }
        for id in &due {
            self.slots.entry(*id).and_modify(|slot| slot.taken = true);
        }
        due
    }

    /// It did not work out yet: because its contact is away, or for a reason of its own.
    pub(super) fn again(&mut self, id: &Digest, away: bool, now: Now, chance: u8) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        slot.taken = false;
        if away {
            let last = self.away.get(&slot.owner).copied();
            self.away.insert(slot.owner, Pause::after(last, now.tick, chance));
        } else {
            slot.pause = Some(Pause::after(slot.pause, now.tick, chance));
        }
    }

    /// Nothing more comes of it. Whoever ended it was there, or it is worth a look.
    pub(super) fn over(&mut self, id: &Digest) {
        if let Some(slot) = self.slots.remove(id) {
            self.away.remove(&slot.owner);
        }
    }

    /// A contact is there again, or may be: what waits for them is due at once. Who comes and goes is not run after at every turn.
    pub(super) fn met(&mut self, owner: &OwnerId) {
        let slots = self.slots.values_mut().filter(|slot| slot.owner == *owner);
        let pauses = slots.filter_map(|slot| slot.pause.as_mut()).chain(self.away.get_mut(owner));
        pauses.for_each(|pause| pause.until = pause.until.min(pause.since + BREATH));
    }

    /// Those whose time is over and that nobody works on; they are under way now, to their end.
    pub(super) fn expire(&mut self, now: Now) -> Vec<Digest> {
        let over = self.slots.iter_mut().filter(|(_, slot)| !slot.taken && slot.expires <= now.wall);
        over.map(|(id, slot)| {
            slot.taken = true;
            *id
        })
        .collect()
    }

    /// Whether anything waits for this contact.
    pub(super) fn has(&self, owner: &OwnerId) -> bool {
        self.slots.values().any(|slot| slot.owner == *owner)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

/// A contact with a session is left alone for a short while only.
fn is_over(pause: &Pause, now: Instant, is_there: bool) -> bool {
    pause.until <= now || (is_there && pause.since + SOON <= now)
}

#[cfg(test)]
mod tests;
