//! What is wrong with a scenario file.

use thiserror::Error;

/// A mistake, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: What,
}

/// What may be wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum What {
    /// No TOML, an unknown key, a key that is missing, or a value of another kind.
    #[error("{0}")]
    Form(String),
    /// Neither a crowd nor steps.
    #[error("nothing happens here: there is neither a [crowd] nor a [[step]]")]
    Nothing,
    /// A name that is given twice.
    #[error("there are two of the name {0}")]
    Twice(String),
    /// A name that cannot be one of a network namespace or a host.
    #[error("a name is 1 to 12 small letters, digits and hyphens, not {0:?}")]
    Name(String),
    /// A name that nobody has.
    #[error("there is no {kind} called {name}")]
    Unknown {
        /// `node`, `home`, `relay`, `server`, `place`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A node asks one that does not know it or that serves nothing.
    #[error("{asked} answers {asker} nothing: it must serve an agent and know {asker}")]
    Silent {
        /// Who asks.
        asker: String,
        /// Who is asked.
        asked: String,
    },
    /// A number outside its bounds.
    #[error("{key} is {value}, and must be from {min} to {max}")]
    Bound {
        /// Which number.
        key: &'static str,
        /// What it is.
        value: u64,
        /// At least.
        min: u64,
        /// At most.
        max: u64,
    },
    /// The end of a stream that nobody has begun, or a second one before the end of the first.
    #[error("{0}")]
    Order(&'static str),
}

/// Why a file is no scenario.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("{file} cannot be read")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// Something is wrong with it.
    #[error("{file}, {mistake}")]
    Mistaken {
        /// Which.
        file: String,
        /// What.
        mistake: Mistake,
    },
}
