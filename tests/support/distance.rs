//! A line of a certain length between two nodes on one machine: what goes in at one end comes out at the other, later and in order.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Pieces on their way, in one direction of one connection; more wait at the near end.
const ON_THE_WAY: usize = 1024;
/// Bytes of one piece.
const PIECE: usize = 64 * 1024;

/// Something, and when it comes out.
type Due = (Instant, Bytes);

/// A line to one address. It ends when it is dropped.
pub struct Distance {
    near: SocketAddr,
    line: JoinHandle<()>,
}

impl Distance {
    /// A line for TCP, each way as long as `delay`. A handshake takes its round trip, as on a real line.
    pub async fn tcp(far: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = listener.local_addr().unwrap();
        let line = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(stream, far, delay));
            }
        });
        Self { near, line }
    }

    /// A line for datagrams, each way as long as `delay`.
    pub async fn udp(far: SocketAddr, delay: Duration) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let near = socket.local_addr().unwrap();
        Self { near, line: tokio::spawn(datagrams(socket, far, delay)) }
    }

    /// Its near end.
    pub fn near(&self) -> SocketAddr {
        self.near
    }
}

impl Drop for Distance {
    fn drop(&mut self) {
        self.line.abort();
    }
}

/// One connection. The near side believes to be connected at once, so what it says is not heard before a handshake would have ended.
async fn connection(near: TcpStream, far: SocketAddr, delay: Duration) {
    let begun = Instant::now();
    sleep_until(begun + delay).await;
    let Ok(far) = TcpStream::connect(far).await else { return };
    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
        return;
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let there = async {
        sleep_until(begun + 2 * delay).await;
        carry(near_in, far_out, delay).await;
    };
    tokio::join!(there, carry(far_in, near_out, delay));
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut due) = mpsc::channel(ON_THE_WAY);
    let read = async move {
        let mut piece = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            if sender.send((Instant::now() + delay, Bytes::copy_from_slice(&piece[..count]))).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some(bytes) = next(&mut due).await
            && to.write_all(&bytes).await.is_ok()
        {}
        // The other end may be gone.
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

/// What comes out next, when it is due.
async fn next(due: &mut mpsc::Receiver<Due>) -> Option<Bytes> {
    let (at, bytes) = due.recv().await?;
    sleep_until(at).await;
    Some(bytes)
}

/// Datagrams from everybody at the near end, each of whom gets a socket of their own at the far one.
async fn datagrams(near: Arc<UdpSocket>, to: SocketAddr, delay: Duration) {
    let (mut lanes, mut tasks) = (HashMap::<SocketAddr, mpsc::Sender<Due>>::new(), JoinSet::new());
    let mut piece = vec![0; PIECE];
    while let Ok((count, from)) = near.recv_from(&mut piece).await {
        if let Entry::Vacant(lane) = lanes.entry(from) {
            let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            far.connect(to).await.unwrap();
            let (sender, mut due) = mpsc::channel(ON_THE_WAY);
            lane.insert(sender);
            let out = far.clone();
            tasks.spawn(async move {
                while let Some(bytes) = next(&mut due).await
                    && out.send(&bytes).await.is_ok()
                {}
            });
            tasks.spawn(back(far, near.clone(), from, delay));
        }
        // A line that is full loses datagrams, as lines do.
        let _ = lanes[&from].try_send((Instant::now() + delay, Bytes::copy_from_slice(&piece[..count])));
    }
}

async fn back(far: Arc<UdpSocket>, near: Arc<UdpSocket>, to: SocketAddr, delay: Duration) {
    let (sender, mut due) = mpsc::channel(ON_THE_WAY);
    let read = async move {
        let mut piece = vec![0; PIECE];
        while let Ok(count) = far.recv(&mut piece).await {
            let _ = sender.try_send((Instant::now() + delay, Bytes::copy_from_slice(&piece[..count])));
        }
    };
    let write = async move {
        while let Some(bytes) = next(&mut due).await
            && near.send_to(&bytes, to).await.is_ok()
        {}
    };
    tokio::join!(read, write);
}
