//! Figures of what this node does above the mesh, which counts its own. No label names anybody.

use klp::Refusal;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use store::outbox::State;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Came {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// The counters of one node.
#[derive(Clone, Default)]
pub(crate) struct Figures {
    refusals: Family<What, Counter>,
    /// Cards of others that are remembered.
    cards: Gauge,
    /// Nodes that said nothing when they were asked last.
    silent: Gauge,
    questions: Family<Came, Counter>,
    balanced: Family<Came, Counter>,
    forwards: Family<Outcome, Counter>,
    /// Questions that wait for somebody to return.
    waiting: Gauge,
    left_queue: Family<Outcome, Counter>,
}

impl Figures {
    /// Shown in this registry.
    pub(crate) fn new(registry: &mut mesh::Registry) -> Self {
        let figures = Self::default();
        let help = "Answers, cards and gossip of others that were not believed, and callers of the local API that were not let in";
        let node = registry.sub_registry_with_prefix("kos_node");
        node.register("refusals", help, figures.refusals.clone());
        let help = "Requests that this node was asked to forward, by how that ended";
        node.register("forwards", help, figures.forwards.clone());
        let directory = registry.sub_registry_with_prefix("kos_directory");
        directory.register("cards", "Cards of others' agents that are remembered", figures.cards.clone());
        directory.register("silent", "Nodes that said nothing when they were asked last", figures.silent.clone());
        directory.register(
            "questions",
            "Nodes asked what they offer, by whether they answered",
            figures.questions.clone(),
        );
        let balance = registry.sub_registry_with_prefix("kos_balance");
        balance.register("calls", "Calls to one of several providers, by how it answered", figures.balanced.clone());
        let queue = registry.sub_registry_with_prefix("kos_queue");
        queue.register("waiting", "Questions that wait for a contact's node", figures.waiting.clone());
        queue.register("ended", "Questions that have waited, by what became of them", figures.left_queue.clone());
        // What has not happened yet is shown too, as none.
        for what in ["answer", "card", "gossip", "api"] {
            drop(figures.refusals.get_or_create(&What { what, code: Refusal::Malformed.code() }));
        }
        for result in ["answered", "failed"] {
            drop(figures.questions.get_or_create(&Came { result }));
            drop(figures.balanced.get_or_create(&Came { result }));
        }
        for state in [State::Answered, State::Failed, State::Expired, State::Dropped] {
            drop(figures.left_queue.get_or_create(&Outcome { outcome: state.as_str() }));
        }
        for outcome in ["forwarded", Refusal::Budget.code(), Refusal::Denied.code(), Refusal::Unreachable.code()] {
            drop(figures.forwards.get_or_create(&Outcome { outcome }));
        }
        figures
    }

    /// Counts a refusal of an `answer`, a `card`, a piece of `gossip`, or at the `api`.
    pub(crate) fn refused(&self, what: &'static str, refusal: Refusal) {
        self.refusals.get_or_create(&What { what, code: refusal.code() }).inc();
    }

    /// So many cards are remembered.
    pub(crate) fn knows(&self, cards: usize) {
        self.cards.set(i64::try_from(cards).unwrap_or(i64::MAX));
    }

    /// So many nodes are silent.
    pub(crate) fn silent(&self, nodes: usize) {
        self.silent.set(i64::try_from(nodes).unwrap_or(i64::MAX));
    }

    /// A node was asked what it offers.
    pub(crate) fn directory_asked(&self, answered: bool) {
        self.questions.get_or_create(&Came { result: word(answered) }).inc();
    }

    /// Counts a request of somebody else's to a third: `forwarded`, or the refusal that ended it.
    pub(crate) fn forwarded(&self, ended: Option<Refusal>) {
        self.forwards.get_or_create(&Outcome { outcome: ended.map_or("forwarded", Refusal::code) }).inc();
    }

    /// So many questions wait for somebody to return.
    pub(crate) fn waits(&self, questions: usize) {
        self.waiting.set(i64::try_from(questions).unwrap_or(i64::MAX));
    }

    /// A question waits no longer.
    pub(crate) fn left_queue(&self, state: State) {
        self.left_queue.get_or_create(&Outcome { outcome: state.as_str() }).inc();
    }

    /// One of several providers was asked.
    pub(crate) fn balanced(&self, answered: bool) {
        self.balanced.get_or_create(&Came { result: word(answered) }).inc();
    }
}

fn word(answered: bool) -> &'static str {
    if answered { "answered" } else { "failed" }
}
