//! Whom an address means, and where their agent is.

use klp::statement::card::Card;
use klp::{AgentId, NodeId, OwnerId, Refusal, Verified};
use store::contacts::Contact;

use super::Calls;
use crate::address::{Address, Who};
use crate::fault::Fault;

/// Which agent is asked, and where.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) owner: OwnerId,
    pub(super) node: NodeId,
    pub(super) agent: AgentId,
}

/// Where a question goes that may wait.
pub(in crate::services) enum Place {
    /// To an agent here.
    Here,
    /// To a contact.
    Contact(Contact),
}

impl Calls {
    /// Who is meant, and where their agent is.
    pub(super) async fn resolve(&self, address: &Address) -> Result<Target, Fault> {
        let name = address.agent.as_deref();
        match &address.who {
            Who::Me => self.own(name.unwrap_or_default()),
            Who::Any => Err(Refusal::Invalid.into()),
            Who::Petname(petname) => {
                let contact = self.contact(petname)?;
                self.at_contact(&contact, name.unwrap_or_default()).await
            }
            Who::Did(did) => {
                if *did == self.me.owner().0 || *did == self.me.node().0 {
                    return self.own(name.unwrap_or_default());
                }
                if let Some(own) = self.agents.by_id(&AgentId(*did)) {
                    return self.own(&own.manifest.name);
                }
                let contact = self.people.owner(&OwnerId(*did)).or_else(|| self.people.node(&NodeId(*did)));
                if let (Some(contact), Some(name)) = (&contact, name) {
                    return self.at_contact(contact, name).await;
                }
                // A grant that I hold says where its agent lives, also when its card is not shown to me.
                if let Some(chain) = self.grants.for_agent(&AgentId(*did)).await?.first()
                    && let Some(last) = chain.last()
                {
                    return Ok(Target { owner: chain[0].issuer, node: last.node, agent: last.agent });
                }
                let card = self.agents_of(*did, name).await?;
                Ok(Target { owner: card.owner, node: card.node, agent: card.agent })
            }
        }
    }

    /// The agent of a contact as its node has shown it within the life of a card. While that node is there it is not asked again before
    /// each call: a call that it refuses costs it no more than the question would.
    pub(super) async fn shown(&self, address: &Address) -> Result<Option<Target>, Fault> {
        let Who::Petname(petname) = &address.who else { return Ok(None) };
        let (Some(contact), Some(name)) = (self.people.named(petname), &address.agent) else { return Ok(None) };
        let cards = self.directory.remembered_of(contact.owner).await?;
        let there =
            |node: &NodeId| contact.nodes.iter().any(|device| device.node == *node) && self.outbound.is_reached(*node);
        let named = cards.iter().filter(|card| card.name == *name && there(&card.node));
        Ok(named.max_by_key(|card| card.seq).map(|card| Target {
            owner: card.owner,
            node: card.node,
            agent: card.agent,
        }))
    }

    fn own(&self, name: &str) -> Result<Target, Fault> {
        let agent =
            self.agents.named(name).ok_or_else(|| Fault::not_found("agent", name).hint("see `kos agent list`"))?;
        Ok(Target { owner: self.me.owner(), node: self.me.node(), agent: agent.id })
    }

    async fn at_contact(&self, contact: &Contact, name: &str) -> Result<Target, Fault> {
        let wanted = |card: &&Verified<Card>| card.name == name && card.owner == contact.owner;
        let target = |card: &Verified<Card>| Target { owner: card.owner, node: card.node, agent: card.agent };
        let mut last = Fault::from(Refusal::Unreachable);
        for device in &contact.nodes {
            match self.directory.cards_at(device.node, None, None).await {
                Ok(cards) => match cards.iter().find(wanted) {
                    Some(card) => return Ok(target(card)),
                    None => {
                        last = Fault::new(
                            Refusal::Denied,
                            format!(
                                "{} shows you no agent \"{name}\": there is none, or you have no grant for it",
                                contact.name
                            ),
                        )
                        .hint("ask its owner for a grant; `kos contact show` lists what you may see");
                    }
                },
                Err(fault) => last = fault,
            }
        }
        // An agent that was shown before may still tell the holder of a grant why it is not shown any more.
        let remembered = self.directory.remembered().await?;
        remembered.iter().find(wanted).filter(|_| last.refusal == Refusal::Denied).map(target).ok_or(last)
    }

    async fn agents_of(&self, did: klp::Did, name: Option<&str>) -> Result<Verified<Card>, Fault> {
        let cards = self.directory.cards_of(did).await?;
        let wanted = |card: &&Verified<Card>| {
            card.agent.0 == did
                || name.is_some_and(|name| card.name == name && (card.owner.0 == did || card.node.0 == did))
        };
        cards.iter().find(wanted).cloned().ok_or_else(|| {
            Fault::new(Refusal::NotFound, format!("no agent of {} is to be found", did.short()))
                .hint("its node may be down, or its owner does not list it; ask them for a ticket")
        })
    }

    /// Where a question goes that may wait. Nobody is asked for it: only what is known here counts.
    ///
    /// # Errors
    /// `invalid` when nobody in particular is meant, `not_found` when it is no contact.
    pub(in crate::services) async fn place(&self, address: &Address) -> Result<Place, Fault> {
        let did = match &address.who {
            Who::Me => return Ok(Place::Here),
            Who::Any => {
                return Err(Fault::new(Refusal::Invalid, "what is for anybody cannot wait for somebody")
                    .hint("name a contact, or leave --later out"));
            }
            Who::Petname(petname) => return self.contact(petname).map(Place::Contact),
            Who::Did(did) => *did,
        };
        let own = did == self.me.owner().0 || did == self.me.node().0 || self.agents.by_id(&AgentId(did)).is_some();
        if own {
            return Ok(Place::Here);
        }
        let chains = self.grants.for_agent(&AgentId(did)).await?;
        let honoured = chains.first().and_then(|chain| chain.last()).map(|last| last.node);
        let contact = self.people.owner(&OwnerId(did)).or_else(|| self.people.node(&NodeId(did)));
        let contact = contact.or_else(|| self.people.node(&honoured?));
        contact.map(Place::Contact).ok_or_else(|| {
            Fault::new(
                Refusal::NotFound,
                format!("{} is no contact, and a question waits for contacts only", did.short()),
            )
            .hint("add its owner with `kos contact add`, or leave --later out")
        })
    }

    fn contact(&self, petname: &str) -> Result<Contact, Fault> {
        self.people.named(petname).ok_or_else(|| {
            Fault::not_found("contact", petname).hint("see `kos contact list`; add somebody with `kos contact add`")
        })
    }
}
