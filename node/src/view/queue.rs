//! What the faces show of questions that wait for somebody's node.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A question that waits, or what became of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Queued {
    /// Its id.
    pub id: String,
    /// `queued`; `dispatched` once it was sent and the answer is not here; then `answered`, `failed`, `expired` or `dropped`.
    pub state: String,
    /// Whom it is for, as typed.
    pub who: String,
    /// The contact's owner DID.
    pub owner: String,
    /// The capability.
    pub capability: String,
    /// The question; of one that has ended the first KiB.
    pub text: String,
    /// `low`, `normal` or `urgent`.
    pub priority: String,
    /// When it was queued.
    pub queued: String,
    /// When it is given up.
    pub expires: String,
    /// When its state last changed.
    pub changed: String,
    /// The receipt of the call, once it was sent.
    pub receipt: Option<String>,
    /// The answer, when one question is shown and its answer is here.
    pub answer: Option<String>,
    /// Why it has failed.
    pub error: Option<Why>,
}

/// Why something has failed: as in the error object.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// Stable name, such as `revoked`.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}
