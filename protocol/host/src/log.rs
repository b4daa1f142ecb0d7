//! The log: lines of text or JSON objects on standard error, so that standard output stays for answers.

use std::io;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines: one object a line.
    Json,
}

impl Format {
    pub(crate) const WORDS: &[&str] = &["text", "json"];
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The filter cannot be read.
    #[error("log_filter is not a level or target=level parted by commas: {filter}")]
    Filter {
        /// The filter.
        filter: String,
        /// The parser's reason.
        source: tracing_subscriber::filter::ParseError,
    },
    /// This process logs already.
    #[error("the log was opened twice")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Opens the log of this process; once, at its door.
///
/// # Errors
/// [`LogError`].
pub fn open(format: Format, filter: &str) -> Result<(), LogError> {
    let parsed = EnvFilter::builder().parse(filter);
    let parsed = parsed.map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    // A line that cannot be written, as on a full disk, is lost; saying so on the same standard error would panic.
    let log = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(io::stderr).log_internal_errors(false);
    match format {
        Format::Text => log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        Format::Json => log.json().flatten_event(true).try_init(),
    }
    .map_err(LogError::Twice)
}
