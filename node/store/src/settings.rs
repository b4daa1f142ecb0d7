//! Settings: a key and a text, sealed like everything else.

use klp::codec::{CodecError, Fields, Map, Value};
use klp::{Cbor, limits};

use crate::error::StoreError;
use crate::table::Table;
use crate::view::{Tx, View};

/// Settings of one node.
const SETTINGS: usize = 10_000;

struct Setting {
    key: String,
    value: String,
}

/// The text under a key.
///
/// # Errors
/// [`StoreError`]
pub fn get(view: &View, key: &str) -> Result<Option<String>, StoreError> {
    let setting: Option<Setting> = view.load(Table::Settings, &view.hidden(Table::Settings, &[key.as_bytes()]))?;
    Ok(setting.map(|setting| setting.value))
}

/// Sets a text of at most 16 KiB under a key of at most 512 bytes, and returns what was there.
///
/// # Errors
/// [`StoreError::TooLarge`] over these limits.
pub fn set(tx: &mut Tx, key: &str, value: &str) -> Result<Option<String>, StoreError> {
    for (size, limit) in [(key.len(), limits::TEXT), (value.len(), limits::ARGUMENT)] {
        if size > limit {
            return Err(StoreError::TooLarge { size, limit });
        }
    }
    let before = get(tx, key)?;
    let row = tx.hidden(Table::Settings, &[key.as_bytes()]);
    tx.save(Table::Settings, &row, &Setting { key: key.to_owned(), value: value.to_owned() });
    Ok(before)
}

/// Removes a setting and returns what was there.
///
/// # Errors
/// [`StoreError`]
pub fn remove(tx: &mut Tx, key: &str) -> Result<Option<String>, StoreError> {
    let before = get(tx, key)?;
    let row = tx.hidden(Table::Settings, &[key.as_bytes()]);
    tx.remove(Table::Settings, &row);
    Ok(before)
}

/// All settings, by key.
///
/// # Errors
/// [`StoreError`]
pub fn list(view: &View) -> Result<Vec<(String, String)>, StoreError> {
    let all: Vec<Setting> = view.all(Table::Settings, SETTINGS)?;
    let mut all: Vec<_> = all.into_iter().map(|setting| (setting.key, setting.value)).collect();
    all.sort();
    Ok(all)
}

impl Cbor for Setting {
    fn to_value(&self) -> Value {
        Map::new().with(1, &self.key).with(2, &self.value).build()
    }

    fn from_value(value: Value) -> Result<Self, CodecError> {
        let mut fields = Fields::of(value)?;
        let setting = Self { key: fields.text(1, limits::TEXT)?, value: fields.text(2, limits::ARGUMENT)? };
        fields.end()?;
        Ok(setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench;

    #[test]
    fn settings_are_set_listed_and_removed() {
        bench::on_each(|tx| {
            assert_eq!(set(tx, "ui.theme", "dark").expect("sets"), None);
            assert_eq!(set(tx, "ui.theme", "light").expect("sets"), Some("dark".into()));
            set(tx, "a", "b").expect("sets");
            let all = list(tx).expect("lists");
            assert_eq!(all, [("a".to_owned(), "b".to_owned()), ("ui.theme".to_owned(), "light".to_owned())]);
            assert_eq!(remove(tx, "a").expect("removes"), Some("b".into()));
            assert_eq!(get(tx, "a").expect("reads"), None);
            assert!(matches!(set(tx, "a", &"x".repeat(20_000)), Err(StoreError::TooLarge { .. })));
        });
    }
}
