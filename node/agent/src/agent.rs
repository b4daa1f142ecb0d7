//! The thinking of a searching agent, pure: steps in, effects out. It never sees a disk, a clock or a network.
//!
//! A passage is said before the next one is fetched, so that the first is with the reader while the last is still unknown.

use std::collections::{BTreeMap, BTreeSet};

use klp::Digest;
use klp::Refusal;

use crate::answer::Format;
use crate::effect::{Effect, Failure, Input, Step};

/// Passages in an answer when the question does not say how many.
pub const PASSAGES: usize = 5;
/// Most passages in one answer: what a person reads at once.
pub const PASSAGES_MAX: usize = 20;
/// Candidates for each passage wanted; the same text in many files is quoted only once.
const SPARE: usize = 4;
/// Bytes of a question. Longer ones are documents, not questions.
const QUESTION: usize = 4 * 1024;

/// One call on its way through a searching agent.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    format: Format,
    limit: usize,
    found: usize,
    next: usize,
    said: usize,
    seen: BTreeSet<Digest>,
}

impl Agent {
    /// An agent that waits for its call.
    pub fn new() -> Self {
        Self::default()
    }

    /// One step of thinking.
    pub fn handle(&mut self, step: Step) -> Vec<Effect> {
        match step {
            Step::Call(input) => match self.begin(input) {
                Ok(effect) => vec![effect],
                Err(failure) => vec![Effect::Refuse(failure)],
            },
            Step::Ranked { found, complete } => {
                self.found = found;
                let mut effects = Vec::new();
                if !complete {
                    effects.extend(self.format.incomplete().map(Effect::Say));
                }
                if found == 0 {
                    effects.extend(self.format.nothing().map(Effect::Say));
                }
                effects.push(self.go_on());
                effects
            }
            Step::Loaded(passage) => {
                let mut effects = Vec::new();
                if self.seen.insert(Digest::of(&[passage.text.as_bytes()])) {
                    self.said += 1;
                    effects.push(Effect::Say(self.format.passage(self.said, &passage)));
                }
                effects.push(self.go_on());
                effects
            }
        }
    }

    fn go_on(&mut self) -> Effect {
        if self.said >= self.limit || self.next >= self.found {
            return Effect::Done;
        }
        self.next += 1;
        Effect::Load(self.next - 1)
    }

    fn begin(&mut self, input: Input) -> Result<Effect, Failure> {
        if input.capability != "ask" {
            return Err(Failure::new(Refusal::Capability, "this agent can only `ask`"));
        }
        let mut args: BTreeMap<String, String> = input.args;
        let question = args.remove("text").unwrap_or_default();
        if question.trim().is_empty() {
            return Err(Failure::new(Refusal::Invalid, "the argument `text` holds no question"));
        }
        if question.len() > QUESTION {
            return Err(Failure::new(Refusal::TooLarge, format!("a question has at most {QUESTION} bytes")));
        }
        self.limit = match args.remove("limit") {
            None => PASSAGES,
            Some(limit) => limit.parse().ok().filter(|limit| (1..=PASSAGES_MAX).contains(limit)).ok_or_else(|| {
                Failure::new(Refusal::Invalid, format!("the argument `limit` must be 1 to {PASSAGES_MAX}"))
            })?,
        };
        self.format = match args.remove("format").as_deref() {
            None | Some("text") => Format::Text,
            Some("json") => Format::Json,
            Some(_) => {
                return Err(Failure::new(Refusal::Invalid, "the argument `format` must be `text` or `json`"));
            }
        };
        if let Some(name) = args.keys().next() {
            let name: String = crate::plain::line(name).chars().take(klp::limits::NAME).collect();
            return Err(Failure::new(Refusal::Invalid, format!("the argument `{name}` is not known")));
        }
        Ok(Effect::Rank { question, candidates: self.limit * SPARE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passage::Passage;

    fn ask(args: &[(&str, &str)]) -> Step {
        let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Step::Call(Input { id: 1, capability: "ask".to_owned(), args })
    }

    fn passage(text: &str) -> Step {
        Step::Loaded(Passage { text: text.to_owned(), ..Passage::default() })
    }

    #[test]
    fn the_first_passage_is_said_before_the_second_is_fetched() {
        let mut agent = Agent::new();
        assert_eq!(
            agent.handle(ask(&[("text", "how?"), ("limit", "2")])),
            [Effect::Rank { question: "how?".into(), candidates: 8 }]
        );
        assert_eq!(agent.handle(Step::Ranked { found: 8, complete: true }), [Effect::Load(0)]);
        let effects = agent.handle(passage("one"));
        assert!(matches!(effects[..], [Effect::Say(_), Effect::Load(1)]), "{effects:?}");
        assert_eq!(agent.handle(passage("one")), [Effect::Load(2)], "the same text is not said twice");
        let effects = agent.handle(passage("two"));
        assert!(matches!(effects[..], [Effect::Say(_), Effect::Done]), "{effects:?}");
    }

    #[test]
    fn nothing_found_is_said_plainly() {
        let mut agent = Agent::new();
        agent.handle(ask(&[("text", "x")]));
        let effects = agent.handle(Step::Ranked { found: 0, complete: true });
        assert!(
            matches!(&effects[..], [Effect::Say(text), Effect::Done] if text.starts_with("Nothing")),
            "{effects:?}"
        );
        agent.handle(ask(&[("text", "x")]));
        let effects = agent.handle(Step::Ranked { found: 0, complete: false });
        assert!(matches!(&effects[..], [Effect::Say(text), Effect::Say(_), Effect::Done] if text.contains("index")));
    }

    #[test]
    fn bad_arguments_are_named() {
        for (args, word) in [
            (&[][..], "text"),
            (&[("text", "  ")], "text"),
            (&[("text", "x"), ("limit", "0")], "limit"),
            (&[("text", "x"), ("limit", "21")], "limit"),
            (&[("text", "x"), ("format", "xml")], "format"),
            (&[("text", "x"), ("colour", "red")], "colour"),
        ] {
            let effects = Agent::new().handle(ask(args));
            let [Effect::Refuse(failure)] = &effects[..] else { panic!("{effects:?}") };
            assert_eq!(failure.refusal, Refusal::Invalid);
            assert!(failure.detail.contains(word), "{failure}");
        }
        let other = Input { id: 1, capability: "delete".into(), args: BTreeMap::new() };
        let effects = Agent::new().handle(Step::Call(other));
        assert!(matches!(&effects[..], [Effect::Refuse(failure)] if failure.refusal == Refusal::Capability));
    }
}
