//! Writing: files go in and out whole, and the ledger says which are in.

use std::collections::HashMap;

use klp::Digest;
use tantivy::collector::TopDocs;
use tantivy::indexer::{IndexWriterOptions, NoMergePolicy};
use tantivy::query::TermQuery;
use tantivy::schema::{IndexRecordOption, Value};
use tantivy::{IndexWriter, TantivyDocument, TantivyError, Term};

use super::search::numbers_to;
use super::{Index, IndexError};
use crate::passage::Block;

/// Memory for blocks that are not yet written out.
const HEAP: usize = 64 * 1024 * 1024;

/// What tells one state of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified: u64,
}

/// What the ledger knows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The state that was indexed.
    pub stamp: Stamp,
    /// Why it was left out, or 0.
    pub skip: u64,
}

/// What there is to index of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Its text.
    Blocks(Vec<Block>),
    /// It is left out, for the reason with this number.
    Skipped(u64),
}

/// The only writer of an index.
pub struct Writer {
    index: Index,
    inner: IndexWriter,
}

/// What stands for a path: the first eight bytes of its SHA-256.
pub(crate) fn hash(path: &str) -> u64 {
    let Digest(digest) = Digest::of(&[path.as_bytes()]);
    u64::from_be_bytes(std::array::from_fn(|index| digest[index]))
}

impl Writer {
    /// Opens the writer; there is one at a time.
    ///
    /// # Errors
    /// [`IndexError::InUse`] when there is another, otherwise when the index cannot be read.
    pub fn open(index: &Index) -> Result<Self, IndexError> {
        let options = IndexWriterOptions::builder()
            .memory_budget_per_thread(HEAP)
            .num_worker_threads(1)
            .num_merge_threads(1)
            .build();
        match index.inner.writer_with_options(options) {
            Ok(inner) => Ok(Self { index: index.clone(), inner }),
            Err(TantivyError::LockFailure(..)) => Err(IndexError::InUse),
            Err(error) => Err(index.explain(error)),
        }
    }

    /// Puts a file in, in place of what was known of it.
    ///
    /// # Errors
    /// [`IndexError`] when the index cannot be written.
    pub fn put(&mut self, name: &str, stamp: Stamp, content: Content) -> Result<(), IndexError> {
        let fields = self.index.fields;
        let key = hash(name);
        self.remove(key);
        let mut entry = TantivyDocument::new();
        entry.add_u64(fields.file, key);
        entry.add_u64(fields.ledger, key);
        entry.add_text(fields.name, name);
        entry.add_u64(fields.size, stamp.size);
        entry.add_u64(fields.modified, stamp.modified);
        let (skip, blocks) = match content {
            Content::Blocks(blocks) => (0, blocks),
            Content::Skipped(reason) => (reason, Vec::new()),
        };
        entry.add_u64(fields.skip, skip);
        for block in blocks {
            let mut document = TantivyDocument::new();
            document.add_u64(fields.file, key);
            document.add_text(fields.name, name);
            document.add_text(fields.path, name);
            document.add_text(fields.title, &block.title);
            document.add_bytes(fields.lines, &numbers_to(&block.lines));
            if let Some(page) = block.page {
                document.add_u64(fields.page, u64::from(page));
            }
            let text: Vec<&str> = block.lines.iter().map(|(_, text)| text.as_str()).collect();
            document.add_text(fields.body, text.join("\n"));
            self.add(document)?;
        }
        // Last, so that no cut between the two can leave an entry without its blocks.
        self.add(entry)
    }

    fn add(&mut self, document: TantivyDocument) -> Result<(), IndexError> {
        self.inner.add_document(document).map(|_| ()).map_err(|error| self.index.explain(error))
    }

    /// Takes out everything under this path hash.
    pub fn remove(&mut self, key: u64) {
        self.inner.delete_term(Term::from_field_u64(self.index.fields.file, key));
    }

    /// Ends the writing: makes all changes durable and waits for what still happens behind the scenes, so that nothing touches the
    /// folder afterwards.
    ///
    /// # Errors
    /// [`IndexError`] when the last changes could not be written.
    pub fn finish(mut self) -> Result<(), IndexError> {
        self.inner.set_merge_policy(Box::new(NoMergePolicy));
        self.commit()?;
        let Self { index, inner } = self;
        inner.wait_merging_threads().map_err(|error| index.explain(error))
    }

    /// Makes all changes durable and visible at once.
    ///
    /// # Errors
    /// [`IndexError`] when they could not be written; the earlier state stays.
    pub fn commit(&mut self) -> Result<(), IndexError> {
        let committed = self.inner.commit().and_then(|_| self.index.reader.reload());
        committed.map_err(|error| self.index.explain(error))
    }
}

impl Index {
    /// Every file that is in, by path hash.
    ///
    /// # Errors
    /// [`IndexError`] when the index cannot be read.
    pub fn ledger(&self) -> Result<HashMap<u64, Entry>, IndexError> {
        self.read_ledger().map_err(|error| self.explain(error))
    }

