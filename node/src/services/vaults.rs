//! Vaults: secrets behind a passphrase, or sealed to this machine.

use std::time::Duration;

use klp::{Refusal, SecretKey};
use serde_json::json;
use store::audit::Entry;
use store::vault::{MAIN, VaultError};
use store::{Cost, Opener, Passphrase, Sealing, Store, UnsealError};
use zeroize::Zeroizing;

use crate::bus::Bus;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::keys::Keys;
use crate::me::Me;
use crate::view;

/// A passphrase or a secret's value; wiped when dropped.
pub type Secret = Zeroizing<String>;

/// Vaults.
#[derive(Clone)]
pub struct Vaults {
    store: Store,
    clock: Clock,
    bus: Bus,
    keys: Keys,
    me: Me,
    open: store::vault::Vaults,
    idle: Duration,
}

impl Vaults {
    pub(crate) fn new(
        store: Store,
        clock: Clock,
        bus: Bus,
        keys: Keys,
        me: Me,
        open: store::vault::Vaults,
        idle: Duration,
    ) -> Self {
        Self { store, clock, bus, keys, me, open, idle }
    }

    /// All vaults.
    ///
    /// # Errors
    /// `internal`
    pub async fn list(&self) -> Result<Vec<view::Vault>, Fault> {
        let open = self.open.clone();
        let all = self.store.read(move |view| open.list(view)).await?;
        Ok(all.iter().map(|vault| self.shown(vault)).collect())
    }

    /// One vault.
    ///
    /// # Errors
    /// `not_found`
    pub async fn status(&self, vault: &str) -> Result<view::Vault, Fault> {
        let all = self.list().await?;
        all.into_iter().find(|one| one.name == vault).ok_or_else(|| Fault::not_found("vault", vault))
    }

    fn shown(&self, vault: &store::vault::Status) -> view::Vault {
        let now = self.clock.now();
        let count = |view| self.open.records(&view, &vault.name, now).ok().map(|records| records.len() as u64);
        let sealed = matches!(vault.sealing, Sealing::Passphrase(_));
        view::Vault {
            name: vault.name.clone(),
            state: if vault.open { "unlocked" } else { "locked" }.to_owned(),
            seal: if sealed { "passphrase" } else { "machine" }.to_owned(),
            secrets: if vault.open { self.store.view().ok().and_then(count) } else { None },
            locks_in_s: (vault.open && sealed).then_some(self.idle.as_secs()),
        }
    }

    /// Makes another vault: sealed by a passphrase, or to this machine when there is none.
    ///
    /// # Errors
    /// `exists`, `invalid`
    pub async fn create(&self, vault: &str, passphrase: Option<Secret>) -> Result<view::Vault, Fault> {
        let opener = self.opener(vault, passphrase)?;
        self.open.create(&self.store, vault, opener, Cost::default(), self.clock.now()).await.map_err(fault)?;
        self.say("vault.created", vault);
        self.status(vault).await
    }

    /// Unlocks; a machine-sealed vault needs no passphrase.
    ///
    /// # Errors
    /// `not_found`, `denied` for a wrong passphrase.
    pub async fn unlock(&self, vault: &str, passphrase: Option<Secret>) -> Result<view::Vault, Fault> {
        let status = self.status(vault).await?;
        let opener = match (status.seal.as_str(), passphrase) {
            ("machine", _) => self.opener(vault, None)?,
            (_, Some(passphrase)) => self.opener(vault, Some(passphrase))?,
            (_, None) => {
                return Err(Fault::new(Refusal::Locked, format!("the vault \"{vault}\" opens with a passphrase"))
                    .hint("give it at the prompt, by KOS_PASSPHRASE_FILE or with --passphrase-fd"));
            }
        };
        self.open.unlock(&self.store, vault, opener, self.clock.now()).await.map_err(fault)?;
        self.say("vault.unlocked", vault);
        self.status(vault).await
    }

    /// Locks: its keys leave memory.
    ///
    /// # Errors
    /// `not_found`
    pub async fn lock(&self, vault: &str) -> Result<view::Vault, Fault> {
        self.status(vault).await?;
        if self.open.lock(vault) {
            self.audit("locked", vault.to_owned()).await?;
            self.say("vault.locked", vault);
        }
        self.status(vault).await
    }

