//! The head of everything that a passphrase or this machine opens: machine keys, vaults, recovery and export files.
//!
//! The head says how the key is found and carries a commitment to it, so that a wrong passphrase is told from damage before
//! anything is decrypted. Every field of the head goes into the key: a changed head gives another key.

use klp::Cbor;
use klp::codec::{Bytes, CodecError, Fields, Map, Value};
use subtle::ConstantTimeEq as _;

use crate::cipher::{Key, random};
use crate::passphrase::{Cost, Passphrase};

/// What opens something sealed.
#[derive(Clone, Debug)]
pub enum Opener {
    /// The secret in this machine's unlock file.
    Machine(MachineSecret),
    /// What the person knows.
    Passphrase(Passphrase),
}

/// The 32 random bytes of the unlock file. They protect a copied home, not against the same user of the same machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineSecret(pub(crate) Key);

/// Why a seal did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// The passphrase is another one.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// This machine's secret is another one than the one it was sealed with.
    #[error("it was sealed with another unlock file")]
    WrongMachine,
    /// It was sealed with a passphrase, and none was given.
    #[error("it is sealed with a passphrase")]
    NeedsPassphrase,
    /// It was sealed to a machine, and a passphrase was given.
    #[error("it is sealed with an unlock file, not with a passphrase")]
    NeedsMachine,
    /// The sealed bytes were changed outside kOS.
    #[error("the sealed bytes were changed or cut short")]
    Damaged,
    /// Written by a newer version.
    #[error("it has format {found}, and this version knows {known}")]
    Newer {
        /// Format found.
        found: u64,
        /// Newest format known here.
        known: u64,
    },
    /// The system failed.
    #[error("the system failed")]
    Io(#[from] std::io::Error),
}

const FORMAT: u64 = 1;

/// How something was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// With the unlock file.
    Machine,
    /// With a passphrase, at this cost for each try.
    Passphrase(Cost),
}

/// The plain head in front of sealed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) sealing: Sealing,
    salt: [u8; 16],
    /// Counts how often the key was changed.
    pub(crate) epoch: u64,
    check: [u8; 32],
}

impl Head {
    /// A new head and the key that belongs to it. `purpose` separates vaults from files and from each other.
    pub(crate) fn create(purpose: &[&[u8]], opener: &Opener, cost: Cost, epoch: u64) -> std::io::Result<(Self, Key)> {
        let sealing = match opener {
            Opener::Machine(_) => Sealing::Machine,
            Opener::Passphrase(_) => Sealing::Passphrase(cost),
        };
        let mut head = Self { sealing, salt: random()?, epoch, check: [0; 32] };
        let root = head.root(purpose, opener)?;
        head.check = *root.derive(&[], &[b"kos/seal/1 check"]).bytes();
        Ok((head, root.derive(&[], &[b"kos/seal/1 key"])))
    }

    /// The key, when the opener is the right one. A wrong passphrase costs as much as the right one.
    pub(crate) fn open(&self, purpose: &[&[u8]], opener: &Opener) -> Result<Key, UnsealError> {
        match (self.sealing, opener) {
            (Sealing::Machine, Opener::Passphrase(_)) => return Err(UnsealError::NeedsMachine),
            (Sealing::Passphrase(_), Opener::Machine(_)) => return Err(UnsealError::NeedsPassphrase),
            _ => {}
        }
        let root = self.root(purpose, opener)?;
        let check = root.derive(&[], &[b"kos/seal/1 check"]);
        if bool::from(check.bytes().ct_eq(&self.check)) {
            return Ok(root.derive(&[], &[b"kos/seal/1 key"]));
        }
        match opener {
            Opener::Machine(_) => Err(UnsealError::WrongMachine),
            Opener::Passphrase(_) => Err(UnsealError::WrongPassphrase),
        }
    }

    fn root(&self, purpose: &[&[u8]], opener: &Opener) -> std::io::Result<Key> {
        let base = match (opener, self.sealing) {
            (Opener::Passphrase(passphrase), Sealing::Passphrase(cost)) => passphrase.stretch(&self.salt, &cost)?,
            (Opener::Machine(secret), _) => secret.0.clone(),
            (Opener::Passphrase(passphrase), Sealing::Machine) => passphrase.stretch(&self.salt, &Cost::default())?,
        };
        let unchecked = Self { check: [0; 32], ..self.clone() }.to_bytes();
        let label: Vec<&[u8]> = [&[&b"kos/seal/1"[..], &unchecked[..]][..], purpose].concat();
        Ok(base.derive(&self.salt, &label))
    }
}

impl Cbor for Head {
    fn to_value(&self) -> Value {
        let cost = match &self.sealing {
            Sealing::Machine => None,
            Sealing::Passphrase(cost) => Some(cost),
        };
        Map::new()
            .with(1, &FORMAT)
            .with_some(2, cost)
            .with(3, &self.salt)
            .with(4, &self.epoch)
            .with(5, &self.check)
            .build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        if fields.take::<u64>(1)? != FORMAT {
            return Err(CodecError::Field { field: 1, expected: "format 1" });
        }
        let sealing = fields.take_some(2)?.map_or(Sealing::Machine, Sealing::Passphrase);
        let head = Self { sealing, salt: fields.take(3)?, epoch: fields.take(4)?, check: fields.take(5)? };
        fields.end()?;
        Ok(head)
    }
}

/// A file that is one head and one sealed body.
pub(crate) struct SealedFile {
    pub(crate) head: Head,
    body: Vec<u8>,
}

