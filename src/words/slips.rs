//! Words that no text for applicants may use: images that were once carried over from the code word by word, terms that mean something else to the reader, and
//! words of another variety of the language than the one of `docs/translations.md`. Found anywhere in a sentence, whatever its case.

#![allow(clippy::unwrap_used)]

use super::*;

const SLIPS: [(&str, &[&str]); 12] = [
    (
        "en",
        &[
            "seal",
            "destroy",
            "passed on",
            "given up",
            "gave up",
            "withdrawn",
            "moves",
            "program",
            "works once",
            "license",
            "color",
            "canceled",
        ],
    ),
    (
        "de",
        &[
            "siegel",
            "vernicht",
            "aufgegeben",
            "nichts halbes",
            "sendung",
            "weitergegeben",
            "weitergabe",
            "zurückgezogen",
            "bewegt sich",
            "ein programm",
        ],
    ),
    (
        "es",
        &[
            "sellad",
            "destru",
            "transmit",
            "ordenador",
            "permiso de conducir",
            "caduca",
            "pulse ",
            "hacer una foto",
            "haga ",
            "se mueve",
            "un programa",
            "abandonado",
            "a medias",
            "anverso",
        ],
    ),
    (
        "fr",
        &[
            "scell",
            "détrui",
            "contrôle d’identité",
            "abandonn",
            "un programme",
            "rien d’incomplet",
        ],
    ),
    (
        "it",
        &["sigill", "distru", "trasmess", "abbandonat", "si muove", "un programma", "a metà"],
    ),
    (
        "nl",
        &[
            "zegel",
            "vernietig",
            "doorgegeven",
            "opgegeven",
            "zending",
            "beweegt",
            "een programma",
            "half bewaard",
        ],
    ),
    (
        "pl",
        &[
            "pieczęt",
            "zniszcz",
            "niszcz",
            "stamtąd",
            "przekaza",
            "porzuc",
            "się rusza",
            "zawiera program",
            "przesyłk",
            "jak się sprawy mają",
        ],
    ),
    (
        "pt",
        &[
            "lacrad",
            "destru",
            "encaminhad",
            "telemóvel",
            "ecrã",
            "ficheiro",
            "palavra-passe",
            "fotografia",
            "algarismos",
            "contacte",
            "cifrad",
            "abandonado",
            "se move",
            "um programa",
            "pela metade",
        ],
    ),
    (
        "tr",
        &[
            "mühür",
            "mühürle",
            "yok edil",
            "iletil",
            "yarıda bırakıl",
            "bir program",
            "yarım kalan",
        ],
    ),
    (
        "ar",
        &[
            "أُغلق",
            "يُغلق بإحكام",
            "مغلق بإحكام",
            "يُتلَف",
            "يتلف",
            "يُمرَّر",
            "تمرير",
            "برنامج",
            "سُحب",
        ],
    ),
    ("hi", &["सील", "नष्ट", "आगे भेजा", "छोड़ दिया", "हिलती", "प्रोग्राम", "वापस ले लिया"]),
    ("zh", &["密封", "销毁", "转交", "放弃", "撤回", "程序"]),
];

#[test]
fn no_text_for_applicants_uses_a_word_that_was_decided_against() {
    for words in LANGUAGES.iter() {
        let (_, slips) = SLIPS.iter().find(|(tag, _)| *tag == words.tag).unwrap();
        for (key, text) in words.texts.iter() {
            let forms: Vec<&String> = match text {
                Text::Plain(text) => vec![text],
                Text::Counted(forms) => forms.values().collect(),
            };
            for form in forms {
                let said = form.to_lowercase();
                let slip = slips.iter().find(|slip| said.contains(*slip));
                assert_eq!(slip, None, "{}: {key} says: {form}", words.tag);
            }
        }
    }
}
