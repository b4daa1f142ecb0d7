//! A peer with an identity of its own and no node behind it: it says whatever the story wants, also what no honest node says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use klp::codec::Value;
use klp::message::{Answered, Call, Empty, Grants, Request, kind};
use klp::sealed::ExchangeSecret;
use klp::statement::card::{Capability, Card, CardEntry};
use klp::statement::certificate::{Certificate, Introduction, Kind, Right};
use klp::statement::grant::{Budget, Grant, Window};
use klp::statement::receipt::{Order, request_digest};
use klp::statement::ticket::{self, Ticket};
use klp::{AgentId, Cbor, Digest, NodeId, OwnerId, Refusal, SecretKey, Signed, Timestamp, Verified, limits};
use mesh::{Event, Mesh, Multiaddr, Role};

use crate::{PATIENCE, Person};

/// Arguments of a call.
pub type Arguments = BTreeMap<String, String>;

/// A peer that is moved by hand.
pub struct Puppet {
    /// The key of the person.
    pub owner: SecretKey,
    /// The key of the node.
    pub node: SecretKey,
    /// Its owner's certificate for the node.
    pub introduction: Introduction,
    mesh: Mesh,
    count: AtomicU64,
}

impl Puppet {
    /// Opens one that answers nothing. The keys follow from the seed.
    pub async fn open(seed: u8) -> Self {
        Self::answering(seed, |_, _| Err(Refusal::NoHandler)).await
    }

    /// Opens one that answers requests by their kind and body.
    pub async fn answering(
        seed: u8,
        answer: impl Fn(&str, Value) -> Result<Vec<u8>, Refusal> + Send + 'static,
    ) -> Self {
        Self::serving(seed, move |_, asked| {
            let request = Request::from_bytes(&asked.body, limits::MESSAGE).map_err(|_| Refusal::Malformed);
            match request.and_then(|request| answer(&request.kind, request.body)) {
                Ok(body) => asked.reply.finish(body.into()),
                Err(refusal) => asked.reply.refuse(refusal, "as the story wants"),
            }
        })
        .await
    }

