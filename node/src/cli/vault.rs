//! Secrets. Values and passphrases come from standard input, a descriptor or a prompt, never from the command line.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use klp::Refusal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::client::{Call, part};
use super::passphrase::{self, Passphrase};
use super::receipt::{export, read};
use super::terminal::{Answer, Failure, Terminal, count, fields, table};
use crate::fault::Fault;
use crate::services::vaults::Secret;
use crate::view;

/// The vault that a home begins with.
const MAIN: &str = "main";
/// Bytes of a secret.
const SECRET: u64 = 256 * 1024;

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Vault {
    /// Which vault [default: main]
    #[arg(long, global = true, value_name = "NAME")]
    vault: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Whether it is locked, and how it is sealed
    Status {
        /// All vaults
        #[arg(long)]
        all: bool,
    },
    /// Unlock it
    Unlock(Passphrase),
    /// Lock it: its keys leave memory
    Lock,
    /// Store a secret, its value from standard input or a prompt
    Set {
        /// Name of the secret
        name: String,
    },
    /// Print a secret
    Get {
        /// Name of the secret
        name: String,
    },
    /// Names of the secrets
    List,
    /// Forget a secret
    Remove {
        /// Name of the secret
        name: String,
    },
    /// Another passphrase, or the first one; old backups still open with the old one
    Passwd {
        #[command(flatten)]
        passphrase: Passphrase,
        /// Read the new passphrase from this file descriptor
        #[arg(long, value_name = "N")]
        new_passphrase_fd: Option<u32>,
    },
    /// An encrypted file under a passphrase of its own, on standard output
    Export {
        /// Write it to this file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Take the secrets of an exported file in
    Import {
        /// The file, or - for standard input
        #[arg(default_value = "-")]
        file: PathBuf,
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Make another vault
    Create {
        /// Its name
        name: Option<String>,
        /// Seal it to this machine, without a passphrase
        #[arg(long)]
        machine: bool,
        #[command(flatten)]
        passphrase: Passphrase,
    },
}

#[derive(Serialize)]
struct Stored<'s> {
    value: &'s str,
}

#[derive(Serialize)]
struct Opening<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    passphrase: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'s str>,
}

#[derive(Serialize)]
struct Change<'s> {
    new: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<&'s str>,
}

#[derive(Deserialize)]
struct Shown<'s> {
    #[serde(borrow)]
    value: std::borrow::Cow<'s, str>,
}

fn opening(passphrase: Option<&Secret>) -> Opening<'_> {
    Opening { passphrase: passphrase.map(|text| text.as_str()), data: None }
}

