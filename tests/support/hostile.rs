//! What strangers may send: an entry for each form, as a plain function of bytes.
//!
//! An entry takes any bytes. It must return, without a panic and without memory out of proportion to the bytes, and it holds what was read to
//! what its page of `specs/` promises: one encoding, one verdict, no right that nobody gave. The `hostile` test drives every entry with its
//! seeds and with mutations of them, libFuzzer drives the same entries from `tests/fuzz`.
//!
//! The first byte of most inputs chooses a way in. By way 0 the rest is what travels. By the others it is only what is inside, and the entry
//! signs it: nobody guesses a signature, but a contact can sign anything.

mod cast;
mod chain;
mod directory;
mod envelope;
mod forward;
mod frame;
mod grant;
mod hello;
mod input;
mod message;
pub mod mutation;
mod pairing;
mod receipt;
mod record;
mod sealed;
mod session;
mod settings;
mod ticket;
mod vectors;

/// One way in for the bytes of strangers.
pub struct Entry {
    /// Its name, also as a target of libFuzzer.
    pub name: &'static str,
    /// Takes any bytes; a panic is a finding.
    pub run: fn(&[u8]),
    /// Inputs that honest nodes would make, and those of `specs/vectors` that must be refused.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Longest input that is worth trying.
    pub longest: usize,
    /// What it may take in memory besides [`FACTOR`] bytes for each byte of input, in KiB: the honest side signs, decodes and asks too.
    pub honest: u64,
}

/// Bytes of memory that each byte of an input may take. A CBOR item of one byte becomes a value of 32, in a list that has just been doubled.
pub const FACTOR: u64 = 256;

/// Every way in.
pub const ENTRIES: [Entry; 15] = [
    Entry { name: "frame", run: frame::run, seeds: frame::seeds, longest: 8192, honest: 640 },
    Entry { name: "hello", run: hello::run, seeds: hello::seeds, longest: 4096, honest: 256 },
    Entry { name: "envelope", run: envelope::run, seeds: envelope::seeds, longest: 4096, honest: 256 },
    Entry { name: "record", run: record::run, seeds: record::seeds, longest: 4096, honest: 256 },
    Entry { name: "directory", run: directory::run, seeds: directory::seeds, longest: 9216, honest: 256 },
    Entry { name: "ticket", run: ticket::run, seeds: ticket::seeds, longest: 4096, honest: 256 },
    Entry { name: "grant", run: grant::run, seeds: grant::seeds, longest: 4096, honest: 256 },
    Entry { name: "chain", run: chain::run, seeds: chain::seeds, longest: 4096, honest: 256 },
    Entry { name: "receipt", run: receipt::run, seeds: receipt::seeds, longest: 8192, honest: 256 },
    Entry { name: "session", run: session::run, seeds: session::seeds, longest: 4096, honest: 16 * 1024 },
    Entry { name: "message", run: message::run, seeds: message::seeds, longest: 8192, honest: 256 },
    Entry { name: "pairing", run: pairing::run, seeds: pairing::seeds, longest: 4096, honest: 256 },
    Entry { name: "sealed", run: sealed::run, seeds: sealed::seeds, longest: 4096, honest: 256 },
    Entry { name: "forward", run: forward::run, seeds: forward::seeds, longest: 4096, honest: 256 },
    Entry { name: "settings", run: settings::run, seeds: settings::seeds, longest: 4096, honest: 256 },
];

/// The entry of this name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}
