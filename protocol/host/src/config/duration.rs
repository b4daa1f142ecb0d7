//! A [`Duration`] in a settings struct, written as people write it: `30s`, `2h 5m`.
//!
//! Use it as `#[serde(with = "host::config::duration")]`.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serializer, de};

/// Writes the text form.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*span))
}

/// Reads the text form.
///
/// # Errors
/// When the text is no time.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(de::Error::custom)
}
