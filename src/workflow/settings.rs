//! The settings of `[retention]`, `[links]` and `[forwarding]`: how long things are kept, and when a person is asked.

use time::Duration;

use crate::settings::Reader;

#[derive(Clone, Copy, Debug)]
pub struct RetentionSettings {
    pub link: Duration,
    pub link_max: Duration,
    pub undelivered: Duration,
    /// How long the row of a finished request (no document, no name of a person) is kept.
    pub history: Duration,
    /// How long deletion receipts are kept, which name nobody; `None`: for ever.
    pub receipts: Option<Duration>,
}

impl RetentionSettings {
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let settings = Self {
            link: reader.span("link", Duration::hours(72), "how long a link lives"),
            link_max: reader.span("link_max", Duration::days(14), "the longest an agent may choose"),
            undelivered: reader.span_within(
                "undelivered",
                Duration::days(7),
                Duration::seconds(1)..=Duration::days(90),
                "a document that could not be delivered is purged after this",
            ),
            history: reader.span(
                "history",
                Duration::days(180),
                "the row of a finished request is forgotten after this",
            ),
            receipts: reader.span_or(
                "receipts",
                "forever",
                Duration::days(3_650),
                "a deletion receipt is dropped after this, and never before its request's row; or \"forever\"",
            ),
        };
        if settings.link > settings.link_max {
            reader.error("link", "must not be longer than retention.link_max");
        }
        settings
    }
}

/// `links.passcode`: whether every link has one.
pub(crate) fn read_passcode_required(reader: &mut Reader<'_>) -> bool {
    let choices = [("optional", false), ("required", true)];
    reader.choice("passcode", &choices, "optional", "six digits that the agent tells by telephone")
}

/// `forwarding.attempts`: failed attempts before a person is asked.
pub(crate) fn read_attempts(reader: &mut Reader<'_>) -> u32 {
    reader.number("attempts", 40, 1..=10_000, "failed attempts before a person is asked")
}
