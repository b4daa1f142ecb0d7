//! The code that one person tells the other. Source: `specs/09-pairing.md`, section 1.

use std::fmt;

use bip39::Language;
use zeroize::Zeroizing;

use crate::Digest;

/// Numbers of a mailbox: from 1 to this.
const NUMBERS: u32 = 9999;
/// Letters by which a word of the list is known; longer beginnings and the whole word are good too.
const KNOWN_BY: usize = 4;

/// Where two people meet: a word of the list and a number, as `ocean-4821`. It is no secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox(String);

/// Three words of the list, as `river-stone-lamp`. It is wiped when dropped and prints as `Password(***)`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

/// A whole code: `ocean-4821-river-stone-lamp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Where.
    pub mailbox: Mailbox,
    /// The secret.
    pub password: Password,
}

/// Why a text is no code. It never holds what was typed, which may be nearly right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// Not a word, a number and three words.
    #[error("a code is a word, a number and three more words")]
    Form,
    /// The number is none from 1 to 9999.
    #[error("the number of a code is from 1 to 9999")]
    Number,
    /// One of the words is not in the list.
    #[error("word {0} of the code is not in the list: compare it with what the other person sees")]
    Word(usize),
}

impl Mailbox {
    /// Reads one as it travels: whole word, small letters, no zero in front.
    ///
    /// # Errors
    /// [`CodeError`]
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        let (word, number) = text.split_once('-').ok_or(CodeError::Form)?;
        let read = Self::new(word, number)?;
        if read.0 == text { Ok(read) } else { Err(CodeError::Form) }
    }

    fn new(word: &str, number: &str) -> Result<Self, CodeError> {
        let word = known(word).ok_or(CodeError::Word(1))?;
        if number.len() > 4 || !number.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(CodeError::Number);
        }
        let number: u32 = number.parse().map_err(|_| CodeError::Number)?;
        if number == 0 || number > NUMBERS {
            return Err(CodeError::Number);
        }
        Ok(Self(format!("{word}-{number}")))
    }

    /// As it is written and as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its word.
    pub fn word(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }

    /// The key under which the node that made the code provides in the DHT.
    pub fn key(&self) -> Digest {
        Digest::of(&[b"kos/dht/pair/1", self.0.as_bytes()])
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Password {
    /// Three words, parted by `-`.
    ///
    /// # Errors
    /// [`CodeError`]
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        let mut words = text.split('-');
        let mut next = || words.next().ok_or(CodeError::Form);
        let password = Self::new([next()?, next()?, next()?])?;
        if words.next().is_some() { Err(CodeError::Form) } else { Ok(password) }
    }

    fn new(words: [&str; 3]) -> Result<Self, CodeError> {
        let mut text = Zeroizing::new(String::with_capacity(32));
        for (place, word) in (2..).zip(words) {
            if !text.is_empty() {
                text.push('-');
            }
            text.push_str(known(word).ok_or(CodeError::Word(place))?);
        }
        Ok(Self(text))
    }

    /// The secret, for whoever shows or keeps it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

impl Code {
    /// A new code from 12 random bytes: 33 bits of password.
    pub fn from_entropy(entropy: &[u8; 12]) -> Self {
        let list = Language::English.word_list();
        let word = |at: usize| list[usize::from(u16::from_be_bytes([entropy[at], entropy[at + 1]])) % list.len()];
        let number = u32::from_be_bytes([entropy[2], entropy[3], entropy[4], entropy[5]]) % NUMBERS + 1;
        let mut password = Zeroizing::new(String::with_capacity(32));
        for (at, between) in [(6, ""), (8, "-"), (10, "-")] {
            password.push_str(between);
            password.push_str(word(at));
        }
        Self { mailbox: Mailbox(format!("{}-{number}", word(0))), password: Password(password) }
    }

    /// Reads what a person types: parted by spaces or `-`, in any case, each word whole or its first four letters.
    ///
    /// # Errors
    /// [`CodeError`]
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        if text.len() > 128 {
            return Err(CodeError::Form);
        }
        let small = Zeroizing::new(text.to_ascii_lowercase());
        let mut parts =
            small.split(|letter: char| letter == '-' || letter.is_whitespace()).filter(|part| !part.is_empty());
        let mut next = || parts.next().ok_or(CodeError::Form);
        let (word, number) = (next()?, next()?);
        let words = [next()?, next()?, next()?];
        if parts.next().is_some() {
            return Err(CodeError::Form);
        }
        Ok(Self { mailbox: Mailbox::new(word, number)?, password: Password::new(words)? })
    }

    /// The whole code, to be shown to the person who made it.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(self.mailbox.as_str());
        text.push('-');
        text.push_str(self.password.expose());
        text
    }
}

/// The word of the list that is meant.
fn known(typed: &str) -> Option<&'static str> {
    let list = Language::English.word_list();
    match list.binary_search(&typed) {
        Ok(at) => Some(list[at]),
        // No two words of the list have the same four letters in front.
        Err(at) if typed.len() >= KNOWN_BY => list.get(at).copied().filter(|word| word.starts_with(typed)),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPED: &str = "ocean-4821-river-stone-lamp";

    #[test]
    fn s27_a_code_is_read_as_people_type_it_and_written_in_one_way() {
        let code = Code::parse(TYPED).expect("a code");
        for text in ["Ocean 4821 river stone lamp", "  ocean-4821 RIVE  ston-lamp\n", "ocea 4821 river ston lamp"] {
            assert_eq!(Code::parse(text), Ok(code.clone()), "{text}");
        }
        assert_eq!((code.expose().as_str(), code.mailbox.as_str()), (TYPED, "ocean-4821"));
        assert_eq!(format!("{code:?}"), "Code { mailbox: Mailbox(\"ocean-4821\"), password: Password(***) }");
        assert_eq!(Mailbox::parse("ocean-4821"), Ok(code.mailbox));
        assert_eq!(Password::parse("river-stone-lamp"), Ok(code.password));
    }

    #[test]
    fn s27_what_is_no_code_is_refused_without_repeating_it() {
        for (text, error) in [
            ("", CodeError::Form),
            ("ocean-4821-river-stone", CodeError::Form),
            ("ocean-4821-river-stone-lamp-lamp", CodeError::Form),
            ("ocean-0-river-stone-lamp", CodeError::Number),
            ("ocean-10000-river-stone-lamp", CodeError::Number),
            ("ocean-+1-river-stone-lamp", CodeError::Number),
            ("oce-4821-river-stone-lamp", CodeError::Word(1)),
            ("ocean-4821-river-stoone-lamp", CodeError::Word(3)),
        ] {
            assert_eq!(Code::parse(text), Err(error), "{text}");
        }
        for text in ["ocean-04821", "ocea-4821", "Ocean-4821", "ocean", "ocean-4821-"] {
            assert!(Mailbox::parse(text).is_err(), "{text}: a mailbox has one form");
        }
    }

    #[test]
    fn s27_every_entropy_gives_a_code_that_reads_back_and_no_two_words_share_four_letters() {
        for seed in 0..=255 {
            let code = Code::from_entropy(&[seed; 12]);
            assert_eq!(Code::parse(&code.expose()), Ok(code));
        }
        let list = Language::English.word_list();
        assert!(list.is_sorted(), "it is searched by halves");
        let mut letters: Vec<&str> = list.iter().map(|word| &word[..word.len().min(KNOWN_BY)]).collect();
        letters.dedup();
        assert_eq!(letters.len(), 2048);
    }
}
