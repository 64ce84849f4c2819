//! How the sandbox is told to misbehave: `POST /behaviour {"next": [entry, …]}` replaces what was planned; each upload takes the next entry, and "ok" when none is left.
//!
//! An entry is one of [`WORDS`], or an object that combines them:
//! `{"answer": "commit_then_drop", "verdict": "reject:expired", "callback": "callback_twice", "hide": 30, "slow": 500}`.

use std::time::Duration;

use serde_json::Value;

/// What an entry may say, with what it does.
pub(crate) const WORDS: [(&str, &str); 20] = [
    ("ok", "stored and accepted"),
    ("slow:MS", "as ok, after a pause of so many milliseconds"),
    ("500", "nothing stored"),
    (
        "sticky_500",
        "nothing stored, and the same idempotency key is answered with 500 for ever (Idempotent-Replayed: true)",
    ),
    ("503:SECONDS", "nothing stored; Retry-After"),
    ("429:SECONDS", "nothing stored; Retry-After"),
    ("400", "nothing stored, refused for good"),
    ("401", "nothing stored; the API key is refused"),
    ("drop", "the connection is closed, nothing stored"),
    ("commit_then_drop", "stored, then the connection is closed without an answer"),
    ("commit_then_500", "stored, then 500"),
    ("duplicate", "stored, then answered as a duplicate with the document's id"),
    ("garbage", "stored, then an answer that is no JSON"),
    ("endless", "stored, then an answer that never ends"),
    ("reject:REASON", "stored; the verdict is rejected"),
    ("pending:N", "stored; N questions are answered with pending, then the verdict"),
    ("hide:SECONDS", "stored, but lists and look-ups do not show it for so long"),
    ("callback_twice", "stored; the verdict is told twice with one event id"),
    ("callback_bad_signature", "stored; the verdict is told with a wrong signature"),
    ("no_callback", "stored; the verdict is not told"),
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reply {
    #[default]
    Ok,
    Status500,
    Sticky500,
    Unavailable(u64),
    TooMany(u64),
    Refuse,
    Unauthorized,
    Drop,
    CommitThenDrop,
    CommitThen500,
    Duplicate,
    Garbage,
    Endless,
}

impl Reply {
    /// Whether the upload takes effect.
    pub(crate) fn commits(self) -> bool {
        matches!(
            self,
            Self::Ok | Self::CommitThenDrop | Self::CommitThen500 | Self::Duplicate | Self::Garbage | Self::Endless
        )
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tell {
    #[default]
    Once,
    Twice,
    BadSignature,
    Never,
}

/// What happens to one upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub reply: Reply,
    pub reject: Option<String>,
    pub pending: u64,
    pub tell: Tell,
    pub hide: Duration,
    pub slow: Duration,
}

/// Reads the whole plan, or says which entry is wrong.
pub(crate) fn parse(body: &Value) -> Result<Vec<Entry>, String> {
    let entries = body["next"].as_array().ok_or("\"next\" is a list")?;
    entries
        .iter()
        .enumerate()
        .map(|(n, entry)| read(entry).ok_or(format!("entry {n} is not known")))
        .collect()
}

fn read(value: &Value) -> Option<Entry> {
    let mut entry = Entry::default();
    match value {
        Value::String(word) => apply(&mut entry, word)?,
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("answer" | "verdict" | "callback", Value::String(word)) => apply(&mut entry, word)?,
                    ("hide", Value::Number(n)) => entry.hide = Duration::from_secs(n.as_u64()?),
                    ("slow", Value::Number(n)) => entry.slow = Duration::from_millis(n.as_u64()?),
                    _ => return None,
                }
            }
        }
        _ => return None,
    }
    Some(entry)
}

fn apply(entry: &mut Entry, text: &str) -> Option<()> {
    let (word, argument) = text.split_once(':').map_or((text, None), |(w, a)| (w, Some(a)));
    let number = || argument.and_then(|a| a.parse::<u64>().ok());
    match (word, argument) {
        ("slow", _) => entry.slow = Duration::from_millis(number()?),
        ("503", _) => entry.reply = Reply::Unavailable(number()?),
        ("429", _) => entry.reply = Reply::TooMany(number()?),
        ("pending", _) => entry.pending = number()?,
        ("hide", _) => entry.hide = Duration::from_secs(number()?),
        ("reject", Some(reason)) if !reason.is_empty() => entry.reject = Some(reason.to_owned()),
        (_, Some(_)) => return None,
        ("ok", None) => entry.reply = Reply::Ok,
        ("500", None) => entry.reply = Reply::Status500,
        ("sticky_500", None) => entry.reply = Reply::Sticky500,
        ("400", None) => entry.reply = Reply::Refuse,
        ("401", None) => entry.reply = Reply::Unauthorized,
        ("drop", None) => entry.reply = Reply::Drop,
        ("commit_then_drop", None) => entry.reply = Reply::CommitThenDrop,
        ("commit_then_500", None) => entry.reply = Reply::CommitThen500,
        ("duplicate", None) => entry.reply = Reply::Duplicate,
        ("garbage", None) => entry.reply = Reply::Garbage,
        ("endless", None) => entry.reply = Reply::Endless,
        ("callback_twice", None) => entry.tell = Tell::Twice,
        ("callback_bad_signature", None) => entry.tell = Tell::BadSignature,
        ("no_callback", None) => entry.tell = Tell::Never,
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn every_word_is_understood_and_no_other() {
        for (word, _) in WORDS {
            let example = word
                .replace("MS", "1")
                .replace("SECONDS", "1")
                .replace("REASON", "expired")
                .replace(":N", ":1");
            assert_eq!(parse(&json!({"next": [example]})).map(|e| e.len()), Ok(1), "{word}");
        }
        for bad in [
            json!("nonsense"),
            json!("slow"),
            json!("slow:x"),
            json!("ok:1"),
            json!("reject:"),
            json!("503"),
            json!(5),
            json!({"answer": 1}),
            json!({"x": "ok"}),
        ] {
            assert_eq!(parse(&json!({"next": ["ok", bad]})), Err("entry 1 is not known".to_owned()));
        }
        assert!(parse(&json!({})).is_err() && parse(&json!([])).is_err());
    }

    #[test]
    fn an_object_combines() {
        let entry = json!({"answer": "commit_then_drop", "verdict": "reject:expired", "callback": "callback_twice", "hide": 30, "slow": 5});
        let expected = Entry {
            reply: Reply::CommitThenDrop,
            reject: Some("expired".into()),
            pending: 0,
            tell: Tell::Twice,
            hide: Duration::from_secs(30),
            slow: Duration::from_millis(5),
        };
        assert_eq!(parse(&json!({"next": [entry]})), Ok(vec![expected]));
    }
}
