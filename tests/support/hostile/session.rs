//! Two machines of one session, and whatever can happen between them: a script of frames, cuts, new streams, restarts and strangers' frames.

mod laws;
mod world;

use std::time::Duration;

use klp::frame::Kind;

use super::input::Input;
use super::vectors;
use world::World;

/// Longest script; each step may move a whole window of frames.
const STEPS: usize = 600;

/// The steps by number.
const ASK: u8 = 0;
const CARRY: u8 = 1;
const WRITE: u8 = 2;
const QUIET: u8 = 3;
const CHUNK: u8 = 4;
const RESPOND: u8 = 5;
const REFUSE: u8 = 6;
const TAKE: u8 = 7;
const CANCEL: u8 = 8;
const TELL: u8 = 9;
const CUT: u8 = 10;
const DIAL: u8 = 11;
const ACCEPT: u8 = 12;
const TICK: u8 = 13;
const CLOSE: u8 = 14;
const RESTART: u8 = 15;
const STRANGE: u8 = 16;
const AGAIN: u8 = 17;
const KINDS: u8 = 18;

/// The step of this number at the first side, or with `SECOND` at the other.
const SECOND: u8 = 0x80;

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let open = [vec![63, 3, 63, 3], vec![DIAL, ACCEPT | SECOND, QUIET]].concat();
    let scripts: [&[u8]; 11] = [
        // A question and its answer in chunks, with credit.
        &[
            ASK,
            9,
            QUIET,
            CHUNK | SECOND,
            0,
            255,
            CHUNK | SECOND,
            0,
            9,
            QUIET,
            TAKE,
            TAKE,
            RESPOND | SECOND,
            0,
            3,
            QUIET,
        ],
        // Both ask at once, one is refused, one is cancelled.
        &[ASK, 5, ASK | SECOND, 6, QUIET, REFUSE, 0, CANCEL, 0, QUIET, ASK, 0, QUIET, TELL, 9, QUIET],
        // The stream breaks with chunks on their way.
        &[
            ASK,
            9,
            QUIET,
            CHUNK | SECOND,
            0,
            99,
            WRITE | SECOND,
            CUT,
            CHUNK | SECOND,
            0,
            98,
            DIAL,
            ACCEPT | SECOND,
            QUIET,
            TAKE,
        ],
        // It is moved by the other side, while frames of the old one still come.
        &[
            ASK,
            9,
            ASK,
            8,
            WRITE,
            DIAL | SECOND,
            CARRY | SECOND,
            CARRY | SECOND,
            ACCEPT,
            QUIET,
            RESPOND | SECOND,
            0,
            1,
            QUIET,
        ],
        // The answering side restarts, then the asking one.
        &[ASK, 9, QUIET, RESTART | SECOND, DIAL, ACCEPT | SECOND, QUIET, RESTART, DIAL, ACCEPT | SECOND, ASK, 7, QUIET],
        // Nobody reads, and time passes.
        &[
            ASK,
            9,
            QUIET,
            CHUNK | SECOND,
            0,
            255,
            CHUNK | SECOND,
            0,
            255,
            CHUNK | SECOND,
            0,
            255,
            CHUNK | SECOND,
            0,
            255,
            QUIET,
            TICK,
            31,
            TICK | SECOND,
            31,
        ],
        // A stranger's frames: the same request again and again, pings without end, credit for nothing.
        &[
            STRANGE | SECOND,
            2,
            0,
            1,
            4,
            1,
            2,
            3,
            4,
            CHUNK | SECOND,
            0,
            200,
            AGAIN | SECOND,
            1,
            0,
            0,
            0,
            0,
            0,
            AGAIN | SECOND,
            1,
            0,
            0,
            0,
            0,
            0,
        ],
        &[
            STRANGE | SECOND,
            2,
            0,
            1,
            0,
            STRANGE | SECOND,
            2,
            0,
            2,
            0,
            STRANGE | SECOND,
            2,
            0,
            3,
            0,
            STRANGE | SECOND,
            6,
            0,
            3,
            0,
        ],
        &[ASK, 4, QUIET, STRANGE, 4, 0, 1, 3, 1, 1, 1, STRANGE, 3, 1, 1, 2, 7, 7, STRANGE, 3, 0, 1, 1, 7, TAKE],
        &[STRANGE | SECOND, 5, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 1, STRANGE | SECOND, 9, 0, 0, 2, 0, 15, CLOSE],
        &[
            ASK,
            250,
            ASK,
            251,
            ASK,
            252,
            QUIET,
            RESPOND | SECOND,
            2,
            255,
            QUIET,
            RESPOND | SECOND,
            0,
            254,
            CLOSE | SECOND,
            QUIET,
        ],
    ];
    let mut seeds: Vec<_> = scripts.iter().map(|script| [&open[..], script].concat()).collect();
    // Both sides pack, and a long answer moves to another stream half-way; then the first side does not.
    let long =
        [ASK, 255, QUIET, CHUNK | SECOND, 0, 255, CHUNK | SECOND, 0, 239, WRITE | SECOND, CUT, DIAL, ACCEPT | SECOND];
    let rest = [QUIET, TAKE, TAKE, RESPOND | SECOND, 0, 255, QUIET];
    for first in [0x80 | 3, 3] {
        seeds.push([&[63, first, 63, 0x80 | 3, DIAL, ACCEPT | SECOND, QUIET][..], &long, &rest].concat());
    }
    // A stranger's packed frames: those of the vectors, as a request to the second side.
    for packed in
        vectors::led(vectors::PACKED, "bytes", &[]).iter().filter(|bytes| (17..=16 + 255).contains(&bytes.len()))
    {
        let strange = [STRANGE | SECOND, 2, 4, 1, u8::try_from(packed.len() - 16).expect("short")];
        seeds.push([&[63, 0x80 | 3, 63, 0x80 | 3, DIAL, ACCEPT | SECOND, QUIET][..], &strange, &packed[16..]].concat());
    }
    let pings: Vec<u8> = (1..=250).flat_map(|id| [STRANGE | SECOND, 2, 0, id, 0]).collect();
    let begun: Vec<u8> = (1..=40).flat_map(|_| [STRANGE | SECOND, 2, 1, 1, 16].into_iter().chain([7; 16])).collect();
    seeds.extend([[&open[..], &pings].concat(), [&open[..], &begun].concat()]);
    let pieces: Vec<u8> = (1..=40).flat_map(|_| [CHUNK | SECOND, 0, 1]).collect();
    let asked: Vec<u8> = (1..=20).flat_map(|_| [AGAIN | SECOND, 1, 0, 0, 0, 0, 0]).collect();
    seeds.push([&open[..], &[STRANGE | SECOND, 2, 0, 1, 1, 7], &pieces, &asked].concat());
    // The conversation of the vectors, said by a stranger to the second side.
    let said = vectors::led(vectors::SESSIONS, "bytes", &[]).concat();
    seeds.push([&open[..], &said].concat());
    seeds
}

