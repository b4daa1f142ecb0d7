//! The signed log.

use clap::{Args, Subcommand, ValueEnum};

use super::client::{Call, query};
use super::terminal::{Answer, Failure, Terminal, table};
use crate::view;

/// Exit code of a log that does not verify.
const NOT_VALID: u8 = 1;

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Entries, oldest first; without --after the newest ones
    List {
        /// Only of this part of the node
        #[arg(long)]
        component: Option<String>,
        /// Only of this kind; `*` stands for anything
        #[arg(long)]
        kind: Option<String>,
        /// Only after the entry of this number
        #[arg(long, value_name = "SEQ")]
        after: Option<u64>,
        /// At most so many, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Check every entry; names the first bad one
    Verify,
    /// The whole log on standard output
    Export {
        /// As a JSON array or as CSV
        #[arg(long, value_enum, default_value_t = Format::Json)]
        format: Format,
    },
    /// After a restore: this older state is meant
    Confirm,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Json,
    Csv,
}

impl Audit {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        match self.verb {
            Verb::List { component, kind, after, limit } => {
                let (after, limit) = (after.map(|after| after.to_string()), Some(limit.to_string()));
                let values = [("component", component), ("kind", kind), ("after", after), ("limit", limit)];
                let entries: Vec<view::AuditEntry> =
                    terminal.client.call(Call::get(query("/v1/audit", &values))).await?;
                terminal.answer(&entries, |entries| {
                    let rows = entries.iter().map(|entry| {
                        let what = format!("{}.{}", entry.component, entry.kind);
                        [entry.seq.to_string(), entry.time.clone(), what, entry.subject.clone(), entry.detail.clone()]
                    });
                    table(["SEQ", "TIME", "WHAT", "TO", "DETAIL"], rows.collect(), "no such entries")
                })
            }
            Verb::Verify => {
                let check: view::AuditCheck = terminal.client.call(Call::get("/v1/audit/verify")).await?;
                show(terminal, &check)
            }
            Verb::Confirm => {
                let check: view::AuditCheck = terminal.client.call(Call::post("/v1/audit/confirm")).await?;
                show(terminal, &check)
            }
            Verb::Export { format } => {
                let format = match format {
                    Format::Json => "json",
                    Format::Csv => "csv",
                };
                let path = query("/v1/audit/export", &[("format", Some(format.into()))]);
                Ok(Answer::bytes(terminal.client.bytes(Call::get(path)).await?))
            }
        }
    }
}

fn show(terminal: &Terminal, check: &view::AuditCheck) -> Result<Answer, Failure> {
    let exit = if check.valid { 0 } else { NOT_VALID };
    let answer = terminal.answer(check, |check| match (check.valid, check.first_bad) {
        (true, _) => format!("valid: {} entries, head {}", check.entries, check.head),
        (false, bad) => {
            let bad = bad.map_or_else(String::new, |bad| format!(" at entry {bad}"));
            format!("NOT VALID{bad}: {}", check.problem.as_deref().unwrap_or("not what was signed"))
        }
    });
    answer.map(|answer| answer.exit(exit))
}
