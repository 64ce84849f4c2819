//! Counts by a few words, for metrics. A count can be made by words of a small set alone: what has another form, or comes when there are enough already, is counted as `other`.
//! So neither a text from outside nor a flood of different words gets into a label.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Different combinations of words that are told apart.
const AT_MOST: usize = 400;
/// The longest word.
const WORD: usize = 64;
const OTHER: &str = "other";

/// So often since start, by `N` words.
pub struct Tally<const N: usize>(Mutex<BTreeMap<[String; N], u64>>);

impl<const N: usize> Default for Tally<N> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<const N: usize> Tally<N> {
    pub fn add(&self, words: [&str; N]) {
        let words = words.map(|word| if is_word(word) { word.to_owned() } else { OTHER.to_owned() });
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let words = if counts.len() < AT_MOST || counts.contains_key(&words) {
            words
        } else {
            std::array::from_fn(|_| OTHER.to_owned())
        };
        *counts.entry(words).or_default() += 1;
    }

    pub fn all(&self) -> Vec<([String; N], u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(words, count)| (words.clone(), *count)).collect()
    }
}

/// As names in the configuration and codes of problems are made.
fn is_word(word: &str) -> bool {
    (1..=WORD).contains(&word.len())
        && word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_no_words_are_counted_and_not_kept() {
        let tally = Tally::<2>::default();
        tally.add(["stripe", "provider.refused"]);
        for text in ["Erika Mustermann", "", "a\"} 1\nx{b=\"", "ä", &"a".repeat(WORD + 1)] {
            tally.add(["stripe", text]);
        }
        let words = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        assert_eq!(
            tally.all(),
            [(words("stripe", "other"), 5), (words("stripe", "provider.refused"), 1)]
        );
    }

    #[test]
    fn a_flood_of_words_stays_bounded_and_loses_no_count() {
        let tally = Tally::<1>::default();
        for n in 0..3 * AT_MOST {
            tally.add([&format!("word-{n}")]);
        }
        tally.add(["word-7"]);
        let all = tally.all();
        assert!(all.len() <= AT_MOST + 1, "{}", all.len());
        assert_eq!(all.iter().map(|(_, n)| *n).sum::<u64>(), 3 * AT_MOST as u64 + 1);
        assert!(all.contains(&(["word-7".to_owned()], 2)));
    }
}
