//! Starting in order: home, keys, store, vault, mesh, agents, services. And stopping the other way round.

mod closed;
mod opening;
mod put_off;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use host::config::{Layers, Loaded};
use host::{Component, Health, Startup, Stop};
use klp::Refusal;
use store::audit::Condition;
use store::{StoreError, Unlock};
use tokio::sync::watch;

pub use closed::StartFault;

use super::{Node, identity};
use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::{Config, Seal};
use crate::fault::Fault;
use crate::figures::Figures;
use crate::inbound::Inbound;
use crate::keys::Keys;
use crate::life::Life;
use crate::me::Me;
use crate::note;
use crate::offers::Offers;
use crate::outbound::Outbound;
use crate::people::People;
use crate::principal::Principals;
pub(crate) use closed::closed_home;
use closed::{busy_home, closed_store, in_part};
use opening::{introducer, open_mesh, ranges};
pub(super) use put_off::PutOff;
use put_off::interrupt;

use crate::services::{
    agents, audit, calls, contacts, directory, forwarding, grants, pairing, queue, reach, receipts, relays,
    revocations, settings, vaults,
};

/// What a node is started with.
pub struct Start {
    /// The settings, and where each comes from.
    pub loaded: Loaded<Config>,
    /// The layers, for settings that change later.
    pub layers: Layers,
    /// The passphrase, when one was given.
    pub passphrase: Option<vaults::Secret>,
    /// When to stop.
    pub stop: Stop,
}

/// The reporters of the parts that can fail later.
pub(super) struct Components {
    store: Component,
    mesh: Component,
    agents: Component,
    clock: Component,
}

impl Components {
    /// What the last write said of the store.
    pub(super) fn store_is(&self, wrote: Result<(), StoreError>, condition: &Condition) {
        match (wrote, condition) {
            (_, Condition::Broken { .. }) => self.store.failed("read-only: the audit log does not verify"),
            (Err(StoreError::Full), _) => {
                self.store.degraded("the disk is full: nothing new is kept until there is room, and nothing told is lost");
            }
            (Err(error), _) => self.store.degraded(error.to_string()),
            (Ok(()), Condition::RolledBack { found, anchored }) => self.store.degraded(format!(
                "this data has {found} log entries, but this machine once saw {}: confirm a restored backup with `kos audit confirm`",
                anchored.size
            )),
            (Ok(()), _) => self.store.ok(),
        }
    }

    /// Looks at the parts that say nothing by themselves.
    pub(super) fn look(&self, node: &Node, has_bootstrap: bool) {
        let (routing, peers) = {
            let state = node.outbound.mesh().state();
            let state = state.borrow();
            (state.routing, state.peers.len())
        };
        if has_bootstrap && routing == 0 && peers == 0 {
            self.mesh.degraded("no bootstrap peer answers");
        } else {
            self.mesh.ok();
        }
        let failed: Vec<String> = node
            .agents
            .all()
            .into_iter()
            .filter(|one| one.state == agent::State::Failed)
            .map(|one| one.manifest.name)
            .collect();
        if failed.is_empty() {
            self.agents.ok()
        } else {
            self.agents.degraded(format!("failed: {}", failed.join(", ")))
        }
        match node.clock.jumped_back() {
            Some(behind) => {
                self.clock.degraded(format!("the machine's clock stands {} s behind what was signed", behind.as_secs()))
            }
            None => self.clock.ok(),
        }
    }
}

/// What the first steps give to the later ones.
struct Ground {
    config: Config,
    clock: Clock,
    bus: Bus,
    keys: Keys,
    me: Me,
    store: store::Store,
    people: People,
    offers: Offers,
    outbound: Outbound,
    vaults: vaults::Vaults,
    offered: Vec<String>,
}

