//! The four layers, laid over each other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::{Map, Value, json};

use super::{ConfigError, Key, Origin, Setting, Settings};
use crate::home;

pub(super) const CONFIG: &str = "config";
const HOME: &str = "home";
const FILES: [&str; 2] = ["kos.toml", "kos.json"];

/// What the surroundings of a process say about its settings.
#[derive(Clone, Debug)]
pub struct Layers {
    program: &'static str,
    variables: BTreeMap<String, OsString>,
    flags: BTreeMap<String, Vec<String>>,
}

/// Settings that hold, and how they came about.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The settings.
    pub value: T,
    /// The file, when there is one.
    pub file: Option<PathBuf>,
    /// Every key with its value and origin, in the order of the table.
    pub settings: Vec<Setting>,
}

impl Layers {
    /// For a program of this name, from the matches of a command made with [`super::flags`] and the variables of the process.
    pub fn new(
        program: &'static str,
        matches: &ArgMatches,
        keys: &[Key],
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let given = |id: &str| {
            let here = matches.try_contains_id(id).unwrap_or(false);
            let typed = here && matches.value_source(id) == Some(ValueSource::CommandLine);
            let texts = typed.then(|| matches.get_many::<String>(id)).flatten()?.cloned().collect();
            Some((id.to_owned(), texts))
        };
        let variables = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self {
            program,
            // An empty variable is as good as none: compose files and service units cannot easily leave one out.
            variables: variables.filter(|(_, value)| !value.is_empty()).collect(),
            flags: keys.iter().map(|key| key.name).chain([CONFIG]).filter_map(given).collect(),
        }
    }

    /// Lays the layers over each other and checks every value against its key. Where the settings have a key `home`, its default is
    /// the platform's folder for the program, and without `--config` or `KOS_CONFIG` the file is `kos.toml` or `kos.json` in there.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key and the file, variable or flag.
    pub fn load<T: Settings>(&self) -> Result<Loaded<T>, ConfigError> {
        let home = T::keys().iter().find(|key| key.name == HOME).map(|key| self.overlay(key)).transpose()?.flatten();
        let file = match (self.named_file(), home) {
            (Some(file), _) => Some(file),
            (None, Some((home, _))) => file_in(Path::new(home.as_str().unwrap_or_default()))?,
            (None, None) => file_in(&self.platform()?)?,
        };
        let Some(file) = file else { return self.lay(None) };
        let text = fs::read_to_string(&file).map_err(|source| ConfigError::Read { file: file.clone(), source })?;
        self.lay(Some((&file, &text)))
    }

    /// [`Layers::load`] with this text as the settings file's.
    ///
    /// # Errors
    /// As [`Layers::load`].
    pub fn lay<T: Settings>(&self, file: Option<(&Path, &str)>) -> Result<Loaded<T>, ConfigError> {
        let keys = T::keys();
        let mut tree = serde_json::to_value(T::default()).map_err(ConfigError::Shape)?;
        let mut origins: BTreeMap<&'static str, Origin> = BTreeMap::new();
        let mut put = |key: &Key, value: Value, origin: Origin| {
            set(&mut tree, key.name, value);
            origins.insert(key.name, origin);
        };

        let mut over = Vec::new();
        for key in &keys {
            over.extend(self.overlay(key)?.map(|(value, origin)| (key, value, origin)));
        }
        let mut at_home = over.iter().any(|(key, ..)| key.name == HOME);
        if let Some((file, text)) = file {
            for (key, value) in read(file, text, &keys)? {
                if key.name == HOME && self.named_file().is_none() {
                    let (origin, expected) =
                        (Origin::File(file.to_owned()), "set outside the home that it names".into());
                    return Err(ConfigError::Value { key: key.name, origin, expected, got: value.to_string() });
                }
                at_home |= key.name == HOME;
                put(key, value, Origin::File(file.to_owned()));
            }
        }
        if let (false, Some(key)) = (at_home, keys.iter().find(|key| key.name == HOME)) {
            put(key, json!(self.platform()?), Origin::Default);
        }
        for (key, value, origin) in over {
            put(key, value, origin);
        }

        let settings = keys.iter().map(|key| Setting {
            key: key.name,
            value: lookup(&tree, key.name).cloned().unwrap_or_default(),
            origin: origins.get(key.name).cloned().unwrap_or(Origin::Default),
        });
        let settings = settings.collect();
        let value = serde_json::from_value(tree).map_err(ConfigError::Shape)?;
        Ok(Loaded { value, file: file.map(|(file, _)| file.to_owned()), settings })
    }

