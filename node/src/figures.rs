//! Figures: what this node has refused above the mesh, which counts its own. No label names anybody.

use klp::Refusal;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
    code: &'static str,
}

/// The counters of one node.
#[derive(Clone, Default)]
pub(crate) struct Figures(Family<What, Counter>);

impl Figures {
    /// Shown in this registry.
    pub(crate) fn new(registry: &mut mesh::Registry) -> Self {
        let figures = Self::default();
        let help = "Answers, cards and gossip of others that were not believed, and callers of the local API that were not let in";
        registry.sub_registry_with_prefix("kos_node").register("refusals", help, figures.0.clone());
        figures
    }

    /// Counts a refusal of an `answer`, a `card`, a piece of `gossip`, or at the `api`.
    pub(crate) fn refused(&self, what: &'static str, refusal: Refusal) {
        self.0.get_or_create(&What { what, code: refusal.code() }).inc();
    }
}