impl Node {
    /// Starts a node. The local API is the caller's to open; everything else runs when this returns.
    ///
    /// # Errors
    /// [`StartFault`] names the part that failed; what had started is stopped again.
    pub async fn start(start: Start) -> Result<Self, StartFault> {
        let Start { loaded, layers, passphrase, stop } = start;
        let config = loaded.value.clone();
        let health = Health::new();
        let mut startup = Startup::new(&health);
        let bus_clock = Clock::default();
        let now = bus_clock.now();
        let folder = config.basics.home.clone();
        let (home_lock, _) = startup.step("home", &[], async { host::Home::open(&folder).map_err(busy_home) }).await?;
        let passphrase = passphrase.map(|text| store::Passphrase::new(text.as_str().to_owned()));
        let unlock = Unlock {
            file: config.unlock_file.clone(),
            passphrase: passphrase.clone(),
            seal_with_passphrase: config.seal == Seal::Passphrase,
            ..Unlock::default()
        };
        let (home, _) = startup
            .step("keys", &["home"], async {
                let opened = tokio::task::spawn_blocking(move || store::Home::open(&folder, &unlock, now)).await;
                opened.map_err(Fault::internal)?.map_err(closed_home)
            })
            .await?;
        let ((home, store), store_is) = startup
            .step("store", &["keys"], async {
                let opened = tokio::task::spawn_blocking(move || home.open_store(now).map(|store| (home, store))).await;
                opened.map_err(Fault::internal)?.map_err(closed_store)
            })
            .await?;
        let seen = store.view().and_then(|view| store::audit::last_seen(&view));
        let clock = Clock::new(seen.unwrap_or_default());
        let idle = Duration::from_secs(config.vault.lock_after_s);
        let open_vaults = store::Vaults::new(Some(idle));
        let left_open = store.view().and_then(|view| store::requests::left_open(&view));
        let mut left_open = left_open.map_err(|error| in_part("store", error.into()))?;
        let (me, _) = startup
            .step("vault", &["store"], async {
                let me = identity::open(&home, &store, &open_vaults, passphrase.as_ref(), clock.now()).await?;
                match interrupt(&store, &left_open, clock.now()).await {
                    // A log that does not verify is still shown, and nothing is added to it.
                    Ok(()) | Err(StoreError::ReadOnly) => left_open = store::requests::LeftOpen::default(),
                    // What can be read is shown meanwhile; this is done once there is room.
                    Err(StoreError::Full) => {}
                    Err(error) => return Err(error.into()),
                }
                Ok::<_, Fault>(me)
            })
            .await?;
        let bus = Bus::new(clock.clone());
        let people = People::default();
        people.replace(store.read(store::contacts::list).await.map_err(|error| in_part("contacts", error.into()))?);
        let offers = Offers::default();
        let offered = ranges(&config).and_then(|ranges| relays::offered(&config.reach.offer_relay, &ranges));
        let offered = offered.map_err(|fault| in_part("settings", fault))?;
        let mut registry = mesh::Registry::default();
        let ((mesh, events, driver), mesh_is) = startup
            .step("mesh", &["vault"], async {
                let told = introducer(&me, &people, &offers, &store);
                open_mesh(&config, home.keys().node().clone(), told, &clock, &mut registry)
            })
            .await?;
        let driver = tokio::spawn(driver);
        let figures = Figures::new(&mut registry);
        let outbound = Outbound::new(
            mesh.clone(),
            me.clone(),
            people.clone(),
            store.clone(),
            figures,
            clock.clone(),
            config.reach.forward,
        );
        let keys = Keys::new(home);
        let vaults =
            vaults::Vaults::new(store.clone(), clock.clone(), bus.clone(), keys.clone(), me.clone(), open_vaults, idle);
        let ground = Ground { config, clock, bus, keys, me, store, people, offers, outbound, vaults, offered };
        let principals = Principals::new(ground.store.clone(), ground.clock.clone(), ground.people.clone());
        let (stopped_sender, stopped) = watch::channel(false);
        let file = loaded.file.clone().unwrap_or_else(|| ground.config.basics.home.join("kos.toml"));
        let node = assemble(&ground, &principals, health, stop, stopped, layers, file, loaded.settings);
        let (_, agents_are) = startup.step("agents", &["vault", "mesh"], node.agents.open()).await?;
        let (_, clock_is) = startup
            .step("inbound", &["agents", "mesh"], async {
                node.answer(&principals);
                node.pairing.open(&node.inbound).await?;
                node.grants.refresh_offers().await?;
                node.queue.open().await?;
                for topic in mesh::Topic::ALL {
                    ground.outbound.mesh().subscribe(topic, true).await.map_err(Fault::internal)?;
                }
                Ok::<_, Fault>(())
            })
            .await?;
        let components = Components { store: store_is, mesh: mesh_is, agents: agents_are, clock: clock_is };
        let put_off = PutOff::new(left_open);
        node.run(ground, principals, events, (components, put_off), registry, home_lock, driver, stopped_sender)
            .await?;
        Ok(node)
    }

