//! What a person writes to register an agent, and what the registry keeps of it.
//!
//! A manifest is a small TOML or JSON file. Every complaint names the field, so that the person knows which line to mend.

mod parse;

use std::collections::BTreeSet;
use std::path::PathBuf;

use klp::limits;

pub use parse::{Format, ManifestError};

/// Bytes of a manifest file. The largest valid one needs about 40 KiB.
pub const MANIFEST: usize = 64 * 1024;

/// Which engine runs the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Searches a folder and quotes it.
    Librarian,
    /// Searches kOS's own documentation and quotes it.
    Guide,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Librarian, Self::Guide];

    /// The word in manifests, cards and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Librarian => "librarian",
            Self::Guide => "guide",
        }
    }

    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Who may learn that the agent exists. Source: `specs/04-records.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Visibility {
    /// Only those who hold a grant.
    #[default]
    Private,
    /// The card is in the directory; using it still needs a grant.
    Listed,
    /// Listed, and every owner has a small standing grant.
    Public,
}

impl Visibility {
    /// The word in manifests and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Listed => "listed",
            Self::Public => "public",
        }
    }

    /// From the two flags that people type; public implies listed.
    pub fn from_flags(listed: bool, public: bool) -> Self {
        match (listed, public) {
            (_, true) => Self::Public,
            (true, false) => Self::Listed,
            (false, false) => Self::Private,
        }
    }
}

/// One thing that an agent can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name: lower-case letters, digits and `-`, at most [`limits::NAME`] bytes.
    pub name: String,
    /// Names of the arguments that it takes, at most [`limits::ARGUMENTS`].
    pub arguments: BTreeSet<String>,
}

impl Capability {
    /// What every searching agent can do: answer the question `text` with at most `limit` passages, as `format`.
    pub fn ask() -> Self {
        Self { name: "ask".to_owned(), arguments: ["text", "limit", "format"].map(str::to_owned).into() }
    }
}

/// Everything that registers an agent. Only [`Manifest::check`]ed ones enter the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What its owner calls it: lower-case letters, digits and `-`, at most [`limits::NAME`] bytes, unique on the node.
    pub name: String,
    /// Which engine runs it.
    pub kind: Kind,
    /// The part it plays, for `agent list`: a word like `name`; the kind when nothing else was said.
    pub role: String,
    /// One line, at most [`limits::TEXT`] bytes.
    pub description: String,
    /// What it can do, at least one and at most [`limits::ARGUMENTS`].
    pub capabilities: Vec<Capability>,
    /// Words it is found by, at most [`limits::TAGS`].
    pub tags: BTreeSet<String>,
    /// The folder of a librarian.
    pub path: Option<PathBuf>,
    /// Who may learn of it.
    pub visibility: Visibility,
}

impl Manifest {
    /// The manifest of a served folder, as `kos serve` makes it.
    pub fn librarian(name: &str, path: PathBuf, visibility: Visibility) -> Self {
        Self {
            name: name.to_owned(),
            kind: Kind::Librarian,
            role: Kind::Librarian.as_str().to_owned(),
            description: String::new(),
            capabilities: vec![Capability::ask()],
            tags: BTreeSet::new(),
            path: Some(path),
            visibility,
        }
    }

    /// The manifest of the agent over kOS's own documentation.
    pub fn guide(name: &str) -> Self {
        Self {
            kind: Kind::Guide,
            role: Kind::Guide.as_str().to_owned(),
            description: "answers questions about kOS from its own documentation".to_owned(),
            path: None,
            ..Self::librarian(name, PathBuf::new(), Visibility::Private)
        }
    }

    /// Reads a manifest file. A relative `path` stays relative: the caller knows the file's folder.
    ///
    /// # Errors
    /// [`ManifestError`] naming the field, or the line when the text is not of this format at all.
    pub fn parse(text: &str, format: Format) -> Result<Self, ManifestError> {
        let manifest = parse::read(text, format)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether every field is within its bounds.
    ///
    /// # Errors
    /// [`ManifestError::Field`] naming the first that is not.
    pub fn check(&self) -> Result<(), ManifestError> {
        word("name", &self.name)?;
        word("role", &self.role)?;
        line("description", &self.description)?;
        if self.capabilities.is_empty() {
            return Err(ManifestError::field("capabilities", "must name at least one"));
        }
        at_most("capabilities", self.capabilities.len(), limits::ARGUMENTS)?;
        for (index, capability) in self.capabilities.iter().enumerate() {
            word(&format!("capabilities[{index}].name"), &capability.name)?;
            if self.capabilities[..index].iter().any(|earlier| earlier.name == capability.name) {
                return Err(ManifestError::field(format!("capabilities[{index}].name"), "is there twice"));
            }
            at_most(&format!("capabilities[{index}].args"), capability.arguments.len(), limits::ARGUMENTS)?;
            for argument in &capability.arguments {
                word(&format!("capabilities[{index}].args"), argument)?;
            }
        }
        at_most("tags", self.tags.len(), limits::TAGS)?;
        for tag in &self.tags {
            word("tags", tag)?;
        }
        match (self.kind, &self.path) {
            (Kind::Librarian, None) => Err(ManifestError::field("path", "is missing: a librarian needs a folder")),
            (Kind::Librarian, Some(path)) if path.as_os_str().is_empty() => {
                Err(ManifestError::field("path", "is empty"))
            }
            (Kind::Guide, Some(_)) => Err(ManifestError::field("path", "is not for this kind")),
            _ => Ok(()),
        }
    }
}

fn word(field: &str, text: &str) -> Result<(), ManifestError> {
    if text.is_empty() || text.len() > limits::NAME {
        return Err(ManifestError::field(field, format!("must have 1 to {} characters", limits::NAME)));
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !text.bytes().all(plain) || text.starts_with('-') {
        return Err(ManifestError::field(field, "may have lower-case letters, digits and inner `-` only"));
    }
    Ok(())
}

fn line(field: &str, text: &str) -> Result<(), ManifestError> {
    if text.len() > limits::TEXT {
        return Err(ManifestError::field(field, format!("has more than {} bytes", limits::TEXT)));
    }
    if text.chars().any(char::is_control) {
        return Err(ManifestError::field(field, "must be one line without control characters"));
    }
    Ok(())
}

fn at_most(field: &str, count: usize, limit: usize) -> Result<(), ManifestError> {
    if count > limit {
        return Err(ManifestError::field(field, format!("has more than {limit} entries")));
    }
    Ok(())
}