    /// Locks what was idle for too long. Called every few seconds.
    pub(crate) async fn tick(&self) {
        let Ok(all) = self.list().await else { return };
        let now = self.clock.now();
        for vault in all.iter().filter(|vault| vault.state == "unlocked" && vault.seal == "machine") {
            // Whoever has the unlock file opens such a vault at any time, so that locking it by itself would protect nothing.
            let _used = self.store.view().map(|view| self.open.get(&view, &vault.name, "-", now));
        }
        for vault in self.open.tick(now) {
            let _told = self.audit("locked", vault.clone()).await;
            self.say("vault.locked", &vault);
        }
    }

    /// Names of the secrets.
    ///
    /// # Errors
    /// `not_found`, `locked`
    pub async fn names(&self, vault: &str) -> Result<Vec<String>, Fault> {
        let (open, vault, now) = (self.open.clone(), vault.to_owned(), self.clock.now());
        let records = self.store.read(move |view| open.records(view, &vault, now)).await.map_err(fault)?;
        Ok(records.into_iter().map(|record| record.name).collect())
    }

    /// Stores a secret.
    ///
    /// # Errors
    /// `not_found`, `locked`, `invalid`
    pub async fn set(&self, vault: &str, name: &str, value: Secret) -> Result<(), Fault> {
        let (open, now, actor) = (self.open.clone(), self.clock.now(), self.me.owner().0);
        let (vault, name) = (vault.to_owned(), name.to_owned());
        let secret = store::Secret::new(value.as_bytes().to_vec());
        self.store
            .write(move |tx| {
                open.set(tx, &vault, &name, &secret, now)?;
                tx.audit(Entry::new("vault", "set", now).by(Some(actor)).on(format!("{vault}/{name}")))?;
                Ok::<_, VaultError>(())
            })
            .await
            .map_err(fault)
    }

    /// Hands a secret out.
    ///
    /// # Errors
    /// `not_found`, `locked`
    pub async fn get(&self, vault: &str, name: &str) -> Result<Secret, Fault> {
        let (open, now, actor) = (self.open.clone(), self.clock.now(), self.me.owner().0);
        let (owned, wanted) = (vault.to_owned(), name.to_owned());
        let found = self.store.write(move |tx| {
            let found = open.get(tx, &owned, &wanted, now)?;
            if found.is_some() {
                tx.audit(Entry::new("vault", "read", now).by(Some(actor)).on(format!("{owned}/{wanted}")))?;
            }
            Ok::<_, VaultError>(found)
        });
        let found = found.await.map_err(fault)?.ok_or_else(|| Fault::not_found("secret", name))?;
        let text = std::str::from_utf8(found.expose()).map_err(|_| Refusal::Integrity)?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// Forgets a secret.
    ///
    /// # Errors
    /// `not_found`, `locked`
    pub async fn remove(&self, vault: &str, name: &str) -> Result<(), Fault> {
        let (open, now, actor) = (self.open.clone(), self.clock.now(), self.me.owner().0);
        let (owned, wanted) = (vault.to_owned(), name.to_owned());
        let removed = self.store.write(move |tx| {
            let removed = open.remove(tx, &owned, &wanted, now)?;
            if removed {
                tx.audit(Entry::new("vault", "removed", now).by(Some(actor)).on(format!("{owned}/{wanted}")))?;
            }
            Ok::<_, VaultError>(removed)
        });
        if removed.await.map_err(fault)? { Ok(()) } else { Err(Fault::not_found("secret", name)) }
    }

    /// Gives the vault another passphrase, or its first. Old backups still open with the old one.
    ///
    /// # Errors
    /// `not_found`, `locked`, `denied` for a wrong old passphrase.
    pub async fn passwd(&self, vault: &str, old: Option<Secret>, new: Secret) -> Result<view::Vault, Fault> {
        let status = self.status(vault).await?;
        if status.seal == "passphrase" {
            let old =
                old.ok_or_else(|| Fault::new(Refusal::Denied, "the old passphrase is needed to set a new one"))?;
            let opener = self.opener(vault, Some(old))?;
            self.open.check(&self.store, vault, opener).await.map_err(fault)?;
        }
        let opener = self.opener(vault, Some(new))?;
        let (actor, now) = (self.me.owner().0, self.clock.now());
        self.open.passwd(&self.store, vault, opener, Cost::default(), Some(actor), now).await.map_err(fault)?;
        self.say("vault.rekeyed", vault);
        self.status(vault).await
    }

    /// The vault as an encrypted file under a passphrase of its own.
    ///
    /// # Errors
    /// `not_found`, `locked`
    pub async fn export(&self, vault: &str, passphrase: Secret) -> Result<Vec<u8>, Fault> {
        let opener = Opener::Passphrase(checked(passphrase)?);
        let (actor, now) = (self.me.owner().0, self.clock.now());
        self.open.export(&self.store, vault, opener, Cost::default(), Some(actor), now).await.map_err(fault)
    }

    /// Takes the secrets of an exported file in; existing names are kept and reported as `exists`.
    ///
    /// # Errors
    /// `not_found`, `locked`, `denied` for a wrong passphrase, `malformed`.
    pub async fn import(&self, vault: &str, passphrase: Secret, data: &[u8]) -> Result<view::Vault, Fault> {
        let file = store::vault::Export { bytes: data.to_vec(), opener: Opener::Passphrase(checked(passphrase)?) };
        let (actor, now) = (self.me.owner().0, self.clock.now());
        let imported = self.open.import(&self.store, vault, file, false, Some(actor), now);
        let imported = imported.await.map_err(fault)?;
        self.bus.say("vault.imported", json!({ "vault": vault, "added": imported.added, "kept": imported.kept }));
        self.status(vault).await
    }

    /// The owner key, while the main vault is open.
    ///
    /// # Errors
    /// `locked`
    pub(crate) fn owner(&self) -> Result<SecretKey, Fault> {
        let owner = self.open.owner(&self.store.view()?, self.clock.now()).map_err(fault)?;
        owner.ok_or_else(|| Fault::new(Refusal::Locked, "the owner key is not on this device"))
    }

    /// Whether the main vault is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_open(MAIN)
    }

