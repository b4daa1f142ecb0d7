//! From the text of a manifest file to a [`Manifest`], field by field.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Capability, Kind, MANIFEST, Manifest, Visibility};

/// How a manifest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `agent.toml`
    Toml,
    /// `agent.json`
    Json,
}

impl Format {
    /// By the ending of the file name.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Longer than [`MANIFEST`].
    #[error("the manifest has more than {MANIFEST} bytes")]
    TooLarge,
    /// Not TOML, or not JSON; the text says where.
    #[error("the manifest cannot be read: {0}")]
    Syntax(String),
    /// One field is wrong.
    #[error("field `{field}` {reason}")]
    Field {
        /// Its path, such as `capabilities[1].name`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ManifestError {
    pub(super) fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field { field: field.into(), reason: reason.into() }
    }
}

pub(super) fn read(text: &str, format: Format) -> Result<Manifest, ManifestError> {
    if text.len() > MANIFEST {
        return Err(ManifestError::TooLarge);
    }
    let value: Value = match format {
        Format::Toml => toml::from_str(text).map_err(|error| ManifestError::Syntax(error.to_string()))?,
        Format::Json => serde_json::from_str(text).map_err(|error| ManifestError::Syntax(error.to_string()))?,
    };
    let Value::Object(map) = value else {
        return Err(ManifestError::Syntax("it is not a table of fields".to_owned()));
    };
    let mut table = Table { prefix: String::new(), map };
    let kind = table.text("kind")?.ok_or_else(|| ManifestError::field("kind", "is missing"))?;
    let kind = Kind::from_word(&kind).ok_or_else(|| {
        ManifestError::field("kind", format!("must be one of {}", Kind::ALL.map(Kind::as_str).join(", ")))
    })?;
    let manifest = Manifest {
        name: table.text("name")?.ok_or_else(|| ManifestError::field("name", "is missing"))?,
        kind,
        role: table.text("role")?.unwrap_or_else(|| kind.as_str().to_owned()),
        description: table.text("description")?.unwrap_or_default(),
        capabilities: match table.list("capabilities")? {
            Some(items) => capabilities(items)?,
            None => vec![Capability::ask()],
        },
        tags: table.words("tags")?,
        path: table.text("path")?.map(PathBuf::from),
        visibility: Visibility::from_flags(table.flag("listed")?, table.flag("public")?),
    };
    table.end()?;
    Ok(manifest)
}

fn capabilities(items: Vec<Value>) -> Result<Vec<Capability>, ManifestError> {
    let read = |(index, item)| {
        let field = format!("capabilities[{index}]");
        let map = match item {
            Value::String(name) => return Ok(Capability { name, arguments: BTreeSet::new() }),
            Value::Object(map) => map,
            _ => return Err(ManifestError::field(field, "must be a name or a table")),
        };
        let mut table = Table { prefix: format!("{field}."), map };
        let name = table.text("name")?.ok_or_else(|| ManifestError::field(format!("{field}.name"), "is missing"))?;
        let arguments = table.words("args")?;
        table.end()?;
        Ok(Capability { name, arguments })
    };
    items.into_iter().enumerate().map(read).collect()
}

/// A table that is taken apart field by field; what is left is unknown.
struct Table {
    prefix: String,
    map: Map<String, Value>,
}

impl Table {
    fn wrong(&self, key: &str, reason: &str) -> ManifestError {
        ManifestError::field(format!("{}{key}", self.prefix), reason)
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, ManifestError> {
        match self.map.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "must be text")),
        }
    }

    fn flag(&mut self, key: &str) -> Result<bool, ManifestError> {
        match self.map.remove(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.wrong(key, "must be true or false")),
        }
    }

    fn list(&mut self, key: &str) -> Result<Option<Vec<Value>>, ManifestError> {
        match self.map.remove(key) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(self.wrong(key, "must be a list")),
        }
    }

    fn words(&mut self, key: &str) -> Result<BTreeSet<String>, ManifestError> {
        let mut words = BTreeSet::new();
        for (index, item) in self.list(key)?.unwrap_or_default().into_iter().enumerate() {
            let Value::String(word) = item else {
                return Err(self.wrong(&format!("{key}[{index}]"), "must be text"));
            };
            if !words.insert(word) {
                return Err(self.wrong(&format!("{key}[{index}]"), "is there twice"));
            }
        }
        Ok(words)
    }

    fn end(self) -> Result<(), ManifestError> {
        match self.map.keys().next() {
            Some(key) => Err(self.wrong(key, "is not known")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "notes"
        kind = "librarian"
        role = "archive"
        description = "my notes"
        path = "notes"
        tags = ["rust", "garden"]
        listed = true
        [[capabilities]]
        name = "ask"
        args = ["text", "limit"]
    "#;

    fn field_of(text: &str) -> String {
        match Manifest::parse(text, Format::Toml) {
            Err(ManifestError::Field { field, .. }) => field,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a1_toml_and_json_say_the_same() {
        let toml = Manifest::parse(GOOD, Format::Toml).expect("toml");
        let json = r#"{"name":"notes","kind":"librarian","role":"archive","description":"my notes","path":"notes",
            "tags":["garden","rust"],"listed":true,"capabilities":[{"name":"ask","args":["limit","text"]}]}"#;
        assert_eq!(Manifest::parse(json, Format::Json).expect("json"), toml);
        assert_eq!((toml.role.as_str(), toml.visibility), ("archive", Visibility::Listed));
    }

    #[test]
    fn a1_a_bad_manifest_is_refused_with_the_field() {
        for (from, to, field) in [
            ("\"notes\"\n        kind", "\"My Notes\"\n        kind", "name"),
            ("name = \"notes\"\n", "", "name"),
            ("kind = \"librarian\"", "kind = \"oracle\"", "kind"),
            ("kind = \"librarian\"", "kind = 7", "kind"),
            ("role = \"archive\"", "role = \"-x\"", "role"),
            ("\"my notes\"", "\"a\\nb\"", "description"),
            ("path = \"notes\"\n", "", "path"),
            ("path = \"notes\"", "path = \"\"", "path"),
            ("[\"rust\", \"garden\"]", "[\"Rust\"]", "tags"),
            ("[\"rust\", \"garden\"]", "[1]", "tags[0]"),
            ("[\"rust\", \"garden\"]", "[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\"]", "tags"),
            ("listed = true", "listed = \"yes\"", "listed"),
            ("listed = true", "listd = true", "listd"),
            ("name = \"ask\"", "name = \"\"", "capabilities[0].name"),
            ("args = [\"text\", \"limit\"]", "args = \"text\"", "capabilities[0].args"),
            ("args = [\"text\", \"limit\"]", "argz = []", "capabilities[0].argz"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            assert_eq!(field_of(&GOOD.replacen(from, to, 1)), field);
        }
        assert!(matches!(Manifest::parse("name = ", Format::Toml), Err(ManifestError::Syntax(_))));
        assert!(matches!(Manifest::parse("[]", Format::Json), Err(ManifestError::Syntax(_))));
        assert_eq!(Manifest::parse(&" ".repeat(MANIFEST + 1), Format::Json), Err(ManifestError::TooLarge));
    }
}
