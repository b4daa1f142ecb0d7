//! An agent whose words a story says, one by one.

use agent::Script;
use tokio::sync::mpsc;

use crate::{PATIENCE, Person};

/// Speaks for one agent of a person.
pub struct Speaker {
    calls: mpsc::Receiver<mpsc::Sender<String>>,
}

impl Speaker {
    /// Speaks for this agent from now on.
    pub fn of(person: &Person, agent: &str) -> Self {
        let (told, calls) = mpsc::channel(64);
        let script = Script::new(move |_| {
            let (say, words) = mpsc::channel(1);
            // A story that has ended hears of no more calls.
            let _told = told.try_send(say);
            words
        });
        person.node.agents.speak_for(agent, script).unwrap();
        Self { calls }
    }

    /// The next call: words go in, and its channel closes when the work is to stop.
    pub async fn call(&mut self) -> mpsc::Sender<String> {
        tokio::time::timeout(PATIENCE, self.calls.recv()).await.unwrap().unwrap()
    }
}
