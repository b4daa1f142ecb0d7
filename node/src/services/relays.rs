//! Relays that contacts offer each other: this node's to them, and theirs to this node.
//!
//! An offer is signed and is kept until it ends, also when whoever gave it is away. It is told to contacts only, and goes with the contact.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use klp::message::{self, Empty, kind};
use klp::rule::address::{Cidr, Scope};
use klp::rule::record;
use klp::statement::card::RelayOffer;
use klp::{NodeId, Refusal, Signed, Timestamp, Verified, limits};
use mesh::Multiaddr;
use store::records::{self, Kind, Record};
use store::{Store, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bus::{Bus, Heard, Listener};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::inbound::{Access, Caller, Inbound};
use crate::me::Me;
use crate::outbound::{Outbound, ip_of};
use crate::people::People;

/// Relays of all contacts together that the mesh is told.
const MOST: usize = 32;
/// How often it is looked for offers that end soon.
const LOOK: Duration = Duration::from_secs(3600);
/// How soon after somebody has become a contact: the other side may still have to take us for one.
const SOON: Duration = Duration::from_secs(20);

/// Relays that contacts offer each other.
#[derive(Clone)]
pub(crate) struct Relays {
    needs: Arc<Needs>,
}

/// What they are made of.
pub(crate) struct Needs {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) me: Me,
    pub(crate) people: People,
    pub(crate) outbound: Outbound,
    /// What this node offers.
    pub(crate) offered: Vec<String>,
    /// Whether it uses what others offer.
    pub(crate) uses: bool,
    /// Somebody offers something else than before.
    pub(crate) news: Notify,
}

/// What the settings say that this node offers: relays that everybody can dial.
///
/// # Errors
/// `invalid`, naming the first that cannot be offered.
pub(crate) fn offered(texts: &[String], trusted: &[Cidr]) -> Result<Vec<String>, Fault> {
    let wrong = |why: String| {
        let hint = "name a relay by an address that everybody can dial, such as /dns4/HOST/tcp/4711/p2p/PEERID";
        Fault::new(Refusal::Invalid, format!("reach.offer_relay: {why}")).hint(hint)
    };
    if texts.len() > limits::RELAYS_OFFERED {
        return Err(wrong(format!("at most {} relays can be offered", limits::RELAYS_OFFERED)));
    }
    for text in texts {
        let names_relay = readable(text).is_some_and(|address| mesh::node_in(&address).is_some());
        let names_host = ["/dns/", "/dns4/", "/dns6/"].iter().any(|dns| text.starts_with(dns));
        if !names_relay {
            return Err(wrong(format!("\"{text}\" is no address of a relay that ends in /p2p/PEERID")));
        }
        if !names_host && ip_of(text).is_none_or(|ip| Scope::of(ip, trusted) != Scope::Public) {
            return Err(wrong(format!("\"{text}\" is not public")));
        }
    }
    Ok(texts.to_vec())
}

/// The address of a relay, where it is one.
fn readable(text: &str) -> Option<Multiaddr> {
    let fits = text.len() <= limits::ADDRESS && !text.contains("/p2p-circuit");
    text.parse().ok().filter(|_| fits)
}

impl Relays {
    pub(crate) fn new(needs: Needs) -> Self {
        Self { needs: Arc::new(needs) }
    }

    /// Answers contacts from now on.
    pub(crate) fn open(&self, inbound: &Inbound) {
        let relays = self.clone();
        inbound.answer(kind::RELAYS, Access::Contact, move |_: Caller, _: Empty| {
            let offer = relays.offer().signed().clone();
            async move { Ok::<_, Refusal>(message::Relays { offer }) }
        });
    }

    /// What this node offers now.
    fn offer(&self) -> Verified<RelayOffer> {
        let Needs { clock, me, offered, .. } = &*self.needs;
        let now = clock.now();
        let expires = now.after(limits::RELAYS_LIFE);
        me.sign(RelayOffer { node: me.node(), relays: offered.clone(), seq: now.0, issued: now, expires })
    }

