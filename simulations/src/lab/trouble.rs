//! Why something in the lab did not hold.

use std::io;

use thiserror::Error;

/// Why something in the lab did not hold.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The machine does not let a lab be made.
    #[error("this machine lacks {0}")]
    Lacks(String),
    /// A program cannot be started.
    #[error("{program} cannot be started")]
    Start {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program of the system ended with an error.
    #[error("{command} failed: {said}")]
    Failed {
        /// Its name and arguments.
        command: String,
        /// What it said.
        said: String,
    },
    /// A file of the lab cannot be used.
    #[error("{file} cannot be used")]
    File {
        /// Which.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// One of our programs refused something.
    #[error("{who}: {code}: {message}")]
    Refused {
        /// Who asked for it.
        who: String,
        /// The code of the error.
        code: String,
        /// Its message.
        message: String,
    },
    /// Something did not come in time.
    #[error("{what} did not come within {seconds} s; the last was: {last}")]
    Late {
        /// What.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// What was there instead.
        last: String,
    },
    /// Something is not as it should be.
    #[error("{0}")]
    Not(String),
}

impl Trouble {
    /// With its causes, in one line.
    pub fn line(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}