impl Vault {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        let client = &terminal.client;
        let vault = self.vault.as_deref().unwrap_or(MAIN);
        let base = format!("/v1/vaults/{}", part(vault));
        let call = match self.verb {
            Verb::Status { all: true } => {
                let vaults: Vec<view::Vault> = client.call(Call::get("/v1/vaults")).await?;
                return terminal.answer(&vaults, |vaults| {
                    let rows = vaults.iter().map(|vault| {
                        [vault.name.clone(), vault.state.clone(), vault.seal.clone(), count(vault.secrets)]
                    });
                    table(["NAME", "STATE", "SEAL", "SECRETS"], rows.collect(), "no vaults")
                });
            }
            Verb::Set { name } => {
                let value = value(&name)?;
                let call = Call::put(format!("{base}/secrets/{}", part(&name))).json(&Stored { value: &value })?;
                let done: Value = client.call(call).await?;
                return terminal.answer(&done, |_| format!("stored {name} in {vault}"));
            }
            Verb::Get { name } => return get(terminal, format!("{base}/secrets/{}", part(&name))).await,
            Verb::List => {
                let names: Vec<String> = client.call(Call::get(format!("{base}/secrets"))).await?;
                return terminal.answer(&names, |names| names.join("\n"));
            }
            Verb::Remove { name } => {
                let done: Value = client.call(Call::delete(format!("{base}/secrets/{}", part(&name)))).await?;
                return terminal.answer(&done, |_| format!("removed {name} from {vault}"));
            }
            Verb::Export { out, passphrase } => {
                let secret = passphrase.chosen("Passphrase for the exported file")?;
                let call = Call::post(format!("{base}/export")).json(&opening(Some(&secret)))?;
                return export(terminal, client.bytes(call).await?, out.as_deref());
            }
            Verb::Status { all: false } => Call::get(base),
            Verb::Lock => Call::post(format!("{base}/lock")),
            Verb::Unlock(passphrase) => {
                let secret = current(terminal, &base, &passphrase).await?;
                Call::post(format!("{base}/unlock")).json(&opening(secret.as_ref()))?
            }
            Verb::Passwd { passphrase, new_passphrase_fd } => {
                let (old, new) = change(terminal, &base, &passphrase, new_passphrase_fd).await?;
                let change = Change { new: &new, old: old.as_ref().map(|text| text.as_str()) };
                Call::post(format!("{base}/passwd")).json(&change)?
            }
            Verb::Import { file, passphrase } => {
                // First the passphrase: both may come from standard input.
                let secret = passphrase.current("Passphrase of the exported file")?;
                let data = Zeroizing::new(hex(&read(&file)?));
                Call::post(format!("{base}/import")).json(&Opening { data: Some(&data), ..opening(Some(&secret)) })?
            }
            Verb::Create { name, machine, passphrase } => {
                let name = name.or_else(|| self.vault.clone()).ok_or_else(|| {
                    Fault::new(Refusal::Invalid, "the new vault has no name").hint("`kos vault create NAME`")
                })?;
                let secret = if machine { None } else { Some(passphrase.chosen("Passphrase for the new vault")?) };
                Call::post(format!("/v1/vaults/{}", part(&name))).json(&opening(secret.as_ref()))?
            }
        };
        let vault: view::Vault = client.call(call).await?;
        terminal.answer(&vault, |vault| {
            fields(&[
                ("vault", vault.name.clone()),
                ("state", vault.state.clone()),
                ("seal", vault.seal.clone()),
                ("secrets", count(vault.secrets)),
                ("locks in", vault.locks_in_s.map_or_else(String::new, |seconds| format!("{seconds} s"))),
            ])
        })
    }
}

/// Whether this vault opens with a passphrase.
async fn is_passphrase(terminal: &Terminal, base: &str) -> Result<bool, Fault> {
    let vault: view::Vault = terminal.client.call(Call::get(base)).await?;
    Ok(vault.seal == "passphrase")
}

async fn current(terminal: &Terminal, base: &str, from: &Passphrase) -> Result<Option<Secret>, Fault> {
    match is_passphrase(terminal, base).await? {
        true => from.current("Passphrase of the vault").map(Some),
        false => Ok(None),
    }
}

/// The old passphrase, if there is one, and the new one. Where one descriptor gives both, the old one comes first.
async fn change(
    terminal: &Terminal,
    base: &str,
    from: &Passphrase,
    new: Option<u32>,
) -> Result<(Option<Secret>, Secret), Fault> {
    let old = current(terminal, base, from).await?;
    let new = match (new, &old) {
        (Some(fd), _) => passphrase::descriptor(fd)?,
        (None, None) => from.chosen("New passphrase of the vault")?,
        (None, Some(_)) => Passphrase::asked("New passphrase of the vault")?,
    };
    Ok((old, new))
}

/// A secret's value: one from a prompt, or all of standard input without the line end that `echo` leaves.
fn value(name: &str) -> Result<Secret, Fault> {
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password(format!("Value of {name}: ")).map(Zeroizing::new).map_err(Fault::internal);
    }
    let most = usize::try_from(SECRET).unwrap_or(usize::MAX);
    let mut text = Zeroizing::new(String::with_capacity(most + 1));
    let read = std::io::stdin().lock().take(SECRET + 1).read_to_string(&mut text);
    read.map_err(|error| Fault::new(Refusal::Invalid, format!("the value cannot be read: {error}")))?;
    if text.len() > most {
        return Err(Fault::new(Refusal::TooLarge, format!("the value has more than {SECRET} bytes")));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

async fn get(terminal: &Terminal, path: String) -> Result<Answer, Failure> {
    let mut body = Zeroizing::new(terminal.client.bytes(Call::get(path)).await?);
    if terminal.json {
        body.push(b'\n');
        return Ok(Answer::bytes(std::mem::take(&mut *body)));
    }
    let shown: Shown<'_> =
        serde_json::from_slice(&body).map_err(|_| Fault::internal("the node's answer is no secret"))?;
    let mut text = Vec::with_capacity(shown.value.len() + 1);
    text.extend_from_slice(shown.value.as_bytes());
    text.push(b'\n');
    Ok(Answer::bytes(text))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
