//! The company's look on the applicant's pages: a colour that must be readable, and a logo that must be a picture and nothing else.
//!
//! Both are checked at start: a portal whose button nobody can read does not open. The formula and the limits are those of WCAG 2.2 (1.4.3, relative luminance).

use std::path::Path;

/// The lightest background of the page in light mode, and the darkest text behind which the colour shows: `--paper` of `assets/portal.css`.
const LIGHT: Colour = Colour([0xf4, 0xf6, 0xf9]);
/// The lightest background in dark mode: `--card`.
const DARK: Colour = Colour([0x18, 0x21, 0x2b]);
/// WCAG 2.2, 1.4.3 (AA) for text.
const NEEDED: f64 = 4.5;
const LOGO_MOST: u64 = 32 * 1024;

#[derive(Clone, Debug, Default)]
pub struct Brand {
    /// Style rules with the company's colour in light and in dark; empty for the house's own.
    pub rules: String,
    pub logo: Option<Logo>,
}

#[derive(Clone, Debug)]
pub struct Logo {
    pub media_type: &'static str,
    pub content: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Colour([u8; 3]);

/// Style rules for `company.colour`. The error says what was measured, what is needed, and the nearest shade that passes.
pub(crate) fn rules(text: &str) -> Result<String, String> {
    let colour = Colour::parse(text).ok_or("must be a colour such as \"#0b5cad\"")?;
    let measured = contrast(colour, LIGHT);
    if measured < NEEDED {
        return Err(format!(
            "{text} has a contrast of {:.1}:1 on the page ({LIGHT}); {NEEDED}:1 is needed for text and buttons. The nearest darker shade that passes is {}",
            // Rounded down: 4.46 must not read as 4.5.
            (measured * 10.0).floor() / 10.0,
            colour.towards(Colour([0, 0, 0]), LIGHT)
        ));
    }
    let dark = colour.towards(Colour([255, 255, 255]), DARK);
    Ok(format!(
        ":root{{--accent:{colour}}}@media (prefers-color-scheme:dark){{:root{{--accent:{dark}}}}}"
    ))
}

impl Colour {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').filter(|d| d.len() == 6 && d.is_ascii())?;
        let channel = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
        Some(Self([channel(0)?, channel(2)?, channel(4)?]))
    }

    /// The nearest mixture with `end` that can be read on `background`.
    fn towards(self, end: Self, background: Self) -> Self {
        (0..=100_u32)
            .map(|percent| self.mixed(end, percent))
            .find(|mixture| contrast(*mixture, background) >= NEEDED)
            .unwrap_or(end)
    }

    fn mixed(self, end: Self, percent: u32) -> Self {
        let mut channels = self.0;
        for (own, other) in channels.iter_mut().zip(end.0) {
            let sum = u32::from(*own) * (100 - percent) + u32::from(other) * percent;
            *own = u8::try_from(sum / 100).unwrap_or(u8::MAX);
        }
        Self(channels)
    }

    fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let c = f64::from(channel) / 255.0;
            if c <= 0.040_45 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(self.0[0]) + 0.7152 * linear(self.0[1]) + 0.0722 * linear(self.0[2])
    }
}

impl std::fmt::Display for Colour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

fn contrast(a: Colour, b: Colour) -> f64 {
    let (a, b) = (a.luminance() + 0.05, b.luminance() + 0.05);
    a.max(b) / a.min(b)
}

/// Reads and checks `company.logo`.
pub(crate) fn logo(path: &Path) -> Result<Logo, String> {
    let size = std::fs::metadata(path).map_err(|e| format!("cannot be read ({e})"))?.len();
    if size > LOGO_MOST {
        return Err(format!("is {size} bytes; at most {LOGO_MOST} (32 KiB) are taken"));
    }
    let content = std::fs::read(path).map_err(|e| format!("cannot be read ({e})"))?;
    checked(content)
}

fn checked(content: Vec<u8>) -> Result<Logo, String> {
    if content.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok(Logo {
            media_type: "image/png",
            content,
        });
    }
    let text = std::str::from_utf8(&content).map_err(|_| "must be an SVG or a PNG picture")?;
    if !text.contains("<svg") {
        return Err("must be an SVG or a PNG picture".to_owned());
    }
    match active(text) {
        None => Ok(Logo {
            media_type: "image/svg+xml",
            content,
        }),
        Some(what) => Err(format!(
            "has {what}; export it as a plain SVG without scripts, links and foreign content"
        )),
    }
}

