//! What applicants read, in twelve languages: sentences from `assets/locales`, plurals and dates by the rules of the Unicode consortium.
//!
//! * Every language has every sentence: a missing or superfluous key, placeholder or plural form fails a test, so nothing here can fail while running.
//! * A sentence is chosen by a key and filled in; nothing is ever glued together from words, because no two languages glue alike.
//! * Why ICU4X (`icu_datetime`, `icu_plurals`) and TOML files: the dates of twelve languages are wanted, which Fluent's Rust crates do not write (they leave them to the
//!   caller); the half of ICU4X that `url` needs is in the tree already; and TOML is read by a crate that the configuration uses anyway.
//!   Compiling it takes 13.5 s of processor time where that half is built already; Fluent without dates takes 6.4 s.

pub(crate) mod negotiate;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use icu_datetime::input::{Date, DateTime, Time};
use icu_datetime::{DateTimeFormatter, fieldsets};
use icu_locale_core::Locale;
use icu_plurals::{PluralCategory, PluralRules};
use time::{Duration, OffsetDateTime, UtcOffset};

/// Every text of a language under its key.
type Texts = BTreeMap<String, Text>;

/// One language: its tag for `lang`, its own name, the direction of its script, and its sentences.
pub struct Words {
    pub tag: &'static str,
    /// The tag with the region whose dates and spelling are used, where the language alone would not say it.
    pub region: &'static str,
    pub name: &'static str,
    pub direction: &'static str,
    texts: LazyLock<Texts, Box<dyn Fn() -> Texts + Send + Sync>>,
}

#[derive(Debug)]
enum Text {
    Plain(String),
    /// By plural category: `one`, `few`, `many`, `other` …
    Counted(BTreeMap<String, String>),
}

/// A sentence taken apart for a page: literal text, or the name of something to be filled in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Literal(&'a str),
    Slot(&'a str),
}

macro_rules! languages {
    ($($tag:literal $region:literal $name:literal $direction:literal)*) => {
        /// All languages; English first, the others by their own names.
        pub static LANGUAGES: LazyLock<Vec<Words>> = LazyLock::new(|| vec![$(
            Words::load($tag, $region, $name, $direction, include_str!(concat!("../assets/locales/", $tag, ".toml"))),
        )*]);
    };
}

languages! {
    "en" "en-GB" "English" "ltr"
    "de" "de" "Deutsch" "ltr"
    "es" "es" "Español" "ltr"
    "fr" "fr" "Français" "ltr"
    "it" "it" "Italiano" "ltr"
    "nl" "nl" "Nederlands" "ltr"
    "pl" "pl" "Polski" "ltr"
    "pt" "pt-BR" "Português" "ltr"
    "tr" "tr" "Türkçe" "ltr"
    "ar" "ar" "العربية" "rtl"
    "hi" "hi" "हिन्दी" "ltr"
    "zh" "zh-Hans" "中文" "ltr"
}

/// The words in a language of ours: `de` for `de`, `de-AT` and `DE`.
pub fn of(tag: &str) -> Option<&'static Words> {
    let base = tag.split(['-', '_']).next().unwrap_or(tag);
    LANGUAGES.iter().find(|w| w.tag.eq_ignore_ascii_case(base))
}

pub fn english() -> &'static Words {
    &LANGUAGES[0]
}

/// One sentence in every language, by tag.
pub(crate) fn everywhere(key: &str) -> BTreeMap<String, String> {
    LANGUAGES.iter().map(|w| (w.tag.to_owned(), w.say(key).to_owned())).collect()
}

impl Words {
    fn load(tag: &'static str, region: &'static str, name: &'static str, direction: &'static str, source: &'static str) -> Self {
        Self {
            tag,
            region,
            name,
            direction,
            texts: LazyLock::new(Box::new(move || read(source))),
        }
    }

    /// The sentence under a key; the key itself if there is none, which a test excludes.
    pub fn say<'a>(&'a self, key: &'a str) -> &'a str {
        self.known(key).unwrap_or(key)
    }

    fn known(&self, key: &str) -> Option<&str> {
        match self.texts.get(key)? {
            Text::Plain(text) => Some(text),
            Text::Counted(forms) => forms.get("other").map(String::as_str),
        }
    }

    /// The sentence with its slots filled.
    pub fn fill(&self, key: &str, slots: &[(&str, &str)]) -> String {
        fill(self.say(key), slots)
    }

    /// The sentence in the form that the number wants; `{count}` is the number.
    pub fn count(&self, key: &str, number: u64) -> String {
        let text = match self.texts.get(key) {
            Some(Text::Counted(forms)) => forms
                .get(self.category(number))
                .or_else(|| forms.get("other"))
                .map_or(key, String::as_str),
            _ => self.say(key),
        };
        fill(text, &[("count", &number.to_string())])
    }

    /// What went wrong, by its stable code; `None` for what no applicant meets.
    pub fn problem(&self, code: &str) -> Option<&str> {
        self.known(&format!("problem.{code}"))
    }

    /// Why a provider did not accept a document, told to the person who sent it: by the stable code of the rejection. A suspicion is not told.
    pub fn rejection(&self, code: &str) -> &str {
        let known = code
            .strip_prefix("document.")
            .and_then(|word| self.known(&format!("rejection.{word}")));
        known.unwrap_or_else(|| self.say("rejection.anything-else"))
    }

    /// A period as it stands after "at the latest": days from one day on, else hours, else minutes.
    pub fn period(&self, period: Duration) -> String {
        let whole = |number: i64| u64::try_from(number).unwrap_or(0);
        match (whole(period.whole_days()), whole(period.whole_hours())) {
            (0, 0) => self.count("period-minutes", whole(period.whole_minutes()).max(1)),
            (0, hours) => self.count("period-hours", hours),
            (days, _) => self.count("period-days", days),
        }
    }

