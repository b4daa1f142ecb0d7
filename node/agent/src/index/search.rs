//! Answering: a question becomes words, words become ranked blocks, a block becomes the passage of its best lines.

use std::sync::Arc;

use tantivy::collector::{Collector, TopDocs};
use tantivy::query::{BooleanQuery, BoostQuery, DisjunctionMaxQuery, EnableScoring, Occur, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, Value};
use tantivy::{DocAddress, Searcher, TantivyDocument, Term};

use super::schema::{analyzer, words};
use super::{Index, IndexError};
use crate::passage::Passage;

/// Words of a question that are looked for.
const WORDS: usize = 32;
/// Lines of a block that are quoted.
const QUOTE: usize = 8;
/// A word in a heading says more about a block than one in its text.
const TITLE: f32 = 2.5;
/// A word in the path says a little more.
const PATH: f32 = 1.3;
/// How much the weaker fields of a word still count.
const TIE: f32 = 0.3;
/// What a block gains by having every word.
const ALL: f32 = 0.8;

/// The blocks that fit a question, best first, as the index was at that moment.
#[derive(Clone)]
pub struct Ranking {
    searcher: Searcher,
    words: Arc<Vec<String>>,
    hits: Arc<Vec<(f32, DocAddress)>>,
}

impl Ranking {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.hits.len()
    }

    /// Whether nothing fits.
    pub fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }
}

impl Index {
    /// Ranks blocks for a question; the question is words and never a query language. Blocking: reads the disk.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`] soon after `cancelled` says so, otherwise when the index cannot be read.
    pub fn rank(&self, question: &str, limit: usize, cancelled: impl Fn() -> bool) -> Result<Ranking, IndexError> {
        self.state.turn.ask(|| {
            let mut asked = words(&mut analyzer(true), question, WORDS);
            if asked.is_empty() {
                asked = words(&mut analyzer(false), question, WORDS);
            }
            let searcher = self.reader.searcher();
            // First those that have at least half of the words; any word at all only when there are none.
            let mut hits = Vec::new();
            for least in [asked.len().div_ceil(2), 1] {
                if asked.is_empty() || !hits.is_empty() {
                    break;
                }
                hits = self.hits(&searcher, &asked, least, limit, &cancelled)?;
            }
            Ok(Ranking { searcher, words: Arc::new(asked), hits: Arc::new(hits) })
        })
    }

    fn hits(
        &self,
        searcher: &Searcher,
        words: &[String],
        least: usize,
        limit: usize,
        cancelled: &impl Fn() -> bool,
    ) -> Result<Vec<(f32, DocAddress)>, IndexError> {
        let explain = |error| self.explain(error);
        let query = self.query(words, least);
        let weight = query.weight(EnableScoring::enabled_from_searcher(searcher)).map_err(explain)?;
        let collector = TopDocs::with_limit(limit.max(1)).order_by_score();
        let mut fruits = Vec::new();
        for (ordinal, segment) in (0..).zip(searcher.segment_readers()) {
            if cancelled() {
                return Err(IndexError::Cancelled);
            }
            fruits.push(collector.collect_segment(&*weight, ordinal, segment).map_err(explain)?);
        }
        collector.merge_fruits(fruits).map_err(explain)
    }

    fn query(&self, words: &[String], least: usize) -> BooleanQuery {
        let each = || words.iter().map(|word| self.word(word));
        let some =
            BooleanQuery::with_minimum_required_clauses(each().map(|word| (Occur::Should, word)).collect(), least);
        if words.len() < 2 {
            return some;
        }
        let all = BooleanQuery::new(each().map(|word| (Occur::Must, word)).collect());
        let all = BoostQuery::new(Box::new(all), ALL);
        BooleanQuery::new(vec![(Occur::Must, Box::new(some)), (Occur::Should, Box::new(all))])
    }

    fn word(&self, word: &str) -> Box<dyn Query> {
        let in_field = |field: Field, weight: f32| -> Box<dyn Query> {
            let term = TermQuery::new(Term::from_field_text(field, word), IndexRecordOption::WithFreqs);
            Box::new(BoostQuery::new(Box::new(term), weight))
        };
        let fields = [(self.fields.body, 1.0), (self.fields.title, TITLE), (self.fields.path, PATH)];
        let fields = fields.into_iter().map(|(field, weight)| in_field(field, weight)).collect();
        Box::new(DisjunctionMaxQuery::with_tie_breaker(fields, TIE))
    }

