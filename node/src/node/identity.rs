//! Who lives in this home: made once, at the first start, and never over an existing home.

use klp::statement::certificate::Introduction;
use klp::{Cbor as _, Did, SecretKey, Timestamp, limits};
use store::audit::Entry;
use store::home::recovery;
use store::identity::{self, Identity, IdentityError};
use store::vault::MAIN;
use store::{Cost, Home, Opener, Sealing, Store};

use crate::fault::Fault;
use crate::me::{Me, certify_root};
use klp::Refusal;

/// What opens the owner's tier of this home.
pub(super) fn opener(home: &Home, passphrase: Option<&store::Passphrase>) -> Result<Opener, Fault> {
    match (home.sealing(), home.machine_secret(), passphrase) {
        (Sealing::Machine, Some(machine), _) => Ok(Opener::Machine(machine.clone())),
        (_, _, Some(passphrase)) => Ok(Opener::Passphrase(passphrase.clone())),
        _ => Err(Fault::new(Refusal::Locked, "this home opens with a passphrase")
            .hint("give it at the prompt, by KOS_PASSPHRASE_FILE or with --passphrase-fd")),
    }
}

/// Opens the main vault as far as it can be opened now, and says who lives here.
pub(super) async fn open(
    home: &Home,
    store: &Store,
    vaults: &store::Vaults,
    passphrase: Option<&store::Passphrase>,
    now: Timestamp,
) -> Result<Me, Fault> {
    let known = identity::get(&store.view()?)?;
    let node = home.keys().node().clone();
    match known {
        Some(known) => {
            unlock_main(home, store, vaults, passphrase, now).await;
            resume(store, vaults, node, known, now).await
        }
        None => make(home, store, vaults, passphrase, node, now).await,
    }
}

async fn unlock_main(
    home: &Home,
    store: &Store,
    vaults: &store::Vaults,
    passphrase: Option<&store::Passphrase>,
    now: Timestamp,
) {
    let machine = home.machine_secret().cloned().map(Opener::Machine);
    let given = passphrase.cloned().map(Opener::Passphrase);
    for opener in machine.into_iter().chain(given) {
        // A vault with a passphrase that was not given stays locked; the node answers all the same.
        if vaults.unlock(store, MAIN, opener, now).await.is_ok() {
            return;
        }
    }
}

async fn resume(
    store: &Store,
    vaults: &store::Vaults,
    node: SecretKey,
    known: Identity,
    now: Timestamp,
) -> Result<Me, Fault> {
    let damaged = || Fault::new(Refusal::Integrity, "the certificate of this node cannot be read");
    let bytes = known.certificates.first().ok_or_else(damaged)?;
    let introduction = Introduction::from_slice(bytes).map_err(|_| damaged())?;
    let me = Me::new(known.owner, node.clone(), known.next, known.since, introduction.clone());
    let expires = introduction.certificate.verify().map_err(|_| damaged())?.expires;
    let owner = store.view().ok().and_then(|view| vaults.owner(&view, now).ok().flatten());
    if let Some(owner) = owner
        && expires.since(now) < limits::ROOT_CERTIFICATE_LIFE / 2
    {
        let renewed = certify_root(&owner, &node, known.next, now);
        let identity = Identity { certificates: vec![renewed.to_bytes()], ..known };
        store
            .write(move |tx| {
                identity::set(tx, &identity)?;
                tx.audit(Entry::new("identity", "certified", now).by(Some(identity.owner.0)).on(node.did()))?;
                Ok::<_, IdentityError>(())
            })
            .await
            .map_err(Fault::internal)?;
        me.renew(renewed);
    }
    Ok(me)
}

/// The first start: owner key, its successor, vault, certificate. A start that broke off half way goes on here.
async fn make(
    home: &Home,
    store: &Store,
    vaults: &store::Vaults,
    passphrase: Option<&store::Passphrase>,
    node: SecretKey,
    now: Timestamp,
) -> Result<Me, Fault> {
    let opener = opener(home, passphrase)?;
    let (file, key) = (home.recovery_file(), opener.clone());
    let made = tokio::task::spawn_blocking(move || {
        if file.exists() { recovery::open(&file, &key) } else { recovery::create(&file, &key, Cost::default()) }
    });
    let recovery = made.await.map_err(Fault::internal)?.map_err(|error| Fault::of_error(&error))?;
    match vaults.create(store, MAIN, opener.clone(), Cost::default(), now).await {
        Ok(()) => {}
        Err(store::VaultError::Exists { .. }) => {
            vaults.unlock(store, MAIN, opener, now).await.map_err(|error| Fault::of_error(&error))?;
        }
        Err(error) => return Err(Fault::of_error(&error)),
    }
    let next = recovery.next_key_hash();
    let introduction = certify_root(&recovery.owner, &node, next, now);
    let owner = klp::OwnerId(recovery.owner.did());
    let identity = Identity { owner, next, root: true, since: now, certificates: vec![introduction.to_bytes()] };
    let (key, vaults, did) = (recovery.owner.clone(), vaults.clone(), node.did());
    let auditor: Did = store.auditor();
    store
        .write(move |tx| {
            vaults.keep_owner(tx, &key, now).map_err(Fault::internal)?;
            identity::set(tx, &identity).map_err(Fault::internal)?;
            tx.audit(Entry::new("identity", "created", now).by(Some(owner.0)).on(owner).with("algorithm", "Ed25519"))?;
            tx.audit(Entry::new("identity", "node_created", now).by(Some(owner.0)).on(did).with("auditor", auditor))?;
            tx.audit(Entry::new("identity", "certified", now).by(Some(owner.0)).on(did))?;
            Ok::<_, Fault>(())
        })
        .await?;
    Ok(Me::new(owner, node, next, now, introduction))
}
