//! An agent whose words come from elsewhere in this process: from the program that embeds the node, or from a test that decides
//! when each word falls.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::effect::Input;

/// The words of one call, in order. The sender sees by its closed channel that the call has been stopped; dropping the sender ends
/// the answer.
pub type Words = mpsc::Receiver<String>;

/// What speaks for an agent.
#[derive(Clone)]
pub struct Script(Arc<dyn Fn(Input) -> Words + Send + Sync>);

impl Script {
    /// Speaks as `speak` says. It is called once for each call, on an async thread, and must not block.
    pub fn new(speak: impl Fn(Input) -> Words + Send + Sync + 'static) -> Self {
        Self(Arc::new(speak))
    }

    pub(crate) fn speak(&self, input: Input) -> Words {
        (self.0)(input)
    }
}
