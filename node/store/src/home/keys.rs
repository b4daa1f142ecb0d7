//! The keys of the machine tier: open from start to stop, sealed on disk (security rule 1).

use std::collections::BTreeMap;
use std::fmt;

use klp::codec::{CodecError, Fields, Map, Value};
use klp::sealed::ExchangeSecret;
use klp::{Cbor, SecretKey, Timestamp, limits};
use zeroize::{Zeroize as _, Zeroizing};

use crate::cipher::{Key, random};
use crate::disk::FileError;
use crate::store::DatabaseKey;

/// Agents of one node.
const AGENTS: usize = 1000;
/// Exchange keys kept: one in use and those replaced in the last ten days.
const EXCHANGES: usize = 16;
const BYTES: usize = 256 * 1024;

/// Why the machine keys were not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// More agents than a node has, or a name over 64 bytes.
    #[error("more than {AGENTS} agents, or a name of more than 64 bytes")]
    TooMany,
    /// They could not be written. They are as they were.
    #[error("the machine keys cannot be written")]
    File(#[from] FileError),
}

/// An X25519 key and its age.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The key.
    pub secret: ExchangeSecret,
    /// When it was made.
    pub created: Timestamp,
    /// When another one took its place.
    pub replaced: Option<Timestamp>,
}

/// All of them. It prints as `Keys(***)`.
#[derive(Clone)]
pub struct Keys {
    node: SecretKey,
    audit: SecretKey,
    database: Key,
    agents: BTreeMap<String, SecretKey>,
    exchanges: Vec<Exchange>,
}

impl Keys {
    pub(super) fn make(now: Timestamp) -> std::io::Result<Self> {
        let signing = || Ok::<_, std::io::Error>(SecretKey::from_seed(&Zeroizing::new(random()?)));
        let secret = ExchangeSecret::from_seed(*Zeroizing::new(random()?));
        Ok(Self {
            node: signing()?,
            audit: signing()?,
            database: Key::random()?,
            agents: BTreeMap::new(),
            exchanges: vec![Exchange { secret, created: now, replaced: None }],
        })
    }

    /// The node's key; also its libp2p identity.
    pub fn node(&self) -> &SecretKey {
        &self.node
    }

    /// The key that signs checkpoints of the audit log, and nothing else.
    pub fn audit(&self) -> &SecretKey {
        &self.audit
    }

    /// The key that seals the database.
    pub fn database(&self) -> DatabaseKey {
        DatabaseKey(self.database.clone())
    }

    /// A key for another purpose of this node, such as the search index of a served folder: 32 bytes that no other purpose has.
    pub fn derived(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*self.database.derive(b"kos/derived/1", &[purpose.as_bytes()]).bytes())
    }

    /// An agent's key.
    pub fn agent(&self, name: &str) -> Option<&SecretKey> {
        self.agents.get(name)
    }

    /// The names of the agents that have keys.
    pub fn agents(&self) -> impl Iterator<Item = &str> {
        self.agents.keys().map(String::as_str)
    }

    /// The exchange key in use.
    pub fn exchange(&self) -> Option<&Exchange> {
        self.exchanges.last()
    }

    /// The exchange key of this id, in use or replaced less than ten days ago.
    pub fn exchange_of(&self, id: &[u8; 8]) -> Option<&ExchangeSecret> {
        self.exchanges.iter().map(|exchange| &exchange.secret).find(|secret| secret.public().id() == *id)
    }

    pub(super) fn insert_agent(&mut self, name: &str, key: SecretKey) -> Result<(), KeysError> {
        if self.agents.len() >= AGENTS || name.len() > limits::NAME {
            return Err(KeysError::TooMany);
        }
        self.agents.insert(name.to_owned(), key);
        Ok(())
    }

    pub(super) fn remove_agent(&mut self, name: &str) -> bool {
        self.agents.remove(name).is_some()
    }

    /// Replaces the exchange key when it is old and drops replaced ones when they are.
    pub(super) fn rotate(&mut self, fresh: ExchangeSecret, now: Timestamp) -> bool {
        let before = self.exchanges.len();
        self.exchanges
            .retain(|exchange| exchange.replaced.is_none_or(|replaced| now.since(replaced) < limits::EXCHANGE_KEPT));
        let mut changed = self.exchanges.len() != before;
        let old = self.exchanges.last().is_none_or(|exchange| now.since(exchange.created) >= limits::EXCHANGE_LIFE);
        if old {
            if let Some(last) = self.exchanges.last_mut() {
                last.replaced = Some(now);
            }
            self.exchanges.push(Exchange { secret: fresh, created: now, replaced: None });
            changed = true;
        }
        changed
    }

    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let agents: Vec<_> = self.agents.iter().map(|(name, key)| Agent(name.clone(), key.clone())).collect();
        let mut value = Map::new()
            .with(1, &*self.node.seed())
            .with(2, &*self.audit.seed())
            .with(3, self.database.bytes())
            .with(4, &agents)
            .with(5, &self.exchanges)
            .build();
        let bytes = Zeroizing::new(klp::codec::encode(&value));
        wipe(&mut value);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut fields = Fields::of(klp::codec::decode(bytes, BYTES)?)?;
        let mut seed = |key| fields.take::<[u8; 32]>(key).map(Zeroizing::new);
        let (node, audit, database) = (seed(1)?, seed(2)?, seed(3)?);
        let agents: Vec<Agent> = fields.list(4, AGENTS)?;
        let exchanges = fields.list(5, EXCHANGES)?;
        fields.end()?;
        Ok(Self {
            node: SecretKey::from_seed(&node),
            audit: SecretKey::from_seed(&audit),
            database: Key::from_bytes(*database),
            agents: agents.into_iter().map(|agent| (agent.0, agent.1)).collect(),
            exchanges,
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(***)")
    }
}