    /// The passage at `rank` of a ranking, reduced to its best lines; `None` beyond the last. Blocking: reads the disk.
    ///
    /// # Errors
    /// [`IndexError`] when the index cannot be read.
    pub fn load(&self, ranking: &Ranking, rank: usize) -> Result<Option<Passage>, IndexError> {
        let Some((score, address)) = ranking.hits.get(rank) else { return Ok(None) };
        self.state.turn.ask(|| {
            let document: TantivyDocument = ranking.searcher.doc(*address).map_err(|error| self.explain(error))?;
            let text = |field| document.get_first(field).and_then(|value| value.as_str()).unwrap_or_default();
            let numbers = document.get_first(self.fields.lines).and_then(|value| value.as_bytes()).unwrap_or_default();
            let page = document.get_first(self.fields.page).and_then(|value| value.as_u64());
            let lines: Vec<(u32, &str)> = numbers_of(numbers).into_iter().zip(text(self.fields.body).lines()).collect();
            let best = best(&lines, &ranking.words);
            Ok(Some(Passage {
                path: text(self.fields.name).to_owned(),
                page: page.and_then(|page| u32::try_from(page).ok()),
                line_start: best.first().map_or(0, |(number, _)| *number),
                line_end: best.last().map_or(0, |(number, _)| *number),
                text: best.iter().map(|(_, text)| *text).collect::<Vec<_>>().join("\n"),
                score: *score,
            }))
        })
    }
}

/// The window of at most [`QUOTE`] lines with the most of the words, the earliest of equals, without blank ends.
fn best<'a, 'b>(lines: &'b [(u32, &'a str)], wanted: &[String]) -> &'b [(u32, &'a str)] {
    let mut analyzer = analyzer(false);
    let found: Vec<u64> = lines
        .iter()
        .map(|(_, text)| {
            let here = words(&mut analyzer, text, usize::MAX);
            wanted.iter().enumerate().filter(|(_, word)| here.contains(word)).map(|(index, _)| 1 << index).sum()
        })
        .collect();
    let worth = |start: usize| {
        let window = &found[start..lines.len().min(start + QUOTE)];
        // Distinct words first; then lines that have any; then what comes right at the top of the window.
        let distinct = window.iter().fold(0, |all: u64, here| all | here).count_ones();
        let lines = window.iter().filter(|here| **here != 0).count();
        (distinct, lines, window.first().is_some_and(|here| *here != 0))
    };
    let starts = 0..=lines.len().saturating_sub(QUOTE);
    let start = starts.rev().max_by_key(|start| worth(*start)).unwrap_or(0);
    let mut window = &lines[start..lines.len().min(start + QUOTE)];
    while let [(_, first), rest @ ..] = window
        && first.trim().is_empty()
    {
        window = rest;
    }
    while let [rest @ .., (_, last)] = window
        && last.trim().is_empty()
    {
        window = rest;
    }
    window
}

/// Line numbers as they are stored: the first, then the steps, each as a little-endian base-128 number.
pub(super) fn numbers_to(lines: &[(u32, String)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(lines.len() + 4);
    let mut last = 0;
    for (number, _) in lines {
        let mut step = number.saturating_sub(last);
        last = *number;
        while step >= 0x80 {
            bytes.push((step & 0x7f) as u8 | 0x80);
            step >>= 7;
        }
        bytes.push(step as u8);
    }
    bytes
}

fn numbers_of(bytes: &[u8]) -> Vec<u32> {
    let (mut numbers, mut last, mut step, mut shift) = (Vec::new(), 0_u32, 0_u32, 0);
    for byte in bytes {
        step |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        if byte & 0x80 == 0 {
            last = last.saturating_add(step);
            numbers.push(last);
            (step, shift) = (0, 0);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_numbers_come_back() {
        let lines: Vec<(u32, String)> =
            [1, 2, 3, 200, 200, 70_000, u32::MAX].map(|number| (number, String::new())).into();
        let numbers: Vec<u32> = lines.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers_of(&numbers_to(&lines)), numbers);
    }

    #[test]
    fn the_best_lines_are_quoted() {
        let text: Vec<String> = (1..=30)
            .map(|number| match number {
                12 => "about pairing".to_owned(),
                15 => "a mailbox word".to_owned(),
                _ => format!("line {number}"),
            })
            .collect();
        let lines: Vec<(u32, &str)> = (1..).zip(text.iter().map(String::as_str)).collect();
        let best = best(&lines, &["pair".to_owned(), "mailbox".to_owned()]);
        assert_eq!((best[0].0, best[best.len() - 1].0), (12, 19));
    }
}
