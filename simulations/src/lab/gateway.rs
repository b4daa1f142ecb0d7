//! The router of a home that opens ports for whoever asks inside: miniupnpd, which many routers have, with UPnP IGD.

use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Trouble;
use super::command::{has, inside};

/// How long it may take until it answers, and how often that is looked at.
const READY: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);
/// The end of a local address in `/proc/net/udp`: port 1900.
const SSDP: &str = ":076C";
/// The program.
const PROGRAM: &str = "miniupnpd";

/// What it writes its rules into, beside those of the router.
pub(super) const RULES: &str = "table inet upnp {
    chain pass { type filter hook forward priority filter; jump opened; }
    chain come { type nat hook prerouting priority dstnat; jump turned; }
    chain go { type nat hook postrouting priority srcnat; jump named; }
    chain opened { }
    chain turned { }
    chain named { }
}
";

/// One opens ports for the asker alone, and none below 1024.
const SETTINGS: &str = "ext_ifname=wan
listening_ip=lan
ipv6_disable=yes
enable_natpmp=no
enable_upnp=yes
secure_mode=yes
uuid=6b6f7300-0000-4000-8000-000000000001
upnp_table_name=upnp
upnp_nat_table_name=upnp
upnp_forward_chain=opened
upnp_nat_chain=turned
upnp_nat_postrouting_chain=named
allow 1024-65535 10.0.0.0/8 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
";

/// Starts it beside a router.
pub(super) fn start(home: &str) -> Result<Child, Trouble> {
    if !has(PROGRAM) {
        return Err(Trouble::Lacks(format!("the program {PROGRAM}")));
    }
    let start = |source| Trouble::Start { program: PROGRAM.into(), source };
    let [settings, pid] = ["conf", "pid"].map(|end| Path::new("/run").join(format!("{home}.upnp.{end}")));
    std::fs::write(&settings, SETTINGS).map_err(start)?;
    let mut command = inside(home, PROGRAM);
    command.arg("-d").arg("-f").arg(settings).arg("-P").arg(pid);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(start)?;
    let until = Instant::now() + READY;
    while !hears(&child) {
        // Whoever asks before it hears is not told again.
        let ended = child.try_wait().map_err(start)?;
        if let Some(why) = ended.map(|status| status.to_string()).or((Instant::now() > until).then(String::new)) {
            let _ended = child.kill().and_then(|()| child.wait());
            return Err(start(std::io::Error::other(format!("it does not answer for the router of {home} {why}"))));
        }
        thread::sleep(LOOK);
    }
    Ok(child)
}

/// Whether something in its namespace waits for questions about gateways.
fn hears(child: &Child) -> bool {
    let sockets = std::fs::read_to_string(format!("/proc/{}/net/udp", child.id())).unwrap_or_default();
    sockets.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|local| local.ends_with(SSDP))
}
