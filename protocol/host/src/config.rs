//! Settings in layers: default < file < `KOS_*` variable < flag. One table of [`Key`]s says what there is; variable, flag, check and
//! listing all follow from it, so that they cannot disagree.
//!
//! The file is TOML, or JSON when its name ends in `.json`. A key that is not in the table is an error that names key and file.

mod key;
mod layers;
mod origin;
#[cfg(test)]
mod tests;

pub mod duration;

pub use key::{Key, Kind};
pub use layers::{Layers, Loaded};
pub use origin::{Origin, Setting};

use std::path::PathBuf;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::home::HomeError;

/// A program's settings: a struct whose fields, by dotted name, are the keys of its table.
pub trait Settings: Serialize + DeserializeOwned + Default {
    /// Every key, in the order in which it is listed.
    fn keys() -> Vec<Key>;
}

/// Why the settings do not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the settings file {}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Neither TOML nor JSON.
    #[error("{} is no valid settings file: {reason}", .file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line, column and cause, as the parser says it.
        reason: String,
    },
    /// Both `kos.toml` and `kos.json` are in the home.
    #[error("both {} and {} are there: keep one of them", .0.display(), .1.display())]
    Two(PathBuf, PathBuf),
    /// A key that no program has.
    #[error("unknown key {key} in {}{}", .file.display(), near_text(*.near))]
    Unknown {
        /// The key.
        key: String,
        /// The file.
        file: PathBuf,
        /// The key that was perhaps meant.
        near: Option<&'static str>,
    },
    /// A value of the wrong kind, or out of bounds.
    #[error("{key} from {origin} must be {expected}, not {got}")]
    Value {
        /// The key.
        key: &'static str,
        /// Where the value stands.
        origin: Origin,
        /// What is expected.
        expected: String,
        /// What was found.
        got: String,
    },
    /// The table and the struct do not agree, or a value passed the table and not the struct.
    #[error("the settings do not fit together")]
    Shape(#[source] serde_json::Error),
    /// No home folder to look for the file in.
    #[error(transparent)]
    Home(#[from] HomeError),
}

fn near_text(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!(": did you mean {near}?"))
}

/// The command with one flag for each key, and `--config FILE`.
pub fn flags(command: clap::Command, keys: &[Key]) -> clap::Command {
    let file = clap::Arg::new(layers::CONFIG)
        .long(layers::CONFIG)
        .value_name("FILE")
        .help("Settings file, TOML or JSON [env: KOS_CONFIG] [default: kos.toml or kos.json in the home folder]");
    command.arg(file).args(keys.iter().map(Key::arg))
}

/// The texts of a list among effective settings, as what they mean; `expected` says it for people: `a multiaddr`.
///
/// # Errors
/// [`ConfigError::Value`] names the key, where it was set, and the first text that means nothing.
pub fn list<V: FromStr>(settings: &[Setting], key: &'static str, expected: &str) -> Result<Vec<V>, ConfigError> {
    let Some(setting) = settings.iter().find(|setting| setting.key == key) else { return Ok(Vec::new()) };
    let texts = setting.value.as_array().into_iter().flatten().filter_map(serde_json::Value::as_str);
    let parsed = texts.map(|text| {
        text.parse().map_err(|_| ConfigError::Value {
            key,
            origin: setting.origin.clone(),
            expected: expected.to_owned(),
            got: text.to_owned(),
        })
    });
    parsed.collect()
}

/// What every key is called, what it takes and what it means, for `kos config schema` and for the documentation.
///
/// # Errors
/// [`ConfigError::Shape`] when a default is no JSON value.
pub fn schema<T: Settings>() -> Result<Vec<serde_json::Value>, ConfigError> {
    let defaults = serde_json::to_value(T::default()).map_err(ConfigError::Shape)?;
    Ok(T::keys().iter().map(|key| key.describe(layers::lookup(&defaults, key.name))).collect())
}

/// Where the table of keys and the fields of the struct differ; every program holds in a test that this is empty.
pub fn drift<T: Settings>() -> Vec<String> {
    let keys = T::keys();
    let Ok(defaults) = serde_json::to_value(T::default()) else { return vec!["the default is no JSON value".into()] };
    let mut fields = Vec::new();
    layers::leaves(&defaults, &keys, String::new(), &mut fields);
    let extra = fields.iter().filter(|(name, _)| !keys.iter().any(|key| key.name == name));
    let missing = keys.iter().filter(|key| !fields.iter().any(|(name, _)| key.name == name));
    let broken = keys.iter().filter(|key| {
        layers::lookup(&defaults, key.name)
            .is_some_and(|value| !value.is_null() && key.kind.accept(value.clone()).is_none())
    });
    extra
        .map(|(name, _)| format!("field {name} is in no table"))
        .chain(missing.map(|key| format!("key {} has no field", key.name)))
        .chain(broken.map(|key| format!("the default of {} is not {}", key.name, key.kind.expected())))
        .collect()
}
