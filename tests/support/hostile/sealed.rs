//! Sealed bodies: nothing opens but what was sealed.

use klp::sealed::{Addressed, ExchangeSecret, Sealed};
use klp::statement::receipt::Order;
use klp::{Cbor, CodecError, OwnerId, Statement, Verified, limits};

use super::cast::{self, ALICE, ALICE_EXCHANGE, BOB, owner};
use super::input::Input;
use super::{envelope, vectors};

/// An order, read as a letter to whoever gave it: only a test seals one.
#[derive(Clone, Debug, PartialEq)]
struct Letter(Order);

impl Cbor for Letter {
    fn to_value(&self) -> klp::codec::Value {
        self.0.to_value()
    }

    fn from_value(value: klp::codec::Value) -> Result<Self, CodecError> {
        Order::from_value(value).map(Self)
    }
}

impl Statement for Letter {
    const DOMAIN: &'static str = "kos/test-letter/1";
}

impl Addressed for Letter {
    fn audience(&self) -> OwnerId {
        self.0.caller
    }
}

fn secret() -> ExchangeSecret {
    ExchangeSecret::from_seed([ALICE_EXCHANGE; 32])
}

fn seal(letter: &Verified<Letter>) -> Sealed {
    Sealed::seal(letter, &secret().public(), [0x77; 32]).expect("seals")
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let payload = vectors::payloads("Order", &[]).concat();
    let letter = cast::sign::<Letter>(&payload, BOB).verify().expect("a letter");
    let sealed = [&[0][..], &seal(&letter).to_bytes()].concat();
    [vectors::led(vectors::SEALED, "sealed", &[0]), vec![sealed, [&[1][..], &payload].concat()]].concat()
}

/// The way, and a sealed body or the payload inside it.
pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let sealed = if input.byte() & 1 == 0 {
        let Ok(sealed) = Sealed::from_bytes(input.rest(), limits::MESSAGE) else { return };
        assert_eq!(sealed.to_bytes(), input.rest(), "a sealed body has one encoding");
        sealed
    } else {
        let Some(letter) = envelope::signed::<Letter>(input.rest(), BOB) else { return };
        seal(&letter)
    };
    let Ok(letter) = sealed.open::<Letter>(&secret(), &owner(ALICE)) else { return };
    assert_eq!(letter.audience(), owner(ALICE), "it was said to who opens it");
    envelope::holds(&letter, letter.signed().as_bytes());
    assert_eq!(seal(&letter), sealed, "and it is what was sealed");
    assert!(sealed.open::<Letter>(&secret(), &owner(BOB)).is_err(), "nobody else may act on it");
}
