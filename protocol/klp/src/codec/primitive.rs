//! The CBOR forms of plain values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Cbor, CodecError, Digest, Value, encode};
use crate::time::Timestamp;

fn wrong<T>(expected: &'static str) -> Result<T, CodecError> {
    Err(CodecError::Field { field: -1, expected })
}

/// A byte string of any length, as opposed to an array of small integers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub Vec<u8>);

impl Cbor for Bytes {
    fn to_value(&self) -> Value {
        Value::Bytes(self.0.clone())
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        value.into_bytes().map(Self).or_else(|_| wrong("a byte string"))
    }
}

impl<const N: usize> Cbor for [u8; N] {
    fn to_value(&self) -> Value {
        Value::Bytes(self.to_vec())
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let bytes = Bytes::from_value(value)?.0;
        Self::try_from(bytes).or_else(|_| wrong("a byte string of the right length"))
    }
}

impl Cbor for Digest {
    fn to_value(&self) -> Value {
        self.0.to_value()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        <[u8; 32]>::from_value(value).map(Self)
    }
}

impl Cbor for u64 {
    fn to_value(&self) -> Value {
        Value::from(*self)
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        value
            .as_integer()
            .and_then(|number| Self::try_from(number).ok())
            .map_or_else(|| wrong("an unsigned integer"), Ok)
    }
}

impl Cbor for bool {
    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        value.as_bool().map_or_else(|| wrong("true or false"), Ok)
    }
}

impl Cbor for String {
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        value.into_text().or_else(|_| wrong("text"))
    }
}

impl Cbor for Timestamp {
    fn to_value(&self) -> Value {
        self.0.to_value()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        u64::from_value(value).map(Self)
    }
}

impl Cbor for Duration {
    fn to_value(&self) -> Value {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX).to_value()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        u64::from_value(value).map(Self::from_millis)
    }
}

impl<T: Cbor> Cbor for Vec<T> {
    fn to_value(&self) -> Value {
        Value::Array(self.iter().map(Cbor::to_value).collect())
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        match value {
            Value::Array(items) => items.into_iter().map(T::from_value).collect(),
            _ => wrong("a list"),
        }
    }
}

impl Cbor for BTreeSet<String> {
    fn to_value(&self) -> Value {
        Value::Array(self.iter().map(Cbor::to_value).collect())
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let items = Vec::<String>::from_value(value)?;
        let count = items.len();
        let sorted = items.windows(2).all(|pair| pair[0] < pair[1]);
        let set: Self = items.into_iter().collect();
        if sorted && set.len() == count { Ok(set) } else { wrong("a sorted list of different texts") }
    }
}

impl Cbor for BTreeMap<String, String> {
    fn to_value(&self) -> Value {
        let sorted: BTreeMap<Vec<u8>, (Value, Value)> = self
            .iter()
            .map(|(key, value)| (encode(&Value::Text(key.clone())), (key.to_value(), value.to_value())))
            .collect();
        Value::Map(sorted.into_values().collect())
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let Value::Map(entries) = value else { return wrong("a map of texts") };
        entries.into_iter().map(|(key, value)| Ok((String::from_value(key)?, String::from_value(value)?))).collect()
    }
}

impl Cbor for Value {
    fn to_value(&self) -> Value {
        self.clone()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        Ok(value)
    }
}
