//! Signatures over requests that we send and callbacks that we receive. Compared in constant time, over the raw bytes, with an algorithm that the
//! configuration pins: a header cannot talk us into a weaker one. Replays inside the tolerance are the caller's to refuse.

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::{Callback, CallbackRefused};
use crate::settings::Secret;

/// Seconds by which a signed callback's time may differ from ours. From the Standard Webhooks specification and Stripe's documentation.
pub(crate) const TOLERANCE: i64 = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Hex,
    Base64,
}

impl Encoding {
    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => HEXLOWER.encode(bytes),
            Self::Base64 => BASE64.encode(bytes),
        }
    }

    pub fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok(),
            Self::Base64 => BASE64.decode(text.trim().as_bytes()).ok(),
        }
    }
}

/// A MAC that is fed piece by piece.
pub(crate) enum Signer {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl Signer {
    pub(crate) fn new(algorithm: Algorithm, key: &[u8]) -> Self {
        const ANY: &str = "HMAC takes keys of any length";
        match algorithm {
            Algorithm::Sha1 => Self::Sha1(KeyInit::new_from_slice(key).expect(ANY)),
            Algorithm::Sha256 => Self::Sha256(KeyInit::new_from_slice(key).expect(ANY)),
            Algorithm::Sha512 => Self::Sha512(KeyInit::new_from_slice(key).expect(ANY)),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(mac) => mac.update(bytes),
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }
}

pub fn mac(algorithm: Algorithm, key: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
    let mut signer = Signer::new(algorithm, key);
    pieces.iter().for_each(|piece| signer.update(piece));
    signer.finish()
}

/// Whether `given` is the MAC of `pieces` under one of the keys. Every key is tried, and every comparison takes the same time. Without keys nothing is true.
pub fn verify(algorithm: Algorithm, encoding: Encoding, keys: &[&[u8]], pieces: &[&[u8]], given: &str) -> bool {
    let Some(given) = encoding.decode(given) else { return false };
    keys.iter()
        .filter(|key| !key.is_empty())
        .fold(false, |found, key| found | bool::from(mac(algorithm, key, pieces).ct_eq(&given)))
}

/// The secrets as they stand, as most providers use them.
pub(crate) fn raw_keys(secrets: &[Secret]) -> Vec<&[u8]> {
    secrets.iter().map(|s| s.expose().as_bytes()).collect()
}

/// `t=<unix>,v1=<hex>[,v1=…]` over `"{t}.{body}"`; other schemes are ignored.
pub(crate) fn verify_timestamped(header: &str, keys: &[&[u8]], callback: &Callback<'_>, tolerance: i64) -> Result<(), CallbackRefused> {
    let fields = || header.split(',').filter_map(|field| field.trim().split_once('='));
    let mut times = fields().filter(|(name, _)| *name == "t").map(|(_, value)| value);
    let (Some(time), None) = (times.next(), times.next()) else {
        return Err(CallbackRefused::Signature);
    };
    let fresh = is_fresh(time, callback.now, tolerance);
    let pieces: [&[u8]; 3] = [time.as_bytes(), b".", callback.body];
    // More than a handful of candidates is an attempt to make us work.
    let good = fields().filter(|(name, _)| *name == "v1").take(8).fold(false, |found, (_, value)| {
        found | verify(Algorithm::Sha256, Encoding::Hex, keys, &pieces, value)
    });
    if good && fresh { Ok(()) } else { Err(CallbackRefused::Signature) }
}

/// Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature: v1,<base64> [v1,<base64>…]` over `"{id}.{timestamp}.{body}"`.
/// Returns the event's id.
pub fn verify_standard<'a>(keys: &[&[u8]], callback: &Callback<'a>) -> Result<&'a str, CallbackRefused> {
    let header = |name| callback.header(name).ok_or(CallbackRefused::Signature);
    let (id, time, signatures) = (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    let fresh = is_fresh(time, callback.now, TOLERANCE);
    let pieces: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", callback.body];
    let good = signatures
        .split(' ')
        .filter_map(|s| s.strip_prefix("v1,"))
        .take(8)
        .fold(false, |found, value| {
            found | verify(Algorithm::Sha256, Encoding::Base64, keys, &pieces, value)
        });
    if good && fresh { Ok(id) } else { Err(CallbackRefused::Signature) }
}

/// The header value that [`verify_standard`] accepts.
pub fn sign_standard(key: &[u8], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signature = mac(
        Algorithm::Sha256,
        key,
        &[id.as_bytes(), b".", timestamp.to_string().as_bytes(), b".", body],
    );
    format!("v1,{}", BASE64.encode(&signature))
}

/// The key in a `whsec_<base64>` secret, as Standard Webhooks writes it.
pub fn standard_key(secret: &str) -> Option<Vec<u8>> {
    let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap_or(secret).as_bytes()).ok()?;
    (!key.is_empty()).then_some(key)
}