    /// Registers everybody who answers peers.
    fn answer(&self, principals: &Principals) {
        self.answer_small_talk(principals);
        self.directory.open(&self.inbound);
        self.grants.open(&self.inbound);
        self.receipts.open(&self.inbound);
        self.calls.open(&self.inbound);
        self.forwarding.open(&self.inbound);
        self.relays.open(&self.inbound);
    }

    /// Starts what runs by itself, and whoever ends it all.
    #[expect(clippy::too_many_arguments, reason = "each is handed over to one task")]
    async fn run(
        &self,
        ground: Ground,
        principals: Principals,
        events: tokio::sync::mpsc::Receiver<mesh::Event>,
        (components, put_off): (Components, PutOff),
        registry: mesh::Registry,
        home_lock: host::Home,
        driver: tokio::task::JoinHandle<()>,
        stopped: watch::Sender<bool>,
    ) -> Result<(), StartFault> {
        let Ground { config, bus, keys, store, clock, outbound, .. } = ground;
        let addresses = self.listening().await;
        let lines: String = addresses.iter().flat_map(|address| [address, "\n"]).collect();
        let told = note::write(home_lock.join(host::home::ADDRESSES), lines, &self.stop);
        told.await.map_err(|fault| in_part("home", fault))?;
        if let Some(at) = config.basics.metrics {
            let open = host::metrics_server::open(at, registry, self.health.clone(), self.stop.clone());
            let (at, serving) =
                open.await.map_err(|error| in_part("metrics", Fault::new(Refusal::Invalid, error.to_string())))?;
            *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
            tokio::spawn(serving);
        }
        let running = [
            tokio::spawn(self.clone().follow(events, principals)),
            tokio::spawn(self.directory.clone().announce(
                bus.clone(),
                keys,
                self.pairing.meeting().clone(),
                directory::Around { mdns: config.mdns, upnp: config.reach.upnp },
            )),
            tokio::spawn(self.reach.clone().watch()),
            tokio::spawn(self.queue.clone().run(self.stop.clone())),
            tokio::spawn(self.relays.clone().follow(bus.clone())),
            tokio::spawn(self.clone().share(config.events.share.clone())),
            tokio::spawn(self.clone().tick(components, put_off, !config.basics.bootstrap.is_empty())),
        ];
        bus.say("node.started", serde_json::json!({ "addresses": addresses }));
        let node = self.clone();
        tokio::spawn(async move {
            node.stop.requested().await;
            bus.say("node.stopping", serde_json::Value::Null);
            // Sessions first, so that nobody begins anything new; then the agents; the store last, with its checkpoint.
            outbound.mesh().stop();
            let _ended = driver.await;
            node.agents.close().await;
            running.iter().for_each(tokio::task::JoinHandle::abort);
            if let Err(error) = store.stop(clock.now()).await {
                tracing::error!(%error, "the last checkpoint was not written");
            }
            drop(home_lock);
            // The node may have been dropped: then nobody waits.
            let _heard = stopped.send(true);
        });
        Ok(())
    }

    /// Where the mesh listens, once every listener that was asked for has an address.
    async fn listening(&self) -> Vec<String> {
        let mut state = self.outbound.mesh().state();
        let _there = tokio::time::timeout(Duration::from_secs(5), state.wait_for(|state| !state.listen.is_empty()))
            .await
            .is_ok();
        state.borrow().listen.iter().map(ToString::to_string).collect()
    }
}

