//! Frames: what a session stream carries, one after the other.
//!
//! A frame is a fixed header of 16 bytes and a body: `u32` body length, `u8` kind, `u8` flags, `u16` zero, `u64` request id, all
//! big-endian. There is no CBOR in it and reading one allocates nothing. Source: `specs/03-session.md`, section "Frames".

mod packing;

use bytes::{BufMut, Bytes};

use crate::limits;
use crate::refusal::Refusal;

/// Bytes of a header.
pub const HEADER: usize = 16;
/// Flag: more fragments of this message follow.
const MORE: u8 = 1;
/// Flag: this request was sent before, on another stream of the same session.
const AGAIN: u8 = 2;
/// Flag: the body is packed.
const PACKED: u8 = 4;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The signed Hello: the first frame of each direction, and only the first.
    Hello = 1,
    /// A question, or a fragment of it.
    Request = 2,
    /// The final answer, or a fragment of it.
    Response = 3,
    /// A piece of an answer, before the final one.
    Chunk = 4,
    /// How much of an answer's chunks the asker has taken so far: a `u64`, cumulative.
    Credit = 5,
    /// The asker no longer wants the answer.
    Cancel = 6,
    /// Something told without being asked.
    Event = 7,
    /// The final answer is a refusal: its `u16` number and a line of text.
    Error = 8,
    /// The last frame of a direction: a `u16` refusal number (0: nothing is wrong) and a line of text.
    Bye = 9,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        const ALL: [Kind; 9] = [
            Kind::Hello,
            Kind::Request,
            Kind::Response,
            Kind::Chunk,
            Kind::Credit,
            Kind::Cancel,
            Kind::Event,
            Kind::Error,
            Kind::Bye,
        ];
        ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Whether this kind belongs to one request and so carries its id; the others carry zero.
    fn has_id(self) -> bool {
        !matches!(self, Self::Hello | Self::Event | Self::Bye)
    }

    /// Whether its body may be packed.
    fn packs(self) -> bool {
        matches!(self, Self::Request | Self::Response | Self::Chunk)
    }

    /// Which body lengths this kind allows.
    fn allows(self, length: usize) -> bool {
        match self {
            Self::Hello | Self::Chunk => length > 0,
            Self::Credit => length == 8,
            Self::Cancel => length == 0,
            Self::Error | Self::Bye => (2..=2 + limits::TEXT).contains(&length),
            Self::Request | Self::Response | Self::Event => true,
        }
    }
}

/// The first 16 bytes of a frame, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the body that follows.
    pub length: usize,
    /// What the frame is for.
    pub kind: Kind,
    /// More fragments of this message follow.
    pub more: bool,
    /// The request was sent before, on another stream of this session.
    pub again: bool,
    /// The body is packed: [`Frame::unpack`] gives what was meant.
    pub packed: bool,
    /// The request, or zero.
    pub id: u64,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] for a body over [`limits::FRAME`]; [`Refusal::Malformed`] for an unknown kind or flag, a reserved bit, a
    /// flag or an id where the kind has none, and a length that the kind does not allow.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self, Refusal> {
        let [l0, l1, l2, l3, kind, flags, r0, r1, id @ ..] = *bytes;
        let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if length > limits::FRAME {
            return Err(Refusal::TooLarge);
        }
        let kind = Kind::from_byte(kind).ok_or(Refusal::Malformed)?;
        let (more, again, packed) = (flags & MORE != 0, flags & AGAIN != 0, flags & PACKED != 0);
        let id = u64::from_be_bytes(id);
        let fits = flags & !(MORE | AGAIN | PACKED) == 0
            && [r0, r1] == [0, 0]
            && kind.has_id() == (id != 0)
            && kind.allows(length)
            && (!more || matches!(kind, Kind::Request | Kind::Response))
            && (!again || kind == Kind::Request)
            && (!packed || kind.packs() && length > 0);
        if fits { Ok(Self { length, kind, more, again, packed, id }) } else { Err(Refusal::Malformed) }
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub kind: Kind,
    /// More fragments of this message follow.
    pub more: bool,
    /// The request was sent before, on another stream of this session.
    pub again: bool,
    /// The body is packed. A session writes none such and reads them if that was agreed; [`Frame::pack`] makes them.
    pub packed: bool,
    /// The request, or zero.
    pub id: u64,
    /// At most [`limits::FRAME`] bytes.
    pub body: Bytes,
}

