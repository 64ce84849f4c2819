//! How long a link can be given to live, as far as the configuration allows it.

use time::Duration;

/// Value and label of a list's line.
pub(crate) type Choice = (String, String);

const SPANS: [(i64, &str, &str); 6] = [
    (3_600, "1h", "1 hour"),
    (86_400, "24h", "1 day"),
    (259_200, "72h", "3 days"),
    (604_800, "7d", "1 week"),
    (1_209_600, "14d", "2 weeks"),
    (2_592_000, "30d", "30 days"),
];

/// The lives that are offered; `first` is the label of "as configured".
pub(crate) fn lives(first: &str, most: Duration) -> Vec<Choice> {
    let mut lives = fitting(most, i64::MIN);
    lives.insert(0, (String::new(), first.to_owned()));
    lives
}

/// Those that are clearly longer than what is left.
pub(crate) fn longer_than(left: Duration, most: Duration) -> Vec<Choice> {
    fitting(most, left.whole_seconds() + 60)
}

fn fitting(most: Duration, above: i64) -> Vec<Choice> {
    let spans = SPANS
        .iter()
        .filter(|(seconds, _, _)| *seconds <= most.whole_seconds() && *seconds > above);
    spans.map(|(_, value, label)| ((*value).to_owned(), (*label).to_owned())).collect()
}
