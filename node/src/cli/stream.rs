//! Server-sent events, read.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use klp::Refusal;

use crate::fault::Fault;

/// Bytes of one event: a KLP message, with room for JSON's escapes.
const EVENT: usize = 6 * klp::limits::MESSAGE + 4096;

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its id; empty when it has none.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
    /// Its data.
    pub(super) data: String,
}

/// Events of an answer.
pub(super) struct Events {
    body: Incoming,
    reader: Reader,
}

impl Events {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, reader: Reader::default() }
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// `interrupted` when the connection breaks, `too_large` when an event does not end.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            if let Some(event) = self.reader.next() {
                return Ok(Some(event));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(Fault::new(Refusal::Interrupted, format!("the node hung up: {error}")));
                }
                Some(Ok(frame)) => self.reader.feed(frame.data_ref().map_or(&[], |data| data))?,
            }
        }
    }
}

/// From bytes to events.
#[derive(Default)]
struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.bytes.len() + bytes.len() > EVENT {
            return Err(Refusal::TooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn next(&mut self) -> Option<Event> {
        loop {
            let end = self.bytes.windows(2).position(|pair| pair == b"\n\n")?;
            let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
            let mut event = Event::default();
            for line in String::from_utf8_lossy(&block).lines() {
                let (field, value) = line.split_once(':').unwrap_or((line, ""));
                let value = value.strip_prefix(' ').unwrap_or(value);
                match field {
                    "id" => value.clone_into(&mut event.id),
                    "event" => value.clone_into(&mut event.name),
                    "data" => {
                        if !event.data.is_empty() {
                            event.data.push('\n');
                        }
                        event.data.push_str(value);
                    }
                    _ => {}
                }
            }
            // A comment that keeps the connection alive.
            if event != Event::default() {
                return Some(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = ":\n\nid: 7\nevent: chunk\ndata: {\"text\":\"ü\"}\n\nevent: done\ndata: a\ndata: b\n\n".as_bytes();
        for size in 1..text.len() {
            let (mut reader, mut events) = (Reader::default(), Vec::new());
            for piece in text.chunks(size) {
                reader.feed(piece).expect("fits");
                events.extend(std::iter::from_fn(|| reader.next()));
            }
            let chunk = Event { id: "7".into(), name: "chunk".into(), data: "{\"text\":\"ü\"}".into() };
            let done = Event { id: String::new(), name: "done".into(), data: "a\nb".into() };
            assert_eq!(events, [chunk, done], "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_that_does_not_end_is_refused() {
        let mut reader = Reader::default();
        reader.feed(&vec![b'x'; EVENT]).expect("fits");
        assert!(reader.feed(b"x").is_err());
    }
}