fn is_fresh(time: &str, now: i64, tolerance: i64) -> bool {
    let digits = !time.is_empty() && time.bytes().all(|b| b.is_ascii_digit());
    digits && time.parse::<i64>().is_ok_and(|time| now.saturating_sub(time).abs() <= tolerance)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn callback<'a>(headers: &'a [(String, String)], body: &'a [u8], now: i64) -> Callback<'a> {
        Callback {
            headers,
            query: "",
            body,
            now,
        }
    }

    #[test]
    fn known_answers() {
        // RFC 2202 case 2, RFC 4231 case 2.
        let (key, data) = (&b"Jefe"[..], &b"what do ya want for nothing?"[..]);
        let table = [
            (Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                Algorithm::Sha256,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Algorithm::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ];
        for (algorithm, expected) in table {
            assert!(verify(algorithm, Encoding::Hex, &[key], &[data], expected));
            assert!(verify(
                algorithm,
                Encoding::Hex,
                &[b"old", key],
                &[&data[..5], &data[5..]],
                &expected.to_uppercase()
            ));
            assert!(!verify(algorithm, Encoding::Hex, &[b"old", b""], &[data], expected));
            assert!(!verify(algorithm, Encoding::Base64, &[key], &[data], expected));
            assert!(!verify(algorithm, Encoding::Hex, &[key], &[data], &expected[2..]));
            assert!(!verify(algorithm, Encoding::Hex, &[key], &[data], ""));
        }
    }

    #[test]
    fn timestamped_signatures_bind_time_and_body() {
        let body = br#"{"id":"evt_1","object":"event","type":"account.updated"}"#;
        let good = "t=1700000000,v1=2b23629214ac378f1efe9fb7ab63e6d39e28b9e9a5ea5d8b4aad55f139cfab1c";
        let keys: [&[u8]; 2] = [b"whsec_other", b"whsec_test"];
        let check = |header: &str, body: &[u8], now| verify_timestamped(header, &keys, &callback(&[], body, now), TOLERANCE).is_ok();
        assert!(check(good, body, 1_700_000_000) && check(good, body, 1_700_000_300) && check(good, body, 1_699_999_700));
        assert!(check(&good.replace(",v1", ",v0=aa,v1=00,v1"), body, 1_700_000_000));
        assert!(
            !check(good, body, 1_700_000_301) && !check(good, body, 1_699_999_699),
            "stale or from the future"
        );
        assert!(!check(good, b"{}", 1_700_000_000));
        for bad in [
            "",
            "t=1700000000",
            "v1=00",
            "t=x,v1=00",
            "t=-5,v1=00",
            &good.replace("t=17", "t=16"),
            &good.replace("v1", "v0"),
            &format!("t=1,{good}"),
        ] {
            assert!(!check(bad, body, 1_700_000_000), "{bad}");
        }
        let none: [&[u8]; 0] = [];
        assert!(verify_timestamped(good, &none, &callback(&[], body, 1_700_000_000), TOLERANCE).is_err());
    }

    #[test]
    fn standard_webhooks_vector_and_its_mutants() {
        // The example of the Standard Webhooks reference libraries.
        let key = standard_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign_standard(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body), signature);
        let check = |id: &str, time: &str, signature: &str, body: &[u8], now| {
            let headers = [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)];
            let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            verify_standard(&[b"other", &key], &callback(&headers, body, now)).is_ok()
        };
        let (id, time, now) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", 1_614_265_330);
        assert!(check(id, time, signature, body, now) && check(id, time, &format!("v1,AAAA v2,x {signature}"), body, now + 300));
        assert!(!check("msg_x", time, signature, body, now) && !check(id, "1614265331", signature, body, now));
        assert!(!check(id, time, signature, b"{}", now) && !check(id, time, signature, body, now + 301) && !check(id, time, "", body, now));
        assert!(standard_key("whsec_").is_none() && standard_key("whsec_*").is_none());
    }
}
