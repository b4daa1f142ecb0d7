//! Agents: what a node can do for people. No network and no database here: both come in as plain values.
//!
//! # Layout
//! `manifest` and `registry` say which agents there are. `agent` thinks: steps in, effects out, pure. `runtime` does what it wants and
//! streams the answer. `librarian` and `guide` are the engines: an `index` over a folder (on disk, `sealed`) or over texts in memory,
//! filled by `extract` and cut into `passage`s. A `script` speaks for an agent from elsewhere in this process.

pub mod agent;
pub mod answer;
pub mod effect;
pub mod extract;
pub mod guide;
pub mod index;
pub mod librarian;
pub mod manifest;
pub mod passage;
pub mod plain;
pub mod registry;
pub mod runtime;
pub mod script;
pub mod sealed;

pub use effect::{Failure, Input, Output, Usage};
pub use guide::Guide;
pub use librarian::Librarian;
pub use manifest::{Kind, Manifest, Visibility};
pub use registry::{Registration, Registry, State};
pub use runtime::{Answer, Mind, Runtime};
pub use script::Script;
