//! Scripts that are loaded when they are needed, each with the words that it says: one file for each language. So a first visit carries neither, and no script runs
//! whose words have not arrived.

use std::sync::OnceLock;

use actix_web::{HttpRequest, web};

use super::{Kept, SCRIPT, bare, read_only};
use crate::http::error::Problem;
use crate::words::{LANGUAGES, Words};

pub(crate) struct Spoken {
    name: &'static str,
    content: &'static str,
    /// What the script calls its words, and their keys.
    says: &'static [(&'static str, &'static str)],
    /// In the order of the languages, each made when it is first asked for.
    kept: OnceLock<Vec<OnceLock<Kept>>>,
}

pub(crate) static PHOTO_JS: Spoken = Spoken {
    name: "photo",
    content: include_str!("../../../assets/photo.js"),
    says: &[
        ("shrinking", "making-smaller"),
        ("smaller", "made-smaller"),
        ("tooBig", "refusal.file.too_big"),
        ("tooSmall", "refusal.file.too_small"),
        ("notAccepted", "refusal.file.not_accepted"),
        ("otherFormat", "refusal.file.other_format"),
        ("close", "close"),
        ("blurred", "check-blurred"),
        ("dark", "check-dark"),
        ("glare", "check-glare"),
        ("small", "check-small"),
        ("anyway", "check-anyway"),
        ("page", "page-number"),
        ("earlier", "page-earlier"),
        ("remove", "page-remove"),
        ("notAPage", "refusal.file.not_a_page"),
    ],
    kept: OnceLock::new(),
};

pub(crate) static SEND_JS: Spoken = Spoken {
    name: "send",
    content: include_str!("../../../assets/send.js"),
    says: &[
        ("sending", "sending"),
        ("offline", "offline"),
        ("retrying", "retrying"),
        ("elsewhere", "elsewhere"),
        ("finishing", "finishing"),
        ("missing", "problem.file.missing"),
        ("unreadable", "unreadable"),
        ("limited", "limited"),
        ("cut", "problem.upload.cut_off"),
        ("megabytes", "megabytes"),
        ("progress", "progress"),
        ("progressTime", "progress-time"),
    ],
    kept: OnceLock::new(),
};
pub(crate) static DESKTOP_JS: Spoken = Spoken {
    name: "desktop",
    content: include_str!("../../../assets/desktop.js"),
    says: &[
        ("dropHere", "drop-here"),
        ("sending", "phone-sending"),
        ("stopped", "phone-stopped"),
    ],
    kept: OnceLock::new(),
};

impl Spoken {
    /// The address with the content's hash.
    pub(crate) fn url(&self, words: &Words) -> String {
        let version = self.kept(words).map(|kept| kept.version.as_str()).unwrap_or_default();
        format!("/assets/{}.{}.js?{version}", self.name, words.tag)
    }

    fn kept(&self, words: &Words) -> Option<&Kept> {
        let all = self.kept.get_or_init(|| LANGUAGES.iter().map(|_| OnceLock::new()).collect());
        let at = LANGUAGES.iter().position(|other| other.tag == words.tag)?;
        Some(all.get(at)?.get_or_init(|| Kept::new(SCRIPT, self.spoken(words).into_bytes())))
    }

    /// Path and source, for the test of all scripts.
    #[cfg(test)]
    pub(super) fn source(&self) -> (&'static str, &'static str) {
        (self.name, self.content)
    }

    fn spoken(&self, words: &Words) -> String {
        let said: serde_json::Map<_, _> = self
            .says
            .iter()
            .map(|(name, key)| ((*name).to_owned(), words.say(key).into()))
            .collect();
        format!("{}export const say = {};\n", bare(self.content), serde_json::Value::Object(said))
    }
}

/// One address for each language; any other tag is nobody's.
pub(super) fn serve(script: &'static Spoken) -> actix_web::Resource {
    let answer = move |request: HttpRequest, tag: web::Path<String>| async move {
        let words = LANGUAGES.iter().find(|words| words.tag == *tag);
        let kept = words.and_then(|words| script.kept(words));
        kept.map(|kept| kept.answer(&request))
            .ok_or_else(|| Problem::not_found("There is nothing at this address."))
    };
    read_only(&format!("/assets/{}.{{language}}.js", script.name), answer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_word_of_a_script_has_its_key_in_every_language() {
        for script in [&PHOTO_JS, &SEND_JS, &DESKTOP_JS] {
            for words in LANGUAGES.iter() {
                let spoken = script.spoken(words);
                let said = spoken
                    .rsplit_once("export const say = ")
                    .unwrap()
                    .1
                    .trim_end()
                    .trim_end_matches(';');
                let said: serde_json::Map<String, serde_json::Value> = serde_json::from_str(said).unwrap();
                for (name, key) in script.says {
                    assert_eq!(said[*name], words.say(key), "{}", words.tag);
                    assert_ne!(words.say(key), *key, "{}: there is no such key", words.tag);
                }
            }
        }
    }
}
