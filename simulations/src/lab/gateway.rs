//! The router of a home that opens ports for whoever asks inside: miniupnpd, which many routers have, with UPnP IGD.

use std::path::Path;
use std::process::{Child, Stdio};

use super::Trouble;
use super::command::{has, inside};

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
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(start)
}
