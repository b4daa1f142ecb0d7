//! An index in memory over texts that are handed in, such as kOS's own documentation.

use tantivy::directory::RamDirectory;

use crate::extract;
use crate::index::{Content, Index, IndexError, Stamp, Writer};

/// Answers from a fixed set of documents.
#[derive(Clone)]
pub struct Guide {
    index: Index,
}

impl Guide {
    /// Indexes the documents, as (name, text). Blocking: some milliseconds for a hundred pages.
    ///
    /// # Errors
    /// [`IndexError`] when the engine fails.
    pub fn open<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, IndexError> {
        let index = Index::open(Box::new(RamDirectory::create()), || None)?;
        let mut writer = Writer::open(&index)?;
        for (name, text) in documents {
            writer.put(name, Stamp::default(), Content::Blocks(extract::text(name, text).blocks()))?;
        }
        writer.commit()?;
        index.set_complete(true);
        Ok(Self { index })
    }

    /// What answers.
    pub fn index(&self) -> &Index {
        &self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "# kOS\n\nA personal node.\n\n## Start\n\nRun the node with up.\n";
    const PAIRING: &str = "# Contacts\n\nPeople you know.\n\n## Pairing with another person\n\nOne types `kos pair` and reads \
        five words to the other.\n\n## Removing\n\nA contact is removed by name.\n";

    #[test]
    fn how_do_i_pair_finds_the_passage_under_its_heading() {
        let guide = Guide::open([("README.md", README), ("contacts.md", PAIRING)]).expect("guide");
        let ranking = guide.index().rank("how do I pair?", 5, || false).expect("ranked");
        let first = guide.index().load(&ranking, 0).expect("read").expect("found");
        assert_eq!((first.path.as_str(), first.line_start, first.line_end), ("contacts.md", 5, 7));
        assert!(first.text.contains("five words"), "{}", first.text);
        assert!(guide.index().is_complete());
    }
}
