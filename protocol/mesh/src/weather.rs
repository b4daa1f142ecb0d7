//! Bad connections from a seed, for tests: dials that fail, and connections that are cut in the middle.
//!
//! Only connections under `/memory/N` have weather, and no program listens there.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use klp::Digest;
use libp2p::core::ConnectedPoint;

/// What the dialler's connections suffer. The seed fixes the fate of its first dial, its second one, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Fixes all of it.
    pub seed: u64,
    /// Dials that fail, so many in a thousand.
    pub refused: u64,
    /// Connections that are cut, so many in a thousand.
    pub cut: u64,
    /// They are cut before they have carried more bytes than this, both ways together.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Refused,
    CutAfter(u64),
    Whole,
}

impl Weather {
    fn fate(&self, dial: u64) -> Fate {
        let drawn = |what: u8| {
            let digest = Digest::of(&[&self.seed.to_be_bytes(), &dial.to_be_bytes(), &[what]]).0;
            digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        if drawn(0) % 1000 < self.refused {
            Fate::Refused
        } else if drawn(1) % 1000 < self.cut {
            Fate::CutAfter(drawn(2) % self.bytes.max(1))
        } else {
            Fate::Whole
        }
    }
}

/// What becomes of a fresh connection.
pub(crate) fn suffer<T>(
    weather: Option<Weather>,
) -> impl FnOnce(T, ConnectedPoint) -> Ready<io::Result<Frail<T>>> + Clone + Send + Unpin {
    let dials = Arc::new(AtomicU64::new(0));
    move |inner, end| {
        let weather = weather.filter(|_| end.is_dialer());
        let fate = weather.map_or(Fate::Whole, |weather| weather.fate(dials.fetch_add(1, Ordering::Relaxed)));
        ready(match fate {
            Fate::Refused => Err(io::Error::new(io::ErrorKind::ConnectionRefused, "bad weather")),
            Fate::CutAfter(left) => Ok(Frail { inner, left: Some(left) }),
            Fate::Whole => Ok(Frail { inner, left: None }),
        })
    }
}

/// A connection that may break.
pub(crate) struct Frail<T> {
    inner: T,
    /// Bytes that it still carries; without a number it holds.
    left: Option<u64>,
}

impl<T> Frail<T> {
    /// Counts what is carried, and says whether the connection still holds.
    fn carry(&mut self, carried: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Some(left), Poll::Ready(Ok(count))) = (&mut self.left, &carried) {
            *left = left.saturating_sub(*count as u64);
        }
        carried
    }

    fn is_cut(&self) -> Option<io::Error> {
        (self.left == Some(0)).then(|| io::Error::new(io::ErrorKind::ConnectionReset, "bad weather"))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Frail<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(cut) = self.is_cut() {
            return Poll::Ready(Err(cut));
        }
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.carry(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Frail<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(cut) = self.is_cut() {
            return Poll::Ready(Err(cut));
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.carry(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.is_cut() {
            Some(cut) => Poll::Ready(Err(cut)),
            None => Pin::new(&mut self.inner).poll_flush(context),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::io::Cursor;
    use futures::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn a_seed_fixes_the_fate_of_every_dial() {
        let weather = Weather { seed: 7, refused: 200, cut: 500, bytes: 4096 };
        let fates = |weather: Weather| (0..1000).map(move |dial| weather.fate(dial)).collect::<Vec<_>>();
        assert_eq!(fates(weather), fates(weather));
        assert_ne!(fates(weather), fates(Weather { seed: 8, ..weather }));
        let count = |wanted: fn(&Fate) -> bool| fates(weather).iter().filter(|fate| wanted(fate)).count();
        assert!((150..250).contains(&count(|fate| *fate == Fate::Refused)));
        assert!((350..450).contains(&count(|fate| matches!(fate, Fate::CutAfter(left) if *left < 4096))));
    }

    #[test]
    fn a_connection_that_is_cut_carries_nothing_more() {
        block_on(async {
            let mut frail = Frail { inner: Cursor::new(vec![1; 100]), left: Some(30) };
            let mut buffer = [0; 20];
            frail.read_exact(&mut buffer).await.expect("carried");
            frail.write_all(&[2; 10]).await.expect("carried");
            let read = frail.read(&mut buffer).await.expect_err("cut");
            assert_eq!(read.kind(), io::ErrorKind::ConnectionReset);
            assert!(frail.write(&[2]).await.is_err() && frail.flush().await.is_err());
            let mut whole = Frail { inner: Cursor::new(vec![1; 100]), left: None };
            whole.read_exact(&mut [0; 100]).await.expect("carried");
        });
    }
}
