//! The routing table in an earlier life: `HOME/table`, one address a line, so that a restart does not begin with nobody.

use std::time::Duration;

use host::Home;
use mesh::{Mesh, Multiaddr};

const TABLE: &str = "table";
/// How often the table is written, when it has changed.
const EVERY: Duration = Duration::from_secs(60);
/// Addresses that are kept, and lines that are read.
const MOST: usize = 1024;

/// What was known. A line that is no address is passed over: the table fills by itself.
pub(crate) fn read(home: &Home) -> Vec<Multiaddr> {
    let text = match std::fs::read_to_string(home.join(TABLE)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(%error, "the table of the last run cannot be read");
            return Vec::new();
        }
    };
    parse(&text)
}

fn parse(text: &str) -> Vec<Multiaddr> {
    let addresses = text.lines().take(MOST).filter_map(|line| line.parse().ok());
    addresses.filter(|address| mesh::node_in(address).is_some()).collect()
}

/// Writes the table again and again, until the mesh ends.
pub(crate) async fn keep(mesh: &Mesh, home: &Home) {
    let mut pause = tokio::time::interval(EVERY);
    loop {
        pause.tick().await;
        if !write(mesh, home).await {
            return;
        }
    }
}

/// Writes the table once. False when the mesh has ended. An empty table leaves the last one: it may be the network that is gone.
pub(crate) async fn write(mesh: &Mesh, home: &Home) -> bool {
    let Ok(known) = mesh.known().await else { return false };
    let text: String = known.iter().take(MOST).map(|address| format!("{address}\n")).collect();
    let before = std::fs::read_to_string(home.join(TABLE)).unwrap_or_default();
    if !text.is_empty()
        && text != before
        && let Err(error) = home.write(TABLE, text.as_bytes())
    {
        tracing::warn!(%error, "the table cannot be kept for the next run");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x3_what_is_no_address_of_a_node_is_passed_over() {
        let peer = "12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV";
        let good = format!("/ip4/203.0.113.7/tcp/1/p2p/{peer}");
        let text = format!("{good}\nnonsense\n/ip4/203.0.113.7/tcp/1\n\u{0}\n");
        assert_eq!(parse(&text), [good.parse::<Multiaddr>().unwrap()]);
        assert!(parse(&"nonsense\n".repeat(100_000)).is_empty());
    }
}
