//! How values are written: spans of time, sizes, and what both look like in a sentence. Each has one grammar for the whole configuration.

use time::Duration;

const SPANS: [(&str, i64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
const SIZES: [(&str, u64); 6] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A span of time: a whole number from 1 with a unit, such as `90s`, `30m`, `72h` or `14d`.
pub(crate) fn parse_span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (unit, seconds) = SPANS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: i64 = text.strip_suffix(unit)?.parse().ok().filter(|n| (1..=100_000_000).contains(n))?;
    Some(Duration::seconds(number.checked_mul(*seconds)?))
}

/// A span as people write it: in the largest unit that fits, and in days from a week on.
pub(crate) fn show_span(span: Duration) -> String {
    let seconds = span.whole_seconds();
    let fits = SPANS
        .iter()
        .find(|(unit, of)| seconds != 0 && seconds % of == 0 && (*unit != "d" || span >= Duration::WEEK));
    fits.map_or_else(|| format!("{seconds}s"), |(unit, of)| format!("{}{unit}", seconds / of))
}

/// A size in bytes: a whole number, alone or with a unit, such as `20MiB`, `512KiB` or `1000`.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "" => 1,
        unit => SIZES.iter().find(|(known, _)| *known == unit)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The shortest way to write a size.
pub(crate) fn show_size(bytes: u64) -> String {
    let fits = SIZES.iter().find(|(_, of)| *of > 1 && bytes != 0 && bytes.is_multiple_of(*of));
    fits.map_or_else(|| bytes.to_string(), |(unit, of)| format!("{}{unit}", bytes / of))
}
