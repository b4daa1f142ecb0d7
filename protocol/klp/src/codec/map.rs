//! Maps with integer keys: how every structure of the protocol is written and read.

use std::collections::{BTreeMap, BTreeSet};

use super::primitive::Bytes;
use super::{Cbor, CodecError, Value, encode};

/// Builds a map with integer keys; absent fields are left out, never null.
#[derive(Default)]
pub struct Map(BTreeMap<Vec<u8>, (Value, Value)>);

impl Map {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this field.
    #[must_use]
    pub fn with(mut self, key: i64, value: &impl Cbor) -> Self {
        let key = Value::from(key);
        self.0.insert(encode(&key), (key, value.to_value()));
        self
    }

    /// With this field when there is one.
    #[must_use]
    pub fn with_some(self, key: i64, value: Option<&impl Cbor>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// The finished map, keys sorted by their bytes.
    pub fn build(self) -> Value {
        Value::Map(self.0.into_values().collect())
    }
}

/// Takes a map with integer keys apart, field by field; what is left at the end is refused.
pub struct Fields(BTreeMap<i64, Value>);

impl Fields {
    /// Opens a map.
    ///
    /// # Errors
    /// [`CodecError::Field`] when the value is no map with integer keys.
    pub fn of(value: Value) -> Result<Self, CodecError> {
        let wrong = || CodecError::Field { field: -1, expected: "a map with integer keys" };
        let Value::Map(entries) = value else { return Err(wrong()) };
        let mut fields = BTreeMap::new();
        for (key, value) in entries {
            let key = key.as_integer().and_then(|key| i64::try_from(key).ok()).ok_or_else(wrong)?;
            fields.insert(key, value);
        }
        Ok(Self(fields))
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// [`CodecError`] naming the field.
    pub fn take<T: Cbor>(&mut self, key: i64) -> Result<T, CodecError> {
        self.take_some(key)?.ok_or(CodecError::Missing(key))
    }

    /// A field that may be there.
    ///
    /// # Errors
    /// [`CodecError`] naming the field.
    pub fn take_some<T: Cbor>(&mut self, key: i64) -> Result<Option<T>, CodecError> {
        self.0.remove(&key).map(|value| T::from_value(value).map_err(|error| name(key, error))).transpose()
    }

    /// A field that must be there and measures at most `max`.
    ///
    /// # Errors
    /// [`CodecError`] naming the field.
    pub fn take_at_most<T: Entry + Measure>(&mut self, key: i64, max: usize) -> Result<T, CodecError> {
        let value = T::get(self, key)?;
        if value.measure() > max {
            return Err(CodecError::Field { field: key, expected: "within its size limit" });
        }
        Ok(value)
    }

    /// Text of at most `max` bytes.
    ///
    /// # Errors
    /// [`CodecError`] naming the field.
    pub fn text(&mut self, key: i64, max: usize) -> Result<String, CodecError> {
        self.take_at_most(key, max)
    }

    /// At most `max` bytes.
    ///
    /// # Errors
    /// [`CodecError`] naming the field.
    pub fn bytes(&mut self, key: i64, max: usize) -> Result<Vec<u8>, CodecError> {
        self.take_at_most::<Bytes>(key, max).map(|bytes| bytes.0)
    }

    /// At most `max` items.
    ///
    /// # Errors
    /// [`CodecError`] naming the field.
    pub fn list<T: Cbor>(&mut self, key: i64, max: usize) -> Result<Vec<T>, CodecError> {
        self.take_at_most(key, max)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`CodecError::Unknown`] when a field is left that nobody took.
    pub fn end(self) -> Result<(), CodecError> {
        self.0.keys().next().map_or(Ok(()), |key| Err(CodecError::Unknown(*key)))
    }
}

fn name(key: i64, error: CodecError) -> CodecError {
    match error {
        CodecError::Field { field: -1, expected } => CodecError::Field { field: key, expected },
        other => other,
    }
}

/// How a structure's field is written and read: a value is there, an option may be left out.
pub trait Entry: Sized {
    /// Writes the field.
    #[must_use]
    fn put(&self, map: Map, key: i64) -> Map;
    /// Reads the field.
    ///
    /// # Errors
    /// [`CodecError`] naming the field.
    fn get(fields: &mut Fields, key: i64) -> Result<Self, CodecError>;
}

impl<T: Cbor> Entry for T {
    fn put(&self, map: Map, key: i64) -> Map {
        map.with(key, self)
    }

