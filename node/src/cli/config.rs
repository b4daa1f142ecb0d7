//! Settings.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use clap::{ArgMatches, Args, Subcommand};
use host::config::{Kind, Layers, Settings as _};
use klp::Refusal;
use serde_json::{Map, Value, json};

use super::client::{Call, part};
use super::terminal::{Answer, Failure, Terminal, table};
use super::up::unfit;
use crate::config::Config as Settings;
use crate::fault::Fault;
use crate::view;

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// One setting, or all of them with where they come from
    Get {
        /// Dotted name
        key: Option<String>,
    },
    /// Change a setting in the settings file
    Set {
        /// Dotted name
        key: String,
        /// The value; a list as a JSON array, or parted by commas
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Change settings in $VISUAL or $EDITOR
    Edit,
    /// What every setting is called, takes and means; needs no node
    Schema,
    /// Check a settings file, or the one in the home; needs no node
    Check {
        /// The file
        file: Option<PathBuf>,
    },
}

impl Config {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        match self.verb {
            Verb::Get { key: None } => {
                let settings: Vec<view::Setting> = terminal.client.call(Call::get("/v1/config")).await?;
                terminal.answer(&settings, |settings| show(settings))
            }
            Verb::Get { key: Some(key) } => {
                let path = format!("/v1/config/{}", part(&key));
                let setting: view::Setting = terminal.client.call(Call::get(path)).await?;
                terminal.answer(&setting, |setting| text(&setting.value))
            }
            Verb::Set { key, value } => {
                let value = typed(&key, &value);
                let setting = put(terminal, &key, &value).await?;
                terminal.answer(&setting, |setting| show(std::slice::from_ref(setting)))
            }
            Verb::Edit => edit(terminal).await,
            Verb::Schema => {
                let keys = host::config::schema::<Settings>().map_err(|error| unfit(&error))?;
                terminal.answer(&keys, |keys| {
                    let rows = keys.iter().map(|key| ["key", "default", "bound", "doc"].map(|name| text(&key[name])));
                    table(["KEY", "DEFAULT", "TAKES", "MEANING"], rows.collect(), "")
                })
            }
            Verb::Check { file } => check(terminal, file),
        }
    }
}

async fn put(terminal: &Terminal, key: &str, value: &Value) -> Result<view::Setting, Fault> {
    let call = Call::put(format!("/v1/config/{}", part(key))).json(&json!({ "value": value }))?;
    terminal.client.call(call).await
}

fn show(settings: &[view::Setting]) -> String {
    let rows = settings.iter().map(|setting| [setting.key.clone(), text(&setting.value), setting.origin.clone()]);
    table(["KEY", "VALUE", "FROM"], rows.collect(), "")
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

/// What was typed, as the kind of value that the setting takes; the node says when it does not fit.
fn typed(key: &str, typed: &str) -> Value {
    let kind = Settings::keys().into_iter().find(|known| known.name == key).map(|known| known.kind);
    let plain = || Value::String(typed.to_owned());
    match kind {
        Some(Kind::Switch | Kind::Integer { .. }) => serde_json::from_str(typed).unwrap_or_else(|_| plain()),
        Some(Kind::Texts) => serde_json::from_str(typed).unwrap_or_else(|_| {
            typed.split(',').map(str::trim).filter(|text| !text.is_empty()).map(Value::from).collect()
        }),
        _ => plain(),
    }
}

fn check(terminal: &Terminal, file: Option<PathBuf>) -> Result<Answer, Failure> {
    let given = file.map(|file| ("KOS_CONFIG".into(), file.into_os_string()));
    let home = Some(("KOS_HOME".into(), terminal.home.clone().into_os_string()));
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().chain(given).chain(home).collect();
    let layers = Layers::new("kos", &ArgMatches::default(), &Settings::keys(), variables);
    let loaded = layers.load::<Settings>().map_err(|error| unfit(&error))?;
    let told = json!({ "valid": true, "file": loaded.file, "settings": loaded.settings });
    terminal.answer(&told, |_| match &loaded.file {
        Some(file) => format!("{} is valid", file.display()),
        None => "there is no settings file; the defaults hold".into(),
    })
}

/// Shows the settings that can be changed as a file, and sends those that were changed to the node.
async fn edit(terminal: &Terminal) -> Result<Answer, Failure> {
    let settings: Vec<view::Setting> = terminal.client.call(Call::get("/v1/config")).await?;
    let before = document(&settings)?;
    let file = terminal.home.join("settings.edit.toml");
    let fail = |error: std::io::Error| Fault::internal(format_args!("{}: {error}", file.display()));
    host::home::write_private(&file, before.as_bytes()).map_err(fail)?;
    let editor =
        ["VISUAL", "EDITOR"].into_iter().find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".into());
    // As every program does that has an editor called: the variable may hold arguments.
    let status = Command::new("sh").arg("-c").arg("exec $0 \"$1\"").arg(&editor).arg(&file).status();
    let after = std::fs::read_to_string(&file).map_err(fail);
    std::fs::remove_file(&file).map_err(fail)?;
    if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
        let fault = Fault::new(Refusal::Cancelled, format!("the editor {} did not end well", editor.display()));
        return Err(fault.hint("nothing was changed; set EDITOR").into());
    }
    let mut changed = Vec::new();
    for (key, value) in changes(&settings, &after?)? {
        changed.push(put(terminal, &key, &value).await?);
    }
    terminal.answer(&changed, |changed| if changed.is_empty() { "nothing was changed".into() } else { show(changed) })
}

