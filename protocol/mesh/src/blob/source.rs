//! What a blob is read from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use klp::blob::Held;
use klp::{Digest, Refusal, limits};

use crate::answer::Refused;

/// Bytes of one read: four writes of 64 KiB, so that going to another thread for them costs little.
pub(super) const PIECE: usize = 256 * 1024;

/// What a blob is read from, at any offset and never as a whole.
#[derive(Clone, Debug)]
pub enum Source {
    /// Bytes in memory; they are sent from where they are.
    Bytes(Bytes),
    /// A file that the caller has opened. If it changes, the other side notices.
    File(Arc<File>),
}

impl Source {
    /// The digest and the length of the whole. It reads all of it.
    pub(super) async fn measure(&self) -> Result<(Digest, u64), Refused> {
        let source = self.clone();
        let measured = tokio::task::spawn_blocking(move || {
            let mut held = Held::default();
            match &source {
                Self::Bytes(bytes) => held.add(bytes),
                Self::File(file) => {
                    let mut piece = vec![0; PIECE];
                    while held.length() <= limits::BLOB {
                        match file.read_at(&mut piece, held.length())? {
                            0 => break,
                            count => held.add(&piece[..count]),
                        }
                    }
                }
            }
            io::Result::Ok((held.digest(), held.length()))
        });
        match measured.await.map_err(io::Error::other).flatten() {
            Ok((_, length)) if length > limits::BLOB => {
                Err(Refused::new(Refusal::TooLarge, format!("a blob has at most {} bytes", limits::BLOB)))
            }
            Ok(measured) => Ok(measured),
            Err(error) => Err(Refused::new(Refusal::Failed, format!("it cannot be read: {error}"))),
        }
    }

    /// The next piece of the bytes `at..end`, in the spare room of an earlier one; empty at the end.
    pub(super) async fn piece(&self, at: u64, end: u64, mut spare: BytesMut) -> io::Result<Bytes> {
        let length = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        match self {
            _ if length == 0 => Ok(Bytes::new()),
            Self::Bytes(bytes) => {
                let at = usize::try_from(at).map_err(io::Error::other)?;
                Ok(bytes.slice(at..at + length))
            }
            Self::File(file) => {
                let file = file.clone();
                let read = tokio::task::spawn_blocking(move || {
                    spare.resize(length, 0);
                    file.read_exact_at(&mut spare, at).map(|()| spare.freeze())
                });
                read.await.map_err(io::Error::other)?
            }
        }
    }
}

impl From<Bytes> for Source {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<File> for Source {
    fn from(file: File) -> Self {
        Self::File(Arc::new(file))
    }
}
