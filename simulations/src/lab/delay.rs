//! Time on the way, made in user space, for not every kernel has `netem`: what is to pass the internet goes into a device, waits here,
//! and comes out of the same device.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::Trouble;
use super::command::inside;

/// The device.
pub(super) const DEVICE: &str = "delay0";
/// The word that makes this program the shuttle.
pub const SHUTTLE: &str = "__shuttle";
/// Packets on the way; what comes when there are more is lost, as on a real line.
const ON_THE_WAY: usize = 16_384;

/// Starts the shuttle in a namespace; it is there when this returns.
pub(super) fn start(namespace: &str, delay_ms: u64) -> Result<Child, Trouble> {
    let started = |source| Trouble::Start { program: "the delay".into(), source };
    let here = std::env::current_exe().map_err(started)?;
    let mut command = inside(namespace, here);
    command.args([SHUTTLE, &delay_ms.to_string()]).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(started)?;
    let mut line = String::new();
    let said = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
    match said {
        Some(Ok(count)) if count > 0 => Ok(child),
        _ => Err(Trouble::Lacks("a way to make a TUN device".into())),
    }
}

/// Carries packets until it is killed.
///
/// # Errors
/// There is no such device here.
pub fn shuttle(delay: Duration) -> std::io::Result<()> {
    let mut tun = tappers::Tun::new_named(tappers::Interface::new(DEVICE)?)?;
    tun.set_up()?;
    let tun = Arc::new(tun);
    println!("ready");
    std::io::stdout().flush()?;
    let (sender, due) = sync_channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let out = tun.clone();
    std::thread::spawn(move || {
        for (at, packet) in due {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            let _lost = out.send(&packet);
        }
    });
    let mut packet = vec![0; 1 << 16];
    loop {
        let count = tun.recv(&mut packet)?;
        let _lost = sender.try_send((Instant::now() + delay, packet[..count].to_vec()));
    }
}
