use super::*;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Basics;
use crate::log::Format;

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
        let second = Duration::from_secs(1);
        let own = [
            Key::new("reach.mdns", Kind::Switch, "", "Look for peers on this network"),
            Key::new("reach.peers", Kind::Integer { min: 1, max: 100 }, "", "Peers at once"),
            Key::new(
                "reach.patience",
                Kind::Span { min: second, max: second * 60 },
                "time",
                "How long a dial may take",
            ),
        ];
        Basics::KEYS.into_iter().chain(own).collect()
    }
}

fn load(flags: &[&str], variables: &[(&str, &str)]) -> Result<Loaded<Lab>, ConfigError> {
    let command = super::flags(clap::Command::new("lab"), &Lab::keys());
    let matches = command.try_get_matches_from([&["lab"], flags].concat()).unwrap();
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Layers::new("kos-lab", &matches, &Lab::keys(), variables).load()
}

fn origin(loaded: &Loaded<Lab>, key: &str) -> String {
    loaded.settings.iter().find(|setting| setting.key == key).unwrap().origin.to_string()
}

#[test]
fn the_table_and_the_structs_agree() {
    assert_eq!(drift::<Lab>(), Vec::<String>::new());
    assert_eq!(drift::<Basics>(), Vec::<String>::new());
}

#[test]
fn each_layer_covers_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let file = folder.path().join("kos.toml");
    fs::write(&file, "log = 'json'\nlisten = ['/a', '/b']\n[reach]\npeers = 2\nmdns = false\npatience = '1m'\n")
        .unwrap();
    let variables = [("KOS_HOME", home), ("KOS_REACH_PEERS", "3"), ("KOS_LISTEN", "/c, /d"), ("KOS_METRICS", "")];

    let loaded = load(&["--reach-peers", "4", "--bootstrap", "/e", "--bootstrap", "/f"], &variables).unwrap();
    let lab = &loaded.value;
    assert_eq!((lab.reach.peers, origin(&loaded, "reach.peers").as_str()), (4, "--reach-peers"));
    assert_eq!(
        (&lab.basics.listen[..], origin(&loaded, "listen").as_str()),
        (&["/c".to_owned(), "/d".into()][..], "KOS_LISTEN")
    );
    assert_eq!((lab.basics.log, origin(&loaded, "log")), (Format::Json, file.display().to_string()));
    assert_eq!((lab.reach.mdns, lab.reach.patience), (false, Duration::from_secs(60)));
    assert_eq!(lab.basics.bootstrap, ["/e", "/f"]);
    assert_eq!(
        (lab.basics.metrics, origin(&loaded, "metrics").as_str()),
        (None, "default"),
        "an empty variable is none"
    );
    assert_eq!(loaded.settings.len(), Lab::keys().len());

    let loaded = load(&["--reach-mdns", "--log=text"], &variables).unwrap();
    assert_eq!((loaded.value.reach.peers, loaded.value.reach.mdns), (3, true));
    assert_eq!(loaded.value.basics.log, Format::Text);
}

#[test]
fn every_key_has_a_working_variable_and_flag() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    for key in Lab::keys() {
        let text = match key.kind {
            Kind::Switch => "false",
            Kind::Integer { .. } => "7",
            Kind::Span { .. } => "7s",
            Kind::Choice(words) => words[1],
            Kind::Socket => "127.0.0.1:7",
            _ => home,
        };
        let mut variables = vec![("KOS_HOME", home)];
        let name = key.env();
        variables.push((&name, text));
        let loaded = load(&[], &variables).unwrap();
        let by_variable = loaded.settings.iter().find(|setting| setting.key == key.name).unwrap();
        assert_eq!(by_variable.origin, Origin::Variable(name.clone()));

        let flag = format!("--{}={text}", key.flag());
        let loaded = load(&[&flag], &variables[..1]).unwrap();
        let by_flag = loaded.settings.iter().find(|setting| setting.key == key.name).unwrap();
        assert_eq!((&by_flag.value, by_flag.origin.to_string()), (&by_variable.value, format!("--{}", key.flag())));
    }
}

