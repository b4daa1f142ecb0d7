//! A line of a certain length to somebody on this machine.

use std::net::SocketAddr;
use std::time::Duration;

use klp::NodeId;
use mesh::Multiaddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::support::address;

/// Its near end. It is cut when this is dropped.
pub(crate) struct Line {
    near: SocketAddr,
    carrying: JoinHandle<()>,
    silent: watch::Sender<bool>,
}

impl Line {
    /// To this address, each way so long.
    pub(crate) async fn to(far: SocketAddr, delay: Duration) -> Self {
        Self::from(TcpListener::bind("127.0.0.1:0").await.expect("binds"), far, delay)
    }

    /// The same, with this near end.
    pub(crate) fn from(listener: TcpListener, far: SocketAddr, delay: Duration) -> Self {
        let near = listener.local_addr().expect("bound");
        let (silent, silence) = watch::channel(false);
        let carrying = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(far).await.expect("somebody listens");
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                connections.spawn(carry(near_in, far_out, delay, silence.clone()));
                connections.spawn(carry(far_in, near_out, delay, silence.clone()));
            }
        });
        Self { near, carrying, silent }
    }

    /// From here on it carries nothing, and does not say so.
    pub(crate) fn fall_silent(&self) {
        self.silent.send_replace(true);
    }

    /// Where this node is reached over it.
    pub(crate) fn address(&self, node: NodeId) -> Multiaddr {
        mesh::with_node(address(&format!("/ip4/127.0.0.1/tcp/{}", self.near.port())), node)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration, silent: watch::Receiver<bool>) {
    let (sender, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(256);
    let there = async move {
        while let Some((at, piece)) = due.recv().await {
            sleep_until(at).await;
            if *silent.borrow() {
                std::future::pending().await
            }
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    let here = async move {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(count) = from.read(&mut piece).await
            && count > 0
        {
            if sender.send((Instant::now() + delay, piece[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(there, here);
}