impl Frame {
    /// A whole message in one frame.
    pub fn new(kind: Kind, id: u64, body: Bytes) -> Self {
        Self { kind, more: false, again: false, packed: false, id, body }
    }

    /// A refusal of one request ([`Kind::Error`]), or of the whole stream ([`Kind::Bye`], where `None` says that nothing is wrong).
    pub fn refusal(kind: Kind, id: u64, refusal: Option<Refusal>, message: &str) -> Self {
        let mut end = message.len().min(limits::TEXT);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let mut body = Vec::with_capacity(2 + end);
        body.put_u16(refusal.map_or(0, Refusal::number));
        body.put_slice(&message.as_bytes()[..end]);
        Self::new(kind, id, body.into())
    }

    /// The other way: what an error or a bye says.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when the text is no UTF-8 or the number is missing.
    pub fn reason(&self) -> Result<(Option<Refusal>, String), Refusal> {
        let (number, text) = self.body.split_first_chunk::<2>().ok_or(Refusal::Malformed)?;
        let text = std::str::from_utf8(text).map_err(|_| Refusal::Malformed)?;
        let number = u16::from_be_bytes(*number);
        Ok(((number != 0).then(|| Refusal::from_number(number)), text.to_owned()))
    }

    /// A number as body, for [`Kind::Credit`].
    pub fn credit(id: u64, taken: u64) -> Self {
        Self::new(Kind::Credit, id, Bytes::copy_from_slice(&taken.to_be_bytes()))
    }

