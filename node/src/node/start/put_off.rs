//! What a full disk kept the start from doing.

use store::StoreError;

/// What a full disk kept the start from doing, for later.
pub(in crate::node) struct PutOff {
    left_open: store::requests::LeftOpen,
}

impl PutOff {
    /// Permits that could not be closed yet.
    pub(super) fn new(left_open: store::requests::LeftOpen) -> Self {
        Self { left_open }
    }

    /// Tries once more.
    pub(in crate::node) async fn try_again(
        &mut self,
        store: &store::Store,
        now: klp::Timestamp,
    ) -> Result<(), StoreError> {
        if self.left_open.is_empty() {
            return Ok(());
        }
        interrupt(store, &self.left_open, now).await?;
        self.left_open = store::requests::LeftOpen::default();
        Ok(())
    }
}

/// Closes what was open when the node stopped.
pub(super) async fn interrupt(
    store: &store::Store,
    left: &store::requests::LeftOpen,
    now: klp::Timestamp,
) -> Result<(), StoreError> {
    let left = left.clone();
    store.write(move |tx| store::requests::interrupt(tx, left, now).map(drop)).await
}
