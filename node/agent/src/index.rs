//! A full-text index of blocks, with the ledger of the files they came from inside it: both change in the same commit, so that
//! an interrupted run goes on where it was.

mod schema;
mod search;
mod turn;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tantivy::directory::Directory;
use tantivy::{IndexReader, IndexSettings, ReloadPolicy};

use schema::Fields;
pub use search::Ranking;
use turn::Turn;
pub(crate) use write::hash;
pub use write::{Content, Entry, Stamp, Writer};

/// Blocks of the document store that one reader keeps decompressed (16 KiB each).
const STORE_BLOCKS: usize = 64;

/// Why an index could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A stored file was changed outside kOS.
    #[error("the index was changed outside kOS, or this is not its key: {0}")]
    Integrity(String),
    /// Another process writes this index.
    #[error("another process uses this index")]
    InUse,
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The engine failed, mostly because the disk did.
    #[error("the index failed")]
    Engine(#[from] tantivy::TantivyError),
}

/// A handle to an index. Clones share everything.
#[derive(Clone)]
pub struct Index {
    inner: tantivy::Index,
    reader: IndexReader,
    fields: Fields,
    state: Arc<Shared>,
}

struct Shared {
    complete: AtomicBool,
    turn: Turn,
    /// Names the first stored file that did not verify.
    broken: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Index {
    /// Opens or creates an index in `directory`; `broken` tells whether a stored file did not verify.
    ///
    /// # Errors
    /// [`IndexError`] when what is there cannot be read.
    pub fn open(
        directory: Box<dyn Directory>,
        broken: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, IndexError> {
        let opened = Self::open_inner(directory);
        match (opened, broken()) {
            (_, Some(file)) => Err(IndexError::Integrity(file)),
            (Err(error), None) => Err(error.into()),
            (Ok((inner, reader, fields)), None) => {
                let state =
                    Shared { complete: AtomicBool::new(false), turn: Turn::default(), broken: Box::new(broken) };
                Ok(Self { inner, reader, fields, state: Arc::new(state) })
            }
        }
    }

    fn open_inner(directory: Box<dyn Directory>) -> tantivy::Result<(tantivy::Index, IndexReader, Fields)> {
        let (schema, fields) = schema::schema();
        let builder = tantivy::Index::builder().schema(schema).tokenizers(schema::tokenizers());
        let inner = builder.settings(IndexSettings::default()).open_or_create(directory)?;
        let reader = inner
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(STORE_BLOCKS)
            .try_into()?;
        Ok((inner, reader, fields))
    }

    /// Whether everything that should be in here is.
    pub fn is_complete(&self) -> bool {
        self.state.complete.load(Ordering::Acquire)
    }

    pub(crate) fn set_complete(&self, complete: bool) {
        self.state.complete.store(complete, Ordering::Release);
    }

    /// Lets questions that are being answered go first.
    pub(crate) fn give_way(&self) {
        self.state.turn.give_way();
    }

    /// The error as the caller should see it: damage to a stored file comes first, whatever it led to.
    fn explain(&self, error: tantivy::TantivyError) -> IndexError {
        (self.state.broken)().map_or(IndexError::Engine(error), IndexError::Integrity)
    }
}
