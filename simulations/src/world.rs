//! Time, streams, and what must hold whatever happens.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use klp::frame::{Frame, HEADER, Kind};
use klp::hello::{Limits, Terms};
use klp::session::{ChunkError, Delivery, Session};
use klp::{Digest, Refusal, limits};

use crate::dice::Dice;
use crate::host::{Asked, End, Host, Running, body, wish};
use crate::weather::Weather;

/// No world lasts longer: what has not ended by then never does.
const END: Duration = Duration::from_secs(3600);

/// What became of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Requests answered, cancelled by their asker, and of unknown outcome.
    pub answered: u64,
    /// Cancelled by their asker.
    pub cancelled: u64,
    /// Refused `unknown_outcome`, because the other side had forgotten them.
    pub unknown: u64,
    /// Streams used.
    pub streams: u64,
    /// Digest of everything that happened, in order: equal for equal seeds.
    pub trace: Digest,
}

/// A Hello of this world is nothing but its sender's memory.
fn terms(hello: &[u8]) -> Result<Terms, String> {
    let memory = hello.try_into().map_err(|_| "a Hello was changed on its way")?;
    Ok(Terms { limits: Limits::OURS, memory, packs: true })
}

/// The dialler is 0, the listener 1.
type Side = usize;

#[derive(Debug)]
enum Happening {
    Arrives { to: Side, stream: u64, bytes: Bytes },
    Ask(Side),
    Work(Side, u64),
    Read(Side, u64),
    Cancel(Side, u64),
    Cut,
    Notice(Side, u64),
    Dial,
    Tick,
}

struct World {
    weather: Weather,
    dice: Dice,
    now: Duration,
    turn: u64,
    to_come: BTreeMap<(Duration, u64), Happening>,
    hosts: [Host; 2],
    streams: u64,
    /// Streams up to this one carry nothing any more, whether or not a side has noticed.
    broken: u64,
    tokens: u64,
    trace: Vec<u8>,
}

/// Runs one world.
///
/// # Errors
/// What did not hold, as a sentence with the moment at which it was seen.
pub fn run(weather: Weather, seed: u64) -> Result<Outcome, String> {
    let mut world = World {
        weather,
        dice: Dice::new(seed),
        now: Duration::ZERO,
        turn: 0,
        to_come: BTreeMap::new(),
        hosts: [Host::new(weather.requests, 1), Host::new(weather.requests, 2)],
        streams: 0,
        broken: 0,
        tokens: 0,
        trace: Vec::new(),
    };
    world.soon(Happening::Dial, (0, 0));
    world.soon(Happening::Tick, (500, 500));
    world.soon(Happening::Ask(0), weather.pause);
    world.soon(Happening::Ask(1), weather.pause);
    if let Some((_, latest)) = weather.cut {
        // After the first Hellos: a request that rode with a lost one is an unknown outcome at once, and rightly.
        world.soon(Happening::Cut, (200, latest));
    }
    while !world.hosts.iter().all(Host::is_done) {
        let Some(((now, turn), happening)) = world.to_come.pop_first() else {
            return Err("nothing is to come, and not everything has ended".to_owned());
        };
        world.now = now;
        world.note(turn, &happening);
        if world.trace.len() > 1 << 20 {
            world.trace = Digest::of(&[&world.trace]).0.to_vec();
        }
        world.happen(happening).map_err(|broken| format!("at {now:?}: {broken}"))?;
        if now > END {
            return Err("an hour has passed, and not everything has ended".to_owned());
        }
    }
    world.outcome()
}

impl World {
    fn soon(&mut self, happening: Happening, span: (u64, u64)) {
        let at = self.now + Duration::from_millis(self.dice.between(span));
        self.turn += 1;
        self.to_come.insert((at, self.turn), happening);
    }