    fn read_ledger(&self) -> tantivy::Result<HashMap<u64, Entry>> {
        let mut ledger = HashMap::new();
        for segment in self.reader.searcher().segment_readers() {
            let column = |name| segment.fast_fields().u64(name);
            let (key, skip) = (column("ledger")?, column("skip")?);
            let (size, modified) = (column("size")?, column("modified")?);
            for document in segment.doc_ids_alive() {
                let (Some(key), Some(skip)) = (key.first(document), skip.first(document)) else { continue };
                let (Some(size), Some(modified)) = (size.first(document), modified.first(document)) else { continue };
                ledger.insert(key, Entry { stamp: Stamp { size, modified }, skip });
            }
        }
        Ok(ledger)
    }

    /// The path behind a path hash.
    ///
    /// # Errors
    /// [`IndexError`] when the index cannot be read.
    pub fn name(&self, key: u64) -> Result<Option<String>, IndexError> {
        let searcher = self.reader.searcher();
        let query = TermQuery::new(Term::from_field_u64(self.fields.file, key), IndexRecordOption::Basic);
        let find = || -> tantivy::Result<Option<String>> {
            let hits = searcher.search(&query, &TopDocs::with_limit(1).order_by_score())?;
            let Some((_, address)) = hits.first() else { return Ok(None) };
            let document: TantivyDocument = searcher.doc(*address)?;
            Ok(document.get_first(self.fields.name).and_then(|value| value.as_str()).map(str::to_owned))
        };
        find().map_err(|error| self.explain(error))
    }

    /// How many blocks and entries there are.
    pub fn documents(&self) -> u64 {
        self.reader.searcher().num_docs()
    }
}

#[cfg(test)]
mod tests {
    use tantivy::directory::RamDirectory;

    use super::*;
    use crate::passage::Document;

    fn index() -> Index {
        Index::open(Box::new(RamDirectory::create()), || None).expect("index")
    }

    fn blocks(text: &str) -> Content {
        let mut document = Document::default();
        for (number, line) in (1..).zip(text.lines()) {
            document.push(crate::passage::Line { number, text: line.to_owned(), ..Default::default() });
        }
        Content::Blocks(document.blocks())
    }

    fn ask(index: &Index, question: &str) -> Vec<String> {
        let ranking = index.rank(question, 10, || false).expect("ranked");
        (0..ranking.len()).map(|rank| index.load(&ranking, rank).expect("read").expect("there").path).collect()
    }

    #[test]
    fn files_are_replaced_and_removed_whole() {
        let index = index();
        let mut writer = Writer::open(&index).expect("writer");
        assert!(matches!(Writer::open(&index), Err(IndexError::InUse)));
        let stamp = Stamp { size: 7, modified: 9 };
        writer.put("a.txt", stamp, blocks("apples and pears")).expect("put");
        writer.put("b.bin", stamp, Content::Skipped(3)).expect("put");
        writer.commit().expect("commit");
        assert_eq!(ask(&index, "apple"), ["a.txt"], "stemmed");
        let ledger = index.ledger().expect("ledger");
        assert_eq!(ledger[&hash("a.txt")], Entry { stamp, skip: 0 });
        assert_eq!(ledger[&hash("b.bin")], Entry { stamp, skip: 3 });
        assert_eq!(index.name(hash("b.bin")).expect("read").as_deref(), Some("b.bin"));

        writer.put("a.txt", Stamp::default(), blocks("oranges")).expect("put");
        writer.remove(hash("b.bin"));
        writer.commit().expect("commit");
        assert!(ask(&index, "apple").is_empty());
        assert_eq!(ask(&index, "orange"), ["a.txt"]);
        assert_eq!(index.ledger().expect("ledger").len(), 1);
        assert_eq!(index.name(hash("b.bin")).expect("read"), None);
    }

    #[test]
    fn all_words_go_before_some_and_a_question_is_no_query_language() {
        let index = index();
        let mut writer = Writer::open(&index).expect("writer");
        let stamp = Stamp::default();
        writer.put("one.txt", stamp, blocks("mailbox mailbox mailbox mailbox")).expect("put");
        writer
            .put("both.txt", stamp, blocks("the mailbox is named by a word of the code, among much other text"))
            .expect("put");
        writer.put("none.txt", stamp, blocks("something else")).expect("put");
        writer.commit().expect("commit");
        assert_eq!(ask(&index, "which code of a mailbox?"), ["both.txt", "one.txt"]);
        assert_eq!(ask(&index, "which code names the mailbox?"), ["both.txt"], "at least half of the words");
        assert_eq!(ask(&index, "mailbox zebra unicorn"), ["one.txt", "both.txt"], "any word rather than nothing");
        for hostile in ["body:mailbox AND (", "\"unclosed", "* OR *", "+-!(){}[]^~:\\", "mailbox^1e30", "/re(/"] {
            index.rank(hostile, 10, || false).expect("never a syntax error");
        }
        assert!(ask(&index, "body:nothing").is_empty());
        assert!(ask(&index, "zebra").is_empty());
        assert!(ask(&index, "").is_empty());
        assert_eq!(ask(&index, "is a the").len(), 1, "small words alone still find");
        assert!(matches!(index.rank("mailbox", 10, || true), Err(IndexError::Cancelled)));
    }
}
