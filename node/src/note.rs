//! Small files in the home that tell other programs where this node is.

use std::path::PathBuf;
use std::time::Duration;

use host::Stop;

use crate::fault::Fault;

/// Between two tries on a full disk.
const AGAIN: Duration = Duration::from_secs(5);

/// Writes one. On a full disk the old one goes, for a wrong address is worse than none, and the new one is written as soon as there
/// is room, in the background until the node stops.
///
/// # Errors
/// `internal`
pub(crate) async fn write(path: PathBuf, text: String, stop: &Stop) -> Result<(), Fault> {
    let Err(error) = host::home::write_private(&path, text.as_bytes()) else { return Ok(()) };
    if !store::is_full(&error) {
        return Err(Fault::of_file(&path, &error));
    }
    tracing::warn!(path = %path.display(), "the disk is full: this is written once there is room");
    // It may not be there.
    let _gone = std::fs::remove_file(&path);
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.requested() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
            match host::home::write_private(&path, text.as_bytes()) {
                Err(error) if store::is_full(&error) => {}
                Err(error) => return tracing::warn!(%error, path = %path.display(), "this cannot be written"),
                Ok(()) => return tracing::info!(path = %path.display(), "written, for there is room again"),
            }
        }
    });
    Ok(())
}