    fn opener(&self, vault: &str, passphrase: Option<Secret>) -> Result<Opener, Fault> {
        match passphrase {
            Some(passphrase) => checked(passphrase).map(Opener::Passphrase),
            None => self.keys.machine().ok_or_else(|| {
                Fault::new(
                    Refusal::Locked,
                    format!("the vault \"{vault}\" needs a passphrase: this home has no unlock file"),
                )
            }),
        }
    }

    async fn audit(&self, kind: &'static str, vault: String) -> Result<(), Fault> {
        let (now, actor) = (self.clock.now(), self.me.owner().0);
        let entry = Entry::new("vault", kind, now).by(Some(actor)).on(vault);
        self.store.write(move |tx| tx.audit(entry)).await?;
        Ok(())
    }

    fn say(&self, what: &'static str, vault: &str) {
        self.bus.say(what, json!({ "vault": vault }));
    }
}

fn checked(passphrase: Secret) -> Result<Passphrase, Fault> {
    let passphrase = Passphrase::new(passphrase.as_str().to_owned());
    if passphrase.is_empty() { Err(Fault::new(Refusal::Invalid, "the passphrase is empty")) } else { Ok(passphrase) }
}

fn fault(error: VaultError) -> Fault {
    let refusal = match &error {
        VaultError::Locked { .. } => Refusal::Locked,
        VaultError::Unknown { .. } => Refusal::NotFound,
        VaultError::Exists { .. } => Refusal::Exists,
        VaultError::Name => Refusal::Invalid,
        VaultError::TooMuch { .. } => Refusal::TooLarge,
        VaultError::Integrity { .. } => Refusal::Integrity,
        VaultError::Sealed(UnsealError::WrongPassphrase) => {
            return Fault::new(Refusal::Denied, "the passphrase is wrong").hint("try again; nothing was changed");
        }
        VaultError::Sealed(
            sealed @ (UnsealError::NeedsPassphrase | UnsealError::NeedsMachine | UnsealError::WrongMachine),
        ) => {
            return Fault::new(Refusal::Locked, sealed.to_string());
        }
        VaultError::Sealed(sealed) => return Fault::new(Refusal::Malformed, sealed.to_string()),
        VaultError::Store(error) => return crate::fault::of_store(error.clone()),
        _ => Refusal::Internal,
    };
    Fault::new(refusal, error.to_string())
}
