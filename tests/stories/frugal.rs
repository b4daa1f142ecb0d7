//! What a message costs besides time, counted where nothing else runs: two sessions with bytes between them, as they lie on the wire. The counts are
//! the same on a busy machine and on an idle one.

use std::process::Command;
use std::time::Duration;

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use klp::frame::{Frame, HEADER, Header, Kind};
use klp::hello::{Limits, Terms};
use klp::limits;
use klp::session::{Delivery, Session};

/// Allocations of one request with its answer, on both sides together.
const ALLOCATIONS: f64 = 1.0;
/// Instructions of the same; another compiler may need a little more.
const INSTRUCTIONS: f64 = 5200.0;
/// Says to a copy of this program how many messages it is to exchange.
const COUNT: &str = "FRUGAL_COUNT";
const NOW: Duration = Duration::from_secs(1);

/// Two open sessions, and what is on its way to each.
struct Pair {
    a: Session,
    b: Session,
    to_a: BytesMut,
    to_b: BytesMut,
}

fn terms(memory: [u8; 8]) -> Terms {
    Terms { limits: Limits::OURS, memory, packs: true }
}

fn written(from: &mut Session, to: &mut BytesMut) {
    while let Some(frame) = from.next_frame() {
        frame.write(to);
    }
}

fn heard(from: &mut BytesMut, by: &mut Session) {
    while let Some(frame) = Frame::read(from).unwrap() {
        by.receive(frame, NOW);
    }
}

impl Pair {
    fn open() -> Self {
        let (a, b) = (Session::new([1; 16], [1; 8], NOW), Session::new([1; 16], [2; 8], NOW));
        let mut pair = Self { a, b, to_a: BytesMut::new(), to_b: BytesMut::new() };
        pair.a.dial(Bytes::from_static(b"hello"), NOW);
        // The Hello itself is checked by whoever owns the session.
        assert_eq!(pair.a.next_frame().unwrap().kind, Kind::Hello);
        pair.b.accept(Bytes::from_static(b"hello too"), &terms([1; 8]), NOW);
        written(&mut pair.b, &mut pair.to_a);
        heard(&mut pair.to_a, &mut pair.a);
        assert!(matches!(pair.a.next_delivery(), Some(Delivery::Hello(_))));
        pair.a.greeted(&terms([2; 8]));
        pair
    }

    /// So many requests with their answers, as many at once as may be.
    fn exchange(&mut self, count: usize) {
        let body = Bytes::from_static(&[7; 256]);
        let mut answered = 0;
        for _ in 0..count / limits::IN_FLIGHT {
            for _ in 0..limits::IN_FLIGHT {
                self.a.request(body.clone()).unwrap();
            }
            written(&mut self.a, &mut self.to_b);
            heard(&mut self.to_b, &mut self.b);
            while let Some(delivery) = self.b.next_delivery() {
                let Delivery::Request { id, body } = delivery else { panic!("{delivery:?}") };
                self.b.respond(id, body);
            }
            written(&mut self.b, &mut self.to_a);
            heard(&mut self.to_a, &mut self.a);
            while let Some(delivery) = self.a.next_delivery() {
                assert!(matches!(delivery, Delivery::Response { .. }), "{delivery:?}");
                answered += 1;
            }
        }
        assert_eq!(answered, count);
    }
}

#[test]
fn a_header_is_written_and_read_without_allocation() {
    let frame = Frame::new(Kind::Request, 7, Bytes::from_static(&[7; 256]));
    let mut out = BytesMut::with_capacity(HEADER + 256);
    let mut read = None;
    let memory = measure(|| {
        for _ in 0..1000 {
            out.clear();
            frame.write(&mut out);
            read = out.first_chunk().map(Header::decode);
        }
    });
    assert_eq!(read.unwrap().unwrap().length, 256);
    assert_eq!(memory.count_total, 0);
    // The counter counts here: else the line above would say nothing.
    assert!(measure(|| drop(Bytes::from(vec![7; 256]))).count_total > 0);
}

#[test]
fn a_request_with_its_answer_takes_few_allocations() {
    let mut pair = Pair::open();
    pair.exchange(64 * 16);
    let count = 64 * 100;
    let memory = measure(|| pair.exchange(count));
    let each = memory.count_total as f64 / count as f64;
    println!("{each:.2} allocations for a request and its answer");
    assert!(each <= ALLOCATIONS, "{each} allocations, {ALLOCATIONS} at most");
}

#[test]
fn a_request_with_its_answer_takes_few_instructions() {
    if let Ok(count) = std::env::var(COUNT) {
        return Pair::open().exchange(count.parse().unwrap());
    }
    if !kos_tests::has("instructions of a message", "valgrind") {
        return;
    }
    let counted = |count: usize| {
        let mut command = Command::new("valgrind");
        command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", "frugal::a_request_with_its_answer_takes_few_instructions", "--test-threads=1"]);
        let output = command.env(COUNT, count.to_string()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        let line = text.lines().find_map(|line| line.split_once("I refs:").or(line.split_once("I   refs:")));
        line.unwrap_or_else(|| panic!("{text}")).1.trim().replace(',', "").parse::<f64>().unwrap()
    };
    let (few, many) = (64 * 10, 64 * 40);
    let each = (counted(many) - counted(few)) / (many - few) as f64;
    println!("{each:.0} instructions for a request and its answer");
    assert!(each > 100.0, "{each}: nothing was counted");
    assert!(each <= INSTRUCTIONS, "{each} instructions, {INSTRUCTIONS} at most");
}
