//! Whether a password is one of those that guessers try first: known words and passwords, runs on the keyboard, repetitions, and what everybody knows about the account.
//!
//! The password is cut into as few pieces as possible, a piece being a listed word, a run or a single sign; what is left of those who take three or fewer is easy.
//! `assets/common-passwords.txt` holds the most used passwords of public leaks and the words they are made of, one a line, sorted.

use std::collections::HashSet;
use std::sync::LazyLock;

static COMMON: LazyLock<HashSet<&'static str>> = LazyLock::new(|| include_str!("../../../assets/common-passwords.txt").lines().collect());
/// Neighbours on keyboards and in alphabets; read both ways.
const RUNS: [&str; 7] = [
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
];
const LONGEST_WORD: usize = 24;
const SHORTEST_WORD: usize = 4;
/// Fewer pieces than that are tried in an afternoon.
const PIECES: usize = 4;

/// `context`: words that an enemy tries first, such as the e-mail address and the company's name.
pub(super) fn is_weak(password: &str, context: &[&str]) -> bool {
    let signs: Vec<char> = password.to_lowercase().chars().filter_map(plain).collect();
    let own: HashSet<String> = context.iter().flat_map(|text| words(text)).collect();
    pieces(&signs, &own) < PIECES
}

/// Letters as they are meant; signs that only decorate are nothing.
fn plain(c: char) -> Option<char> {
    match c {
        '@' => Some('a'),
        '$' => Some('s'),
        c if c.is_alphanumeric() || !c.is_ascii() => Some(c),
        _ => None,
    }
}

fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|w| w.chars().count() >= 3)
        .map(str::to_owned)
        .chain(std::iter::once(text.chars().filter_map(plain).collect()))
        .collect()
}

/// The fewest pieces; one that was there before costs nothing.
fn pieces(signs: &[char], own: &HashSet<String>) -> usize {
    // (cost, the last piece) for every prefix.
    let mut best: Vec<(usize, String)> = vec![(0, String::new())];
    for end in 1..=signs.len() {
        let mut here = (usize::MAX, String::new());
        for start in (end.saturating_sub(LONGEST_WORD.max(64))..end).rev() {
            let piece = &signs[start..end];
            let text: String = piece.iter().collect();
            if piece.len() > 1 && !(known(&text, own) || run(piece)) {
                continue;
            }
            let cost = best[start].0 + usize::from(text != best[start].1);
            if cost < here.0 {
                here = (cost, text);
            }
        }
        best.push(here);
    }
    best.last().map_or(0, |(cost, _)| *cost)
}

fn known(text: &str, own: &HashSet<String>) -> bool {
    if own.contains(text) {
        return true;
    }
    let length = text.len();
    if !(SHORTEST_WORD..=LONGEST_WORD).contains(&length) {
        return false;
    }
    let year = length == 4 && (text.starts_with("19") || text.starts_with("20")) && text.bytes().all(|b| b.is_ascii_digit());
    let undone = || -> String {
        text.chars()
            .map(|c| match c {
                '0' => 'o',
                '1' => 'i',
                '3' => 'e',
                '4' => 'a',
                '5' => 's',
                '7' => 't',
                c => c,
            })
            .collect()
    };
    year || COMMON.contains(text) || COMMON.contains(undone().as_str())
}

/// The same sign again and again, or neighbours.
fn run(piece: &[char]) -> bool {
    if piece.len() < 3 {
        return false;
    }
    let text: String = piece.iter().collect();
    let back: String = piece.iter().rev().collect();
    piece.windows(2).all(|w| w[0] == w[1]) || RUNS.iter().any(|r| r.contains(&text) || r.contains(&back))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: [&str; 4] = ["ana.lopez@harbour.example", "Ana Lopez", "Harbour Bank", "nightdrop"];

    #[test]
    fn what_guessers_try_first_is_easy() {
        for password in [
            "password",
            "passwordpassword",
            "Password12345678",
            "P@ssw0rd!P@ssw0rd!",
            "qwertyuiopasdfghjkl",
            "aaaaaaaaaaaaaaaaaaaa",
            "123456789012345678",
            "abcabcabcabcabcabc",
            "iloveyouiloveyou2024",
            "ana.lopez@harbour.example",
            "AnaLopezHarbour1!",
            "harbourbank2026!!",
            "nightdropnightdrop",
            "NightDrop Harbour Bank",
            "zxcvbnm,./zxcvbnm",
            "987654321987654321",
            "welcome2026monday",
        ] {
            assert!(is_weak(password, &CONTEXT), "{password}");
        }
    }

    #[test]
    fn length_and_chance_are_enough() {
        for password in [
            "correct horse battery staple",
            "a few words that do not belong",
            "k7#Qz!m2",
            "tangerine gravel oboe lighthouse",
            "слон едет на красном трамвае",
            "馬鹿電池正確主食品",
            "x9vTq2LmRw4Zp8KdY",
        ] {
            assert!(!is_weak(password, &CONTEXT), "{password}");
        }
    }

    #[test]
    fn the_list_is_sorted_small_and_plain() {
        let list: Vec<&str> = include_str!("../../../assets/common-passwords.txt").lines().collect();
        assert!(list.len() >= 3_000);
        assert!(list.windows(2).all(|w| w[0] < w[1]));
        assert!(list.iter().all(|w| (4..=LONGEST_WORD).contains(&w.len())));
    }

    #[test]
    fn the_longest_password_is_judged_at_once() {
        let long: String = (0..256).map(|i| char::from(b'a' + (i * 7 % 26) as u8)).collect();
        assert!(!is_weak(&long, &CONTEXT));
    }
}
