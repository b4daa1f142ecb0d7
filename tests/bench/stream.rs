//! Requests over one plain stream: the least that anybody needs who asks and is answered over it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::oneshot;

use crate::load::Caller;

/// Bytes of one read.
const READ: usize = 64 * 1024;

/// How questions and answers are told apart on the stream.
pub(crate) trait Framing: Clone + Send + Sync + 'static {
    /// Writes a question.
    fn ask(&self, id: u32, body: &[u8], out: &mut BytesMut);
    /// The next answer of what has come.
    fn answer(&self, come: &mut BytesMut) -> Option<(u32, Bytes)>;
}

/// Length, number, bytes.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl Framing for Plain {
    fn ask(&self, id: u32, body: &[u8], out: &mut BytesMut) {
        out.put_u32(u32::try_from(body.len()).unwrap());
        out.put_u32(id);
        out.put_slice(body);
    }

    fn answer(&self, come: &mut BytesMut) -> Option<(u32, Bytes)> {
        let header = come.first_chunk::<8>()?;
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        if come.len() < 8 + length {
            return None;
        }
        come.advance(8);
        Some((id, come.split_to(length).freeze()))
    }
}

/// Answers everything with itself until the other side goes; all that came together is answered together.
pub(crate) async fn echo(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let (mut come, mut out) = (BytesMut::with_capacity(READ), BytesMut::with_capacity(READ));
    loop {
        come.reserve(READ);
        if !matches!(from.read_buf(&mut come).await, Ok(1..)) {
            return;
        }
        while let Some((id, body)) = Plain.answer(&mut come) {
            Plain.ask(id, &body, &mut out);
        }
        if to.write_all(&out).await.is_err() || to.flush().await.is_err() {
            return;
        }
        out.clear();
    }
}

/// One request at a time, with nothing between the caller and the stream.
pub(crate) struct Direct<R, W>(Arc<tokio::sync::Mutex<(R, W, BytesMut)>>);

impl<R, W> Clone for Direct<R, W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R, W> Direct<R, W> {
    pub(crate) fn new(from: R, to: W) -> Self {
        Self(Arc::new(tokio::sync::Mutex::new((from, to, BytesMut::with_capacity(READ)))))
    }
}

impl<R: AsyncRead + Unpin + Send + 'static, W: AsyncWrite + Unpin + Send + 'static> Caller for Direct<R, W> {
    async fn call(&self, body: Bytes) -> Bytes {
        let mut stream = self.0.lock().await;
        let (from, to, buffer) = &mut *stream;
        Plain.ask(0, &body, buffer);
        to.write_all(buffer).await.unwrap();
        to.flush().await.unwrap();
        buffer.clear();
        loop {
            assert!(from.read_buf(buffer).await.unwrap() > 0, "the stream ended");
            if let Some((_, body)) = Plain.answer(buffer) {
                buffer.reserve(READ);
                return body;
            }
        }
    }
}

/// Many requests at once over one stream: whoever finds it free writes what all have to say, one task reads the answers.
pub(crate) struct Shared<W, F>(Arc<Inner<W, F>>);

struct Inner<W, F> {
    framing: F,
    out: Mutex<BytesMut>,
    to: tokio::sync::Mutex<W>,
    waiting: Mutex<(u32, HashMap<u32, oneshot::Sender<Bytes>>)>,
}

impl<W, F> Clone for Shared<W, F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Send + 'static, F: Framing> Shared<W, F> {
    pub(crate) fn new(mut from: impl AsyncRead + Unpin + Send + 'static, to: W, framing: F) -> Self {
        let inner =
            Inner { framing, out: Mutex::default(), to: tokio::sync::Mutex::new(to), waiting: Mutex::default() };
        let shared = Self(Arc::new(inner));
        let reader = shared.clone();
        tokio::spawn(async move {
            let mut come = BytesMut::with_capacity(READ);
            loop {
                come.reserve(READ);
                if !matches!(from.read_buf(&mut come).await, Ok(1..)) {
                    return;
                }
                let mut waiting = reader.0.waiting.lock().unwrap();
                while let Some((id, body)) = reader.0.framing.answer(&mut come) {
                    if let Some(caller) = waiting.1.remove(&id) {
                        // Who asked may have stopped waiting.
                        let _ = caller.send(body);
                    }
                }
            }
        });
        shared
    }
}

impl<W: AsyncWrite + Unpin + Send + 'static, F: Framing> Caller for Shared<W, F> {
    async fn call(&self, body: Bytes) -> Bytes {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut waiting = self.0.waiting.lock().unwrap();
            waiting.0 = waiting.0.wrapping_add(1);
            let id = waiting.0;
            waiting.1.insert(id, sender);
            id
        };
        self.0.framing.ask(id, &body, &mut self.0.out.lock().unwrap());
        while !self.0.out.lock().unwrap().is_empty()
            && let Ok(mut to) = self.0.to.try_lock()
        {
            loop {
                let said = self.0.out.lock().unwrap().split();
                if said.is_empty() {
                    break;
                }
                to.write_all(&said).await.unwrap();
                to.flush().await.unwrap();
            }
        }
        answer.await.unwrap()
    }
}
