//! A node, through the program `kos` and the socket in its home.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use thiserror::Error;

/// Between two looks whether the program has ended.
const LOOK: Duration = Duration::from_millis(10);

/// What a node did not do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message} ({code})")]
pub(super) struct Refused {
    /// The code of the refusal, or `silent` when there was no answer.
    pub(super) code: String,
    /// What it said.
    pub(super) message: String,
}

/// One node.
#[derive(Debug)]
pub(super) struct Client {
    home: PathBuf,
}

impl Client {
    pub(super) fn new(home: PathBuf) -> Self {
        Self { home }
    }

    /// Says these words to it, and returns what it answers within this time.
    pub(super) fn say(&self, words: &[&str], patience: Duration) -> Result<Value, Refused> {
        let silent = |message: String| Refused { code: "silent".into(), message };
        let mut command = Command::new("kos");
        command.arg("--home").arg(&self.home).arg("--json").args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| silent(format!("kos cannot be started: {error}")))?;
        let out = child.stdout.take();
        let reading = thread::spawn(move || {
            let mut text = String::new();
            out.map(|mut out| out.read_to_string(&mut text)).transpose().map(|_| text)
        });
        let in_time = wait(&mut child, patience);
        let text = reading.join();
        if !in_time {
            return Err(silent(format!("no answer within {} s", patience.as_secs())));
        }
        let Ok(Ok(text)) = text else { return Err(silent("its answer cannot be read".into())) };
        let value: Value =
            serde_json::from_str(&text).map_err(|error| silent(format!("its answer is no JSON: {error}")))?;
        match value.get("error") {
            Some(error) => Err(Refused { code: text_of(error, "code"), message: text_of(error, "message") }),
            None => Ok(value),
        }
    }
}

/// Waits for its end; one that is late is killed.
fn wait(child: &mut Child, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        thread::sleep(LOOK);
    }
    // It may have ended just now; then neither has anything to do.
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// A text of an object; empty when there is none.
pub(super) fn text_of(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
