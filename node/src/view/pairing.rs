//! What the faces show of a pairing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroize as _;

/// `kos pair`: a code that was made.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct PairCode {
    /// The code, to be told to the other person and to nobody else.
    pub code: String,
    /// Its first word and its number, which are no secret and name it from here on.
    pub mailbox: String,
    /// Until when it holds.
    pub expires: String,
    /// The first grant that comes of it, as `AGENT.CAPABILITY`.
    pub offer: Option<String>,
}

impl std::fmt::Debug for PairCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairCode").field("code", &"***").field("mailbox", &self.mailbox).finish_non_exhaustive()
    }
}

impl Drop for PairCode {
    fn drop(&mut self) {
        self.code.zeroize();
    }
}

/// What has become of a code.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PairState {
    /// Its first word and its number.
    pub mailbox: String,
    /// `open`, `paired`, `burnt`, `cancelled` or `expired`.
    pub state: String,
    /// Until when it holds.
    pub expires: String,
    /// Wrong tries that are left.
    pub tries_left: u64,
    /// Who has paired with it, by the name they have here.
    pub contact: Option<String>,
    /// Their owner DID.
    pub did: Option<String>,
    /// Six words that stand for their key.
    pub fingerprint: Option<Vec<String>>,
    /// The first grant that comes of it, as `AGENT.CAPABILITY`.
    pub offer: Option<String>,
    /// Its calls.
    pub calls: Option<u64>,
    /// Its days.
    pub days: Option<u64>,
    /// Where the first grant stands: `none`, `waiting` for my yes, `given` or `declined`.
    pub first: String,
    /// Its id, once it is made.
    pub grant: Option<String>,
}

/// `kos pair CODE`: somebody was met.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Paired {
    /// The name they have here.
    pub contact: String,
    /// Their owner DID.
    pub did: String,
    /// Their node.
    pub node: String,
    /// Six words that stand for their key; compare them by voice.
    pub fingerprint: Vec<String>,
    /// How their node is connected: `direct`, `relayed` or `lan`.
    pub path: Option<String>,
    /// What they give to begin with: `none`, `asked` when they are asked first, or `coming`.
    pub first: String,
    /// Their first grant, once it is there.
    pub grant: Option<super::Grant>,
    /// What I gave them.
    pub given: Option<super::Grant>,
}
