//! Sizes, ages and tables, as docker shows them.

use clap::ValueEnum;
use std::time::{SystemTime, UNIX_EPOCH};

/// Form of what is printed: for people, or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Table,
    Json,
}

/// A size: three digits and a unit, in powers of 1000.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    match value {
        v if v < 9.995 => format!("{v:.2}{unit}"),
        v if v < 99.95 => format!("{v:.1}{unit}"),
        v => format!("{v:.0}{unit}"),
    }
}

/// How long ago an RFC 3339 time is: `3 weeks ago`; `N/A` for what is no time.
pub fn ago(time: Option<&str>) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    match time.and_then(seconds) {
        Some(then) => format!("{} ago", span(now.saturating_sub(then))),
        None => "N/A".to_owned(),
    }
}

/// A length of time, in docker's words.
fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (s, ..) if s < 60 => format!("{s} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, m, _) if m < 60 => format!("{m} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., h) if h < 48 => format!("{h} hours"),
        (.., h) if h < 24 * 7 * 2 => format!("{} days", h / 24),
        (.., h) if h < 24 * 30 * 2 => format!("{} weeks", h / 24 / 7),
        (.., h) if h < 24 * 365 * 2 => format!("{} months", h / 24 / 30),
        (.., h) => format!("{} years", h / 24 / 365),
    }
}

/// Seconds since the epoch of an RFC 3339 time.
pub fn seconds(time: &str) -> Option<i64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(time.as_second())
}

/// A number of things.
pub fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// Text on one line, without what could steer a terminal.
pub fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(plain).collect()
}

/// Rows in columns, three blanks between, as docker aligns them.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        let cells = rows.iter().filter_map(|r| r.get(c));
        cells.map(|s| s.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 3));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (12_345, "12.3kB"),
            (999_600, "1.00MB"),
            (117_000_000, "117MB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2024-03-01T00:00:00.123456789Z", Some(1_709_251_200)),
            ("2024-03-01T02:00:00+02:00", Some(1_709_251_200)),
            ("2024-02-29T22:30:00-01:30", Some(1_709_251_200)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800)),
            ("2024-03-01", None),
            ("2024-13-01T00:00:00Z", None),
            ("yesterday", None),
            ("äääääääääääääääääääääääää", None),
        ] {
            assert_eq!(seconds(text), want, "{text}");
        }
        assert_eq!(ago(None), "N/A");
    }

    #[test]
    fn spans() {
        let hour = 3600;
        for (seconds, text) in [
            (0, "Less than a second"),
            (45, "45 seconds"),
            (60, "About a minute"),
            (59 * 60, "59 minutes"),
            (hour, "About an hour"),
            (47 * hour, "47 hours"),
            (48 * hour, "2 days"),
            (15 * 24 * hour, "2 weeks"),
            (61 * 24 * hour, "2 months"),
            (800 * 24 * hour, "2 years"),
            (-5, "Less than a second"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        assert_eq!(
            table(&[row("A", "B"), row("long", "x")]),
            "A      B\nlong   x\n"
        );
    }
}
