//! What passes the wires of a place, as its kernel sees it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};

use socket2::{Domain, Protocol, Socket, Type};

use super::Trouble;
use super::command::inside;

/// The word that makes this program the one that listens.
pub const CAPTURE: &str = "__capture";
/// Frames of every protocol: `ETH_P_ALL`, as the network writes it.
const EVERY: i32 = 0x0003_u16.to_be() as i32;
/// No file of a capture grows beyond this.
const MOST: usize = 256 << 20;

/// Starts to listen in a namespace; it listens when this returns.
pub(super) fn start(namespace: &str, file: &Path) -> Result<Child, Trouble> {
    let started = |source| Trouble::Start { program: "the capture".into(), source };
    let here = std::env::current_exe().map_err(started)?;
    let mut command = inside(namespace, here);
    command.arg(CAPTURE).arg(file).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(started)?;
    let mut line = String::new();
    match child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line)) {
        Some(Ok(count)) if count > 0 => Ok(child),
        _ => Err(Trouble::Lacks("a way to listen to a network".into())),
    }
}

/// Writes every frame that passes into a file, until it is killed.
///
/// # Errors
/// The system does not let it, or the file cannot be written.
pub fn capture(file: &Path) -> std::io::Result<()> {
    let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(EVERY)))?;
    let mut file = std::fs::File::create(file)?;
    println!("ready");
    std::io::stdout().flush()?;
    let (mut frame, mut written) = (vec![0; 1 << 17], 0);
    while written < MOST {
        let count = socket.read(&mut frame)?;
        file.write_all(&frame[..count])?;
        written += count;
    }
    Ok(())
}
