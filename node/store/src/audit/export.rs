//! The log as a file for other programs.

use std::io::{self, Write};

use serde_json::json;

use super::list::{Filter, Listed, read};
use crate::error::StoreError;
use crate::table::Table;
use crate::view::{Order, View};

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// RFC 4180, with a header line.
    Csv,
}

/// Writes all entries that the filter admits, oldest first, and returns how many.
///
/// # Errors
/// [`StoreError`]; an error of `out` comes as the I/O error that it is.
pub fn export(view: &View, filter: &Filter, format: Format, out: &mut dyn Write) -> Result<u64, StoreError> {
    if format == Format::Csv {
        out.write_all(b"seq,time_ms,component,kind,actor,subject,detail,erased,leaf\r\n")?;
    }
    let mut written = 0;
    view.scan(Table::AuditLeaves, .., Order::Up, |key, bytes| {
        let entry = read(view, key, &bytes)?;
        if filter.admits(&entry) {
            match format {
                Format::Json => write_json(&entry, out)?,
                Format::Csv => write_csv(&entry, out)?,
            }
            written += 1;
        }
        Ok(true)
    })?;
    out.flush()?;
    Ok(written)
}

fn write_json(entry: &Listed, out: &mut dyn Write) -> io::Result<()> {
    let line = json!({
        "seq": entry.seq,
        "time_ms": entry.at.0,
        "component": entry.component,
        "kind": entry.kind,
        "actor": entry.actor.map(|actor| actor.to_string()),
        "subject": entry.subject,
        "detail": entry.detail,
        "erased": entry.erased,
        "leaf": entry.leaf.to_string(),
    });
    writeln!(out, "{line}")
}

fn write_csv(entry: &Listed, out: &mut dyn Write) -> io::Result<()> {
    let detail = json!(entry.detail).to_string();
    let fields = [
        entry.seq.to_string(),
        entry.at.0.to_string(),
        entry.component.clone(),
        entry.kind.clone(),
        entry.actor.map(|actor| actor.to_string()).unwrap_or_default(),
        entry.subject.clone(),
        detail,
        entry.erased.to_string(),
        entry.leaf.to_string(),
    ];
    let line: Vec<_> = fields.iter().map(|field| quoted(field)).collect();
    write!(out, "{}\r\n", line.join(","))
}

/// A field in quotes when it needs them, with quotes inside doubled.
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\r', '\n']) || field.starts_with(' ') || field.ends_with(' ') {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_when_they_must_be() {
        for (plain, written) in
            [("a", "a"), ("a,b", "\"a,b\""), ("say \"x\"", "\"say \"\"x\"\"\""), ("a\nb", "\"a\nb\""), (" a", "\" a\"")]
        {
            assert_eq!(quoted(plain), written);
        }
    }
}