    /// The largest size that is taken, in the provider's own number: `10 MB` where it says ten million bytes, `15 MB` where it means 15 MiB. Never more than is
    /// taken.
    pub fn size(&self, bytes: u64) -> String {
        self.tenths(rounded(bytes, |bytes, step| bytes / step * step))
    }

    /// The smallest size that is taken, likewise. Never less than is taken.
    pub fn least_size(&self, bytes: u64) -> String {
        self.tenths(rounded(bytes, |bytes, step| bytes.div_ceil(step) * step))
    }

    fn tenths(&self, (unit, tenths): (&str, u64)) -> String {
        let point = if ["ar", "en", "hi", "zh"].contains(&self.tag) { "." } else { "," };
        let number = match (tenths / 10, tenths % 10) {
            (whole, 0) => whole.to_string(),
            (whole, tenth) => format!("{whole}{point}{tenth}"),
        };
        self.fill(unit, &[("count", &number)])
    }

    /// A day in UTC, as this language writes it.
    pub fn date(&self, at: OffsetDateTime) -> String {
        let at = at.to_offset(UtcOffset::UTC);
        let formatter = DateTimeFormatter::try_new((&self.locale()).into(), fieldsets::YMD::long());
        match (formatter, Date::try_new_iso(at.year(), at.month().into(), at.day())) {
            (Ok(formatter), Ok(day)) => formatter.format(&day).to_string(),
            _ => at.date().to_string(),
        }
    }

    /// A day and a time, named as UTC: the reader's own zone is known to the browser only.
    pub fn moment(&self, at: OffsetDateTime) -> String {
        let at = at.to_offset(UtcOffset::UTC);
        let formatter = DateTimeFormatter::try_new((&self.locale()).into(), fieldsets::YMD::long().with_time_hm());
        let day = Date::try_new_iso(at.year(), at.month().into(), at.day());
        let words = match (formatter, day, Time::try_new(at.hour(), at.minute(), at.second(), 0)) {
            (Ok(formatter), Ok(date), Ok(time)) => formatter.format(&DateTime { date, time }).to_string(),
            _ => at.to_string(),
        };
        self.fill("moment-utc", &[("moment", &words)])
    }

    fn category(&self, number: u64) -> &'static str {
        // The formatters are not shared between threads; making one costs microseconds, because its data is compiled in.
        match PluralRules::try_new((&self.locale()).into(), icu_plurals::PluralRulesOptions::default()) {
            Ok(rules) => category_name(rules.category_for(number)),
            Err(_) => "other",
        }
    }

    /// Digits are 0–9 in every language here: sizes, codes and references are written with them too.
    fn locale(&self) -> Locale {
        let tag = format!("{}-u-nu-latn", self.region);
        tag.parse().unwrap_or(Locale::UNKNOWN)
    }
}

fn category_name(category: PluralCategory) -> &'static str {
    match category {
        PluralCategory::Zero => "zero",
        PluralCategory::One => "one",
        PluralCategory::Two => "two",
        PluralCategory::Few => "few",
        PluralCategory::Many => "many",
        PluralCategory::Other => "other",
    }
}

/// Takes a sentence apart at its slots.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, behind)) = after.split_once('}') else { break };
        if !before.is_empty() {
            pieces.push(Piece::Literal(before));
        }
        pieces.push(Piece::Slot(name));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    pieces
}

fn fill(text: &str, slots: &[(&str, &str)]) -> String {
    pieces(text)
        .into_iter()
        .map(|piece| match piece {
            Piece::Literal(text) => Cow::Borrowed(text),
            Piece::Slot(name) => match slots.iter().find(|(n, _)| *n == name) {
                Some((_, value)) => Cow::Borrowed(*value),
                None => Cow::Owned(format!("{{{name}}}")),
            },
        })
        .collect()
}

fn read(source: &str) -> BTreeMap<String, Text> {
    let table: toml::Table = source.parse().unwrap_or_default();
    let mut texts = BTreeMap::new();
    flatten("", table, &mut texts);
    texts
}

/// `[problem] "link.expired"` becomes `problem.link.expired`; a table with `other` is one sentence in its plural forms.
fn flatten(prefix: &str, table: toml::Table, texts: &mut BTreeMap<String, Text>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::String(text) => {
                texts.insert(key, Text::Plain(text));
            }
            toml::Value::Table(forms) if forms.contains_key("other") => {
                let forms = forms
                    .into_iter()
                    .filter_map(|(category, text)| Some((category, text.as_str()?.to_owned())));
                texts.insert(key, Text::Counted(forms.collect()));
            }
            toml::Value::Table(section) => flatten(&key, section, texts),
            _ => {}
        }
    }
}

/// A unit, and how many tenths of it; `round` makes a multiple of the step out of bytes.
fn rounded(bytes: u64, round: impl Fn(u64, u64) -> u64) -> (&'static str, u64) {
    const UNITS: [(&str, u64, u64); 2] = [("megabytes", 1_000_000, 1 << 20), ("kilobytes", 1_000, 1 << 10)];
    for (unit, decimal, binary) in UNITS {
        if bytes < decimal {
            continue;
        }
        // Binary units, or less than so many of them: the number is the one before the unit.
        for whole in [bytes, bytes + 1] {
            if whole % binary == 0 {
                return (unit, whole / binary * 10);
            }
        }
        // One decimal below ten, whole numbers above.
        let step = if bytes < 10 * decimal { decimal / 10 } else { decimal };
        return (unit, round(bytes, step) / (decimal / 10));
    }
    ("bytes", bytes * 10)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod slips;
