//! The two sides, the stream between them, and the owners who ask and answer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use klp::frame::{Frame, HEADER, Kind};
use klp::hello::{Limits, Memory, Terms};
use klp::session::Session;
use klp::{Refusal, limits};

use super::laws::{Laws, frames_of};

const START: Duration = Duration::from_secs(100);
const ID: [u8; 16] = [1; 16];
/// What bodies and chunks are cut from; nothing of it is copied.
static BYTES: [u8; 3 * limits::FRAME] = {
    let mut bytes = [0; 3 * limits::FRAME];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % 251) as u8;
        at += 1;
    }
    bytes
};

pub(super) struct Side {
    pub(super) session: Session,
    /// What it says it accepts.
    limits: Limits,
    /// Whether it speaks the version with packed frames, and then packs what it writes.
    packs: bool,
    /// The peer's requests that run here, each with the life of the peer that asked.
    pub(super) running: BTreeMap<u64, u8>,
    /// Chunks that have come and were not taken.
    pub(super) untaken: VecDeque<(u64, Bytes)>,
    /// How often it has restarted.
    pub(super) life: u8,
    /// Frames that its owner has caused.
    pub(super) made: usize,
    pub(super) closed: bool,
    /// A stranger spoke to it in the peer's name.
    pub(super) fooled: bool,
}

pub(super) struct World {
    pub(super) sides: [Side; 2],
    /// What is on its way to each side.
    wires: [VecDeque<Frame>; 2],
    connected: bool,
    /// Who has opened a stream that the other side has not taken up yet.
    dialling: Option<usize>,
    now: Duration,
    turn: usize,
    pub(super) laws: Laws,
}

impl Side {
    /// The next frame as it lies on the wire.
    fn next_frame(&mut self) -> Option<Frame> {
        let mut frame = self.session.next_frame()?;
        if self.packs && self.session.packs() {
            frame.pack();
        }
        Some(frame)
    }
}

impl World {
    pub(super) fn new(stated: [(u8, u8); 2]) -> Self {
        let sides = std::array::from_fn(|side| {
            let (in_flight, unread) = stated[side];
            Side {
                session: Session::new(ID, memory(side, 0), START),
                limits: Limits {
                    in_flight: 1 + u64::from(in_flight % 64),
                    unread: (limits::FRAME * (2 + usize::from(unread % 3))) as u64,
                    message: (limits::FRAME * (1 + usize::from(unread % 16))) as u64,
                },
                packs: unread & 0x80 != 0,
                running: BTreeMap::new(),
                untaken: VecDeque::new(),
                life: 0,
                made: 0,
                closed: false,
                fooled: false,
            }
        });
        let wires = [VecDeque::new(), VecDeque::new()];
        Self { sides, wires, connected: false, dialling: None, now: START, turn: 0, laws: Laws::default() }
    }

    pub(super) fn memory(&self, side: usize) -> Memory {
        self.sides[side].session.memory()
    }

    fn terms(&self, side: usize) -> Terms {
        let Side { limits, packs, .. } = &self.sides[side];
        Terms { limits: limits.clone(), memory: self.memory(side), packs: *packs }
    }

    /// Bytes that differ from those of the last turn. Sizes above 239 are of many fragments.
    fn body(&mut self, size: u8) -> Bytes {
        self.turn += 1;
        let length = match size {
            0..240 => usize::from(size) * 7,
            _ => usize::from(size - 239) * 12_000,
        };
        let from = self.turn % 251;
        Bytes::from_static(&BYTES[from..from + length.min(BYTES.len() - 251)])
    }

    pub(super) fn ask(&mut self, side: usize, size: u8) {
        let body = self.body(size);
        if let Ok(id) = self.sides[side].session.request(body.clone()) {
            self.sides[side].made += 1 + frames_of(&body);
            self.laws.asked(side, self.sides[side].life, id, body);
        }
    }

