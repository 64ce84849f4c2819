//! Which words tell a place? In XMP and PNG text by the names of fields, in IPTC by the numbers of data sets. What names one goes as a whole.

use crate::inspect::count_work;

/// Anywhere in a text: EXIF's fields in XMP, and what people and programs write.
const WORDS: [&[u8]; 3] = [b"gps", b"latitude", b"longitude"];
/// The fields of photoshop, Iptc4xmpCore, Iptc4xmpExt and geo, behind a prefix of any name or none. The beginning is enough: `Country` is also
/// `CountryCode` and `CountryName`.
const FIELDS: [&[u8]; 9] = [
    b"city",
    b"state",
    b"country",
    b"location",
    b"sublocation",
    b"provincestate",
    b"worldregion",
    b"lat",
    b"long",
];

/// Whether a text block (XMP, PNG text) speaks of a place, or is in an encoding (UTF-16) in which we could not tell.
pub(in crate::inspect) fn names_a_place(text: &[u8]) -> bool {
    text.contains(&0) || mentions_a_place(text)
}

/// The same for bytes that may be no text.
pub(in crate::inspect) fn mentions_a_place(bytes: &[u8]) -> bool {
    count_work(bytes.len());
    let begins = |at: usize, word: &[u8]| bytes[at..].get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    (0..bytes.len()).any(|at| match bytes[at] {
        b'g' | b'G' | b'l' | b'L' => WORDS.iter().any(|word| begins(at, word)),
        b':' | b'<' => FIELDS.iter().any(|word| begins(at + 1, word)),
        _ => false,
    })
}

/// Whether the keyword of a text is the name of a place's field.
pub(in crate::inspect) fn is_place_field(keyword: &[u8]) -> bool {
    FIELDS
        .iter()
        .any(|word| keyword.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word)))
}

/// Image resources of Photoshop, which hold IPTC data, XMP and EXIF.
const RESOURCES: &[u8] = b"Photoshop 3.0\0";
const IPTC: u16 = 0x0404;
const EXIF: [u16; 2] = [0x0422, 0x0423];
const XMP: u16 = 0x0424;

/// Whether an APP13 payload tells a place, or cannot be read with certainty.
pub(in crate::inspect) fn resources_tell_a_place(payload: &[u8]) -> bool {
    count_work(payload.len());
    payload
        .strip_prefix(RESOURCES)
        .is_none_or(|rest| read_resources(rest) != Some(false))
}

/// `None`: not readable.
fn read_resources(mut rest: &[u8]) -> Option<bool> {
    while rest.len() > 1 {
        // Signature, number, a name with its length (even in all), the data's length, the data (even).
        let head = rest.strip_prefix(b"8BIM")?;
        let (number, head) = head.split_first_chunk::<2>()?;
        let name = usize::from(*head.first()?);
        let (length, data) = head.get((1 + name).next_multiple_of(2)..)?.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let body = data.get(..length)?;
        rest = data.get(length.next_multiple_of(2)..).unwrap_or_default();
        let tells = match u16::from_be_bytes(*number) {
            IPTC => iptc_tells_a_place(body)?,
            XMP => names_a_place(body),
            number => EXIF.contains(&number),
        };
        if tells {
            return Some(true);
        }
    }
    Some(false)
}

/// Records of data sets: a mark, record, number, length, value (IPTC-IIM 4.2).
fn iptc_tells_a_place(mut rest: &[u8]) -> Option<bool> {
    while let [0x1C, record, number, l1, l0, more @ ..] = rest {
        // Content location code and name, city, sublocation, state, country code, country name.
        if *record == 2 && matches!(number, 26 | 27 | 90 | 92 | 95 | 100 | 101) {
            return Some(true);
        }
        // A length over 32 KiB is written in another way, which no camera needs.
        let length = usize::from(u16::from_be_bytes([*l1, *l0]));
        rest = more.get(length..)?;
    }
    rest.iter().all(|byte| *byte == 0).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_text_are_seen() {
        for text in [
            "<exif:GPSLatitude>1</exif:GPSLatitude>",
            "my LatiTude is",
            "<rdf:Description photoshop:City=\"x\"/>",
            "<I:Location>x",
            "<City xmlns=\"http://ns.adobe.com/photoshop/1.0/\">x",
            "x:CountryCode=\"DE\"",
            "<Iptc4xmpExt:LocationCreated>",
            "<geo:lat>48",
        ] {
            assert!(names_a_place(text.as_bytes()), "{text}");
        }
        assert!(names_a_place(b"<\0e\0x\0i\0f\0"), "UTF-16 is not understood, so it goes");
        assert!(!names_a_place(b"<xmp:CreatorTool>Photoshop City</xmp:CreatorTool>"));
        assert!(is_place_field(b"Location") && !is_place_field(b"Software"));
    }

    fn resource(number: u16, body: &[u8]) -> Vec<u8> {
        let mut resource = [
            b"8BIM",
            &number.to_be_bytes()[..],
            &[0, 0],
            &(body.len() as u32).to_be_bytes(),
            body,
        ]
        .concat();
        resource.resize(resource.len().next_multiple_of(2), 0);
        resource
    }

    #[test]
    fn places_in_iptc_are_seen() {
        let set = |number: u8, value: &[u8]| [&[0x1C, 2, number, 0, value.len() as u8][..], value].concat();
        let payload = |resources: &[Vec<u8>]| [b"Photoshop 3.0\0", &resources.concat()[..]].concat();
        let harmless = [set(0, &[0, 4]), set(120, b"a caption")].concat();
        let resolution = resource(0x03ED, &[0; 16]);
        assert!(!resources_tell_a_place(&payload(&[resolution.clone(), resource(IPTC, &harmless)])));
        for number in [26, 27, 90, 92, 95, 100, 101] {
            let place = [harmless.clone(), set(number, b"x")].concat();
            assert!(
                resources_tell_a_place(&payload(&[resolution.clone(), resource(IPTC, &place)])),
                "{number}"
            );
        }
        assert!(resources_tell_a_place(&payload(&[resource(XMP, b"<photoshop:City>")])));
        assert!(resources_tell_a_place(&payload(&[resource(0x0422, b"MM\0*")])));
        // A continuation, and a cut.
        assert!(resources_tell_a_place(b"Photoshop 3.0\0rest of a data set"));
        assert!(resources_tell_a_place(&payload(&[resolution[..9].to_vec()])));
    }
}