    /// The header bytes.
    pub fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        // A body is never longer than FRAME, which is far below 2^32: `fragments` and the callers of `new` see to it.
        header[..4].copy_from_slice(&u32::try_from(self.body.len()).unwrap_or(u32::MAX).to_be_bytes());
        header[4] = self.kind as u8;
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        header[5] = flag(self.more, MORE) | flag(self.again, AGAIN) | flag(self.packed, PACKED);
        header[8..].copy_from_slice(&self.id.to_be_bytes());
        header
    }

    /// Appends header and body to `out`.
    pub fn write(&self, out: &mut impl BufMut) {
        out.put_slice(&self.header());
        out.put_slice(&self.body);
    }

    /// Reads the frame at the start of `bytes`, or `None` when it has not wholly arrived.
    ///
    /// # Errors
    /// As [`Header::decode`]; known from the header alone, before the body has arrived.
    pub fn read(bytes: &mut bytes::BytesMut) -> Result<Option<Self>, Refusal> {
        let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let Header { length, kind, more, again, packed, id } = Header::decode(header)?;
        if bytes.len() < HEADER + length {
            return Ok(None);
        }
        let _header = bytes.split_to(HEADER);
        Ok(Some(Self { kind, more, again, packed, id, body: bytes.split_to(length).freeze() }))
    }

    /// A message cut into frames of at most [`limits::FRAME`] bytes.
    pub fn fragments(kind: Kind, id: u64, again: bool, mut body: Bytes) -> impl Iterator<Item = Self> {
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let part = body.split_to(body.len().min(limits::FRAME));
            ended = body.is_empty();
            Some(Self { kind, more: !ended, again, packed: false, id, body: part })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u32, kind: u8, flags: u8, reserved: u16, id: u64) -> [u8; HEADER] {
        let mut bytes = Vec::new();
        bytes.put_u32(length);
        bytes.put_u8(kind);
        bytes.put_u8(flags);
        bytes.put_u16(reserved);
        bytes.put_u64(id);
        bytes.try_into().expect("16 bytes")
    }

    #[test]
    fn each_way_to_be_wrong_has_its_refusal() {
        let max = u32::try_from(limits::FRAME).expect("fits");
        for (what, bytes, refusal) in [
            ("unknown kind 0", header(1, 0, 0, 0, 1), Refusal::Malformed),
            ("unknown kind 10", header(1, 10, 0, 0, 1), Refusal::Malformed),
            ("unknown flag", header(1, 2, 8, 0, 1), Refusal::Malformed),
            ("a packed event", header(1, 7, PACKED, 0, 0), Refusal::Malformed),
            ("a packed hello", header(1, 1, PACKED, 0, 0), Refusal::Malformed),
            ("nothing, packed", header(0, 2, PACKED, 0, 1), Refusal::Malformed),
            ("reserved bits", header(1, 2, 0, 1, 1), Refusal::Malformed),
            ("a request without id", header(1, 2, 0, 0, 0), Refusal::Malformed),
            ("a hello with id", header(1, 1, 0, 0, 1), Refusal::Malformed),
            ("more on a chunk", header(1, 4, MORE, 0, 1), Refusal::Malformed),
            ("again on a response", header(1, 3, AGAIN, 0, 1), Refusal::Malformed),
            ("an empty chunk", header(0, 4, 0, 0, 1), Refusal::Malformed),
            ("a short credit", header(7, 5, 0, 0, 1), Refusal::Malformed),
            ("a cancel with body", header(1, 6, 0, 0, 1), Refusal::Malformed),
            ("an error without number", header(1, 8, 0, 0, 1), Refusal::Malformed),
            ("a long bye", header(600, 9, 0, 0, 0), Refusal::Malformed),
            ("one byte too many", header(max + 1, 2, 0, 0, 1), Refusal::TooLarge),
        ] {
            assert_eq!(Header::decode(&bytes), Err(refusal), "{what}");
        }
        assert!(Header::decode(&header(max, 2, MORE | AGAIN | PACKED, 0, 1)).is_ok());
    }

    #[test]
    fn a_refusal_keeps_its_number_and_whole_characters() {
        let text = "é".repeat(limits::TEXT);
        let frame = Frame::refusal(Kind::Error, 7, Some(Refusal::Busy), &text);
        let (refusal, said) = frame.reason().expect("reads");
        assert_eq!(refusal, Some(Refusal::Busy));
        assert_eq!(said.len(), limits::TEXT);
        assert_eq!(Frame::refusal(Kind::Bye, 0, None, "").reason(), Ok((None, String::new())));
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_refused_or_written_back_as_it_was(bytes in proptest::array::uniform16(proptest::num::u8::ANY), small in 0u8..12) {
            // Half of the cases get a plausible length and kind, so that both outcomes are met.
            let mut bytes = bytes;
            if small > 1 {
                bytes[..3].fill(0);
                bytes[4] = small;
                bytes[5] &= 7;
                bytes[6..8].fill(0);
            }
            if let Ok(header) = Header::decode(&bytes) {
                let body = Bytes::from(vec![0; header.length]);
                let Header { kind, more, again, packed, id, .. } = header;
                let frame = Frame { kind, more, again, packed, id, body };
                proptest::prop_assert_eq!(frame.header(), bytes);
            }
        }

        #[test]
        fn a_message_cut_and_joined_is_the_same(length in 0usize..limits::FRAME * 3, step in 1usize..9000) {
            let body = Bytes::from((0..length).map(|i| (i % 251) as u8).collect::<Vec<_>>());
            let mut wire = bytes::BytesMut::new();
            Frame::fragments(Kind::Request, 5, false, body.clone()).for_each(|frame| frame.write(&mut wire));
            let (mut seen, mut joined, mut more) = (bytes::BytesMut::new(), Vec::new(), true);
            for part in wire.chunks(step) {
                seen.extend_from_slice(part);
                while let Some(frame) = Frame::read(&mut seen).expect("valid") {
                    proptest::prop_assert!(more);
                    more = frame.more;
                    joined.extend_from_slice(&frame.body);
                }
            }
            proptest::prop_assert!(!more && seen.is_empty());
            proptest::prop_assert_eq!(Bytes::from(joined), body);
        }
    }
}
