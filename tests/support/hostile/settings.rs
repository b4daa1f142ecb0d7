//! A settings file, in TOML and in JSON, with a key of every kind.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use host::Basics;
use host::config::{self, Key, Kind, Layers, Loaded, Origin, Settings, duration};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::input::Input;

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Lab {
    #[serde(flatten)]
    basics: Basics,
    reach: Reach,
}

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Reach {
    mdns: bool,
    peers: u32,
    #[serde(with = "duration")]
    patience: Duration,
}

impl Default for Reach {
    fn default() -> Self {
        Self { mdns: true, peers: 40, patience: Duration::from_secs(10) }
    }
}

impl Settings for Lab {
    fn keys() -> Vec<Key> {
        let span = Kind::Span { min: Duration::from_secs(1), max: Duration::from_secs(60) };
        let own = [
            Key::new("reach.mdns", Kind::Switch, "", "Look for peers on this network"),
            Key::new("reach.peers", Kind::Integer { min: 1, max: 100 }, "", "Peers at once"),
            Key::new("reach.patience", span, "time", "How long a dial may take"),
        ];
        Basics::KEYS.into_iter().chain(own).collect()
    }
}

const FILES: [&str; 2] = ["lab.toml", "lab.json"];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let toml = [
        "log = 'json'\nlisten = ['/a', '/b']\nmetrics = '127.0.0.1:9090'\n[reach]\npeers = 2\nmdns = false\npatience = '1m'\n",
        "home = '/x'\nexternal = []\nlog_filter = \"info,kos=debug\"\nreach.peers = 100\nreach = { mdns = true }\n",
        "[reach]\npeer = 1\n",
        "reach.patience = '2h 5m'\nlog = 1979-05-27T07:32:00Z\nlisten = [1.5, inf, 0xff, '''a\nb''']\n",
    ];
    let json = [
        json!({ "log": "json", "listen": ["/a"], "reach": { "peers": 5, "mdns": false, "patience": "30s" } })
            .to_string(),
        json!({ "home": "/x", "metrics": null, "reach": { "peers": 1e3 }, "log_filter": "\u{1F980}" }).to_string(),
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]".to_owned(),
    ];
    let toml = toml.iter().map(|text| [&[0], text.as_bytes()].concat());
    toml.chain(json.iter().map(|text| [&[1], text.as_bytes()].concat())).collect()
}

/// TOML or JSON, and the text.
pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let file = FILES[usize::from(input.byte()) % 2];
    // A file that is no UTF-8 is refused before it is decoded.
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    match load(file, text) {
        Ok(loaded) => settled(&loaded),
        Err(error) => assert!(!error.to_string().is_empty(), "every refusal says why"),
    }
}

fn load(file: &str, text: &str) -> Result<Loaded<Lab>, config::ConfigError> {
    let command = config::flags(clap::Command::new("lab"), &Lab::keys()).no_binary_name(true);
    let matches = command.try_get_matches_from(["--config", file]).expect("a flag of ours");
    let variables = [(OsString::from("HOME"), OsString::from("/home/lab"))];
    Layers::new("kos-lab", &matches, &Lab::keys(), variables).lay(Some((Path::new(file), text)))
}

fn settled(loaded: &Loaded<Lab>) {
    let keys = Lab::keys();
    assert!(loaded.settings.iter().map(|setting| setting.key).eq(keys.iter().map(|key| key.name)));
    let mut file = serde_json::Map::new();
    for (setting, key) in loaded.settings.iter().zip(&keys) {
        let default = matches!(setting.origin, Origin::Default);
        assert!(default || key.kind.accept(setting.value.clone()).is_some(), "{} is out of bounds", key.name);
        if !default {
            let (parent, name) = key.name.split_once('.').unwrap_or(("", key.name));
            let place = if parent.is_empty() { &mut file } else { inside(&mut file, parent) };
            place.insert(name.to_owned(), setting.value.clone());
        }
    }
    assert!((1..=100).contains(&loaded.value.reach.peers) && loaded.value.reach.patience <= Duration::from_secs(60));
    let again = load(FILES[1], &Value::Object(file).to_string()).expect("what was in effect is a settings file");
    let values = |loaded: &Loaded<Lab>| loaded.settings.iter().map(|setting| setting.value.clone()).collect::<Vec<_>>();
    assert_eq!(values(&again), values(loaded), "TOML and JSON say the same");
}

fn inside<'f>(file: &'f mut serde_json::Map<String, Value>, name: &str) -> &'f mut serde_json::Map<String, Value> {
    file.entry(name).or_insert_with(|| json!({})).as_object_mut().expect("made here")
}
