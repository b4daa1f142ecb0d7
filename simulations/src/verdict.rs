//! What came of a scenario.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// Whether everything held.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Which scenario.
    pub name: String,
    /// Whether it held.
    pub passed: bool,
    /// The figures, or what did not hold.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
    /// Further figures, for programs.
    pub figures: Value,
}

impl Verdict {
    /// From what a run says of itself.
    pub fn of(name: String, result: Result<String, String>, took: Duration) -> Self {
        let passed = result.is_ok();
        Self { name, passed, detail: result.unwrap_or_else(|broken| broken), took, figures: Value::Null }
    }

    /// All of them, for programs.
    pub fn report(verdicts: &[Self]) -> Value {
        let passed = verdicts.iter().filter(|verdict| verdict.passed).count();
        let scenarios: Vec<_> = verdicts
            .iter()
            .map(|one| {
                let took = (one.took.as_secs_f64() * 10.0).round() / 10.0;
                json!({
                    "name": one.name, "passed": one.passed, "detail": one.detail, "took_s": took, "figures": one.figures
                })
            })
            .collect();
        json!({ "passed": passed, "failed": verdicts.len() - passed, "scenarios": scenarios })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.passed { "PASS" } else { "FAIL" };
        write!(f, "{word} {:<14} {} ({:.1} s)", self.name, self.detail, self.took.as_secs_f64())
    }
}
