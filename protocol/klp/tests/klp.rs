//! What KLP promises to somebody who has only `specs/`: the vectors, the decoders, the rules of trust.

// Nobody links a test binary, so nothing in it can be reached from outside.
#![allow(unreachable_pub)]

extern crate kos_klp as klp;

mod cast;
mod findings;
mod forward;
mod pages;
mod pairing;
mod properties;
mod public;
mod rules;
mod vectors;
