//! Settings of this node, as it runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use host::config::{ConfigError, Layers, Settings as _};
use klp::Refusal;
use serde_json::{Value, json};
use store::audit::Entry;
use store::{Store, StoreError};

use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::Config;
use crate::fault::Fault;
use crate::me::Me;
use crate::view;

/// Settings.
#[derive(Clone)]
pub struct Settings {
    store: Store,
    clock: Clock,
    bus: Bus,
    me: Me,
    layers: Layers,
    file: PathBuf,
    rows: Arc<Mutex<Vec<host::config::Setting>>>,
}

impl Settings {
    pub(crate) fn new(
        store: Store,
        clock: Clock,
        bus: Bus,
        me: Me,
        layers: Layers,
        file: PathBuf,
        rows: Vec<host::config::Setting>,
    ) -> Self {
        Self { store, clock, bus, me, layers, file, rows: Arc::new(Mutex::new(rows)) }
    }

    /// Every key with its value and where it comes from.
    ///
    /// # Errors
    /// `internal`
    pub async fn list(&self) -> Result<Vec<view::Setting>, Fault> {
        Ok(self.rows.lock().unwrap_or_else(PoisonError::into_inner).iter().map(shown).collect())
    }

    /// One key.
    ///
    /// # Errors
    /// `not_found`
    pub async fn get(&self, key: &str) -> Result<view::Setting, Fault> {
        let all = self.list().await?;
        all.into_iter()
            .find(|setting| setting.key == key)
            .ok_or_else(|| Fault::not_found("setting", key).hint("see `kos config schema`"))
    }

    /// Changes one key in the config file; it holds from the next start.
    ///
    /// # Errors
    /// `not_found`, `invalid`; then the file is as it was.
    pub async fn set(&self, key: &str, value: Value) -> Result<view::Setting, Fault> {
        let known = Config::keys().into_iter().find(|one| one.name == key);
        let known = known.ok_or_else(|| Fault::not_found("setting", key).hint("see `kos config schema`"))?;
        if key == "home" {
            return Err(Fault::new(Refusal::Invalid, "the home is where this file is")
                .hint("start with --home or KOS_HOME to use another"));
        }
        let expected = known.kind.expected();
        let value = known.kind.accept(value).ok_or_else(|| {
            Fault::new(Refusal::Invalid, format!("{key} must be {expected}")).hint("the setting is as it was")
        })?;
        let before = self.get(key).await?;
        let (settings, file) = (self.clone(), self.file.clone());
        let (name, new) = (key.to_owned(), value.clone());
        let rows =
            tokio::task::spawn_blocking(move || settings.write(&file, &name, new)).await.map_err(Fault::internal)??;
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
        let (now, actor) = (self.clock.now(), self.me.owner().0);
        let entry =
            Entry::new("config", "changed", now).by(Some(actor)).on(key).with("from", &before.value).with("to", &value);
        self.store.write(move |tx| tx.audit(entry).map(drop)).await.map_err(|error: StoreError| Fault::from(error))?;
        self.bus.say("config.changed", json!({ "key": key, "value": value }));
        self.get(key).await
    }

    /// The file with one key changed, checked as a whole before the old one is gone.
    fn write(&self, file: &std::path::Path, key: &str, value: Value) -> Result<Vec<host::config::Setting>, Fault> {
        let old = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Fault::internal(error)),
        };
        let mut table: toml::Table = old
            .parse()
            .map_err(|error| Fault::new(Refusal::Invalid, format!("{} is not valid: {error}", file.display())))?;
        put(&mut table, key, value)?;
        let text = toml::to_string(&table).map_err(Fault::internal)?;
        host::home::write_private(file, text.as_bytes()).map_err(|error| Fault::of_file(file, &error))?;
        match self.layers.load::<Config>() {
            Ok(loaded) => Ok(loaded.settings),
            Err(error) => {
                host::home::write_private(file, old.as_bytes()).map_err(|error| Fault::of_file(file, &error))?;
                Err(invalid(&error))
            }
        }
    }
}

/// A settings error as users see it.
pub fn invalid(error: &ConfigError) -> Fault {
    Fault::new(Refusal::Invalid, error.to_string())
        .hint("correct it and try again; `kos config schema` lists every key")
}

fn put(table: &mut toml::Table, key: &str, value: Value) -> Result<(), Fault> {
    let value = toml::Value::try_from(value).map_err(|error| Fault::new(Refusal::Invalid, error.to_string()))?;
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let inner =
                inner.as_table_mut().ok_or_else(|| Fault::new(Refusal::Invalid, format!("{section} is no section")))?;
            inner.insert(rest.to_owned(), value);
        }
    }
    Ok(())
}

fn shown(setting: &host::config::Setting) -> view::Setting {
    view::Setting { key: setting.key.to_owned(), value: setting.value.clone(), origin: setting.origin.to_string() }
}
