//! Two small drawings of a good and a bad photo of such a document, with what they show in words below: so that the first photo can already be the right one.
//!
//! They are part of the page: asking for them would take longer than they take to come. They show photos, so their colours are the same in the dark.

use maud::{Markup, html};

use crate::words::Words;
use crate::workflow::catalogue::Example;

/// The drawings, and the words that say the same to whoever does not see them. `None`: nothing is shown of such a document.
pub(super) fn examples(example: Example, words: &Words) -> Markup {
    let (drawing, good, bad) = match example {
        Example::None => return html! {},
        Example::Card => (card(), "good-photo", "bad-photo"),
        Example::Passport => (passport(), "good-photo", "bad-photo"),
        Example::Page => (page(), "good-photo", "bad-photo"),
        Example::Face => (face(), "good-face", "bad-face"),
    };
    html! {
        div.photos {
            figure { (picture(html! { g id="photo" { (drawing) } })) figcaption { (words.say(good)) } }
            figure { (picture(spoiled(example))) figcaption { (words.say(bad)) } }
        }
    }
}

/// The words below say what it shows: read out, it would only be said twice.
fn picture(drawing: Markup) -> Markup {
    html! { svg viewBox="0 0 96 64" aria-hidden="true" { (drawing) } }
}

/// The same, out of focus and half outside of the picture, with a bright spot on it, or with sunglasses.
fn spoiled(example: Example) -> Markup {
    html! {
        filter id="blur" { feGaussianBlur stdDeviation="1.3" {} }
        g filter="url(#blur)" {
            g transform="translate(34 -22) rotate(17)" {
                use href="#photo" {}
                @if example == Example::Face {
                    path d="M33 25h30v4l-4 5h-7l-3-5h-2l-3 5h-7l-4-5z" fill="#123" {}
                } @else {
                    circle cx="44" cy="31" r="11" fill="#fff" {}
                }
            }
        }
    }
}

fn card() -> Markup {
    html! {
        rect x="14" y="10" width="68" height="44" rx="4" fill="#dde6ee" {}
        path d="M20 17h30" stroke="#069" stroke-width="4" {}
        path d="M20 25h18v22h-18z" fill="#9ab" {}
        path d="M45 28h30M45 36h30M45 44h18" stroke="#567" stroke-width="3" {}
    }
}

fn passport() -> Markup {
    html! {
        rect x="26" y="3" width="44" height="58" rx="3" fill="#dde6ee" {}
        path d="M26 31h44" stroke="#789" {}
        path d="M30 35h10v13h-10z" fill="#9ab" {}
        path d="M44 37h21M44 42h21M44 47h12" stroke="#567" stroke-width="2" {}
        path d="M30 53h36M30 57h36" stroke="#123" stroke-width="2" stroke-dasharray="2 1" {}
    }
}

fn page() -> Markup {
    html! {
        path d="M27 4h42v56h-42z" fill="#dde6ee" {}
        path d="M32 12h16" stroke="#069" stroke-width="4" {}
        path d="M32 22h32M32 28h32M32 34h24M32 44h32M32 50h16" stroke="#567" stroke-width="2" {}
    }
}

fn face() -> Markup {
    html! {
        path d="M22 64c0-22 52-22 52 0" fill="#069" {}
        ellipse cx="48" cy="29" rx="15" ry="19" fill="#edb" {}
        path d="M33 26c0-24 30-24 30 0-6-8-24-8-30 0" fill="#542" {}
        path d="M41 29h3M52 29h3M43 39h10" stroke="#123" stroke-width="3" {}
    }
}