    /// One frame comes to this side: of the stream, or the first one of the stream that it takes up.
    pub(super) fn carry(&mut self, to: usize) {
        let from = 1 - to;
        if self.dialling == Some(to) {
            // It has turned to another stream already; what the other side still writes is lost.
            let _lost = self.sides[from].session.next_frame();
            return;
        }
        if self.dialling == Some(from) && self.wires[to].is_empty() {
            return self.accept(to);
        }
        if !self.connected && self.wires[to].is_empty() {
            return;
        }
        let waiting = self.wires[to].pop_front();
        let frame = waiting.or_else(|| if self.dialling.is_none() { self.sides[from].next_frame() } else { None });
        let Some(frame) = frame else { return };
        let mut wire = BytesMut::new();
        frame.write(&mut wire);
        let read = Frame::read(&mut wire).expect("a machine writes what may be read").expect("whole");
        assert_eq!(read, frame, "and it is read as it was written");
        self.sides[to].session.receive(read, self.now);
    }

    /// This side's next frame leaves it and is on its way.
    pub(super) fn write(&mut self, from: usize) {
        if self.connected && self.dialling.is_none() {
            self.wires[1 - from].extend(self.sides[from].next_frame());
        }
    }

    /// Everything arrives, and what that causes too.
    pub(super) fn quiet(&mut self) {
        for _ in 0..4000 {
            let before = self.sides.each_ref().map(|side| side.session.has_frames());
            if before == [false, false] && self.wires.iter().all(VecDeque::is_empty) && self.dialling.is_none() {
                return;
            }
            if !self.connected && self.dialling.is_none() {
                return;
            }
            self.carry(0);
            self.settle();
            self.carry(1);
            self.settle();
        }
    }

    fn pick(&self, side: usize, which: u8) -> Option<(u64, u8)> {
        let running = &self.sides[side].running;
        running.iter().nth(usize::from(which) % running.len().max(1)).map(|(id, life)| (*id, *life))
    }

    pub(super) fn chunk(&mut self, side: usize, which: u8, size: u8) {
        let Some((id, life)) = self.pick(side, which) else { return };
        let body = self.body(size);
        let bytes = body.slice(..body.len().min(limits::FRAME));
        if self.sides[side].session.chunk(id, bytes.clone(), self.now).is_ok() && !bytes.is_empty() {
            self.sides[side].made += 1;
            self.laws.sent(1 - side, life, id, bytes);
        }
    }

    pub(super) fn respond(&mut self, side: usize, which: u8, size: u8) {
        let Some((id, life)) = self.pick(side, which) else { return };
        let body = self.body(size);
        self.sides[side].made += 1 + frames_of(&body);
        self.sides[side].running.remove(&id);
        self.laws.answered(1 - side, life, id, body.clone());
        self.sides[side].session.respond(id, body);
    }

    pub(super) fn refuse(&mut self, side: usize, which: u8) {
        let Some((id, _)) = self.pick(side, which) else { return };
        self.sides[side].made += 1;
        self.sides[side].running.remove(&id);
        self.sides[side].session.refuse(id, Refusal::Denied, "no".to_owned());
    }

    pub(super) fn take(&mut self, side: usize) {
        let side = &mut self.sides[side];
        if let Some((id, chunk)) = side.untaken.pop_front() {
            side.made += 1;
            side.session.taken(id, &chunk);
        }
    }

    pub(super) fn cancel(&mut self, side: usize, which: u8) {
        let life = self.sides[side].life;
        let Some(id) = self.laws.open(side, life).nth(usize::from(which) % 8) else { return };
        self.sides[side].made += 1;
        self.sides[side].session.cancel(id);
        self.sides[side].untaken.retain(|(of, _)| *of != id);
        self.laws.cancelled(side, life, id);
    }

    pub(super) fn tell(&mut self, side: usize, size: u8) {
        let body = self.body(size);
        self.sides[side].made += usize::from(self.sides[side].session.tell(body).is_ok());
    }

    /// The stream breaks, and this side notices.
    pub(super) fn cut(&mut self, side: usize) {
        self.sides[side].session.detach(self.now);
        self.connected = false;
        self.dialling = None;
        self.wires.iter_mut().for_each(VecDeque::clear);
    }