    /// Asks a contact's node, with which there is a session, what it offers.
    ///
    /// # Errors
    /// What the other side refuses, or why its offer does not hold.
    pub(crate) async fn ask(&self, node: NodeId) -> Result<(), Fault> {
        let Needs { store, clock, people, outbound, uses, news, .. } = &*self.needs;
        if !uses {
            return Ok(());
        }
        outbound.introduce_directly(node).await?;
        let said: message::Relays = match outbound.ask(node, kind::RELAYS, &Empty).await {
            // Whoever takes us for no contact any more offers us nothing.
            Err(fault) if fault.refusal == Refusal::Denied => {
                store.write(move |tx| records::remove(tx, Kind::Relays, &node.0)).await?;
                news.notify_one();
                return Ok(());
            }
            said => said?,
        };
        let now = clock.now();
        let offer = record::offer(&said.offer, &node, now).map_err(|refusal| {
            outbound.figures().refused("answer", refusal);
            Fault::new(refusal, "what the other node says of its relays does not hold")
        })?;
        let Some(contact) = people.node(&node) else { return Ok(()) };
        let row = Record {
            kind: Kind::Relays,
            about: node.0,
            owner: contact.owner.0,
            seq: offer.seq,
            expires: offer.expires,
            signed: said.offer.as_bytes().to_vec(),
        };
        store.write(move |tx| records::put(tx, &row, now).map(drop)).await?;
        news.notify_one();
        Ok(())
    }

    /// Tells the mesh what contacts offer, and forgets what came from others.
    async fn use_them(&self) -> Result<(), Fault> {
        let Needs { people, outbound, store, uses, .. } = &*self.needs;
        let (known, strangers): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.held().await?.into_iter().partition(|(node, _)| *uses && people.knows(node));
        if !strangers.is_empty() {
            let forget = move |tx: &mut store::Tx| {
                strangers.keys().try_for_each(|node| records::remove(tx, Kind::Relays, &node.0))?;
                Ok::<_, StoreError>(())
            };
            store.write(forget).await?;
        }
        let relays = taken_in_turn(known.values().map(|offer| offer.relays.as_slice()));
        outbound.mesh().set_relays(relays).await.map_err(Fault::internal)
    }

    /// The offers that hold.
    async fn held(&self) -> Result<BTreeMap<NodeId, Verified<RelayOffer>>, Fault> {
        let Needs { store, clock, .. } = &*self.needs;
        let now = clock.now();
        let rows = store.read(move |view| records::list(view, Kind::Relays, now)).await?;
        let offer = |row: Record| {
            let node = NodeId(row.about);
            Some((node, record::offer(&Signed::from_bytes(row.signed), &node, now).ok()?))
        };
        Ok(rows.into_iter().filter_map(offer).collect())
    }

    /// Asks those who are connected again whose offer is half over.
    async fn renew(&self) -> Result<(), Fault> {
        let Needs { clock, people, outbound, .. } = &*self.needs;
        let (held, now) = (self.held().await?, clock.now());
        for node in outbound.connected().into_iter().filter(|node| people.knows(node)) {
            if held.get(&node).is_none_or(|offer| is_half_over(offer, now))
                && let Err(fault) = self.ask(node).await
            {
                tracing::debug!(%fault, %node, "it says nothing of its relays");
            }
        }
        Ok(())
    }

    /// Uses what contacts offer, and no longer what those offer who are none any more, until the node stops. Only here the mesh is told: what was
    /// read first is told first.
    pub(crate) async fn follow(self, bus: Bus) {
        let mut changes = bus.listen("contact.*", None);
        let mut look = Instant::now() + LOOK;
        loop {
            if let Err(fault) = self.use_them().await {
                tracing::warn!(%fault, "what contacts offer of relays is not used");
            }
            let wait = tokio::select! {
                () = self.needs.news.notified() => continue,
                changed = others(&mut changes) => if changed { SOON } else { return },
                () = tokio::time::sleep_until(look) => LOOK,
            };
            look = Instant::now() + wait;
            if let Err(fault) = self.renew().await {
                tracing::warn!(%fault, "offers of relays are not renewed");
            }
        }
    }
}

