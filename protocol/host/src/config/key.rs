//! One row of the table: what a setting is called, what it takes, what it means.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Arg, ArgAction};
use serde_json::{Value, json};

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Any text.
    Text,
    /// The path of a file or folder.
    Path,
    /// `true` or `false`.
    Switch,
    /// A whole number, both bounds included.
    Integer {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A time like `30s` or `2h 5m`, both bounds included. The field uses `#[serde(with = "host::config::duration")]`.
    Span {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An IP address and a port.
    Socket,
    /// Texts: a list in the file, parted by commas in the variable, a flag that can be repeated.
    Texts,
}

impl Kind {
    /// What is expected, as it stands in an error.
    pub fn expected(&self) -> String {
        match self {
            Self::Text => "a text".into(),
            Self::Path => "a path".into(),
            Self::Switch => "true or false".into(),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Span { min, max } => {
                let text = |span: &Duration| humantime::format_duration(*span).to_string();
                format!("a time from {} to {}, like 30s or 2h 5m", text(min), text(max))
            }
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Socket => "an address and port, like 127.0.0.1:9090".into(),
            Self::Texts => "a list of texts".into(),
        }
    }

    /// The value as it is kept, when it is of this kind and within bounds.
    pub fn accept(&self, value: Value) -> Option<Value> {
        let fits = match self {
            Self::Text | Self::Path => value.is_string(),
            Self::Switch => value.is_boolean(),
            Self::Integer { min, max } => value.as_i64().is_some_and(|number| (*min..=*max).contains(&number)),
            Self::Span { min, max } => value
                .as_str()
                .and_then(|text| humantime::parse_duration(text).ok())
                .is_some_and(|span| (*min..=*max).contains(&span)),
            Self::Choice(words) => value.as_str().is_some_and(|text| words.contains(&text)),
            Self::Socket => value.as_str().is_some_and(|text| text.parse::<SocketAddr>().is_ok()),
            Self::Texts => value.as_array().is_some_and(|texts| texts.iter().all(Value::is_string)),
        };
        fits.then_some(value)
    }

    /// The value that a variable or flag means; several texts are several uses of the flag.
    pub(crate) fn parse(&self, texts: &[String]) -> Option<Value> {
        let last = || texts.last().map(String::as_str);
        let value = match self {
            Self::Texts => json!(texts),
            Self::Switch => json!(last()?.parse::<bool>().ok()?),
            Self::Integer { .. } => json!(last()?.parse::<i64>().ok()?),
            _ => json!(last()?),
        };
        self.accept(value)
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Path => "PATH",
            Self::Switch => "BOOL",
            Self::Integer { .. } => "N",
            Self::Span { .. } => "TIME",
            Self::Choice(_) => "WORD",
            Self::Socket => "ADDR",
            Self::Texts => "TEXT…",
        }
    }
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted name, as in the file: `reach.trust_cidr`.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Unit of a number, or the form of a text: `bytes`, `multiaddr`. Empty when there is none.
    pub unit: &'static str,
    /// What it means, in one sentence without full stop.
    pub doc: &'static str,
}

impl Key {
    /// A row.
    pub const fn new(name: &'static str, kind: Kind, unit: &'static str, doc: &'static str) -> Self {
        Self { name, kind, unit, doc }
    }

    /// Its variable: `reach.trust_cidr` is `KOS_REACH_TRUST_CIDR`.
    pub fn env(&self) -> String {
        format!("KOS_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Its flag without the two dashes: `reach.trust_cidr` is `reach-trust-cidr`.
    pub fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }

    pub(crate) fn arg(&self) -> Arg {
        let action = if self.kind == Kind::Texts { ArgAction::Append } else { ArgAction::Set };
        let value = if self.unit.is_empty() { self.kind.word().into() } else { self.unit.to_uppercase() };
        let arg = Arg::new(self.name).long(self.flag()).action(action).value_name(value);
        let arg = if self.kind == Kind::Switch {
            arg.num_args(0..=1).require_equals(true).default_missing_value("true")
        } else {
            arg.allow_hyphen_values(matches!(self.kind, Kind::Integer { .. }))
        };
        arg.help(format!("{} [env: {}]", self.doc, self.env()))
    }

    pub(crate) fn describe(&self, default: Option<&Value>) -> Value {
        let kind = match self.kind {
            Kind::Text => "text",
            Kind::Path => "path",
            Kind::Switch => "switch",
            Kind::Integer { .. } => "integer",
            Kind::Span { .. } => "time",
            Kind::Choice(_) => "choice",
            Kind::Socket => "socket",
            Kind::Texts => "list",
        };
        json!({
            "key": self.name, "env": self.env(), "flag": format!("--{}", self.flag()), "type": kind, "unit": self.unit,
            "default": default, "bound": self.kind.expected(), "doc": self.doc,
        })
    }
}
