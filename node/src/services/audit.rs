//! The audit log.

use store::audit::{self, Condition, Entry, Who};
use store::{Store, StoreError};

use super::vaults::Vaults;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::figures::Figures;
use crate::me::Me;
use crate::{bus, show, view};
use klp::Refusal;

/// Which entries.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of this part of the node.
    pub component: Option<String>,
    /// Only of this kind; `*` stands for anything.
    pub kind: Option<String>,
    /// Only after this number.
    pub after: Option<u64>,
    /// At most so many, up to 1000.
    pub limit: Option<usize>,
}

/// The audit log.
#[derive(Clone)]
pub struct Audit {
    store: Store,
    clock: Clock,
    me: Me,
    vaults: Vaults,
    figures: Figures,
}

/// Entries shown when nobody says how many.
const SHOWN: usize = 100;
/// Entries at most.
const MOST: usize = 1000;

impl Audit {
    pub(crate) fn new(store: Store, clock: Clock, me: Me, vaults: Vaults, figures: Figures) -> Self {
        Self { store, clock, me, vaults, figures }
    }

    /// Entries, oldest first; without `after`, the newest ones.
    ///
    /// # Errors
    /// `integrity`
    pub async fn list(&self, filter: Filter) -> Result<Vec<view::AuditEntry>, Fault> {
        let limit = filter.limit.unwrap_or(SHOWN).clamp(1, MOST);
        let rows = self.store.read(move |view| {
            let wanted = audit::Filter { component: filter.component.clone(), ..audit::Filter::default() };
            let fits = |kind: &str| filter.kind.as_deref().is_none_or(|glob| bus::fits(glob, kind));
            let (mut rows, mut before) = (Vec::new(), None);
            loop {
                let page = audit::list(view, &wanted, before, MOST)?;
                for entry in page.entries {
                    if filter.after.is_some_and(|after| entry.seq <= after) {
                        return Ok::<_, StoreError>(rows);
                    }
                    if fits(&entry.kind) {
                        rows.push(entry);
                    }
                    // Newest first: without a starting point these are the newest.
                    if filter.after.is_none() && rows.len() == limit {
                        return Ok(rows);
                    }
                }
                before = page.next;
                if before.is_none() {
                    return Ok(rows);
                }
            }
        });
        let mut rows = rows.await?;
        rows.reverse();
        rows.truncate(limit);
        Ok(rows.iter().map(shown).collect())
    }

    /// Checks every entry, the tree and the checkpoints.
    ///
    /// # Errors
    /// `internal`; a log that does not verify is an answer, no error.
    pub async fn verify(&self) -> Result<view::AuditCheck, Fault> {
        let report = self.store.verify_log().await?;
        Ok(view::AuditCheck {
            valid: report.bad.is_none(),
            entries: report.entries,
            head: report.head.to_string(),
            first_bad: report.bad.map(|bad| bad.seq),
            problem: report.bad.map(|bad| bad.why.to_string()),
        })
    }

    /// The whole log as `json` (an array) or `csv`.
    ///
    /// # Errors
    /// `invalid` for another format.
    pub async fn export(&self, format: &str) -> Result<String, Fault> {
        let format = match format {
            "json" => audit::Format::Json,
            "csv" => audit::Format::Csv,
            _ => return Err(Fault::new(Refusal::Invalid, "the log is exported as json or csv")),
        };
        let json = matches!(format, audit::Format::Json);
        let bytes = self.store.read(move |view| {
            let mut out = Vec::new();
            audit::export(view, &audit::Filter::default(), format, &mut out)?;
            Ok::<_, StoreError>(out)
        });
        let text = String::from_utf8(bytes.await?).map_err(Fault::internal)?;
        Ok(if json { format!("[{}]\n", text.trim_end().replace('\n', ",\n")) } else { text })
    }

    /// Counts that somebody was not let in at the local API, and writes it down; all of them share one bucket of entries.
    pub(crate) async fn refused(&self, what: &str, refusal: Refusal) {
        self.figures.refused("api", refusal);
        let entry = Entry::new("api", "denied", self.clock.now()).on(what).with("code", refusal);
        if let Err(error) = self.store.write(move |tx| tx.audit_denial(Who::Local, entry)).await {
            tracing::warn!(%error, "a denial was not written down");
        }
    }

    /// The owner says that this older state is meant, after a restore.
    ///
    /// # Errors
    /// `state` when nothing was rolled back, `locked`.
    pub async fn confirm(&self) -> Result<view::AuditCheck, Fault> {
        if !matches!(self.store.condition(), Condition::RolledBack { .. }) {
            return Err(Fault::new(Refusal::State, "nothing was rolled back").hint("there is nothing to confirm"));
        }
        self.vaults.owner()?;
        self.store.confirm_rollback(Some(self.me.owner().0), self.clock.now()).await?;
        self.verify().await
    }
}

fn shown(entry: &audit::Listed) -> view::AuditEntry {
    let detail: Vec<String> = entry.detail.iter().map(|(name, value)| format!("{name}={value}")).collect();
    view::AuditEntry {
        seq: entry.seq,
        time: show::time(entry.at),
        component: entry.component.clone(),
        kind: entry.kind.clone(),
        actor: entry.actor.map(|did| did.to_string()),
        subject: if entry.erased { "(erased)".to_owned() } else { entry.subject.clone() },
        detail: detail.join(" "),
    }
}
