//! Figures: what sessions and blob streams carry, besides what libp2p counts of itself. No label names a peer.

use std::sync::atomic::AtomicU64;

use klp::Refusal;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Way {
    way: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

/// The counters of one mesh.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Sessions with both Hellos said.
    pub(crate) sessions: Gauge,
    /// Sessions that went on over another connection.
    pub(crate) moves: Counter,
    /// Requests made by us.
    pub(crate) asked: Counter,
    /// Requests made by peers.
    pub(crate) requests: Counter,
    pub(crate) frames_in: Counter,
    pub(crate) frames_out: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    /// Bytes that needed not be written because frames were packed.
    pub(crate) saved: Counter,
    pub(crate) blob_in: Counter,
    pub(crate) blob_out: Counter,
    refusals: Family<Code, Counter>,
    blob_refusals: Family<Code, Counter>,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let (blob_refusals, blob_bytes) =
            (Family::<Code, Counter>::default(), Family::<Way, Counter<u64, AtomicU64>>::default());
        let blobs = registry.sub_registry_with_prefix("kos_blob");
        blobs.register("bytes", "Raw bytes of blobs", blob_bytes.clone());
        blobs.register("refusals", "Blob streams that were refused or broken off, by reason", blob_refusals.clone());
        let [blob_in, blob_out] = ["in", "out"].map(|way| blob_bytes.get_or_create(&Way { way }).clone());
        let registry = registry.sub_registry_with_prefix("kos_session");
        let (sessions, moves, refusals) = (Gauge::default(), Counter::default(), Family::<Code, Counter>::default());
        let saved = Counter::default();
        registry.register("saved_bytes", "Bytes that were kept from relays by packing frames", saved.clone());
        registry.register("open", "Sessions with both Hellos said", sessions.clone());
        registry.register("moves", "Sessions that went on over another connection", moves.clone());
        registry.register(
            "refusals",
            "Streams and requests that this node refused or closed, by reason",
            refusals.clone(),
        );
        // What has not happened yet is shown too, as none.
        for refusal in Refusal::ALL {
            for family in [&refusals, &blob_refusals] {
                drop(family.get_or_create(&Code { code: refusal.code() }));
            }
        }
        let mut both = |name: &str, help: &str, ways: [&'static str; 2]| {
            let family = Family::<Way, Counter<u64, AtomicU64>>::default();
            registry.register(name, help, family.clone());
            ways.map(|way| family.get_or_create(&Way { way }).clone())
        };
        let [asked, requests] = both("requests", "Requests, by who made them", ["ours", "theirs"]);
        let [frames_in, frames_out] = both("frames", "Frames", ["in", "out"]);
        let [bytes_in, bytes_out] = both("bytes", "Bytes of session streams", ["in", "out"]);
        Self {
            sessions,
            moves,
            asked,
            requests,
            frames_in,
            frames_out,
            bytes_in,
            bytes_out,
            saved,
            blob_in,
            blob_out,
            refusals,
            blob_refusals,
        }
    }

    /// Counts a refusal.
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refusals.get_or_create(&Code { code: refusal.code() }).inc();
    }

    /// Counts a refusal of a blob stream.
    pub(crate) fn blob_refused(&self, refusal: Refusal) {
        self.blob_refusals.get_or_create(&Code { code: refusal.code() }).inc();
    }
}
