//! What people type to name somebody: `PETNAME/AGENT`, `DID/AGENT`, `self/AGENT`, `any/AGENT`, or a link `kos:DID/AGENT`.

use klp::Did;

use crate::fault::Fault;
use klp::Refusal;

/// What stands for whoever offers something.
const ANY: &str = "any";

/// A person, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// This node's owner.
    Me,
    /// Whoever offers it.
    Any,
    /// A contact, by the name given to them.
    Petname(String),
    /// An owner, node or agent.
    Did(Did),
}

/// A person and perhaps one of their agents, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Who.
    pub who: Who,
    /// Which agent, by name; an agent's own DID needs none.
    pub agent: Option<String>,
}

impl Who {
    /// Reads a person.
    ///
    /// # Errors
    /// `invalid`
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let text = text.strip_prefix("kos:").unwrap_or(text);
        if text == "self" {
            Ok(Self::Me)
        } else if text == ANY {
            Ok(Self::Any)
        } else if text.starts_with("did:") {
            text.parse().map(Self::Did).map_err(|error| Fault::new(Refusal::Invalid, format!("{text} is {error}")))
        } else {
            petname(text).map(Self::Petname)
        }
    }
}

impl Address {
    /// Reads a person and an agent.
    ///
    /// # Errors
    /// `invalid`
    pub fn parse(text: &str) -> Result<Self, Fault> {
        match text.rsplit_once('/') {
            Some((who, agent)) if !agent.is_empty() => {
                Ok(Self { who: Who::parse(who)?, agent: Some(agent.to_owned()) })
            }
            _ => match Who::parse(text)? {
                who @ (Who::Did(_) | Who::Any) => Ok(Self { who, agent: None }),
                Who::Me | Who::Petname(_) => Err(Fault::new(Refusal::Invalid, format!("\"{text}\" names no agent"))
                    .hint("write it as PETNAME/AGENT, DID/AGENT or self/AGENT; `kos find` shows agents")),
            },
        }
    }
}

/// A name that can be given to a contact: letters, digits, `-`, `_` and `.`, at most 64 bytes, not `self`.
///
/// # Errors
/// `invalid`
pub fn petname(text: &str) -> Result<String, Fault> {
    let fits = !text.is_empty()
        && text.len() <= klp::limits::NAME
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if fits && text != "self" && text != ANY {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(Refusal::Invalid, format!("{text:?} cannot be the name of a contact"))
            .hint("use up to 64 letters, digits, - _ or . (and not \"self\" or \"any\")"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_surface_says() {
        let did = klp::SecretKey::from_seed(&[1; 32]).did();
        for (text, who, agent) in [
            ("bob/docs".to_owned(), Who::Petname("bob".into()), Some("docs")),
            ("self/guide".to_owned(), Who::Me, Some("guide")),
            ("any/docs".to_owned(), Who::Any, Some("docs")),
            ("any".to_owned(), Who::Any, None),
            (format!("{did}/docs"), Who::Did(did), Some("docs")),
            (format!("kos:{did}/docs"), Who::Did(did), Some("docs")),
            (did.to_string(), Who::Did(did), None),
        ] {
            let expected = Address { who, agent: agent.map(str::to_owned) };
            assert_eq!(Address::parse(&text), Ok(expected), "{text}");
        }
        for wrong in ["", "bob", "self", "bob/", "/docs", "did:key:zNo/docs", "a b/docs"] {
            assert_eq!(Address::parse(wrong).map_err(|fault| fault.refusal), Err(Refusal::Invalid), "{wrong:?}");
        }
    }
}