/// Whether others are contacts now than before; `false` when nothing will change any more.
async fn others(changes: &mut Listener) -> bool {
    loop {
        match changes.next().await {
            Some(Heard::Event(event)) if !matches!(event.name, "contact.added" | "contact.removed") => {}
            Some(_) => return true,
            None => return false,
        }
    }
}

fn is_half_over(offer: &RelayOffer, now: Timestamp) -> bool {
    offer.expires.since(now) < limits::RELAYS_LIFE / 2
}

/// The first of each offer, then the second of each, so that no contact fills all places; each relay once.
fn taken_in_turn<'o>(offers: impl Iterator<Item = &'o [String]>) -> Vec<Multiaddr> {
    let offers: Vec<&[String]> = offers.collect();
    let mut taken: Vec<Multiaddr> = Vec::new();
    for turn in 0..limits::RELAYS_OFFERED {
        for address in offers.iter().filter_map(|offer| readable(offer.get(turn)?)) {
            let relay = mesh::node_in(&address);
            if relay.is_some() && taken.len() < MOST && !taken.iter().any(|known| mesh::node_in(known) == relay) {
                taken.push(address);
            }
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use klp::SecretKey;

    use super::*;

    fn at(start: &str, seed: u8) -> String {
        let node = NodeId(SecretKey::from_seed(&[seed; 32]).did());
        mesh::with_node(start.parse().expect("address"), node).to_string()
    }

    #[test]
    fn s25_only_what_everybody_can_dial_can_be_offered() {
        let (public, host) = (at("/ip4/93.184.216.34/tcp/1", 1), at("/dns4/relay.example/tcp/1", 2));
        assert_eq!(offered(&[public.clone(), host.clone()], &[]).expect("fine"), [public.clone(), host]);
        let lab: Cidr = "10.0.0.0/8".parse().expect("range");
        let private = at("/ip4/10.1.2.3/tcp/1", 1);
        assert!(offered(std::slice::from_ref(&private), &[lab]).is_ok());
        let through = format!("{public}/p2p-circuit/p2p/{}", public.rsplit('/').next().expect("a peer"));
        for (text, why) in [
            (private, "is not public"),
            (at("/ip4/127.0.0.1/tcp/1", 1), "is not public"),
            (at("/memory/7", 1), "is not public"),
            ("/ip4/93.184.216.34/tcp/1".to_owned(), "no address of a relay"),
            (through, "no address of a relay"),
            ("relay.example".to_owned(), "no address of a relay"),
        ] {
            let fault = offered(&[text], &[]).expect_err("refused");
            assert!(fault.to_string().contains(why), "{fault}");
        }
        assert!(offered(&vec![public; limits::RELAYS_OFFERED + 1], &[]).is_err());
    }

    #[test]
    fn k17_no_contact_fills_all_places_and_what_is_no_address_of_a_relay_is_passed_over() {
        let greedy: Vec<String> = (1..=4).map(|seed| at("/ip4/11.0.0.1/tcp/1", seed)).collect();
        let modest = vec![at("/ip4/12.0.0.1/tcp/1", 9), at("/ip4/12.0.0.1/tcp/2", 1)];
        let wrong = vec!["nonsense".to_owned(), "/ip4/13.0.0.1/tcp/1".to_owned(), format!("{}/p2p-circuit", greedy[0])];
        let taken = taken_in_turn([greedy.as_slice(), &modest, &wrong].into_iter());
        let taken: Vec<String> = taken.iter().map(ToString::to_string).collect();
        assert_eq!(taken, [&greedy[0], &modest[0], &greedy[1], &greedy[2], &greedy[3]].map(Clone::clone));
        let many: Vec<Vec<String>> = (10..60).map(|seed| vec![at("/ip4/11.0.0.1/tcp/1", seed)]).collect();
        assert_eq!(taken_in_turn(many.iter().map(Vec::as_slice)).len(), MOST);
    }
}