/// What each side accepts (two bytes each), then the steps.
pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limits = std::array::from_fn(|_| (input.byte(), input.byte()));
    let mut world = World::new(limits);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        step(&mut world, &mut input);
        world.settle();
    }
    world.end();
}

fn step(world: &mut World, input: &mut Input<'_>) {
    let what = input.byte();
    let side = usize::from(what >> 7);
    match (what & !SECOND) % KINDS {
        ASK => world.ask(side, input.byte()),
        CARRY => world.carry(side),
        WRITE => world.write(side),
        QUIET => world.quiet(),
        CHUNK => world.chunk(side, input.byte(), input.byte()),
        RESPOND => world.respond(side, input.byte(), input.byte()),
        REFUSE => world.refuse(side, input.byte()),
        TAKE => world.take(side),
        CANCEL => world.cancel(side, input.byte()),
        TELL => world.tell(side, input.byte()),
        CUT => world.cut(side),
        DIAL => world.dial(side),
        ACCEPT => world.accept(side),
        TICK => world.tick(side, Duration::from_secs(u64::from(input.byte()))),
        CLOSE => world.close(side),
        RESTART => world.restart(side),
        STRANGE => {
            let (kind, flags, id, length) = (input.byte(), input.byte(), input.byte(), input.byte());
            world.strange(side, [kind, flags, id], input.some(usize::from(length)));
        }
        _ => {
            let (id, received) = (input.byte(), input.number(4));
            let memory = match input.byte() % 3 {
                0 => world.memory(side),
                1 => klp::hello::NO_MEMORY,
                _ => [0x55; 8],
            };
            let body = [&received.to_be_bytes()[..], &memory, b"again"].concat();
            world.strange(side, [Kind::Request as u8, 2, id], &body);
        }
    }
}
