//! How moments and keys look to people.

use std::time::{Duration, UNIX_EPOCH};

use klp::Timestamp;

/// RFC 3339 in UTC, to the second.
pub(crate) fn time(at: Timestamp) -> String {
    // Beyond the year 9999 there is no such form.
    let latest = Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at.0).min(latest)).to_string()
}
