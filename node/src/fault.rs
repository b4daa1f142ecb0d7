//! What a user sees when something does not work: what happened, why, and what to do.

use std::fmt;
use std::io;
use std::path::Path;

use klp::Refusal;

/// A refusal with words of its own. The same object in the command line, the local API and the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which refusal; it decides code, exit code and HTTP status.
    pub refusal: Refusal,
    /// What happened and why.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Fault {
    /// With a message of its own and the refusal's usual hint.
    pub fn new(refusal: Refusal, message: impl Into<String>) -> Self {
        Self { refusal, message: message.into(), hint: refusal.hint().to_owned() }
    }

    /// With another hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// There is no `what` of this name.
    pub fn not_found(what: &str, name: &str) -> Self {
        Self::new(Refusal::NotFound, format!("there is no {what} \"{name}\" here"))
    }

    /// A file could not be used: by name when the disk is full.
    pub fn of_file(path: &Path, error: &io::Error) -> Self {
        if store::is_full(error) {
            Self::new(Refusal::Full, format!("the disk is full: {} cannot be written", path.display()))
        } else {
            Self::internal(format_args!("{}: {error}", path.display()))
        }
    }

    /// What failed inside, by name when the disk is full: then it is not our failure.
    pub fn of_error(error: &(dyn std::error::Error + 'static)) -> Self {
        if is_about_room(error) { Refusal::Full.into() } else { Self::internal(error) }
    }

    /// Something that should not fail did; `error` goes to the user, for it never holds a secret.
    pub fn internal(error: impl fmt::Display) -> Self {
        Self::new(Refusal::Internal, format!("something failed inside: {error}"))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal, refusal.message())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// Whether a full disk is at the bottom of it.
pub(crate) fn is_about_room(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |cause| cause.source());
    causes.any(|cause| {
        matches!(cause.downcast_ref(), Some(store::StoreError::Full))
            || cause.downcast_ref::<io::Error>().is_some_and(store::is_full)
    })
}

/// What the store refused.
pub fn of_store(error: store::StoreError) -> Fault {
    use store::StoreError as E;
    let refusal = match &error {
        E::Integrity { .. } => Refusal::Integrity,
        E::Full => Refusal::Full,
        E::ReadOnly => Refusal::ReadOnly,
        E::TooLarge { .. } => Refusal::TooLarge,
        _ => return Fault::internal(error),
    };
    Fault::new(refusal, error.to_string())
}

impl From<store::StoreError> for Fault {
    fn from(error: store::StoreError) -> Self {
        of_store(error)
    }
}