    /// A new stream: this side turns to it at once, the other when it takes it up.
    pub(super) fn dial(&mut self, side: usize) {
        if self.dialling.is_none() && !self.sides[side].session.is_closed() {
            self.sides[side].session.dial(Bytes::from_static(b"hello"), self.now);
            self.wires[side].clear();
            self.dialling = Some(side);
        }
    }

    pub(super) fn accept(&mut self, side: usize) {
        let from = 1 - side;
        if self.dialling != Some(from) {
            return;
        }
        self.dialling = None;
        self.wires.iter_mut().for_each(VecDeque::clear);
        self.connected = true;
        let hello = self.sides[from].session.next_frame();
        // A side that is over takes nothing up, and a dialler that has given up meanwhile says nothing.
        if self.sides[side].session.is_closed() || hello.is_none_or(|hello| hello.kind != Kind::Hello) {
            return self.cut(from);
        }
        let theirs = self.terms(from);
        self.sides[side].session.accept(Bytes::from_static(b"hello too"), &theirs, self.now);
    }

    /// The listener's Hello has come to this side.
    pub(super) fn greeted(&mut self, side: usize) {
        let theirs = self.terms(1 - side);
        self.sides[side].session.greeted(&theirs);
    }

    pub(super) fn tick(&mut self, side: usize, span: Duration) {
        self.now += span;
        self.sides[side].session.tick(self.now);
    }

    pub(super) fn close(&mut self, side: usize) {
        self.sides[side].session.close(Some(Refusal::State), "enough");
    }

    /// This side begins anew and remembers nothing.
    pub(super) fn restart(&mut self, side: usize) {
        let life = self.sides[side].life.wrapping_add(1);
        self.laws.forgotten(side, self.sides[side].life);
        self.cut(1 - side);
        let old = &mut self.sides[side];
        (old.life, old.made, old.closed) = (life, 0, false);
        old.session = Session::new(ID, memory(side, life), self.now);
        old.running.clear();
        old.untaken.clear();
    }

    /// A frame that the peer did not write comes to this side.
    pub(super) fn strange(&mut self, side: usize, [kind, flags, id]: [u8; 3], body: &[u8]) {
        self.sides[side].fooled = true;
        let mut header = [0; HEADER];
        header[2..4].copy_from_slice(&u16::try_from(body.len()).unwrap_or_default().to_be_bytes());
        (header[4], header[5], header[HEADER - 1]) = (kind, flags, id);
        let mut wire = BytesMut::from(&[&header[..], body].concat()[..]);
        let side = &mut self.sides[side];
        match Frame::read(&mut wire) {
            Ok(Some(frame)) => side.session.receive(frame, self.now),
            Ok(None) => panic!("a whole frame was written"),
            Err(refusal) => side.session.close(Some(refusal), "a frame breaks the protocol"),
        }
    }

    /// Both owners finish what they have begun. Between honest machines everything then has an end.
    pub(super) fn end(&mut self) {
        if self.sides.iter().all(|side| !side.fooled) {
            self.finish();
        }
        self.laws.bounded(&mut self.sides);
    }

    fn finish(&mut self) {
        // A side that lets one request in at a time needs a round for each.
        for _ in 0..700 {
            if !self.connected && self.dialling.is_none() {
                self.dial(0);
            }
            self.quiet();
            for side in [0, 1] {
                while !self.sides[side].untaken.is_empty() {
                    self.take(side);
                }
                while !self.sides[side].running.is_empty() {
                    self.respond(side, 0, 1);
                }
            }
            self.settle();
            let over = self.sides.iter().any(|side| side.session.is_closed());
            if over || self.sides.iter().all(|side| side.session.is_idle()) {
                break;
            }
        }
        // A side whose peer is gone learns it from the clock.
        for side in [0, 1] {
            if self.sides[1 - side].session.is_closed() && !self.sides[side].session.is_closed() {
                self.cut(side);
                self.tick(side, limits::STALL + Duration::from_secs(1));
            }
        }
        self.settle();
        self.laws.all_ended(&self.sides);
    }
}

fn memory(side: usize, life: u8) -> Memory {
    [u8::from(side == 1) + 1, life, 1, 1, 1, 1, 1, 1]
}