/// Overwrites the secrets that building a value left in memory.
pub(crate) fn wipe(value: &mut Value) {
    match value {
        Value::Bytes(bytes) => bytes.zeroize(),
        Value::Text(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, item)| wipe(item)),
        _ => {}
    }
}

struct Agent(String, SecretKey);

impl Cbor for Agent {
    fn to_value(&self) -> Value {
        Map::new().with(1, &self.0).with(2, &*self.1.seed()).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let name = fields.text(1, limits::NAME)?;
        let seed = Zeroizing::new(fields.take::<[u8; 32]>(2)?);
        fields.end()?;
        Ok(Self(name, SecretKey::from_seed(&seed)))
    }
}

impl Cbor for Exchange {
    fn to_value(&self) -> Value {
        let map = Map::new().with(1, self.secret.seed()).with(2, &self.created);
        map.with_some(3, self.replaced.as_ref()).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let secret = ExchangeSecret::from_seed(*Zeroizing::new(fields.take::<[u8; 32]>(1)?));
        let exchange = Self { secret, created: fields.take(2)?, replaced: fields.take_some(3)? };
        fields.end()?;
        Ok(exchange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    #[test]
    fn s33_exchange_keys_rotate_at_30_days_and_open_for_10_more() {
        let mut keys = Keys::make(Timestamp(0)).expect("keys");
        let fresh = |seed| ExchangeSecret::from_seed([seed; 32]);
        let first = keys.exchange().expect("there").secret.public().id();
        assert!(!keys.rotate(fresh(1), Timestamp(30 * DAY - 1)));
        assert!(keys.rotate(fresh(1), Timestamp(30 * DAY)));
        assert_eq!(keys.exchange().expect("there").secret.public(), fresh(1).public());
        assert!(!keys.rotate(fresh(2), Timestamp(40 * DAY - 1)));
        assert!(keys.exchange_of(&first).is_some(), "mail to the old key still opens");
        assert!(keys.rotate(fresh(2), Timestamp(40 * DAY)));
        assert!(keys.exchange_of(&first).is_none());
    }

    #[test]
    fn keys_come_back_from_their_bytes() {
        let mut keys = Keys::make(Timestamp(5)).expect("keys");
        keys.insert_agent("docs", SecretKey::from_seed(&[3; 32])).expect("inserts");
        let back = Keys::decode(&keys.encode()).expect("decodes");
        assert_eq!(back.node().did(), keys.node().did());
        assert_eq!(back.audit().did(), keys.audit().did());
        assert_eq!(back.agent("docs").map(SecretKey::did), Some(SecretKey::from_seed(&[3; 32]).did()));
        assert_eq!(back.exchange().map(|exchange| exchange.created), Some(Timestamp(5)));
        assert_eq!(back.encode(), keys.encode());
        assert_ne!(back.derived("a"), back.derived("b"));
        assert_eq!(format!("{back:?}"), "Keys(***)");
    }

    proptest::proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _refused = Keys::decode(&bytes).is_err();
        }
    }
}