/// What a picture must not have. Shown as an image it could not run anyway; opened by its address it must not either.
fn active(svg: &str) -> Option<String> {
    let lower = svg.to_ascii_lowercase();
    for word in [
        "<script",
        "<foreignobject",
        "<iframe",
        "<embed",
        "<object",
        "<handler",
        "<!entity",
        "<!doctype",
        "javascript:",
        "@import",
        "<?xml-stylesheet",
    ] {
        if lower.contains(word) {
            return Some(word.to_owned());
        }
    }
    for tag in lower.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap_or(tag);
        for attribute in tag
            .split(|c: char| c.is_whitespace() || c == '/' || c == '"' || c == '\'')
            .filter(|a| a.contains('='))
        {
            let name = attribute.split('=').next().unwrap_or_default();
            if name.starts_with("on") {
                return Some(format!("the attribute {name}"));
            }
        }
        for (at, _) in tag.match_indices("href") {
            let value = tag[at + 4..]
                .trim_start()
                .trim_start_matches('=')
                .trim_start()
                .trim_start_matches(['"', '\'']);
            if !value.starts_with('#') && !value.starts_with("data:image/") {
                return Some("a link to another place".to_owned());
            }
        }
    }
    lower
        .match_indices("url(")
        .map(|(at, _)| lower[at + 4..].trim_start().trim_start_matches(['"', '\'']))
        .any(|target| !target.starts_with('#'))
        .then(|| "a url() of another place".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn contrast_is_that_of_wcag() {
        let (black, white) = (Colour([0, 0, 0]), Colour([255, 255, 255]));
        assert!((contrast(black, white) - 21.0).abs() < 1e-9);
        assert!((contrast(Colour::parse("#777777").unwrap(), white) - 4.478).abs() < 0.001);
    }

    #[test]
    fn unreadable_colours_are_refused_with_the_figures_and_a_way_out() {
        let why = rules("#ffcc00").unwrap_err();
        assert!(why.contains("1.3:1") && why.contains("4.5:1 is needed"), "{why}");
        let shade = why.rsplit(' ').next().unwrap();
        assert!(rules(shade).is_ok(), "{why}");
        assert!(rules("#0b5cad").unwrap().starts_with(":root{--accent:#0b5cad}"));
        for bad in ["blue", "#fff", "#12345g", "#1234567", "#äöü", ""] {
            assert!(rules(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_readable_colour_is_readable_in_the_dark_too() {
        for step in 0..64_u8 {
            let colour = Colour([step.wrapping_mul(37), step.wrapping_mul(91), step.wrapping_mul(53)]);
            let dark = colour.towards(Colour([255, 255, 255]), DARK);
            assert!(contrast(dark, DARK) >= NEEDED, "{colour} became {dark}");
        }
    }

    #[test]
    fn the_backgrounds_are_those_of_the_stylesheet() {
        let css = include_str!("../../assets/portal.css");
        let (light, dark) = css.split_once("prefers-color-scheme:dark").unwrap();
        assert!(light.contains(&format!("--paper:{LIGHT}")));
        assert!(dark.contains(&format!("--card:{DARK}")));
    }

    #[test]
    fn logos_are_pictures_and_nothing_else() {
        let own = include_bytes!("../../assets/logo.svg").to_vec();
        assert_eq!(checked(own).unwrap().media_type, "image/svg+xml");
        assert_eq!(checked(b"\x89PNG\r\n\x1a\nrest".to_vec()).unwrap().media_type, "image/png");
        for fine in [
            "<svg xmlns=\"http://www.w3.org/2000/svg\"><use href=\"#a\"/><path fill=\"url(#g)\"/></svg>",
            "<?xml version=\"1.0\"?><svg><g transform=\"none\"/><image href='data:image/png;base64,AA'/></svg>",
        ] {
            assert!(checked(fine.as_bytes().to_vec()).is_ok(), "{fine}");
        }
        for bad in [
            "<svg><script>1</script></svg>",
            "<svg><SCRIPT href='x'/></svg>",
            "<svg onload=\"x()\"></svg>",
            "<svg/onload=x()></svg>",
            "<svg><a href=\"https://x.example\">x</a></svg>",
            "<svg><image xlink:href='//x.example/a.png'/></svg>",
            "<svg><a href=\"javascript:x\"/></svg>",
            "<svg><foreignObject/></svg>",
            "<!DOCTYPE svg [<!ENTITY a \"b\">]><svg/>",
            "<svg><style>@import 'x'</style></svg>",
            "<svg><rect style=\"fill:url(https://x.example)\"/></svg>",
            "<html>no picture</html>",
        ] {
            assert!(checked(bad.as_bytes().to_vec()).is_err(), "{bad}");
        }
    }
}
