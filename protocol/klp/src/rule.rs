//! What follows from statements: pure decisions, each one function.

pub mod address;
pub mod choice;
pub mod permit;
pub mod record;
pub mod search;