    /// The platform's folder for this program.
    fn platform(&self) -> Result<PathBuf, ConfigError> {
        Ok(home::default_folder(self.program, |name| self.variables.get(name).cloned())?)
    }

    /// What variable and flag say about a key; the flag wins.
    fn overlay(&self, key: &Key) -> Result<Option<(Value, Origin)>, ConfigError> {
        let (texts, origin) = if let Some(texts) = self.flags.get(key.name) {
            (texts.clone(), Origin::Flag(format!("--{}", key.flag())))
        } else if let Some(text) = self.variables.get(&key.env()) {
            let text = text.to_string_lossy().into_owned();
            let texts = if key.kind == super::Kind::Texts {
                text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect()
            } else {
                vec![text]
            };
            (texts, Origin::Variable(key.env()))
        } else {
            return Ok(None);
        };
        match key.kind.parse(&texts) {
            Some(value) => Ok(Some((value, origin))),
            None => Err(wrong(key, origin, texts.join(","))),
        }
    }

    /// The settings file that a flag or variable names. It must exist.
    fn named_file(&self) -> Option<PathBuf> {
        let flag = self.flags.get(CONFIG).and_then(|texts| texts.last()).map(PathBuf::from);
        flag.or_else(|| self.variables.get("KOS_CONFIG").map(PathBuf::from))
    }
}

/// The settings file in a home, if there is one.
fn file_in(home: &Path) -> Result<Option<PathBuf>, ConfigError> {
    let [toml, json] = FILES.map(|name| home.join(name));
    match (toml.exists(), json.exists()) {
        (true, true) => Err(ConfigError::Two(toml, json)),
        (true, false) => Ok(Some(toml)),
        (false, true) => Ok(Some(json)),
        (false, false) => Ok(None),
    }
}

/// The values of a settings file, each checked.
fn read<'k>(file: &Path, text: &str, keys: &'k [Key]) -> Result<Vec<(&'k Key, Value)>, ConfigError> {
    let syntax = |reason: String| ConfigError::Syntax { file: file.to_owned(), reason };
    let tree: Value = if file.extension().is_some_and(|end| end == "json") {
        serde_json::from_str(text).map_err(|error| syntax(error.to_string()))?
    } else {
        toml::from_str(text).map_err(|error| syntax(error.to_string()))?
    };
    if !tree.is_object() {
        return Err(syntax("not a table of keys".into()));
    }
    let mut found = Vec::new();
    leaves(&tree, keys, String::new(), &mut found);
    let mut values = Vec::with_capacity(found.len());
    for (name, value) in found {
        let Some(key) = keys.iter().find(|key| key.name == name) else {
            let near = near(&name, keys);
            return Err(ConfigError::Unknown { key: name, file: file.to_owned(), near });
        };
        let got = value.to_string();
        let value = key.kind.accept(value.clone()).ok_or_else(|| wrong(key, Origin::File(file.to_owned()), got))?;
        values.push((key, value));
    }
    Ok(values)
}

fn wrong(key: &Key, origin: Origin, got: String) -> ConfigError {
    ConfigError::Value { key: key.name, origin, expected: key.kind.expected(), got }
}

/// The key that differs in at most two letters, for a slip of the finger.
fn near(name: &str, keys: &[Key]) -> Option<&'static str> {
    keys.iter().map(|key| (distance(name, key.name), key.name)).min().filter(|(far, _)| *far <= 2).map(|(_, name)| name)
}

/// Levenshtein's distance.
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in two.iter().enumerate() {
            let changed = corner + usize::from(a != *b);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Every value of a tree by dotted name; a table that is itself a key is one value.
pub(super) fn leaves<'v>(tree: &'v Value, keys: &[Key], prefix: String, found: &mut Vec<(String, &'v Value)>) {
    match tree {
        Value::Object(fields) if prefix.is_empty() || !keys.iter().any(|key| key.name == prefix) => {
            for (name, value) in fields {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                leaves(value, keys, name, found);
            }
        }
        value => found.push((prefix, value)),
    }
}

pub(super) fn lookup<'v>(tree: &'v Value, name: &str) -> Option<&'v Value> {
    name.split('.').try_fold(tree, |tree, part| tree.get(part))
}

fn set(tree: &mut Value, name: &str, value: Value) {
    let mut place = tree;
    for part in name.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[part];
    }
    *place = value;
}