#[test]
fn unknown_keys_and_wrong_values_are_named_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let file = folder.path().join("kos.toml");
    let refused = |text: &str| {
        fs::write(&file, text).unwrap();
        load(&["--home", home], &[]).err().unwrap().to_string()
    };
    let place = file.display();
    assert_eq!(refused("[reach]\npeer = 1\n"), format!("unknown key reach.peer in {place}: did you mean reach.peers?"));
    assert_eq!(refused("colour = 'blue'\n"), format!("unknown key colour in {place}"));
    assert_eq!(
        refused("[log]\nlevel = 1\n"),
        format!("log from {place} must be one of text, json, not {{\"level\":1}}")
    );
    assert_eq!(
        refused("[reach]\npeers = 101\n"),
        format!("reach.peers from {place} must be a whole number from 1 to 100, not 101")
    );
    assert_eq!(
        refused("home = '/x'\n"),
        format!("home from {place} must be set outside the home that it names, not \"/x\"")
    );
    assert!(refused("log = \n").contains("is no valid settings file"));

    fs::write(&file, "").unwrap();
    let wrong = |flags: &[&str], variables| load(flags, variables).err().unwrap().to_string();
    assert_eq!(
        wrong(&["--home", home, "--metrics", "here"], &[]),
        "metrics from --metrics must be an address and port, like 127.0.0.1:9090, not here"
    );
    assert_eq!(
        wrong(&["--home", home], &[("KOS_REACH_PATIENCE", "2m")]),
        "reach.patience from KOS_REACH_PATIENCE must be a time from 1s to 1m, like 30s or 2h 5m, not 2m"
    );
}

#[test]
fn the_file_is_found_by_flag_variable_or_in_the_home() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(folder.path().join("home")).unwrap();
    fs::write(path("lab.json"), format!("{{\"home\":\"{}\",\"reach\":{{\"peers\":5}}}}", path("elsewhere"))).unwrap();
    fs::write(path("home/kos.json"), "{\"reach\":{\"peers\":6}}").unwrap();

    let loaded = load(&["--config", &path("lab.json")], &[]).unwrap();
    assert_eq!((loaded.value.reach.peers, loaded.value.basics.home.display().to_string()), (5, path("elsewhere")));
    let loaded = load(&["--home", &path("home")], &[("KOS_CONFIG", &path("lab.json"))]).unwrap();
    assert_eq!((loaded.value.reach.peers, loaded.value.basics.home.display().to_string()), (5, path("home")));
    let loaded = load(&["--home", &path("home")], &[]).unwrap();
    assert_eq!((loaded.value.reach.peers, loaded.file), (6, Some(path("home/kos.json").into())));

    fs::write(path("home/kos.toml"), "").unwrap();
    assert!(matches!(load(&["--home", &path("home")], &[]), Err(ConfigError::Two(..))));
    assert!(matches!(load(&["--config", &path("nothing")], &[("HOME", "/h")]), Err(ConfigError::Read { .. })));
    assert!(matches!(load(&[], &[]), Err(ConfigError::Home(HomeError::Nowhere))));
    if cfg!(target_os = "linux") {
        let loaded = load(&[], &[("HOME", "/nowhere")]).unwrap();
        assert_eq!(loaded.value.basics.home, PathBuf::from("/nowhere/.local/share/kos-lab"));
    }
}

#[test]
fn the_listing_says_type_bound_default_and_meaning() {
    let rows = schema::<Lab>().unwrap();
    let row = rows.iter().find(|row| row["key"] == "reach.patience").unwrap();
    let expected = json!({
        "key": "reach.patience", "env": "KOS_REACH_PATIENCE", "flag": "--reach-patience", "type": "time", "unit": "time",
        "default": "10s", "bound": "a time from 1s to 1m, like 30s or 2h 5m", "doc": "How long a dial may take",
    });
    assert_eq!(row, &expected);
    assert!(rows.iter().all(|row| row["doc"] != Value::Null && row["doc"] != ""));
}

#[test]
fn texts_of_a_list_are_read_and_the_wrong_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let loaded = load(&["--home", home, "--listen", "1", "--listen", "2"], &[("KOS_BOOTSTRAP", "3,x")]).unwrap();
    assert_eq!(list::<u8>(&loaded.settings, "listen", "a number").unwrap(), [1, 2]);
    assert_eq!(list::<u8>(&loaded.settings, "external", "a number").unwrap(), Vec::<u8>::new());
    let refused = list::<u8>(&loaded.settings, "bootstrap", "a number").unwrap_err();
    assert_eq!(refused.to_string(), "bootstrap from KOS_BOOTSTRAP must be a number, not x");
}
