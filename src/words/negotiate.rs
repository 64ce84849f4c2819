//! Which language: the applicant's own choice, else the request's, else what the browser prefers (RFC 9110, 12.5.4), else English.

use super::{LANGUAGES, Words, english, of};

/// More preferences than any browser sends.
const MOST: usize = 32;

/// `chosen`: picked on the page. `locale`: of the request. `accept`: the header `Accept-Language`.
pub(crate) fn choose(chosen: Option<&str>, locale: Option<&str>, accept: Option<&str>) -> &'static Words {
    chosen
        .and_then(of)
        .or_else(|| locale.and_then(of))
        .or_else(|| accept.and_then(preferred))
        .unwrap_or_else(english)
}

/// The best language of ours by the quality values; equal ones in the order they stand in. What has quality 0 is refused.
fn preferred(header: &str) -> Option<&'static Words> {
    let mut ranges: Vec<(&str, u16)> = header.split(',').take(MOST).filter_map(range).collect();
    let refused: Vec<&str> = ranges
        .iter()
        .filter(|(_, q)| *q == 0)
        .filter_map(|(tag, _)| of(tag))
        .map(|w| w.tag)
        .collect();
    ranges.retain(|(_, q)| *q > 0);
    // Stable: the order of the header decides between equals.
    ranges.sort_by_key(|(_, q)| std::cmp::Reverse(*q));
    ranges.into_iter().find_map(|(tag, _)| match tag {
        "*" => LANGUAGES.iter().find(|w| !refused.contains(&w.tag)),
        tag => of(tag),
    })
}

/// A language range and its quality in thousandths.
fn range(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let tag = parts.next().filter(|t| !t.is_empty())?;
    match parts.next() {
        None => Some((tag, 1_000)),
        Some(weight) => {
            let number = weight.strip_prefix("q=").or_else(|| weight.strip_prefix("Q="))?;
            quality(number).map(|q| (tag, q))
        }
    }
}

/// `0`, `0.5`, `1.000`: at most three decimals.
fn quality(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_choice_request_and_browser_decides() {
        assert_eq!(choose(Some("fr"), Some("de"), Some("es")).tag, "fr");
        assert_eq!(choose(Some("xx"), Some("de-AT"), Some("es")).tag, "de");
        assert_eq!(choose(None, Some("sv"), Some("es")).tag, "es");
        assert_eq!(choose(None, None, None).tag, "en");
    }

    #[test]
    fn quality_values_are_obeyed() {
        for (header, tag) in [
            ("de", "de"),
            ("sv, fr;q=0.8, en;q=0.9", "en"),
            ("en;q=0.5, ar", "ar"),
            ("zh-Hant-TW, en;q=0.9", "zh"),
            ("pt-BR,pt;q=0.9,en;q=0.8", "pt"),
            ("TR ; q=0.7 , nl;q=0.700", "tr"),
            ("sv", "en"),
            ("", "en"),
            ("*", "en"),
            ("en;q=0, *", "de"),
            ("de;q=0, sv", "en"),
            ("de;q=2, it;q=0.1", "it"),
            ("de;q=abc, pl;q=0.1234, hi;q=0.001", "hi"),
            (";;;,,,q=1", "en"),
        ] {
            assert_eq!(choose(None, None, Some(header)).tag, tag, "{header}");
        }
    }
}
