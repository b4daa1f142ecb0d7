//! Figures of reaching and being reached: each step of the ladder, each witness, each loss. No label names a peer.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::path::Kind;
use crate::reach::Change;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepTaken {
    step: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Found {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

/// The figures of one mesh.
#[derive(Clone, Debug)]
pub(crate) struct Ladder {
    steps: Family<StepTaken, Counter>,
    probes: Family<Found, Counter>,
    losses: Family<Found, Counter>,
    changes: Family<What, Counter>,
    /// Places held at relays.
    pub(crate) reservations: Gauge,
    /// Connections that were given up because nothing came back.
    pub(crate) demotions: Counter,
    /// Addresses that everybody can reach.
    pub(crate) confirmed: Gauge,
}

/// A step of the ladder that no address names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Dial(Kind),
    Punch,
    Reversal,
}

impl Ladder {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("kos_reach");
        let made = Self {
            steps: Family::default(),
            probes: Family::default(),
            losses: Family::default(),
            changes: Family::default(),
            reservations: Gauge::default(),
            demotions: Counter::default(),
            confirmed: Gauge::default(),
        };
        registry.register("steps", "Ways to a peer that were tried, by step and result", made.steps.clone());
        registry.register("probes", "Own addresses that third parties dialled, by result", made.probes.clone());
        registry.register("relay_losses", "Places at relays that were lost or refused", made.losses.clone());
        registry.register("changes", "Changes of the network that were noticed", made.changes.clone());
        registry.register("reservations", "Places held at relays", made.reservations.clone());
        registry.register("demotions", "Connections given up because nothing came back", made.demotions.clone());
        registry.register("confirmed", "Own addresses that others reach", made.confirmed.clone());
        // What has not happened yet is shown too, as none.
        let dials = [Kind::Lan, Kind::Direct, Kind::Relayed].map(Step::Dial);
        for step in dials.into_iter().chain([Step::Punch, Step::Reversal]) {
            let step = step.as_str();
            for result in ["ok", "failed"] {
                drop(made.steps.get_or_create(&StepTaken { step, result }));
            }
        }
        for result in ["reached", "failed"] {
            drop(made.probes.get_or_create(&Found { result }));
        }
        for result in ["lost", "refused"] {
            drop(made.losses.get_or_create(&Found { result }));
        }
        for what in ["moved", "slept"] {
            drop(made.changes.get_or_create(&What { what }));
        }
        made
    }

    /// A step was tried.
    pub(crate) fn step(&self, step: Step, ok: bool) {
        let result = if ok { "ok" } else { "failed" };
        self.steps.get_or_create(&StepTaken { step: step.as_str(), result }).inc();
    }

    /// A third party has dialled us, or could not.
    pub(crate) fn probe(&self, ok: bool) {
        self.probes.get_or_create(&Found { result: if ok { "reached" } else { "failed" } }).inc();
    }

    /// A place at a relay is gone.
    pub(crate) fn relay_lost(&self, refused: bool) {
        self.losses.get_or_create(&Found { result: if refused { "refused" } else { "lost" } }).inc();
    }

    /// The network has changed.
    pub(crate) fn changed(&self, change: Change) {
        self.changes.get_or_create(&What { what: named(change) }).inc();
    }
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Dial(kind) => kind.as_str(),
            Self::Punch => "punch",
            Self::Reversal => "reversal",
        }
    }
}

fn named(change: Change) -> &'static str {
    match change {
        Change::Moved => "moved",
        Change::Slept => "slept",
    }
}