#[expect(clippy::too_many_arguments, reason = "the one place where all parts meet")]
fn assemble(
    ground: &Ground,
    principals: &Principals,
    health: Health,
    stop: Stop,
    stopped: watch::Receiver<bool>,
    layers: Layers,
    file: PathBuf,
    rows: Vec<host::config::Setting>,
) -> Node {
    let Ground { config, clock, bus, keys, me, store, people, offers, outbound, vaults, offered } = ground;
    let (store, clock, bus) = (|| store.clone(), || clock.clone(), || bus.clone());
    let (me, people, outbound, vaults) = (|| me.clone(), || people.clone(), || outbound.clone(), || vaults.clone());
    let revocations = revocations::Revocations::new(store(), clock(), bus(), me(), people(), outbound());
    let agents = agents::Agents::new(agents::Needs {
        store: store(),
        clock: clock(),
        bus: bus(),
        me: me(),
        keys: keys.clone(),
        vaults: vaults(),
        home: config.basics.home.clone(),
        life: Life::new(Duration::from_secs(config.directory.life_s), outbound().mesh().state()),
    });
    let grants = grants::Grants::new(grants::Needs {
        store: store(),
        clock: clock(),
        bus: bus(),
        me: me(),
        people: people(),
        outbound: outbound(),
        vaults: vaults(),
        agents: agents.clone(),
        revocations: revocations.clone(),
        offers: offers.clone(),
    });
    let directory =
        directory::Directory::new(store(), clock(), me(), people(), outbound(), agents.clone(), grants.clone(), bus());
    let receipts = receipts::Receipts::new(store(), clock(), bus(), outbound());
    let contacts = contacts::Contacts::new(contacts::Needs {
        store: store(),
        clock: clock(),
        bus: bus(),
        me: me(),
        keys: keys.clone(),
        people: people(),
        outbound: outbound(),
        directory: directory.clone(),
        grants: grants.clone(),
    });
    let pairing = pairing::Pairing::new(pairing::Needs {
        store: store(),
        clock: clock(),
        bus: bus(),
        me: me(),
        people: people(),
        outbound: outbound(),
        contacts: contacts.clone(),
        grants: grants.clone(),
        directory: directory.clone(),
        life: Duration::from_secs(config.pair.life_s),
    });
    let calls = calls::Calls::new(calls::Needs {
        store: store(),
        clock: clock(),
        bus: bus(),
        me: me(),
        people: people(),
        outbound: outbound(),
        agents: agents.clone(),
        directory: directory.clone(),
        grants: grants.clone(),
        receipts: receipts.clone(),
        revocations: revocations.clone(),
        principals: principals.clone(),
    });
    let queue = queue::Queue::new(store(), clock(), bus(), people(), outbound(), calls.clone());
    let forwarding = forwarding::Forwarding::new(forwarding::Needs {
        store: store(),
        clock: clock(),
        bus: bus(),
        me: me(),
        keys: keys.clone(),
        people: people(),
        outbound: outbound(),
        revocations,
        principals: principals.clone(),
    });
    let relays = relays::Relays::new(relays::Needs {
        store: store(),
        clock: clock(),
        me: me(),
        people: people(),
        outbound: outbound(),
        offered: offered.clone(),
        uses: config.reach.contact_relays,
        news: tokio::sync::Notify::new(),
    });
    Node {
        contacts,
        agents,
        directory,
        calls,
        queue,
        grants,
        pairing,
        receipts,
        audit: audit::Audit::new(store(), clock(), me(), vaults(), outbound().figures().clone()),
        vaults: vaults(),
        reach: reach::Reach::new(me(), people(), outbound(), clock(), bus()),
        forwarding,
        relays,
        settings: settings::Settings::new(store(), clock(), bus(), me(), layers, file, rows),
        bus: bus(),
        health,
        me: me(),
        store: store(),
        started: clock().now(),
        config: Arc::new(config.clone()),
        clock: clock(),
        inbound: Inbound::new(principals.clone()),
        outbound: outbound(),
        api: Arc::default(),
        metrics: Arc::default(),
        stop,
        stopped,
    }
}