    /// Opens one that does what it likes with each request, over its mesh. The closure must not wait.
    pub async fn serving(seed: u8, serve: impl Fn(&Mesh, mesh::Request) + Send + 'static) -> Self {
        let (owner, node) = (SecretKey::from_seed(&[seed; 32]), SecretKey::from_seed(&[seed ^ 0xff; 32]));
        let mut config = mesh::Config::new(node.clone(), Role::Node);
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let (mesh, mut events, driver) = mesh::open(config, &mut mesh::Registry::default()).unwrap();
        tokio::spawn(driver);
        let own = mesh.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if let Event::Request(asked) = event {
                    serve(&own, asked);
                }
            }
        });
        let mut state = mesh.state();
        state.wait_for(|state| !state.listen.is_empty()).await.unwrap();
        let introduction = certificate(&owner, &node, None, |_| {});
        Self { owner, node, introduction, mesh, count: AtomicU64::default() }
    }

    /// Whose puppet it is.
    pub fn owner_id(&self) -> OwnerId {
        OwnerId(self.owner.did())
    }

    /// Its node.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.node.did())
    }

    /// The mesh below.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    fn number(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// A certificate of the puppet's owner, for any key.
    pub fn certify(&self, subject: &SecretKey, node: Option<NodeId>) -> Introduction {
        self.certify_with(subject, node, |_| {})
    }

    /// The same, changed before it is signed.
    pub fn certify_with(
        &self,
        subject: &SecretKey,
        node: Option<NodeId>,
        change: impl FnOnce(&mut Certificate),
    ) -> Introduction {
        certificate(&self.owner, subject, node, change)
    }

    /// Its ticket, as `kos contact add` takes it.
    pub fn ticket(&self) -> String {
        self.ticket_with(|_| {})
    }

    /// Its ticket, changed before it is signed.
    pub fn ticket_with(&self, change: impl FnOnce(&mut Ticket)) -> String {
        let issued = now();
        let mut made = Ticket {
            node: self.node_id(),
            owner: self.owner_id(),
            introduction: self.introduction.clone(),
            addresses: self.mesh.state().borrow().listen.iter().map(ToString::to_string).collect(),
            exchange: ExchangeSecret::from_seed([9; 32]).public(),
            issued,
            expires: issued.after(limits::TICKET_LIFE),
        };
        change(&mut made);
        ticket::to_line(&Verified::sign(made, &self.node))
    }

    /// A card of an agent with this key and name, on the puppet's node and signed with `signer`.
    pub fn card(&self, agent: &SecretKey, name: &str, signer: &SecretKey) -> CardEntry {
        let issued = now();
        let card = Card {
            agent: AgentId(agent.did()),
            owner: self.owner_id(),
            node: self.node_id(),
            name: name.to_owned(),
            description: format!("the agent {name}"),
            kind: "librarian".to_owned(),
            capabilities: vec![Capability { name: "ask".to_owned(), arguments: ["text".to_owned()].into() }],
            tags: [name.to_owned()].into(),
            seq: now().0,
            issued,
            expires: issued.after(limits::RECORD_LIFE),
        };
        let card = Verified::sign(card, signer).signed().clone();
        CardEntry { card, introduction: self.certify(agent, Some(self.node_id())) }
    }

    /// Connects to somebody's node and says whose it is.
    pub async fn meet(&self, person: &Person) -> NodeId {
        let node = self.dial(person).await;
        self.ask::<Empty>(node, kind::INTRODUCE, &self.introduction).await.unwrap();
        node
    }

    /// Connects to somebody's node and says nothing.
    pub async fn dial(&self, person: &Person) -> NodeId {
        let status = person.node.status().await.unwrap();
        let address: Multiaddr = status.listen[0].parse().unwrap();
        let node = mesh::node_in(&address).unwrap();
        self.mesh.dial(node, vec![address]).await.unwrap();
        node
    }

    /// Asks for one body and gets one.
    pub async fn ask<R: Cbor>(&self, node: NodeId, kind: &str, body: &impl Cbor) -> Result<R, Refusal> {
        let answer = self.mesh.request(node, Request::new(kind, body).to_bytes().into(), PATIENCE).await;
        let bytes = answer.finish().await.map_err(|refused| refused.refusal)?;
        R::from_bytes(&bytes, limits::MESSAGE).map_err(|_| Refusal::Malformed)
    }

    /// Sends bytes that need be no request.
    pub async fn send(&self, node: NodeId, body: impl Into<Bytes>) -> Result<Bytes, Refusal> {
        let answer = self.mesh.request(node, body.into(), PATIENCE).await;
        answer.finish().await.map_err(|refused| refused.refusal)
    }

    /// The chains of grants that this node holds for the puppet, each verified.
    pub async fn grants(&self, node: NodeId) -> Vec<Vec<Verified<Grant>>> {
        let given: Grants = self.ask(node, kind::GRANTS, &Empty).await.unwrap();
        let verified = |chain: Vec<Signed<Grant>>| chain.iter().map(|grant| grant.verify().unwrap()).collect();
        given.chains.into_iter().map(verified).collect()
    }

    /// A call as an honest node makes it. `change` may spoil the order before it is signed.
    pub fn call(
        &self,
        to: (NodeId, AgentId),
        chain: &[Verified<Grant>],
        arguments: Arguments,
        change: impl FnOnce(&mut Order),
    ) -> Call {
        let number = self.number().to_be_bytes();
        let issued = now();
        let nonce: [u8; 16] = [number, issued.0.to_be_bytes()].concat().try_into().unwrap();
        let mut order = Order {
            caller: self.owner_id(),
            node: to.0,
            agent: to.1,
            capability: "ask".to_owned(),
            grant: chain.last().map(Verified::id),
            request: request_digest(&nonce, "ask", &arguments),
            max_bytes: 1 << 20,
            issued,
            expires: issued.after(limits::ORDER_LIFE),
            nonce,
        };
        change(&mut order);
        Call {
            order: Verified::sign(order, &self.node).signed().clone(),
            chain: chain.iter().map(|grant| grant.signed().clone()).collect(),
            salt: nonce,
            arguments,
            issuers: Vec::new(),
        }
    }

    /// A grant that the puppet makes of one that it holds, without a limit of its own, spoiled as the story wants.
    pub fn link(&self, holder: OwnerId, parent: &Verified<Grant>, change: impl FnOnce(&mut Grant)) -> Verified<Grant> {
        let mut grant = Grant {
            issuer: self.owner_id(),
            holder: Some(holder),
            node: parent.node,
            agent: parent.agent,
            capability: parent.capability.clone(),
            arguments: None,
            budget: Budget { calls: None, bytes: None, window: Window::Total },
            issued: now(),
            expires: parent.expires,
            parent: Some(parent.id()),
            seq: now().0,
        };
        change(&mut grant);
        Verified::sign(grant, &self.owner)
    }

    /// A grant by which the puppet's node carries for somebody, whatever it then does.
    pub fn carries_for(&self, holder: OwnerId) -> Verified<Grant> {
        let node = self.node_id();
        let grant = Grant {
            issuer: self.owner_id(),
            holder: Some(holder),
            node,
            agent: AgentId(node.0),
            capability: klp::forward::CAPABILITY.to_owned(),
            arguments: None,
            budget: Budget { calls: None, bytes: None, window: Window::Total },
            issued: now(),
            expires: now().after(Duration::from_secs(3600)),
            parent: None,
            seq: now().0,
        };
        Verified::sign(grant, &self.owner)
    }

    /// Sends a call and waits for its end.
    pub async fn sent(&self, node: NodeId, call: &Call) -> Result<Answered, Refusal> {
        self.ask(node, kind::CALL, call).await
    }

    /// Ends it.
    pub fn close(self) {
        self.mesh.stop();
    }
}

fn certificate(
    owner: &SecretKey,
    subject: &SecretKey,
    node: Option<NodeId>,
    change: impl FnOnce(&mut Certificate),
) -> Introduction {
    let mut certificate = Certificate {
        subject: subject.did(),
        kind: if node.is_some() { Kind::Agent } else { Kind::Node },
        owner: OwnerId(owner.did()),
        node,
        rights: vec![Right::Grant, Right::Call, Right::Serve],
        issued: now(),
        expires: now().after(Duration::from_secs(3600)),
        seq: now().0,
        next_key: Digest([7; 32]),
    };
    change(&mut certificate);
    Introduction::make(certificate, owner, subject, now())
}

/// The question of a call.
pub fn text(question: &str) -> Arguments {
    [("text".to_owned(), question.to_owned())].into()
}

/// The wall clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(since.as_millis()).unwrap())
}