    /// Remembers that this happened: what, when, and of a frame its header and length.
    fn note(&mut self, turn: u64, happening: &Happening) {
        let line = match happening {
            Happening::Arrives { to, stream, bytes } => {
                format!("{:?} {turn} {to} {stream} {:?} {}\n", self.now, bytes.get(..HEADER), bytes.len())
            }
            other => format!("{:?} {turn} {other:?}\n", self.now),
        };
        self.trace.extend_from_slice(line.as_bytes());
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Arrives { to, stream, bytes } => self.arrives(to, stream, bytes)?,
            Happening::Ask(side) => self.ask(side),
            Happening::Work(side, id) => self.work(side, id),
            Happening::Read(side, id) => {
                let host = &mut self.hosts[side];
                if let Some(chunk) = host.asked.get_mut(&id).and_then(|asked| asked.unread.pop_front()) {
                    host.session.taken(id, &chunk);
                }
            }
            Happening::Cancel(side, id) => {
                let host = &mut self.hosts[side];
                if let Some(asked) = host.asked.get_mut(&id).filter(|asked| asked.end.is_none()) {
                    asked.end = Some(End::Dropped);
                    asked.unread.clear();
                    host.session.cancel(id);
                }
            }
            Happening::Cut => {
                let stream = self.streams;
                // What is under way is lost, and what is still written too; both sides notice in their own time.
                self.broken = stream;
                self.to_come.retain(|_, one| !matches!(one, Happening::Arrives { stream: on, .. } if *on <= stream));
                for side in 0..2 {
                    self.soon(Happening::Notice(side, stream), self.weather.notice);
                }
                if let Some(cut) = self.weather.cut {
                    self.soon(Happening::Cut, cut);
                }
            }
            Happening::Notice(side, stream) => {
                if self.hosts[side].stream == Some(stream) {
                    self.hosts[side].stream = None;
                    self.hosts[side].session.detach(self.now);
                    if side == 0 {
                        self.soon(Happening::Dial, self.weather.notice);
                    }
                }
            }
            Happening::Dial => {
                self.streams += 1;
                self.hosts[0].stream = Some(self.streams);
                let hello = Bytes::copy_from_slice(&self.hosts[0].session.memory());
                self.hosts[0].session.dial(hello, self.now);
            }
            Happening::Tick => {
                self.hosts.iter_mut().for_each(|host| host.session.tick(self.now));
                self.soon(Happening::Tick, (500, 500));
            }
        }
        (0..2).try_for_each(|side| self.settle(side))
    }

    fn arrives(&mut self, to: Side, stream: u64, bytes: Bytes) -> Result<(), String> {
        let mut bytes = BytesMut::from(bytes);
        let frame = Frame::read(&mut bytes).map_err(|refusal| format!("a frame is {refusal}"))?;
        let frame = frame.ok_or("half a frame")?;
        let forgets = self.dice.chance(self.weather.forget);
        let host = &mut self.hosts[to];
        if to == 1 && frame.kind == Kind::Hello && host.stream != Some(stream) {
            if forgets && stream > 1 {
                host.session = Session::new([1; 16], (1000 + stream).to_be_bytes(), self.now);
                host.running.clear();
                // It has also forgotten what it asked itself.
                for asked in host.asked.values_mut().filter(|asked| asked.end.is_none()) {
                    asked.end = Some(End::Refused(Refusal::UnknownOutcome));
                    asked.unread.clear();
                }
                host.asked.clear();
            }
            host.stream = Some(stream);
            let hello = Bytes::copy_from_slice(&host.session.memory());
            host.session.accept(hello, &terms(&frame.body)?, self.now);
        } else if host.stream == Some(stream) {
            host.session.receive(frame, self.now);
        }
        Ok(())
    }

    fn ask(&mut self, side: Side) {
        self.tokens += 1;
        let token = self.tokens;
        let (chunks, size) = (self.dice.between(self.weather.chunks), self.dice.between(self.weather.chunk));
        let cancels = self.dice.chance(self.weather.cancel);
        let host = &mut self.hosts[side];
        if let Ok(id) = host.session.request(body(token, chunks, size)) {
            let asked = Asked { token, chunks, seen: 0, unread: std::collections::VecDeque::new(), end: None };
            host.asked.insert(id, asked);
            host.left -= 1;
            if cancels {
                self.soon(Happening::Cancel(side, id), (0, 1000));
            }
        }
        if self.hosts[side].left > 0 {
            self.soon(Happening::Ask(side), self.weather.pause);
        }
    }

    /// The next chunk of an answer, or its end.
    fn work(&mut self, side: Side, id: u64) {
        let host = &mut self.hosts[side];
        let Some(job) = host.running.get_mut(&id) else { return };
        if job.sent == job.chunks {
            let token = job.token;
            host.running.remove(&id);
            host.session.respond(id, Bytes::copy_from_slice(&token.to_be_bytes()));
            return;
        }
        let mut chunk = vec![0; job.size.max(8)];
        chunk[..8].copy_from_slice(&job.sent.to_be_bytes());
        match host.session.chunk(id, chunk.into(), self.now) {
            Ok(()) => {
                job.sent += 1;
                self.soon(Happening::Work(side, id), self.weather.work);
            }
            Err(ChunkError::Full(_)) => job.waits = true,
            Err(_) => drop(host.running.remove(&id)),
        }
    }

    /// Acts on what a machine delivers, and sends what it wants to write.
    fn settle(&mut self, side: Side) -> Result<(), String> {
        while let Some(delivery) = self.hosts[side].session.next_delivery() {
            self.delivered(side, delivery)?;
        }
        while let Some(mut frame) = self.hosts[side].session.next_frame() {
            let Some(stream) = self.hosts[side].stream.filter(|stream| *stream > self.broken) else { continue };
            // Every other stream goes through a relay.
            if stream % 2 == 0 && self.hosts[side].session.packs() {
                frame.pack();
            }
            let mut bytes = BytesMut::with_capacity(HEADER + frame.body.len());
            frame.write(&mut bytes);
            let latency = Duration::from_millis(self.dice.between(self.weather.latency));
            let at = (self.now + latency).max(self.hosts[side].last_arrival);
            self.hosts[side].last_arrival = at;
            self.turn += 1;
            let arrives = Happening::Arrives { to: 1 - side, stream, bytes: bytes.freeze() };
            self.to_come.insert((at, self.turn), arrives);
        }
        Ok(())
    }

    fn delivered(&mut self, side: Side, delivery: Delivery) -> Result<(), String> {
        let host = &mut self.hosts[side];
        match delivery {
            Delivery::Hello(body) => host.session.greeted(&terms(&body)?),
            Delivery::Request { id, body } => {
                let [token, chunks, size] = wish(&body).ok_or("a request was changed on its way")?;
                let begun = host.begun.entry(token).or_default();
                *begun += 1;
                if *begun > 1 {
                    return Err(format!("request {token} runs a second time"));
                }
                let size = usize::try_from(size).unwrap_or(0);
                host.running.insert(id, Running { token, chunks, size, sent: 0, waits: false });
                if host.running.len() > limits::IN_FLIGHT {
                    return Err(format!("{} requests run at once", host.running.len()));
                }
                self.soon(Happening::Work(side, id), self.weather.work);
            }
            Delivery::Cancelled { id } => drop(host.running.remove(&id)),
            Delivery::Room { id } => {
                if host.running.get_mut(&id).is_some_and(|job| std::mem::take(&mut job.waits)) {
                    self.soon(Happening::Work(side, id), self.weather.work);
                }
            }
            Delivery::Chunk { id, bytes } => {
                let asked = host.asked.get_mut(&id).filter(|asked| asked.end.is_none());
                let asked = asked.ok_or("a chunk of an answer that has ended")?;
                if bytes.get(..8) != Some(&asked.seen.to_be_bytes()) {
                    return Err(format!("request {}: chunk {} is lost or repeated", asked.token, asked.seen));
                }
                asked.seen += 1;
                asked.unread.push_back(bytes);
                let unread: usize = asked.unread.iter().map(|chunk| chunk.len() + HEADER).sum();
                if unread > limits::UNREAD {
                    return Err(format!("request {}: {unread} bytes are unread", asked.token));
                }
                self.soon(Happening::Read(side, id), self.weather.read);
            }
            Delivery::Response { id, body } => {
                let asked = host.asked.get_mut(&id).filter(|asked| asked.end.is_none());
                let asked = asked.ok_or("a second answer")?;
                if body != asked.token.to_be_bytes()[..] || asked.seen != asked.chunks {
                    return Err(format!("request {}: the answer of another one, or a part of it", asked.token));
                }
                asked.end = Some(End::Answered);
            }
            Delivery::Refused { id, refusal, .. } => {
                let asked = host.asked.get_mut(&id).filter(|asked| asked.end.is_none());
                let asked = asked.ok_or("a second end")?;
                if refusal != Refusal::UnknownOutcome || self.weather.forget == 0 {
                    return Err(format!("request {} is refused: {refusal}", asked.token));
                }
                asked.end = Some(End::Refused(refusal));
            }
            Delivery::Event(_) => return Err("an event that nobody told".to_owned()),
            Delivery::Closed { refusal, message } => return Err(format!("the session ended: {refusal:?} {message}")),
        }
        Ok(())
    }

    fn outcome(self) -> Result<Outcome, String> {
        let ends: Vec<_> =
            self.hosts.iter().flat_map(|host| host.asked.values().map(|asked| asked.end.clone())).collect();
        let count = |wanted: &End| ends.iter().filter(|end| end.as_ref() == Some(wanted)).count() as u64;
        Ok(Outcome {
            answered: count(&End::Answered),
            cancelled: count(&End::Dropped),
            unknown: count(&End::Refused(Refusal::UnknownOutcome)),
            streams: self.streams,
            trace: Digest::of(&[&self.trace]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s10_in_every_weather_each_request_ends_once_and_runs_at_most_once() {
        const SEEDS: u64 = 20;
        for weather in Weather::ALL {
            let mut streams = 0;
            for seed in 0..SEEDS {
                let outcome = run(weather, seed);
                let outcome = outcome.unwrap_or_else(|broken| panic!("{} {seed}: {broken}", weather.name));
                if weather.cancel + weather.forget == 0 {
                    assert_eq!(outcome.answered, 2 * weather.requests, "{} {seed}", weather.name);
                }
                streams += outcome.streams;
            }
            assert_eq!(streams > SEEDS, weather.cut.is_some(), "{}: the weather is as it should be", weather.name);
        }
    }

    #[test]
    fn a_seed_fixes_everything_that_happens() {
        let cuts = Weather::named("cuts").expect("known");
        assert_eq!(run(cuts, 7), run(cuts, 7));
        assert_ne!(run(cuts, 7).map(|outcome| outcome.trace), run(cuts, 8).map(|outcome| outcome.trace));
    }

    #[test]
    fn s10_what_a_listener_has_forgotten_is_an_unknown_outcome() {
        let forgetful = Weather::named("forgetful").expect("known");
        let unknown: u64 = (0..10).map(|seed| run(forgetful, seed).map_or(0, |outcome| outcome.unknown)).sum();
        assert!(unknown > 0);
    }
}
