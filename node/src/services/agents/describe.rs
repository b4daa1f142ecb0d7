//! Between manifests, stored rows and what the faces show.

use agent::librarian::Progress;
use agent::manifest::{Format, ManifestError};
use agent::registry::RegistryError;
use agent::{Manifest, Registration, Visibility};
use klp::Refusal;
use serde_json::json;
use store::agents::AgentError;

use crate::fault::Fault;
use crate::view;

/// A manifest as people write it.
pub(super) fn parse(text: &str) -> Result<Manifest, Fault> {
    let format = if text.trim_start().starts_with('{') { Format::Json } else { Format::Toml };
    Manifest::parse(text, format).map_err(invalid)
}

/// A manifest as it is stored.
pub(super) fn to_json(manifest: &Manifest) -> String {
    let capabilities: Vec<_> =
        manifest.capabilities.iter().map(|one| json!({ "name": one.name, "args": one.arguments })).collect();
    let mut fields = json!({
        "name": manifest.name,
        "kind": manifest.kind.as_str(),
        "role": manifest.role,
        "description": manifest.description,
        "capabilities": capabilities,
        "tags": manifest.tags,
        "listed": manifest.visibility == Visibility::Listed,
        "public": manifest.visibility == Visibility::Public,
    });
    if let (Some(path), Some(fields)) = (&manifest.path, fields.as_object_mut()) {
        fields.insert("path".into(), json!(path));
    }
    fields.to_string()
}

/// A manifest as it was stored.
pub(super) fn from_json(text: &str) -> Result<Manifest, Fault> {
    Manifest::parse(text, Format::Json)
        .map_err(|error| Fault::new(Refusal::Integrity, format!("a stored manifest cannot be read: {error}")))
}

/// `private`, `listed` or `public`.
pub(super) fn visibility(word: &str) -> Result<Visibility, Fault> {
    [Visibility::Private, Visibility::Listed, Visibility::Public]
        .into_iter()
        .find(|one| one.as_str() == word)
        .ok_or_else(|| Fault::new(Refusal::Invalid, "visibility is private, listed or public"))
}

pub(super) fn invalid(error: ManifestError) -> Fault {
    Fault::new(Refusal::Invalid, format!("the manifest is not valid: {error}")).hint("correct this field and try again")
}

pub(super) fn refused(error: RegistryError) -> Fault {
    Fault::new(Refusal::from(&error), error.to_string())
}

pub(super) fn not_stored(error: AgentError) -> Fault {
    let refusal = match &error {
        AgentError::Exists { .. } => Refusal::Exists,
        AgentError::Unknown { .. } => Refusal::NotFound,
        AgentError::State { .. } => Refusal::State,
        AgentError::Store(_) => Refusal::Internal,
        _ => Refusal::Invalid,
    };
    Fault::new(refusal, error.to_string())
}

/// What the faces show of an agent.
pub(super) fn shown(entry: &Registration, progress: Option<Progress>) -> view::Agent {
    let manifest = &entry.manifest;
    let skipped = progress.iter().flat_map(|progress| &progress.left);
    view::Agent {
        name: manifest.name.clone(),
        did: entry.id.to_string(),
        kind: manifest.kind.as_str().to_owned(),
        role: manifest.role.clone(),
        state: entry.state.as_str().to_owned(),
        description: manifest.description.clone(),
        capabilities: manifest.capabilities.iter().map(|one| one.name.clone()).collect(),
        tags: manifest.tags.iter().cloned().collect(),
        visibility: manifest.visibility.as_str().to_owned(),
        path: manifest.path.as_ref().map(|path| path.display().to_string()),
        documents: progress.as_ref().map_or(0, |progress| progress.documents),
        skipped: skipped
            .map(|left| view::Skipped {
                path: agent::plain::line(&left.path),
                reason: if left.cause.is_empty() { left.reason.as_str().to_owned() } else { left.cause.clone() },
            })
            .collect(),
        progress: progress.map(|progress| view::Progress {
            done: progress.files_done,
            total: progress.files_total,
            skipped: progress.skipped.values().sum(),
        }),
        failure: entry.reason.clone(),
    }
}