/// The settings as TOML: set ones plainly, the others as comments.
fn document(settings: &[view::Setting]) -> Result<String, Fault> {
    let keys = Settings::keys();
    let mut text = String::from("# Settings of this node. A line with # in front is the default.\n");
    for setting in settings.iter().filter(|setting| setting.key != "home") {
        let doc = keys.iter().find(|key| key.name == setting.key).map_or("", |key| key.doc);
        let mark = if setting.origin == "default" { "# " } else { "" };
        let value = match &setting.value {
            Value::Null => "\"\"".to_owned(),
            value => toml::Value::try_from(value).map_err(Fault::internal)?.to_string(),
        };
        text.push_str(&format!("\n# {doc}\n{mark}{} = {value}\n", setting.key));
    }
    Ok(text)
}

/// Keys whose values are others than before.
fn changes(settings: &[view::Setting], after: &str) -> Result<Vec<(String, Value)>, Fault> {
    let table: Map<String, Value> = toml::from_str(after)
        .map_err(|error| Fault::new(Refusal::Invalid, format!("what was edited is no TOML: {error}")))?;
    let mut leaves = Vec::new();
    flatten(Value::Object(table), String::new(), &mut leaves);
    let before = |key: &str| settings.iter().find(|setting| setting.key == key).map(|setting| &setting.value);
    if let Some((key, _)) = leaves.iter().find(|(key, _)| before(key).is_none()) {
        return Err(Fault::new(Refusal::Invalid, format!("there is no setting {key}")).hint("nothing was changed"));
    }
    Ok(leaves.into_iter().filter(|(key, value)| before(key) != Some(value)).collect())
}

fn flatten(value: Value, name: String, leaves: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field } else { format!("{name}.{field}") };
                flatten(value, name, leaves);
            }
        }
        value => leaves.push((name, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(key: &str, value: Value, origin: &str) -> view::Setting {
        view::Setting { key: key.into(), value, origin: origin.into() }
    }

    #[test]
    fn what_is_typed_becomes_the_kind_that_the_setting_takes() {
        assert_eq!(typed("mdns", "false"), json!(false));
        assert_eq!(typed("vault.lock_after_s", "60"), json!(60));
        assert_eq!(typed("relay", "/a, /b"), json!(["/a", "/b"]));
        assert_eq!(typed("relay", "[\"/a\"]"), json!(["/a"]));
        assert_eq!(typed("api", "127.0.0.1:1"), json!("127.0.0.1:1"));
        assert_eq!(typed("mdns", "perhaps"), json!("perhaps"), "the node refuses it");
    }

    #[test]
    fn only_what_was_edited_is_sent() {
        let settings = [
            setting("mdns", json!(true), "default"),
            setting("relay", json!([]), "default"),
            setting("vault.lock_after_s", json!(900), "file"),
        ];
        let text = document(&settings).expect("text");
        assert_eq!(changes(&settings, &text).expect("changes"), []);
        let edited = text.replace("# mdns = true", "mdns = false").replace("900", "60");
        let expected = [("mdns".to_owned(), json!(false)), ("vault.lock_after_s".to_owned(), json!(60))];
        assert_eq!(changes(&settings, &edited).expect("changes"), expected);
        for wrong in ["mdsn = true", "mdns = "] {
            assert_eq!(changes(&settings, wrong).map_err(|fault| fault.refusal), Err(Refusal::Invalid), "{wrong}");
        }
    }
}
