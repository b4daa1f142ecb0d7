//! Orders to what runs the programs and to the routers: a file for each order, a file for each answer.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::LOOK;

/// How long an order may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The folder in which orders and answers lie.
#[derive(Debug)]
pub(super) struct Orders {
    folder: PathBuf,
    number: u128,
}

impl Orders {
    /// The first number is the time, so that an observer that is started again repeats none.
    pub(super) fn new(folder: PathBuf) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { folder, number: since.as_millis() }
    }

    /// Has somebody do something, and returns when it is done.
    pub(super) fn give(&mut self, name: &str, order: &str) -> Result<(), String> {
        self.number += 1;
        let number = self.number.to_string();
        let file = self.folder.join(format!("{name}.order"));
        let fresh = self.folder.join(format!("{name}.order.new"));
        let written = fs::write(&fresh, format!("{number} {order}\n")).and_then(|()| fs::rename(&fresh, &file));
        written.map_err(|error| format!("the order to {name} cannot be written: {error}"))?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let answer = read(&self.folder.join(format!("{name}.answer")));
            match answer.split_once(' ') {
                Some((told, "ok")) if told == number => return Ok(()),
                Some((told, _)) if told == number => return Err(format!("{name} cannot {order}")),
                _ => thread::sleep(LOOK),
            }
        }
        Err(format!("{name} does not obey: {order}"))
    }

    /// What somebody has written about itself: `addresses`, `kind`.
    pub(super) fn note(&self, name: &str, what: &str) -> Option<String> {
        Some(read(&self.folder.join(format!("{name}.{what}")))).filter(|text| !text.is_empty())
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}
