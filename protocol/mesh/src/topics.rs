//! Gossip: two topics, every message signed, none passed on before our owner has judged it.

use libp2p::PeerId;
use libp2p::gossipsub::{
    self, ConfigBuilder, IdentTopic, MaxCountSubscriptionFilter, MessageAcceptance, MessageAuthenticity, MessageId,
    PeerScoreParams, PeerScoreThresholds, TopicHash, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;

use bytes::Bytes;
use klp::limits;

use crate::behaviour::Gossipsub;
use crate::event::{Gossip, Topic, Verdict};
use crate::peer::node_of;

/// Room for gossipsub's own envelope: source, sequence number, topic, signature and key.
const ENVELOPE: usize = 1024;

/// Why nothing was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// More than `klp::limits::GOSSIP` bytes.
    #[error("a gossip message holds at most {} bytes", limits::GOSSIP)]
    TooLarge,
    /// Nobody we are connected to takes part in the topic.
    #[error("no connected peer takes part in this topic")]
    NoPeers,
    /// All peers are too slow.
    #[error("the queues of all peers are full")]
    Busy,
    /// This program takes part in no gossip.
    #[error("gossip is off in this role")]
    Off,
    /// The mesh has been stopped.
    #[error("the mesh is stopped")]
    Stopped,
}

/// Names a gossip message in a verdict.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    id: MessageId,
    from: PeerId,
}

impl Message {
    /// Who brought it.
    pub(crate) fn from(&self) -> PeerId {
        self.from
    }
}

/// Gossip with our settings.
pub(crate) fn gossipsub(keypair: Keypair) -> Result<Gossipsub, String> {
    let config = ConfigBuilder::default()
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(limits::GOSSIP + ENVELOPE)
        .build()
        .map_err(|error| error.to_string())?;
    let topics = Topic::ALL.map(|topic| ident(topic).hash());
    let filter = MaxCountSubscriptionFilter {
        filter: WhitelistSubscriptionFilter(topics.iter().cloned().collect()),
        max_subscribed_topics: topics.len(),
        max_subscriptions_per_request: 2 * topics.len(),
    };
    let signed = MessageAuthenticity::Signed(keypair);
    let mut gossip = gossipsub::Behaviour::new_with_subscription_filter(signed, config, filter)?;
    let mut score = PeerScoreParams {
        // Every peer behind one relay has the relay's address.
        ip_colocation_factor_weight: 0.0,
        ..PeerScoreParams::default()
    };
    for topic in topics {
        score.topics.insert(topic, topic_score());
    }
    gossip.with_peer_score(score, PeerScoreThresholds::default())?;
    Ok(gossip)
}

/// Our topics are quiet: a peer that brings nothing is no bad peer.
fn topic_score() -> TopicScoreParams {
    TopicScoreParams {
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -20.0,
        ..TopicScoreParams::default()
    }
}

fn ident(topic: Topic) -> IdentTopic {
    IdentTopic::new(topic.name())
}

fn topic_of(hash: &TopicHash) -> Option<Topic> {
    Topic::ALL.into_iter().find(|topic| ident(*topic).hash() == *hash)
}

pub(crate) fn subscribe(gossip: &mut Gossipsub, topic: Topic, on: bool) {
    if on {
        // The filter allows our own topics; there is nothing else to fail.
        let _was = gossip.subscribe(&ident(topic)).inspect_err(|error| tracing::warn!(?error, "subscribing failed"));
    } else {
        gossip.unsubscribe(&ident(topic));
    }
}

pub(crate) fn publish(gossip: &mut Gossipsub, topic: Topic, body: &Bytes) -> Result<(), PublishError> {
    if body.len() > limits::GOSSIP {
        return Err(PublishError::TooLarge);
    }
    match gossip.publish(ident(topic), body.to_vec()) {
        Ok(_) | Err(gossipsub::PublishError::Duplicate) => Ok(()),
        Err(gossipsub::PublishError::NoPeersSubscribedToTopic) => Err(PublishError::NoPeers),
        Err(gossipsub::PublishError::AllQueuesFull(_)) => Err(PublishError::Busy),
        Err(_) => Err(PublishError::TooLarge),
    }
}

pub(crate) fn judge(gossip: &mut Gossipsub, message: &Message, verdict: Verdict) {
    let verdict = match verdict {
        Verdict::Accept => MessageAcceptance::Accept,
        Verdict::Ignore => MessageAcceptance::Ignore,
        Verdict::Reject => MessageAcceptance::Reject,
    };
    // False only says that the message has left the cache meanwhile.
    let _known = gossip.report_message_validation_result(&message.id, &message.from, verdict);
}

/// The name of a message for a verdict without a look.
pub(crate) fn name(from: PeerId, id: MessageId) -> Message {
    Message { id, from }
}

/// A message that came, unless it is of no topic or no node.
pub(crate) fn came(from: PeerId, id: MessageId, message: gossipsub::Message) -> Result<Gossip, Message> {
    let named = Message { id, from };
    let source = message.source.as_ref().and_then(node_of);
    match (topic_of(&message.topic), source, node_of(&from)) {
        (Some(topic), Some(source), Some(node)) if message.data.len() <= limits::GOSSIP => {
            Ok(Gossip { topic, source, from: node, body: message.data.into(), message: named })
        }
        _ => Err(named),
    }
}
