//! Opening the mesh: which addresses, and what our Hello tells whom.

use std::sync::Arc;

use klp::Refusal;
use klp::hello::Extras;
use klp::rule::address::Cidr;
use mesh::{Mesh, Multiaddr, Role};

use crate::clock::Clock;
use crate::config::Config;
use crate::fault::Fault;
use crate::me::Me;
use crate::offers::Offers;
use crate::people::People;

/// What our Hello tells whom: everything to a contact, nothing to anybody else.
pub(super) fn introducer(me: &Me, people: &People, offers: &Offers, store: &store::Store) -> mesh::Introduce {
    let (me, people, offers, store) = (me.clone(), people.clone(), offers.clone(), store.clone());
    Arc::new(move |node| {
        let Some(contact) = people.node(node) else { return Extras::default() };
        let head = store.view().ok().and_then(|view| store::revocations::head(&view, &me.owner()).ok().flatten());
        Extras {
            introduction: Some(me.introduction()),
            revocations: Some(head.map_or(0, |head| head.seq)),
            offers: offers.to(&contact.owner),
            wants: offers.wanted(&contact.owner),
        }
    })
}

pub(super) type OpenMesh<D> = (Mesh, tokio::sync::mpsc::Receiver<mesh::Event>, D);

fn relay_token(file: &std::path::Path) -> Result<mesh::RelayToken, Fault> {
    let wrong = |why: String| {
        let hint = "its text is the token that whoever runs the relay has given you";
        Fault::new(Refusal::Invalid, format!("relay_token_file: {}: {why}", file.display())).hint(hint)
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let short = || wrong(format!("it holds less than {} characters", mesh::RelayToken::LEAST));
    mesh::RelayToken::new(&text).ok_or_else(short)
}

/// The ranges that count as public.
pub(super) fn ranges(config: &Config) -> Result<Vec<Cidr>, Fault> {
    let wrong = |why| Fault::new(Refusal::Invalid, format!("reach.trust_cidr: {why}"));
    config.reach.trust_cidr.iter().map(|text| text.parse().map_err(wrong)).collect()
}

pub(super) fn open_mesh(
    config: &Config,
    key: klp::SecretKey,
    introduce: mesh::Introduce,
    clock: &Clock,
    registry: &mut mesh::Registry,
) -> Result<OpenMesh<impl Future<Output = ()> + Send + use<>>, Fault> {
    let addresses = |what: &str, texts: &[String]| -> Result<Vec<Multiaddr>, Fault> {
        let read = |text: &String| {
            text.parse().map_err(|_| {
                Fault::new(Refusal::Invalid, format!("{what}: \"{text}\" is no multiaddr"))
                    .hint("an address looks like /ip4/192.0.2.1/tcp/4001")
            })
        };
        texts.iter().map(read).collect()
    };
    let (checking, wall) = (clock.clone(), clock.clone());
    let config = mesh::Config {
        listen: addresses("listen", &config.basics.listen)?,
        external: addresses("external", &config.basics.external)?,
        bootstrap: addresses("bootstrap", &config.basics.bootstrap)?,
        relays: addresses("relay", &config.relay)?,
        relay_token: config.relay_token_file.as_deref().map(relay_token).transpose()?,
        tls: config.tls()?,
        trust_cidr: ranges(config)?,
        // Looking begins with the first contact or listed agent.
        mdns: false,
        introduce,
        check_record: Arc::new(move |key, value, publisher| {
            klp::rule::record::standing(key, value, publisher, checking.now())
        }),
        wall: Arc::new(move || wall.now()),
        ..mesh::Config::new(key, Role::Node)
    };
    mesh::open(config, registry).map_err(|error| {
        let taken =
            matches!(&error, mesh::OpenError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse);
        let fault = Fault::new(
            Refusal::Invalid,
            match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        );
        if taken {
            fault.hint("another program has this port: choose another, or 0 for any free one")
        } else {
            fault.hint("correct the address")
        }
    })
}
