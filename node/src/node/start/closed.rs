//! Why a node did not start, as its owner reads it.

use host::startup::StartError;
use klp::Refusal;

use crate::fault::{Fault, is_about_room};

/// Why a node did not start: which part, and why.
#[derive(Debug)]
pub struct StartFault {
    /// The part that failed.
    pub component: &'static str,
    /// Why, and what to do.
    pub fault: Fault,
}

impl std::fmt::Display for StartFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} did not start: {}", self.component, self.fault)
    }
}

impl std::error::Error for StartFault {}

impl From<StartError> for StartFault {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Failed { component, source } => {
                let fault = source.downcast::<Fault>().map_or_else(Fault::internal, |fault| *fault);
                Self { component, fault }
            }
            StartError::Order { component, .. } => Self { component, fault: Fault::internal(error) },
            other => Self { component: "node", fault: Fault::internal(other) },
        }
    }
}

pub(super) fn in_part(component: &'static str, fault: Fault) -> StartFault {
    StartFault { component, fault }
}

/// Nothing was lost by it, and the next start will find all that was told.
fn full(text: &str) -> Fault {
    Fault::new(Refusal::Full, format!("the disk is full: {text}"))
}

pub(super) fn busy_home(error: host::home::HomeError) -> Fault {
    use host::home::HomeError as E;
    let text = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    match error {
        _ if is_about_room(&error) => full(&text),
        E::Held { .. } => Fault::new(Refusal::State, text).hint("see `kos status`; stop it with `kos down`"),
        _ => Fault::new(Refusal::Invalid, text).hint("choose another folder with --home"),
    }
}

pub(crate) fn closed_home(error: store::home::OpenError) -> Fault {
    use store::UnsealError as U;
    use store::home::OpenError as E;
    let text = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    match &error {
        _ if is_about_room(&error) => full(&text),
        E::NoUnlockFile { .. } => Fault::new(Refusal::Locked, text).hint(
            "bring the unlock file back, or name it with --unlock-file; no new identity is made over an existing home",
        ),
        E::WrongUnlockFile { .. } => Fault::new(Refusal::Locked, text).hint("name the right one with --unlock-file"),
        E::Sealed(U::WrongPassphrase) => {
            Fault::new(Refusal::Locked, "the passphrase is wrong").hint("try again; nothing was changed")
        }
        E::Sealed(U::NeedsPassphrase) => Fault::new(Refusal::Locked, "this home opens with a passphrase")
            .hint("give it at the prompt, by KOS_PASSPHRASE_FILE or with --passphrase-fd"),
        E::Sealed(U::Newer { .. }) => {
            Fault::new(Refusal::Version, text).hint("start the newer version of kOS; this home was not touched")
        }
        E::Sealed(_) | E::NoKeys { .. } => Fault::new(Refusal::Integrity, text).hint("restore the home from a backup"),
        E::UnlockFileInside { .. } => {
            Fault::new(Refusal::Invalid, text).hint("name a place outside the home with --unlock-file")
        }
        _ => Fault::new(Refusal::Invalid, text).hint("see the message; nothing was changed"),
    }
}

pub(super) fn closed_store(error: store::OpenError) -> Fault {
    use store::OpenError as E;
    let text = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    match error {
        _ if is_about_room(&error) => full(&text),
        E::Newer { .. } => {
            Fault::new(Refusal::Version, text).hint("start the newer version of kOS; this home was not touched")
        }
        E::InUse { .. } => Fault::new(Refusal::State, text).hint("stop the other process first"),
        E::File(_) => Fault::new(Refusal::Invalid, text).hint("see the message; nothing was changed"),
        _ => Fault::new(Refusal::Integrity, text).hint("restore the home from a backup; nothing was changed"),
    }
}
