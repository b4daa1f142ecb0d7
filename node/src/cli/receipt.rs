//! Co-signed proof of calls.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use klp::Refusal;
use serde_json::json;

use super::client::{Call, part, query};
use super::terminal::{Answer, Failure, Terminal, fields, lines, short, table};
use crate::fault::Fault;
use crate::services::receipts;
use crate::view;

/// Exit code of a receipt that does not verify, whatever is wrong with it.
const NOT_VALID: u8 = 7;

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Receipt {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Receipts, the newest first
    List {
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// One receipt
    Show {
        /// The receipt's id or its beginning
        id: String,
    },
    /// The bytes that a stranger can verify, with question and answer
    Export {
        /// The receipt's id or its beginning
        id: String,
        /// Write them to this file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check a receipt; needs no node and no home
    Verify {
        /// The file, or - for standard input
        file: PathBuf,
    },
}

impl Receipt {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        match self.verb {
            Verb::List { limit } => {
                let path = query("/v1/receipts", &[("limit", Some(limit.to_string()))]);
                let receipts: Vec<view::Receipt> = terminal.client.call(Call::get(path)).await?;
                terminal.answer(&receipts, |receipts| list(receipts))
            }
            Verb::Show { id } => {
                let receipt: view::Receipt =
                    terminal.client.call(Call::get(format!("/v1/receipts/{}", part(&id)))).await?;
                terminal.answer(&receipt, show)
            }
            Verb::Export { id, out } => {
                let bytes = terminal.client.bytes(Call::get(format!("/v1/receipts/{}/export", part(&id)))).await?;
                export(terminal, bytes, out.as_deref())
            }
            Verb::Verify { file } => {
                let bytes = read(&file)?;
                let check = receipts::verify(&bytes).map_err(|fault| Failure::from(fault).exit(NOT_VALID))?;
                let exit = if check.valid { 0 } else { NOT_VALID };
                terminal.answer(&check, show_check).map(|answer| answer.exit(exit))
            }
        }
    }
}

/// Bytes to a file or to standard output, but not to somebody's screen.
pub(super) fn export(terminal: &Terminal, bytes: Vec<u8>, out: Option<&Path>) -> Result<Answer, Failure> {
    match out {
        Some(path) => {
            host::home::write_private(path, &bytes)
                .map_err(|error| Fault::new(Refusal::Invalid, format!("cannot write {}: {error}", path.display())))?;
            let told = json!({ "file": path, "bytes": bytes.len() });
            terminal.answer(&told, |_| format!("wrote {} bytes to {}", bytes.len(), path.display()))
        }
        None if std::io::stdout().is_terminal() => {
            let fault = Fault::new(Refusal::Invalid, "these bytes are not for a screen");
            Err(fault.hint("redirect standard output, or use --out FILE").into())
        }
        None => Ok(Answer::bytes(bytes)),
    }
}

/// The bytes of a file, or of standard input for `-`.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    let limit = 4 * klp::limits::MESSAGE;
    let mut bytes = Vec::new();
    let more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let result = if file == Path::new("-") {
        std::io::stdin().lock().take(more).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(more).read_to_end(&mut bytes))
    };
    result.map_err(|error| {
        let refusal = if error.kind() == std::io::ErrorKind::NotFound { Refusal::NotFound } else { Refusal::Invalid };
        Fault::new(refusal, format!("cannot read {}: {error}", file.display())).hint("check the path")
    })?;
    if bytes.len() > limit {
        return Err(Fault::new(Refusal::TooLarge, format!("{} is larger than {limit} bytes", file.display())));
    }
    Ok(bytes)
}

fn list(receipts: &[view::Receipt]) -> String {
    let rows = receipts.iter().map(|receipt| {
        let agent = format!("{}.{}", receipt.agent, receipt.capability);
        let way = receipt.direction.clone();
        [short(&receipt.id), receipt.issued.clone(), way, receipt.status.clone(), receipt.state.clone(), agent]
    });
    table(["ID", "WHEN", "WAY", "STATUS", "PROOF", "AGENT"], rows.collect(), "no calls yet")
}

fn show(receipt: &view::Receipt) -> String {
    fields(&[
        ("id", receipt.id.clone()),
        ("proof", receipt.state.clone()),
        ("status", receipt.status.clone()),
        ("caller", receipt.caller.clone()),
        ("agent", receipt.agent.clone()),
        ("owner", receipt.owner.clone()),
        ("capability", receipt.capability.clone()),
        ("bytes", receipt.bytes.to_string()),
        ("when", receipt.issued.clone()),
        ("way", receipt.direction.clone()),
    ])
}

fn show_check(check: &view::ReceiptCheck) -> String {
    let valid = if check.valid { "valid" } else { "NOT VALID" };
    let mut text = format!("{valid}: {}, {}; revocation {}\n", check.state, check.status, check.revocation);
    let signers = check.signers.iter().map(|signer| [signer.role.clone(), signer.did.clone(), signer.owner.clone()]);
    text.push_str(&table(["SIGNED AS", "BY", "OF"], signers.collect(), ""));
    for (name, value) in &check.arguments {
        text.push_str(&format!("{}: {}\n", lines(name), lines(value)));
    }
    if let Some(answer) = &check.answer {
        text.push_str(&format!("answer:\n{}\n", lines(answer)));
    }
    text
}