/// Bytes of a sealed file: an export of a full vault fits.
pub(crate) const FILE: usize = 64 * 1024 * 1024;

impl SealedFile {
    pub(crate) fn seal(purpose: &str, opener: &Opener, cost: Cost, plain: &[u8]) -> std::io::Result<Self> {
        let (head, key) = Head::create(&[purpose.as_bytes()], opener, cost, 1)?;
        let body = Self::body(purpose, &key, plain)?;
        Ok(Self { head, body })
    }

    /// The same head and key with another body, so that a passphrase is not asked for again.
    pub(crate) fn reseal(&self, purpose: &str, key: &Key, plain: &[u8]) -> std::io::Result<Self> {
        Ok(Self { head: self.head.clone(), body: Self::body(purpose, key, plain)? })
    }

    fn body(purpose: &str, key: &Key, plain: &[u8]) -> std::io::Result<Vec<u8>> {
        key.cipher().seal(&[purpose.as_bytes(), b"body"], plain)
    }

    pub(crate) fn open(
        &self,
        purpose: &str,
        opener: &Opener,
    ) -> Result<(Key, zeroize::Zeroizing<Vec<u8>>), UnsealError> {
        let key = self.head.open(&[purpose.as_bytes()], opener)?;
        let plain = key.cipher().open(&[purpose.as_bytes(), b"body"], &self.body).map_err(|_| UnsealError::Damaged)?;
        Ok((key, zeroize::Zeroizing::new(plain)))
    }

    pub(crate) fn encode(&self, purpose: &str) -> Vec<u8> {
        let file = Map::new().with(1, &FORMAT).with(2, &purpose.to_owned()).with(3, &self.head.to_value());
        klp::codec::encode(&file.with(4, &Bytes(self.body.clone())).build())
    }

    pub(crate) fn decode(purpose: &str, bytes: &[u8]) -> Result<Self, UnsealError> {
        let damaged = |_: CodecError| UnsealError::Damaged;
        let mut fields = klp::codec::decode(bytes, FILE).and_then(Fields::of).map_err(damaged)?;
        let found = fields.take::<u64>(1).map_err(damaged)?;
        if found > FORMAT {
            return Err(UnsealError::Newer { found, known: FORMAT });
        }
        if found < FORMAT {
            // There never was an older one.
            return Err(UnsealError::Damaged);
        }
        if fields.text(2, 64).map_err(damaged)? != purpose {
            return Err(damaged(CodecError::Field { field: 2, expected: "this kind of file" }));
        }
        let file = Self { head: fields.take(3).map_err(damaged)?, body: fields.bytes(4, FILE).map_err(damaged)? };
        fields.end().map_err(damaged)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Opener {
        Opener::Passphrase(Passphrase::new(text.into()))
    }

    fn machine(byte: u8) -> Opener {
        Opener::Machine(MachineSecret(Key::from_bytes([byte; 32])))
    }

    #[test]
    fn a_wrong_passphrase_is_told_from_damage() {
        let file = SealedFile::seal("test", &passphrase("right"), Cost::MINIMUM, b"plain").expect("seals");
        let bytes = file.encode("test");
        let read = SealedFile::decode("test", &bytes).expect("decodes");
        assert_eq!(&*read.open("test", &passphrase("right")).expect("opens").1, b"plain");
        assert!(matches!(read.open("test", &passphrase("wrong")), Err(UnsealError::WrongPassphrase)));
        assert!(matches!(read.open("test", &machine(1)), Err(UnsealError::NeedsPassphrase)));
        let mut changed = bytes.clone();
        *changed.last_mut().expect("bytes") ^= 1;
        let changed = SealedFile::decode("test", &changed).expect("decodes");
        assert!(matches!(changed.open("test", &passphrase("right")), Err(UnsealError::Damaged)));
    }

    #[test]
    fn a_file_of_one_purpose_is_none_of_another() {
        let bytes = SealedFile::seal("one", &machine(1), Cost::MINIMUM, b"plain").expect("seals").encode("one");
        assert!(matches!(SealedFile::decode("two", &bytes), Err(UnsealError::Damaged)));
        let read = SealedFile::decode("one", &bytes).expect("decodes");
        assert!(matches!(read.open("one", &machine(2)), Err(UnsealError::WrongMachine)));
        assert!(read.open("one", &machine(1)).is_ok());
    }

    #[test]
    fn a_changed_head_gives_another_key() {
        let (head, key) = Head::create(&[b"a"], &machine(1), Cost::MINIMUM, 1).expect("creates");
        assert_eq!(head.open(&[b"a"], &machine(1)).expect("opens"), key);
        let later = Head { epoch: 2, ..head.clone() };
        assert!(later.open(&[b"a"], &machine(1)).is_err());
        assert!(head.open(&[b"b"], &machine(1)).is_err());
    }

    #[test]
    fn no_changed_byte_opens() {
        let bytes = SealedFile::seal("test", &machine(1), Cost::MINIMUM, b"plain").expect("seals").encode("test");
        let opens =
            |bytes: &[u8]| SealedFile::decode("test", bytes).and_then(|file| file.open("test", &machine(1))).is_ok();
        assert!(opens(&bytes));
        for at in 0..bytes.len() {
            for change in 1..=u8::MAX {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                assert!(!opens(&changed), "byte {at} as {}", changed[at]);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _refused = SealedFile::decode("test", &bytes).is_err();
        }
    }
}
