//! A point in time, as docker takes it: `--since 42m`, `--since 2026-01-02T15:04:05Z`.

use crate::vfs::{Error, Result};
use jiff::{SignedDuration, Timestamp};
use nix::errno::Errno;

/// An RFC 3339 time (without a zone: UTC; without a time: midnight), seconds since 1970, or how long before `now`.
pub fn parse(option: &str, text: &str, now: Timestamp) -> Result<Timestamp> {
    let bad = || {
        let want = "a time is expected, as in 2026-01-02T15:04:05Z, or how long ago, as in 1h30m";
        Error::because(Errno::EINVAL, format!("{option} {text:?}: {want}"))
    };
    // hours and less: what is longer depends on the calendar
    let ago = text.parse::<SignedDuration>();
    if let Some(ago) = ago.ok().filter(|ago| !ago.is_negative()) {
        return now.checked_sub(ago).map_err(|_| bad());
    }
    if text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.')
    {
        let seconds = text.parse::<f64>().map_err(|_| bad())?;
        let since = SignedDuration::try_from_secs_f64(seconds).map_err(|_| bad())?;
        return Timestamp::from_duration(since).map_err(|_| bad());
    }
    let midnight = || format!("{text}T00:00:00Z");
    let utc = || format!("{text}Z");
    [text.to_owned(), utc(), midnight()]
        .iter()
        .find_map(|t| t.parse().ok())
        .ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dockers() {
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        for (text, wanted) in [
            ("90s", "2026-01-02T11:58:30Z"),
            ("1h30m", "2026-01-02T10:30:00Z"),
            ("1.5h", "2026-01-02T10:30:00Z"),
            ("500ms", "2026-01-02T11:59:59.5Z"),
            ("2025-06-07", "2025-06-07T00:00:00Z"),
            ("2025-06-07T08:09:10", "2025-06-07T08:09:10Z"),
            ("2025-06-07T08:09:10.25Z", "2025-06-07T08:09:10.25Z"),
            ("2025-06-07T08:09:10+02:00", "2025-06-07T06:09:10Z"),
            ("1136073600", "2006-01-01T00:00:00Z"),
            ("1136073600.5", "2006-01-01T00:00:00.5Z"),
        ] {
            let wanted: Timestamp = wanted.parse().unwrap();
            assert_eq!(parse("--since", text, now).unwrap(), wanted, "{text}");
        }
        for text in ["", "yesterday", "1x", "h", "1.2.3", "2025-13-01", "-1h"] {
            assert!(parse("--since", text, now).is_err(), "{text}");
        }
    }
}
