//! One sealed file, written once from front to back and read at any place.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use tantivy::HasLen;
use tantivy::directory::{AntiCallToken, FileHandle, OwnedBytes, TerminatingWrite};

use super::IndexKey;
use super::cache::Cache;
use super::directory::Damage;
use super::page::{HEADER, PAGE, Pages, SALT, TAG, header, measure, salt_of};

/// Reads of more pages than this, as merges do them, pass the cache by.
const BULK: u64 = 16;

/// Writes pages as they fill. Without [`TerminatingWrite::terminate`] there is no last page, and the file never opens.
pub(super) struct Writing {
    file: BufWriter<File>,
    pages: Pages,
    page: u64,
    open: Vec<u8>,
}

impl Writing {
    pub(super) fn begin(file: File, key: &IndexKey, name: &str) -> io::Result<Self> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        let pages = Pages::new(key, name, &salt)?;
        let mut file = BufWriter::new(file);
        file.write_all(&header(&salt))?;
        Ok(Self { file, pages, page: 0, open: Vec::with_capacity(PAGE + TAG) })
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        self.pages.seal(self.page, last, &mut self.open)?;
        self.file.write_all(&self.open)?;
        self.open.clear();
        self.page += 1;
        Ok(())
    }

    /// Seals the last page and makes the file durable.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.seal(true)?;
        self.file.flush()?;
        self.file.get_ref().sync_data()
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full page is sealed only when more follows, so that the last one is known as such.
        if self.open.len() == PAGE && !bytes.is_empty() {
            self.seal(false)?;
        }
        let taken = bytes.len().min(PAGE - self.open.len());
        self.open.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TerminatingWrite for Writing {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        self.finish()
    }
}

/// An open file.
pub(super) struct Reading {
    file: File,
    path: PathBuf,
    pages: Pages,
    count: u64,
    length: u64,
    number: u64,
    cache: Arc<Cache>,
    damage: Damage,
}

impl Reading {
    /// Opens a file and checks its last page, so that one that was cut short is noticed at once.
    pub(super) fn open(
        path: PathBuf,
        key: &IndexKey,
        name: &str,
        number: u64,
        cache: Arc<Cache>,
        damage: Damage,
    ) -> io::Result<Self> {
        let file = File::open(&path)?;
        let mut head = [0; HEADER];
        let salt = file.read_exact_at(&mut head, 0).ok().and_then(|()| salt_of(&head));
        let size = measure(file.metadata()?.len());
        let (Some(salt), Some((count, length))) = (salt, size) else {
            return Err(damage.report(&path, 0));
        };
        let pages = Pages::new(key, name, &salt)?;
        let reading = Self { file, path, pages, count, length, number, cache, damage };
        reading.page(count - 1)?;
        Ok(reading)
    }

    fn page(&self, page: u64) -> io::Result<Arc<Vec<u8>>> {
        if let Some(page) = self.cache.get((self.number, page)) {
            return Ok(page);
        }
        let content = Arc::new(self.read(page)?);
        self.cache.put((self.number, page), Arc::clone(&content));
        Ok(content)
    }

    fn read(&self, page: u64) -> io::Result<Vec<u8>> {
        let last = page + 1 == self.count;
        let plain = if last { self.length - page * PAGE as u64 } else { PAGE as u64 };
        let plain = usize::try_from(plain).map_err(io::Error::other)?;
        let mut bytes = vec![0; plain + TAG];
        self.file.read_exact_at(&mut bytes, HEADER as u64 + page * (PAGE + TAG) as u64)?;
        self.pages.open(page, last, bytes).ok_or_else(|| self.damage.report(&self.path, page))
    }

    /// Everything, for small files.
    pub(super) fn whole(&self) -> io::Result<Vec<u8>> {
        self.bytes(0..usize::try_from(self.length).map_err(io::Error::other)?)
    }

    fn bytes(&self, range: Range<usize>) -> io::Result<Vec<u8>> {
        if range.start > range.end || range.end as u64 > self.length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a read beyond the end of a sealed file"));
        }
        let mut out = Vec::with_capacity(range.len());
        if range.is_empty() {
            return Ok(out);
        }
        let (first, last) = (range.start / PAGE, (range.end - 1) / PAGE);
        let bulk = (last - first) as u64 >= BULK;
        for page in first..=last {
            let from = range.start.max(page * PAGE) - page * PAGE;
            let to = range.end.min((page + 1) * PAGE) - page * PAGE;
            if bulk {
                out.extend_from_slice(&self.read(page as u64)?[from..to]);
            } else {
                out.extend_from_slice(&self.page(page as u64)?[from..to]);
            }
        }
        Ok(out)
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("path", &self.path).field("length", &self.length).finish_non_exhaustive()
    }
}

impl HasLen for Reading {
    fn len(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }
}

impl FileHandle for Reading {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        self.bytes(range).map(OwnedBytes::new)
    }
}
