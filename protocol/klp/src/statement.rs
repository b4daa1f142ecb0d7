//! What is signed: each file declares the statements of one matter. They name each other by [`crate::Digest`], never by value.

pub mod card;
pub mod certificate;
pub mod grant;
pub mod receipt;
pub mod revocation;
pub mod ticket;
