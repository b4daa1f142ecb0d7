//! Good entropy, from the system.

use crate::fault::Fault;

/// So many random bytes.
///
/// # Errors
/// `internal` when the system has none to give.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Fault::internal)?;
    Ok(bytes)
}
