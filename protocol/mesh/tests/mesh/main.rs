//! Real nodes in one process, over loopback and in memory.

// Everywhere else the package is called by its floor.
extern crate kos_mesh as mesh;

mod blobs;
mod crowd;
mod doorway;
mod gossip;
mod ladder;
mod liars;
mod line;
mod lookups;
mod packed;
mod reach;
mod relayed;
mod sessions;
mod shares;
mod silence;
mod streams;
mod support;
mod tampering;
mod tapped;
#[cfg(feature = "webrtc")]
mod webrtc;
