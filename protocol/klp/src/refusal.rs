//! The numbered refusals: one table for the wire, the command line, the local API and the web page.
//!
//! Source: `specs/03-session.md`, section "Refusals". A number never changes its meaning and is never used again.

use std::fmt;

macro_rules! refusals {
    ($($name:ident $number:literal $code:literal $retry:literal $exit:literal $http:literal $message:literal $hint:literal;)+) => {
        /// Why something was refused, in one word that every face of kOS shows alike.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Refusal { $(#[doc = $message] $name,)+ }

        impl Refusal {
            /// The whole table, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
            /// Number on the wire.
            pub fn number(self) -> u16 { match self { $(Self::$name => $number,)+ } }
            /// Name in JSON and logs, `snake_case`.
            pub fn code(self) -> &'static str { match self { $(Self::$name => $code,)+ } }
            /// Whether the same request may succeed later.
            pub fn retryable(self) -> bool { match self { $(Self::$name => $retry,)+ } }
            /// Exit code of the command line.
            pub fn exit(self) -> u8 { match self { $(Self::$name => $exit,)+ } }
            /// HTTP status of the local API.
            pub fn http(self) -> u16 { match self { $(Self::$name => $http,)+ } }
            /// What happened, as a sentence.
            pub fn message(self) -> &'static str { match self { $(Self::$name => $message,)+ } }
            /// What to do about it.
            pub fn hint(self) -> &'static str { match self { $(Self::$name => $hint,)+ } }
        }
    };
}

refusals! {
    Malformed 1 "malformed" false 7 400 "this is not a valid message" "compare it with the specification; nothing was changed";
    TooLarge 2 "too_large" false 7 413 "this is larger than the limit" "send it in smaller parts";
    Version 3 "version" false 1 426 "no protocol version is spoken by both sides" "update the older side";
    Signature 4 "signature" false 3 401 "the signature does not verify" "ask the sender for an unchanged copy";
    Expired 5 "expired" false 3 410 "this is past its time" "ask for a fresh one";
    Clock 6 "clock" false 3 400 "the two clocks differ by more than 5 minutes" "set the clock of this machine";
    Replay 7 "replay" false 3 409 "this was already seen once" "send a new request";
    Revoked 8 "revoked" false 3 403 "this was revoked" "ask its issuer for a new grant";
    NotForMe 9 "not_for_me" false 3 421 "this is addressed to somebody else" "check the address";
    NoHandler 10 "no_handler" false 1 404 "nobody here answers this kind of request" "the other side may run an older version";
    Denied 11 "denied" false 3 403 "not allowed" "ask the owner for a grant";
    Capability 12 "capability" false 3 403 "the grant does not cover this capability" "ask for a grant of this capability";
    Arguments 13 "arguments" false 3 403 "the grant does not cover these arguments" "ask for a wider grant or change the arguments";
    Budget 14 "budget" false 3 403 "the grant's budget is used up" "ask for a new grant";
    Busy 15 "busy" true 1 429 "too much is waiting already" "try again in a moment";
    Locked 16 "locked" true 5 423 "the vault is locked" "run `kos vault unlock`";
    NotFound 17 "not_found" false 6 404 "there is no such thing here" "check the name with the matching `list`";
    Timeout 18 "timeout" true 8 504 "no answer came in time" "try again, or give it longer with `--timeout`";
    Cancelled 19 "cancelled" false 1 499 "it was cancelled" "start it again if it is still wanted";
    UnknownOutcome 20 "unknown_outcome" false 1 502 "it ran, but its outcome is not known any more" "look at `kos receipt list` before trying again";
    Unreachable 21 "unreachable" true 4 503 "the other node cannot be reached" "check that it is up; `kos ping` shows what was tried";
    Interrupted 22 "interrupted" false 1 502 "the node stopped in the middle of it" "what it cost is spent; ask again";
    Stalled 23 "stalled" true 8 408 "nothing moved for 30 seconds" "read faster, or check the connection";
    RolledBack 24 "rolled_back" false 3 409 "this node's data is older than what it once signed" "see `kos status`; confirm with `kos audit confirm` after a restore";
    Exists 25 "exists" false 7 409 "there is one of this name already" "choose another name";
    Invalid 26 "invalid" false 7 422 "the input is not valid" "see the message";
    Integrity 27 "integrity" false 1 500 "stored data was changed outside kOS" "restore a backup; `kos audit verify` names the first bad entry";
    ReadOnly 28 "read_only" false 1 503 "the node is read-only because its log does not verify" "run `kos audit verify`";
    Full 29 "full" true 1 507 "the disk is full" "free some space; nothing acknowledged was lost";
    Unauthorized 30 "unauthorized" false 3 401 "the token is missing or wrong" "use the token in HOME/api-token";
    ForeignOrigin 31 "foreign_origin" false 3 403 "this request comes from another site" "use the address in HOME/api";
    NoNode 32 "no_node" true 4 503 "no node is running on this home" "run `kos up`";
    Internal 33 "internal" true 1 500 "something failed inside" "see the log; the request changed nothing";
    State 34 "state" false 7 409 "not possible in the present state" "see the message";
    Failed 35 "failed" false 1 500 "the work failed" "see the message";
    WrongCode 36 "wrong_code" false 3 403 "the code is wrong" "compare the words with the other person; three wrong tries burn a code";
    Burnt 37 "burnt" false 3 410 "this code was used, burnt by wrong tries, or taken back" "ask for a new code: `kos pair` on their side";
    Loop 38 "loop" false 1 508 "it came back to a node that had it already" "nothing is to be done here: who forwards takes another way";
    Hops 39 "hops" false 1 508 "it may not be handed on by one more node" "become a contact of somebody closer to that node";
    Tampered 40 "tampered" false 1 502 "it was changed, shortened or mixed up on its way" "ask again by another way; whoever forwarded it is broken or dishonest";
}

impl Refusal {
    /// What no request of a program that keeps to the protocol is refused for.
    pub const OFFENCES: [Self; 2] = [Self::Malformed, Self::Signature];
    /// What never ends a session of such a program, or keeps it from beginning.
    pub const GRAVE: [Self; 5] = [Self::Malformed, Self::Signature, Self::TooLarge, Self::NotForMe, Self::Replay];

    /// The refusal with this number; a number from a newer version counts as [`Refusal::Failed`].
    pub fn from_number(number: u16) -> Self {
        Self::ALL.iter().copied().find(|refusal| refusal.number() == number).unwrap_or(Self::Failed)
    }

    /// The refusal with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|refusal| refusal.code() == code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_are_unique() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_number(refusal.number()), *refusal);
            assert_eq!(Refusal::from_code(refusal.code()), Some(*refusal));
        }
    }
}
