//! What others have published about the standards that the protocol stands on, held against this code.

mod cose;
mod hpke;
mod x25519;
