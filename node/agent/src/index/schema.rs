//! Fields of the index, and how text becomes words.

use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{
    AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter, TextAnalyzer,
    TokenizerManager,
};

const WORDS: &str = "kos_words";
/// Longer runs of letters are encoded data, not words.
const WORD_MAX: usize = 64;

/// Words that a question is made of, not about. They are indexed all the same: a question of nothing else still finds them.
const SMALL: &str = "a about all also am an and any are as at be been but by can could did do does doing for from get give had \
    has have having how i if in into is it its just let me my no not of on or our please shall she should so some such tell \
    than that the their them then there these they this those to us was we were what when where which who whom whose why \
    will with would you your";

/// A block has file, name, path, title, body, lines and page. The entry of a file has file, name, ledger, size, modified, skip.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    /// Hash of the path: what is deleted together.
    pub(super) file: Field,
    /// The path as it is shown.
    pub(super) name: Field,
    /// The path as words.
    pub(super) path: Field,
    /// Titles as words.
    pub(super) title: Field,
    /// The text.
    pub(super) body: Field,
    /// Numbers of the lines of the text.
    pub(super) lines: Field,
    /// Page number.
    pub(super) page: Field,
    /// Hash of the path, in entries of files only.
    pub(super) ledger: Field,
    /// Bytes of the file.
    pub(super) size: Field,
    /// When it was last changed, in nanoseconds since 1970.
    pub(super) modified: Field,
    /// Why it was left out, or 0.
    pub(super) skip: Field,
}

pub(super) fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let indexing = TextFieldIndexing::default().set_tokenizer(WORDS).set_index_option(IndexRecordOption::WithFreqs);
    let words = TextOptions::default().set_indexing_options(indexing);
    let fields = Fields {
        file: schema.add_u64_field("file", INDEXED),
        name: schema.add_text_field("name", STORED),
        path: schema.add_text_field("path", words.clone()),
        title: schema.add_text_field("title", words.clone()),
        body: schema.add_text_field("body", words | STORED),
        lines: schema.add_bytes_field("lines", STORED),
        page: schema.add_u64_field("page", STORED),
        ledger: schema.add_u64_field("ledger", FAST),
        size: schema.add_u64_field("size", FAST),
        modified: schema.add_u64_field("modified", FAST),
        skip: schema.add_u64_field("skip", FAST),
    };
    (schema.build(), fields)
}

pub(super) fn tokenizers() -> TokenizerManager {
    let manager = TokenizerManager::default();
    manager.register(WORDS, analyzer(false));
    manager
}

/// Text to words: folded, lower case, stemmed; `question` leaves the small words out.
pub(super) fn analyzer(question: bool) -> TextAnalyzer {
    let plain = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter_dynamic(RemoveLongFilter::limit(WORD_MAX))
        .filter_dynamic(LowerCaser)
        .filter_dynamic(AsciiFoldingFilter);
    let kept = if question {
        plain.filter_dynamic(StopWordFilter::remove(SMALL.split_whitespace().map(str::to_owned)))
    } else {
        plain
    };
    kept.filter_dynamic(Stemmer::new(Language::English)).build()
}

/// The distinct words of a text, in order, at most `limit`.
pub(super) fn words(analyzer: &mut TextAnalyzer, text: &str, limit: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut stream = analyzer.token_stream(text);
    while words.len() < limit && stream.advance() {
        let word = &stream.token().text;
        if !words.contains(word) {
            words.push(word.clone());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_reduced_to_what_it_is_about() {
        let asked = words(&mut analyzer(true), "How do I pair? Pairing (paired) CAFÉ!", 10);
        assert_eq!(asked, ["pair", "cafe"]);
        let all = words(&mut analyzer(false), "how do I pair", 10);
        assert_eq!(all, ["how", "do", "i", "pair"]);
    }
}