    fn get(fields: &mut Fields, key: i64) -> Result<Self, CodecError> {
        fields.take(key)
    }
}

impl<T: Cbor> Entry for Option<T> {
    fn put(&self, map: Map, key: i64) -> Map {
        map.with_some(key, self.as_ref())
    }

    fn get(fields: &mut Fields, key: i64) -> Result<Self, CodecError> {
        fields.take_some(key)
    }
}

/// How large something is, in the unit its limit is written in: bytes for text and bytes, items for lists and maps.
pub trait Measure {
    /// Bytes or items.
    fn measure(&self) -> usize;
}

impl Measure for String {
    fn measure(&self) -> usize {
        self.len()
    }
}

impl Measure for Bytes {
    fn measure(&self) -> usize {
        self.0.len()
    }
}

impl<T> Measure for Vec<T> {
    fn measure(&self) -> usize {
        self.len()
    }
}

impl Measure for BTreeSet<String> {
    fn measure(&self) -> usize {
        self.iter().map(String::len).max().unwrap_or(0).max(self.len())
    }
}

impl Measure for BTreeMap<String, String> {
    fn measure(&self) -> usize {
        self.len()
    }
}

impl<T: Measure> Measure for Option<T> {
    fn measure(&self) -> usize {
        self.as_ref().map_or(0, Measure::measure)
    }
}

/// Declares a structure together with its CBOR form: `key field: type`, and `<= limit` where the size is bounded.
#[macro_export]
macro_rules! cbor_struct {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* $key:literal $field:ident : $type:ty $(, max $max:expr)? ; )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )+
        }

        impl $crate::codec::Cbor for $name {
            fn to_value(&self) -> $crate::codec::Value {
                let map = $crate::codec::Map::new();
                $( let map = $crate::codec::Entry::put(&self.$field, map, $key); )+
                map.build()
            }

            fn from_value(value: $crate::codec::Value) -> Result<Self, $crate::codec::CodecError> {
                let mut fields = $crate::codec::Fields::of(value)?;
                let read = Self { $( $field: $crate::cbor_struct!(@read fields, $key $(, $max)?), )+ };
                fields.end()?;
                Ok(read)
            }
        }
    };
    (@read $fields:ident, $key:literal) => { $crate::codec::Entry::get(&mut $fields, $key)? };
    (@read $fields:ident, $key:literal, $max:expr) => { $fields.take_at_most($key, $max)? };
}

/// Declares a [`cbor_struct!`] that is signed under a domain.
#[macro_export]
macro_rules! statement {
    ($domain:literal $(#[$meta:meta])* pub struct $name:ident { $($body:tt)+ }) => {
        $crate::cbor_struct! { $(#[$meta])* pub struct $name { $($body)+ } }

        impl $crate::signed::Statement for $name {
            const DOMAIN: &'static str = $domain;
        }
    };
}

/// Declares a closed set of words that travel as small numbers.
#[macro_export]
macro_rules! cbor_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $( $(#[$variant_meta:meta])* $number:literal $variant:ident $text:literal; )+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[$variant_meta])* $variant, )+ }

        impl $name {
            /// The word, for people and JSON.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }
        }

        impl $crate::codec::Cbor for $name {
            fn to_value(&self) -> $crate::codec::Value {
                $crate::codec::Value::from(match self { $( Self::$variant => $number, )+ })
            }

            fn from_value(value: $crate::codec::Value) -> Result<Self, $crate::codec::CodecError> {
                match <u64 as $crate::codec::Cbor>::from_value(value)? {
                    $( $number => Ok(Self::$variant), )+
                    _ => Err($crate::codec::CodecError::Field { field: -1, expected: concat!("a known ", stringify!($name)) }),
                }
            }
        }
    };
}
