//! What a server program says of itself to whoever runs it: one JSON object on a socket that only its owner can open.
//!
//! Whoever connects to `HOME/status.sock` reads the object and then the end of the stream; nothing is asked.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::stop::Stop;

/// The socket in a home.
pub const SOCKET: &str = "status.sock";
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);
/// More is no status of ours.
const LONGEST: u64 = 1 << 20;

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// Nobody answers in this home.
    #[error("no program of this name runs in {}", .home.display())]
    Nobody {
        /// The folder.
        home: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Somebody answers, and not as we would.
    #[error("the program in {} does not answer as it should", .home.display())]
    Answer {
        /// The folder.
        home: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {}", .path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// An own address that others can reach, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// The address.
    pub address: String,
    /// The node that has dialled it, or `operator` for one that `--external` vouches for.
    pub confirmed_by: String,
}

/// What a relay has given away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// Nodes that wait behind it.
    pub reservations: usize,
    /// How many may.
    pub most_reservations: usize,
    /// Above this newcomers are refused.
    pub for_newcomers: usize,
    /// Circuits.
    pub circuits: usize,
    /// How many there may be.
    pub most_circuits: usize,
    /// Whether more than four fifths are in use.
    pub alarm: bool,
}

/// How a server program is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub program: String,
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when, in seconds.
    pub uptime_s: u64,
    /// Whether it is of use to others.
    pub ready: bool,
    /// Its components: `ok`, or what is wrong.
    pub health: BTreeMap<String, String>,
    /// Where it listens.
    pub listen: Vec<String>,
    /// Where others reach it.
    pub external: Vec<External>,
    /// Connections that others have opened.
    pub connections: usize,
    /// Peers in its routing table.
    pub routing: usize,
    /// What a relay has given away.
    pub relay: Option<Places>,
    /// Bytes that came from others since the start.
    pub carried_bytes: u64,
    /// The same in a second, over the last few.
    pub bytes_per_second: u64,
    /// Addresses that are sent away for a while.
    pub banned_addresses: usize,
    /// Peers that are sent away for a while.
    pub banned_peers: usize,
    /// What was refused since the start: what was wanted, why, how often.
    pub refusals: BTreeMap<String, BTreeMap<String, u64>>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up = humantime::format_duration(Duration::from_secs(self.uptime_s));
        let ready = if self.ready { "ready" } else { "NOT READY" };
        writeln!(f, "{} {}, process {}, up {up}: {ready}", self.program, self.version, self.pid)?;
        for (component, how) in self.health.iter().filter(|(_, how)| *how != "ok") {
            writeln!(f, "  {component:<13} {how}")?;
        }
        for address in &self.listen {
            writeln!(f, "  listens at    {address}")?;
        }
        for external in &self.external {
            writeln!(f, "  reached at    {} (says {})", external.address, external.confirmed_by)?;
        }
        writeln!(f, "  connections   {}, {} peers in the directory", self.connections, self.routing)?;
        if let Some(relay) = &self.relay {
            let alarm = if relay.alarm { "  NEARLY FULL" } else { "" };
            let (used, most, newcomers) = (relay.reservations, relay.most_reservations, relay.for_newcomers);
            writeln!(f, "  reservations  {used} of {most}, newcomers up to {newcomers}{alarm}")?;
            writeln!(f, "  circuits      {} of {}", relay.circuits, relay.most_circuits)?;
            writeln!(f, "  carried       {} bytes, {} a second", self.carried_bytes, self.bytes_per_second)?;
        }
        if self.banned_addresses + self.banned_peers > 0 {
            writeln!(f, "  sent away     {} addresses, {} peers", self.banned_addresses, self.banned_peers)?;
        }
        for (what, reasons) in &self.refusals {
            let reasons: Vec<String> = reasons.iter().map(|(why, count)| format!("{why} {count}")).collect();
            writeln!(f, "  refused       {what}: {}", reasons.join(", "))?;
        }
        Ok(())
    }
}

