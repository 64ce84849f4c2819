//! Failures in the reader's language: one sentence for each cause, with what to do.

use crate::domain::document::FileType;
use crate::http::error::Problem;
use crate::inspect::Refusal;
use crate::words::Words;

/// The problem as this context is told it. Causes that no applicant meets keep their English words.
pub(crate) fn localized(mut problem: Problem, words: &Words) -> Problem {
    if let Some(sentence) = words.problem(&problem.code) {
        problem.detail = sentence.to_owned();
    }
    problem
}

/// Why a file was refused. `accepted`: what this part takes.
pub(crate) fn refusal_words(words: &Words, refusal: &Refusal, accepted: &[FileType]) -> String {
    let key = format!("refusal.{}", refusal.code());
    match refusal {
        Refusal::TooSmall { min } => too_small(words, *min),
        Refusal::TooBig { max } => too_big(words, *max),
        Refusal::UnknownType => {
            let types: Vec<&str> = accepted.iter().map(|t| t.label()).collect();
            words.fill(&key, &[("types", &types.join(words.say("comma")))])
        }
        Refusal::NotAccepted { found } => words.fill(&key, &[("found", found.label())]),
        Refusal::OtherFormat { found } => words.fill(&key, &[("found", found)]),
        Refusal::TooManyPages { max } => words.count(&key, u64::from(*max)),
        _ => words.say(&key).to_owned(),
    }
}

/// The largest file that may come, in words.
pub(crate) fn too_big(words: &Words, most: u64) -> String {
    words.fill("refusal.file.too_big", &[("most", &words.size(most))])
}

/// The smallest file that is taken, in words.
fn too_small(words: &Words, least: u64) -> String {
    words.fill("refusal.file.too_small", &[("least", &words.least_size(least))])
}

/// All files together are larger than they may be.
pub(crate) fn form_too_big(words: &Words, most: u64) -> String {
    words.fill("refusal.form.too_big", &[("most", &words.size(most))])
}
