//! What is measured: who carries the message, how many are on their way at once, and whether it is signed.

/// Who carries the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// TCP and nothing else: no encryption, no identity.
    Tcp,
    /// One QUIC stream.
    Quinn,
    /// libp2p request-response with CBOR over TCP, a stream for each request.
    RequestResponse,
    /// Our session over TCP.
    Session,
    /// Our session over QUIC.
    SessionQuic,
    /// Our session over TCP, with a whole node behind it.
    Door,
    /// A NATS server in between: no encryption, no identity.
    Nats,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    /// Who carries it.
    pub(crate) peer: Peer,
    /// Requests on their way at once.
    pub(crate) in_flight: usize,
    /// Whether question and answer are signed statements, made and checked each time.
    pub(crate) signed: bool,
}

impl Peer {
    const ALL: [Self; 7] =
        [Self::Tcp, Self::Quinn, Self::RequestResponse, Self::Session, Self::SessionQuic, Self::Door, Self::Nats];

    /// Its name in commands and tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quinn => "quinn",
            Self::RequestResponse => "request-response",
            Self::Session => "session",
            Self::SessionQuic => "session-quic",
            Self::Door => "session-door",
            Self::Nats => "nats",
        }
    }
}

impl Case {
    /// An unsigned one.
    pub(crate) fn plain(peer: Peer, in_flight: usize) -> Self {
        Self { peer, in_flight, signed: false }
    }

    /// A signed one.
    pub(crate) fn signed(peer: Peer, in_flight: usize) -> Self {
        Self { peer, in_flight, signed: true }
    }

    /// All of them; NATS only where it is installed.
    pub(crate) fn all(nats: bool) -> Vec<Self> {
        let peers = Peer::ALL.into_iter().filter(|peer| nats || *peer != Peer::Nats);
        let mut cases: Vec<Self> = peers.flat_map(|peer| [1, 64].map(|many| Self::plain(peer, many))).collect();
        for peer in [Peer::RequestResponse, Peer::Session] {
            cases.extend([1, 64].map(|many| Self::signed(peer, many)));
        }
        cases
    }

    /// Its name in commands and tables.
    pub(crate) fn name(self) -> String {
        format!("{}{} x{}", self.peer.name(), if self.signed { " signed" } else { "" }, self.in_flight)
    }

    /// The case of this name.
    pub(crate) fn named(name: &str) -> Self {
        Self::all(true).into_iter().find(|case| case.name() == name).expect("a case of this name")
    }
}
