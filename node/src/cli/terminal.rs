//! What a verb shows: text for people, one JSON value for programs.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use zeroize::Zeroizing;

use super::client::Client;
use crate::fault::Fault;
use crate::web::{ErrorBody, ErrorObject};

/// Where a verb runs: which home, and for whom it writes.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) home: PathBuf,
    pub(super) json: bool,
    pub(super) client: Client,
}

/// What goes to standard output. It may hold a secret that was asked for, so it is wiped.
#[derive(Debug)]
pub(super) struct Answer {
    out: Zeroizing<Vec<u8>>,
    exit: u8,
}

/// A fault and the exit code that goes with it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) exit: u8,
}

impl Terminal {
    pub(super) fn new(home: PathBuf, json: bool) -> Self {
        Self { client: Client::new(&home), home, json }
    }

    /// The value itself, or what `text` makes of it.
    pub(super) fn answer<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> Result<Answer, Failure> {
        let mut out = Zeroizing::new(Vec::with_capacity(4096));
        if self.json {
            serde_json::to_writer(&mut *out, value).map_err(Fault::internal)?;
        } else {
            out.extend_from_slice(text(value).trim_end_matches('\n').as_bytes());
        }
        if !out.is_empty() {
            out.push(b'\n');
        }
        Ok(Answer { out, exit: 0 })
    }

    /// A line for people on standard error; nothing with `--json`.
    pub(super) fn note(&self, line: &str) {
        if !self.json {
            // Progress that nobody can see is no failure.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// Writes to standard output at once. Whether somebody still reads it.
    pub(super) fn write(&self, text: &str) -> Result<bool, Failure> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Fault::internal(error).into()),
        }
    }
}

impl Answer {
    /// Bytes as they are.
    pub(super) fn bytes(bytes: Vec<u8>) -> Self {
        Self { out: Zeroizing::new(bytes), exit: 0 }
    }

    /// Nothing more: all was written already.
    pub(super) fn silent() -> Self {
        Self::bytes(Vec::new())
    }

    /// With another exit code.
    pub(super) fn exit(self, exit: u8) -> Self {
        Self { exit, ..self }
    }

    pub(super) fn print(self) -> ExitCode {
        let mut out = std::io::stdout().lock();
        match out.write_all(&self.out).and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => ExitCode::FAILURE,
            _ => ExitCode::from(self.exit),
        }
    }
}

impl Failure {
    /// With another exit code.
    pub(super) fn exit(self, exit: u8) -> Self {
        Self { exit, ..self }
    }

    pub(super) fn print(self, json: bool) -> ExitCode {
        if json {
            print_json(&ErrorBody::from(&self.fault));
        } else {
            let (bold, plain_again) = if is_colourful() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
            let message = lines(&self.fault.message);
            // Nobody is left to tell when standard error is gone.
            let _ =
                writeln!(std::io::stderr(), "{bold}error:{plain_again} {message}\n  hint: {}", lines(&self.fault.hint));
        }
        ExitCode::from(self.exit)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let exit = fault.refusal.exit();
        Self { fault, exit }
    }
}

/// A command line that cannot be read, as the error object.
pub(super) fn print_usage(message: &str, exit: u8) -> ExitCode {
    let (code, hint) = ("usage".to_owned(), "see `kos --help`".to_owned());
    print_json(&ErrorBody { error: ErrorObject { code, message: message.to_owned(), hint } });
    ExitCode::from(exit)
}

fn print_json(body: &ErrorBody) {
    let text = serde_json::to_string(body).unwrap_or_default();
    // Nobody is left to tell when standard output is gone.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn is_colourful() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !unwanted && std::io::stderr().is_terminal()
}

/// Remote text on one line, with nothing in it that steers a terminal or the reading order.
pub(super) fn line(text: &str) -> String {
    text.chars().map(|character| if character.is_whitespace() { ' ' } else { safe(character) }).collect()
}

/// Remote text with its lines kept; also right for a piece of a longer text.
pub(super) fn lines(text: &str) -> String {
    text.chars()
        .filter(|character| *character != '\r')
        .map(|character| match character {
            '\n' | '\t' => character,
            _ => safe(character),
        })
        .collect()
}

fn safe(character: char) -> char {
    let steers = character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    if steers { '\u{fffd}' } else { character }
}

/// Rows under a head, in columns; `empty` when there is no row.
pub(super) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>, empty: &str) -> String {
    if rows.is_empty() {
        return empty.to_owned();
    }
    let rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(|cell| line(&cell))).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in std::iter::once(head.map(str::to_owned)).chain(rows.iter().cloned()) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, one a line; empty values are left out.
pub(super) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let shown = fields.iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(name, value)| format!("{name:width$}  {}\n", line(value))).collect()
}

/// The beginning of a long id, as much as people tell apart.
pub(super) fn short(id: &str) -> String {
    let end = id.char_indices().nth(12).map_or(id.len(), |(end, _)| end);
    if id.starts_with("did:") || end == id.len() { id.to_owned() } else { id[..end].to_owned() }
}

/// A number that may be without bound.
pub(super) fn count(number: Option<u64>) -> String {
    number.map_or_else(|| "-".into(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_text_cannot_steer_the_terminal() {
        assert_eq!(line("a\u{1b}[2Jb\nc\u{202e}d"), "a\u{fffd}[2Jb c\u{fffd}d");
        assert_eq!(lines("a\r\nb\u{9b}c\u{2066}\n"), "a\nb\u{fffd}c\u{fffd}\n");
        assert_eq!(lines("grün 日本 😀"), "grün 日本 😀");
    }

    #[test]
    fn tables_are_aligned_and_say_when_they_are_empty() {
        let rows = vec![["größe".into(), "1".into()], ["b".into(), "22".into()]];
        assert_eq!(table(["NAME", "N"], rows, ""), "NAME   N\ngröße  1\nb      22\n");
        assert_eq!(table(["NAME"], Vec::new(), "nobody yet"), "nobody yet");
        assert_eq!(fields(&[("a", "1".into()), ("long", String::new()), ("b", "x\ny".into())]), "a     1\nb     x y\n");
    }

    #[test]
    fn an_answer_is_one_json_value_or_a_text() {
        let terminal = |json| Terminal::new("/nowhere".into(), json);
        let answer = terminal(true).answer(&[1, 2], |_| "text".into()).expect("answer");
        assert_eq!(&*answer.out, b"[1,2]\n");
        let answer = terminal(false).answer(&[1, 2], |_| "text\n\n".into()).expect("answer");
        assert_eq!(&*answer.out, b"text\n");
        assert_eq!(Failure::from(Fault::from(klp::Refusal::NoNode)).exit, 4);
    }
}
