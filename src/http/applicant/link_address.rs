//! The address of a link as it arrives: with what mail programs, chats and people put behind it.
//!
//! A token has 32 characters of its own alphabet, so that everything behind them which is no ASCII letter or digit was put there by somebody else: a full stop, a
//! closing bracket, a blank, a parameter that counts clicks. Such an address leads to the link. One that is too short, too long or has a wrong character leads nowhere, and
//! counts as a guess.

use actix_web::HttpResponse;

use crate::domain::token::{PlainToken, TOKEN_CHARS};
use crate::words;

/// The token of an address, with or without something behind it.
pub(crate) fn token(text: &str) -> Option<PlainToken> {
    let (token, rest) = text.split_at_checked(TOKEN_CHARS)?;
    PlainToken::parse(token).filter(|_| rest.is_empty() || is_glue(rest))
}

/// Whether nothing in it can have been a part of a token.
fn is_glue(rest: &str) -> bool {
    let mut all = rest.chars();
    let first = |c: char| !c.is_ascii_alphanumeric() && (!c.is_control() || matches!(c, '\r' | '\n' | '\t'));
    all.next().is_some_and(first)
}

/// Where an address with something behind its token leads, if it is one.
pub(crate) fn clean(text: &str) -> Option<String> {
    let exact = text.len() == TOKEN_CHARS;
    token(text).filter(|_| !exact).map(|token| format!("/d/{}", token.encode()))
}

/// The same for what stands behind a slash: `/d/{token}/{rest}`.
pub(crate) fn clean_behind_slash(text: &str, rest: &str) -> Option<String> {
    let token = token(text).filter(|_| rest.is_empty() || is_glue(rest));
    token.map(|token| format!("/d/{}", token.encode()))
}

/// The language that the query of an address picks, whatever else stands in it.
pub(crate) fn language(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| {
        let value = pair.strip_prefix("language=").or_else(|| pair.strip_prefix("amp;language="))?;
        let end = value.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(value.len());
        Some(&value[..end]).filter(|tag| words::of(tag).is_some())
    })
}

/// To the address without what was put behind it. Nothing is looked up: an address that is nobody's counts when it is asked for.
pub(crate) fn redirect(to: String) -> HttpResponse {
    HttpResponse::SeeOther().insert_header(("Location", to)).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "041061050r3gg28a1c60t3gf208h44rm";

    #[test]
    fn what_was_put_behind_a_token_is_taken_off_and_nothing_else() {
        for glue in [
            ".",
            ")",
            ">",
            ",",
            "。",
            "\"",
            "'",
            ";",
            "!",
            "\u{a0}",
            " ",
            "\u{200b}",
            "&amp;utm_source=x",
            "&gt;",
            "…",
            "_",
            "*",
            ".Danke",
            "，谢谢",
            "%20",
            "/",
            "\r\n",
        ] {
            assert_eq!(clean(&format!("{TOKEN}{glue}")), Some(format!("/d/{TOKEN}")), "{glue:?}");
            assert_eq!(
                clean(&format!("{}{glue}", TOKEN.to_uppercase())),
                Some(format!("/d/{TOKEN}")),
                "{glue:?}"
            );
            assert!(token(&format!("{}{glue}", &TOKEN[1..])).is_none(), "too short before {glue:?}");
            assert!(token(&format!("{TOKEN}0{glue}")).is_none(), "too long before {glue:?}");
            assert!(token(&format!("{glue}{TOKEN}")).is_none(), "in front: {glue:?}");
        }
        assert!(
            token(TOKEN).is_some() && clean(TOKEN).is_none(),
            "the address itself leads nowhere else"
        );
        for wrong in [
            "",
            ".",
            "x",
            &TOKEN[..31],
            &format!("{TOKEN}m"),
            &format!("{TOKEN}\0"),
            &format!("{}ü", &TOKEN[..31]),
        ] {
            assert!(token(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_language_is_found_beside_what_others_added() {
        for query in [
            "language=tr",
            "utm_source=x&language=tr",
            "language=tr&utm_source=x",
            "a=b&amp;language=tr.",
            "language=tr)",
        ] {
            assert_eq!(language(query), Some("tr"), "{query}");
        }
        for query in ["", "language=", "language=xx", "other=tr", "language=\"><script>", "xlanguage=tr"] {
            assert_eq!(language(query), None, "{query}");
        }
    }
}