/// Says `say()` to everybody who connects, until the stop. The socket is readable for its owner only.
///
/// # Errors
/// When the socket cannot be made.
#[cfg(unix)]
pub fn open<S: Fn() -> Status + Send + Sync + 'static>(
    home: &Path,
    stop: Stop,
    say: S,
) -> Result<impl Future<Output = ()> + Send + use<S>, StatusError> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = home.join(SOCKET);
    let listen = || {
        // A socket that a killed program left; the lock of the home says that nobody else is here.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = tokio::net::UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    let listener = listen().map_err(|source| StatusError::Listen { path: path.clone(), source })?;
    let say = Arc::new(say);
    Ok(async move {
        loop {
            let accepted = tokio::select! {
                () = stop.requested() => break,
                accepted = listener.accept() => accepted,
            };
            // One after the other: an answer is small, and who does not read it is left.
            match accepted {
                Ok((stream, _)) => drop(tokio::time::timeout(PATIENCE, tell(stream, &*say)).await),
                Err(error) => {
                    tracing::warn!(%error, "the status socket cannot accept");
                    tokio::time::sleep(PATIENCE / 10).await;
                }
            }
        }
        // Best effort: the next start removes it too.
        let _ = std::fs::remove_file(&path);
    })
}

#[cfg(unix)]
async fn tell(mut stream: tokio::net::UnixStream, say: &(impl Fn() -> Status + Send + Sync)) -> io::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let mut line = serde_json::to_vec(&say()).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.shutdown().await
}

/// There is no such socket here.
///
/// # Errors
/// Never.
#[cfg(not(unix))]
pub fn open<S: Fn() -> Status + Send + Sync + 'static>(
    _: &Path,
    stop: Stop,
    _: S,
) -> Result<impl Future<Output = ()> + Send + use<S>, StatusError> {
    Ok(async move { stop.requested().await })
}

/// Asks the program in this home how it is.
///
/// # Errors
/// [`StatusError::Nobody`] when none runs there.
pub fn ask(home: &Path) -> Result<Status, StatusError> {
    let stream = connect(&home.join(SOCKET)).map_err(|source| StatusError::Nobody { home: home.to_owned(), source })?;
    let wrong = |source| StatusError::Answer { home: home.to_owned(), source };
    let mut text = String::new();
    stream.take(LONGEST).read_to_string(&mut text).map_err(wrong)?;
    serde_json::from_str(&text).map_err(|error| wrong(io::Error::other(error)))
}

#[cfg(unix)]
fn connect(path: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    let stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(2 * PATIENCE))?;
    Ok(stream)
}

#[cfg(not(unix))]
fn connect(_: &Path) -> io::Result<io::Empty> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[tokio::test]
    async fn x2_the_owner_is_told_how_the_program_is_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_owned();
        assert!(matches!(ask(&home), Err(StatusError::Nobody { .. })));
        let places =
            Places { reservations: 9, most_reservations: 10, for_newcomers: 9, alarm: true, ..Places::default() };
        let status = Status { program: "kos-lab".into(), relay: Some(places), ..Status::default() };
        let stop = Stop::new();
        std::fs::write(home.join(SOCKET), "left by somebody who was killed").unwrap();
        let said = status.clone();
        let server = tokio::spawn(open(&home, stop.clone(), move || said.clone()).unwrap());
        let mode = std::fs::metadata(home.join(SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Somebody who never reads holds nobody up for long.
        let _mute = std::os::unix::net::UnixStream::connect(home.join(SOCKET)).unwrap();
        let asking = home.clone();
        let heard = tokio::task::spawn_blocking(move || ask(&asking)).await.unwrap().unwrap();
        assert_eq!(heard, status);
        let text = heard.to_string();
        assert!(text.starts_with("kos-lab") && text.contains("NOT READY") && text.contains("9 of 10"), "{text}");
        assert!(text.contains("NEARLY FULL"), "{text}");
        stop.request();
        server.await.unwrap();
        assert!(!home.join(SOCKET).exists() && ask(&home).is_err());
    }
}
