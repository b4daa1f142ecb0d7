//! Starting in order: no component before those that it leans on, and a failure that names its component.

use std::error::Error;
use std::future::Future;
use std::time::Instant;

use crate::health::{Component, Health};

/// Why a program did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A component failed.
    #[error("{component} did not start")]
    Failed {
        /// Which one.
        component: &'static str,
        /// Its reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A component ended by itself while it was needed.
    #[error("{component} ended by itself; its log says why")]
    Ended {
        /// Which one.
        component: &'static str,
    },
    /// The order in the program is wrong.
    #[error("{component} was started before {needs}, on which it leans")]
    Order {
        /// Which one.
        component: &'static str,
        /// What it leans on.
        needs: &'static str,
    },
}

/// A start in progress.
#[derive(Debug)]
pub struct Startup {
    health: Health,
    started: Vec<&'static str>,
}

impl Startup {
    /// Nothing has started. Components report to this registry.
    pub fn new(health: &Health) -> Self {
        Self { health: health.clone(), started: Vec::new() }
    }

    /// Starts one component after those it leans on, logs it with its place in the order, and reports it `ok`.
    ///
    /// # Errors
    /// [`StartError`] names the component, which is then reported `failed`.
    pub async fn step<T, E>(
        &mut self,
        name: &'static str,
        needs: &[&'static str],
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<(T, Component), StartError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let component = self.health.component(name);
        if let Some(needs) = needs.iter().find(|needs| !self.started.contains(needs)) {
            component.failed(format!("started before {needs}"));
            return Err(StartError::Order { component: name, needs });
        }
        let begun = Instant::now();
        match work.await {
            Ok(started) => {
                component.ok();
                self.started.push(name);
                let (place, ms) = (self.started.len(), begun.elapsed().as_millis());
                tracing::info!(component = name, place, ?needs, %ms, "started");
                Ok((started, component))
            }
            Err(error) => {
                let source = error.into();
                component.failed(source.to_string());
                Err(StartError::Failed { component: name, source })
            }
        }
    }

    /// What has started, in order.
    pub fn order(&self) -> &[&'static str] {
        &self.started
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::State;
    use std::convert::Infallible;

    #[tokio::test]
    async fn l1_16_components_start_in_dependency_order() {
        let health = Health::new();
        let mut startup = Startup::new(&health);
        startup.step("store", &[], async { Ok::<_, Infallible>(()) }).await.unwrap();
        let (answer, _) = startup.step("mesh", &["store"], async { Ok::<_, Infallible>(7) }).await.unwrap();
        assert_eq!((answer, startup.order()), (7, &["store", "mesh"][..]));
        assert!(health.is_ready());

        let early = startup.step("api", &["store", "agents"], async { Ok::<_, Infallible>(()) }).await.unwrap_err();
        assert_eq!(early.to_string(), "api was started before agents, on which it leans");
        assert_eq!(startup.order(), ["store", "mesh"]);
    }

    #[tokio::test]
    async fn l1_16_a_failing_component_is_named() {
        let health = Health::new();
        let mut startup = Startup::new(&health);
        let refused =
            startup.step("mesh", &[], async { Err::<(), _>(std::io::Error::other("port in use")) }).await.unwrap_err();
        assert_eq!(refused.to_string(), "mesh did not start");
        assert_eq!(refused.source().map(ToString::to_string).as_deref(), Some("port in use"));
        let report = &health.reports()[0];
        assert_eq!((report.component, report.state, report.text.as_str()), ("mesh", State::Failed, "port in use"));
        assert!(startup.order().is_empty());
    }
}
