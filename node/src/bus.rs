//! The event bus: what happens on this node, in order, for whoever listens.
//!
//! Events are numbered from 1 without gaps. The last [`KEPT`] are kept, so that a listener who was away goes on where it stopped;
//! one who was away for longer is told so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::broadcast;

use crate::clock::Clock;
use klp::Timestamp;

/// Events that are kept for listeners who come back: some minutes of a busy node, below 10 MiB.
pub const KEPT: usize = 4096;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its number.
    pub id: u64,
    /// When.
    pub time: Timestamp,
    /// Dotted name, such as `agent.registered`.
    pub name: &'static str,
    /// Details, as they are shown: thousands are kept, and a tree takes five times as much. Never a secret.
    pub data: Box<RawValue>,
}

/// The bus. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    clock: Clock,
    shared: Arc<Shared>,
}

struct Shared {
    kept: Mutex<VecDeque<Arc<Event>>>,
    live: broadcast::Sender<Arc<Event>>,
}

/// One listener. It misses nothing: what it is too slow for, it takes from what is kept.
pub struct Listener {
    shared: Arc<Shared>,
    live: broadcast::Receiver<Arc<Event>>,
    filter: String,
    next: u64,
}

/// What a listener gets.
#[derive(Clone, Debug)]
pub enum Heard {
    /// The next event that fits its filter.
    Event(Arc<Event>),
    /// It was away for too long: events before this number are gone.
    Gap(u64),
}

impl Bus {
    /// An empty bus.
    pub fn new(clock: Clock) -> Self {
        let (live, _) = broadcast::channel(1024);
        Self { clock, shared: Arc::new(Shared { kept: Mutex::new(VecDeque::new()), live }) }
    }

    /// Says that something happened.
    pub fn say(&self, name: &'static str, data: Value) {
        // Texts and numbers always are JSON.
        let data = to_raw_value(&data).unwrap_or_else(|_| RawValue::NULL.to_owned());
        let mut kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let id = kept.back().map_or(1, |event| event.id + 1);
        let event = Arc::new(Event { id, time: self.clock.now(), name, data });
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&event));
        // Nobody listening is no error. Sending under the lock keeps the order.
        let _nobody = self.shared.live.send(event);
    }

    /// Listens from now on, or from after event `last`. `filter` is a name in which `*` stands for anything.
    pub fn listen(&self, filter: &str, last: Option<u64>) -> Listener {
        let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = kept.back().map_or(0, |event| event.id);
        Listener {
            live: self.shared.live.subscribe(),
            shared: Arc::clone(&self.shared),
            filter: filter.to_owned(),
            // A number from before a restart is larger than anything here: such a listener starts at the beginning.
            next: last.map_or(newest + 1, |last| if last > newest { 1 } else { last + 1 }),
        }
    }
}

impl Listener {
    /// The next event, or a gap; `None` when the node stops.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            match self.kept() {
                Some(Heard::Event(event)) if !fits(&self.filter, event.name) => continue,
                Some(heard) => return Some(heard),
                None => match self.live.recv().await {
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
            }
        }
    }

    /// The next kept event, whatever its name.
    fn kept(&mut self) -> Option<Heard> {
        let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = kept.front()?.id;
        if self.next < oldest {
            self.next = oldest;
            return Some(Heard::Gap(oldest));
        }
        let event = kept.get(usize::try_from(self.next - oldest).ok()?)?;
        self.next += 1;
        Some(Heard::Event(Arc::clone(event)))
    }
}

/// Whether a name fits a filter in which `*` stands for any characters.
pub fn fits(filter: &str, name: &str) -> bool {
    let mut parts = filter.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_fit_whole_names() {
        for (filter, name, expected) in [
            ("*", "agent.registered", true),
            ("agent.*", "agent.registered", true),
            ("agent.*", "agents.registered", false),
            ("*.registered", "agent.registered", true),
            ("a*.*red", "agent.registered", true),
            ("agent.registered", "agent.registered", true),
            ("agent", "agent.registered", false),
            ("", "agent.registered", false),
        ] {
            assert_eq!(fits(filter, name), expected, "{filter} {name}");
        }
    }

    #[tokio::test]
    async fn l1_12_a_wildcard_listener_hears_matching_events_in_order() {
        let bus = Bus::new(Clock::default());
        let mut listener = bus.listen("agent.*", None);
        for number in 0..2000 {
            bus.say("agent.state.updated", Value::from(number));
            bus.say("grant.added", Value::Null);
        }
        for number in 0..2000 {
            let Some(Heard::Event(event)) = listener.next().await else { panic!("gap at {number}") };
            assert_eq!((event.name, event.data.get()), ("agent.state.updated", &*number.to_string()));
        }
    }

    #[tokio::test]
    async fn l1_13_a_listener_goes_on_where_it_stopped_or_is_told_of_the_gap() {
        let bus = Bus::new(Clock::default());
        for _ in 0..10 {
            bus.say("x", Value::Null);
        }
        let mut back = bus.listen("*", Some(4));
        let Some(Heard::Event(event)) = back.next().await else { panic!("gap") };
        assert_eq!(event.id, 5);
        for _ in 0..KEPT {
            bus.say("x", Value::Null);
        }
        assert!(matches!(bus.listen("*", Some(4)).next().await, Some(Heard::Gap(11))));
    }
}
