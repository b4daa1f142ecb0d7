//! How the components of a program are.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::watch;

/// How a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It works.
    Ok,
    /// It is not there yet.
    Starting,
    /// It works in part; the text says what does not.
    Degraded,
    /// It does not work; the text says why.
    Failed,
}

/// What is known about one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its name.
    pub component: &'static str,
    /// How it is.
    pub state: State,
    /// Why, for people; empty when it works.
    pub text: String,
    /// Since when it is in this state, in milliseconds of Unix time.
    pub since_ms: u64,
}

/// The reports of all components, in the order in which they came.
#[derive(Clone, Debug)]
pub struct Health(Arc<watch::Sender<Vec<Report>>>);

impl Health {
    /// Without any component.
    #[expect(clippy::new_without_default, reason = "a default that starts something shared would be read as a value")]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }

    /// Adds a component, which is starting; one that was added before is given again.
    pub fn component(&self, name: &'static str) -> Component {
        self.0.send_if_modified(|reports| {
            let new = !reports.iter().any(|report| report.component == name);
            if new {
                reports.push(Report {
                    component: name,
                    state: State::Starting,
                    text: String::new(),
                    since_ms: now_ms(),
                });
            }
            new
        });
        Component { name, health: self.clone() }
    }

    /// What is known now.
    pub fn reports(&self) -> Vec<Report> {
        self.0.borrow().clone()
    }

    /// The worst state there is; without components, `ok`.
    pub fn worst(&self) -> State {
        self.0.borrow().iter().map(|report| report.state).max().unwrap_or(State::Ok)
    }

    /// Whether everything has started and nothing has failed.
    pub fn is_ready(&self) -> bool {
        let reports = self.0.borrow();
        !reports.is_empty() && reports.iter().all(|report| matches!(report.state, State::Ok | State::Degraded))
    }

    /// Reports as they change.
    pub fn watch(&self) -> watch::Receiver<Vec<Report>> {
        self.0.subscribe()
    }
}

/// The pen with which a component reports about itself.
#[derive(Clone, Debug)]
pub struct Component {
    name: &'static str,
    health: Health,
}

impl Component {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// It works.
    pub fn ok(&self) {
        self.set(State::Ok, String::new());
    }

    /// It runs, and is of no use to others yet.
    pub fn waiting(&self, text: impl Into<String>) {
        self.set(State::Starting, text.into());
    }

    /// It works in part.
    pub fn degraded(&self, text: impl Into<String>) {
        self.set(State::Degraded, text.into());
    }

    /// It does not work.
    pub fn failed(&self, text: impl Into<String>) {
        self.set(State::Failed, text.into());
    }

    fn set(&self, state: State, text: String) {
        let mut before = State::Starting;
        let changed = self.health.0.send_if_modified(|reports| {
            let Some(report) = reports.iter_mut().find(|report| report.component == self.name) else { return false };
            if report.state == state && report.text == text {
                return false;
            }
            before = report.state;
            if report.state != state {
                report.since_ms = now_ms();
            }
            report.state = state;
            report.text.clone_from(&text);
            true
        });
        match state {
            _ if !changed => {}
            // That it has started is said by whoever started it.
            State::Ok if before == State::Starting => {}
            State::Ok => tracing::info!(component = self.name, "ok again"),
            State::Starting => tracing::warn!(component = self.name, "not ready: {text}"),
            State::Degraded => tracing::warn!(component = self.name, "degraded: {text}"),
            State::Failed => tracing::error!(component = self.name, "failed: {text}"),
        }
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn l1_17_a_component_turns_degraded_and_back_and_watchers_see_it() {
        let health = Health::new();
        assert!(!health.is_ready(), "nothing has started");
        let (store, mesh) = (health.component("store"), health.component("mesh"));
        store.ok();
        assert!(!health.is_ready(), "mesh is starting");
        mesh.ok();
        assert!(health.is_ready());

        let mut watch = health.watch();
        watch.mark_unchanged();
        mesh.degraded("no relay");
        watch.changed().await.unwrap();
        let reports = health.reports();
        assert_eq!(
            (reports[1].component, reports[1].state, reports[1].text.as_str()),
            ("mesh", State::Degraded, "no relay")
        );
        assert_eq!(health.worst(), State::Degraded);
        assert!(health.is_ready(), "in part is enough to serve");

        mesh.degraded("no relay");
        assert!(!watch.has_changed().unwrap(), "nothing new was said");
        store.failed("disk full");
        assert_eq!(health.worst(), State::Failed);
        assert!(!health.is_ready());
        mesh.waiting("nobody has dialled it");
        store.ok();
        assert!(health.worst() == State::Starting && !health.is_ready(), "it is of no use yet");
        mesh.ok();
        assert_eq!((health.worst(), health.reports()[0].text.as_str()), (State::Ok, ""));
    }

    #[test]
    fn a_component_is_added_once() {
        let health = Health::new();
        health.component("store").failed("gone");
        let again = health.component("store");
        assert_eq!(health.reports().len(), 1);
        assert_eq!(health.worst(), State::Failed, "asking for it does not change it");
        again.ok();
        assert_eq!(health.worst(), State::Ok);
    }
}
