//! Believing an ID token: jsonwebtoken reads it and holds it to its issuer, its audience and one of two algorithms; ring verifies the signature.
//! Everything with a clock or a nonce is checked here, by the portal's own time.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation};
use ring::signature as verifying;
use serde_json::Value;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

/// Asymmetric only: `none` and every HMAC are refused before a key is looked for.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES256];
/// Seconds by which clocks may differ.
const SKEW: i64 = 60;
/// Seconds after which a token is too old to be of this sign-in.
const OLDEST: i64 = 900;

pub(super) struct Expected<'a> {
    pub issuer: &'a str,
    pub audience: &'a str,
    pub nonce: &'a str,
    pub now: OffsetDateTime,
}

/// Makes ring what jsonwebtoken verifies with. Harmless to repeat.
pub(super) fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |_, _| Err::<Box<dyn JwtSigner>, _>(unsupported()),
        verifier_factory: |algorithm, key| {
            if !ALGORITHMS.contains(algorithm) {
                return Err(unsupported());
            }
            Ok(Box::new(Ring(*algorithm, key.clone())) as Box<dyn JwtVerifier>)
        },
        key_utils: KeyUtils::new_unimplemented(),
    };
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = PROVIDER.install_default();
    });
}

fn unsupported() -> Error {
    ErrorKind::UnsupportedAlgorithm.into()
}

struct Ring(Algorithm, DecodingKey);

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.0
    }
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match (self.0, self.1.kind()) {
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let key = verifying::RsaPublicKeyComponents { n, e };
                key.verify(&verifying::RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
                verifying::UnparsedPublicKey::new(&verifying::ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            _ => return Err(signature::Error::new()),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

/// The name of the key that a token says it was signed with.
pub(super) fn key_of(token: &str) -> Option<String> {
    jsonwebtoken::decode_header(token).ok()?.kid
}

/// The claims of a token that is for us, from whom we asked, for this very sign-in, and now.
pub(super) fn verify(token: &str, keys: &JwkSet, expected: &Expected<'_>) -> Result<Value, &'static str> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| "unreadable")?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err("algorithm");
    }
    let key = pick(keys, header.kid.as_deref()).ok_or("key")?;
    let key = DecodingKey::from_jwk(key).map_err(|_| "key")?;
    let mut rules = Validation::new(header.alg);
    rules.algorithms = vec![header.alg];
    rules.set_audience(&[expected.audience]);
    rules.set_issuer(&[expected.issuer]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // By the portal's clock, below.
    rules.validate_exp = false;
    rules.validate_nbf = false;
    let claims = jsonwebtoken::decode::<Value>(token, &key, &rules)
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => "signature",
            ErrorKind::InvalidAudience => "audience",
            ErrorKind::InvalidIssuer => "issuer",
            ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => "algorithm",
            _ => "claims",
        })?
        .claims;
    let now = expected.now.unix_timestamp();
    let (Some(expires), Some(issued)) = (seconds(&claims["exp"]), seconds(&claims["iat"])) else {
        return Err("claims");
    };
    if expires <= now - SKEW || issued > now + SKEW || issued < now - OLDEST || seconds(&claims["nbf"]).is_some_and(|nbf| nbf > now + SKEW)
    {
        return Err("expired");
    }
    // A token for several must say that it was made for us.
    let several = claims["aud"].as_array().is_some_and(|all| all.len() > 1);
    let party = &claims["azp"];
    if (several || !party.is_null()) && party != expected.audience {
        return Err("audience");
    }
    let nonce = claims["nonce"].as_str().unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err("nonce");
    }
    Ok(claims)
}

fn seconds(claim: &Value) -> Option<i64> {
    claim.as_i64().or_else(|| {
        // Some write fractions.
        let whole = claim.as_f64().filter(|f| f.is_finite() && (0.0..4e9).contains(f))?;
        format!("{whole:.0}").parse().ok()
    })
}

/// The key of that name; without a name the only one there is.
fn pick<'k>(keys: &'k JwkSet, kid: Option<&str>) -> Option<&'k Jwk> {
    let signs = |key: &&Jwk| matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    match kid {
        Some(kid) => keys.find(kid).filter(signs),
        None => {
            let mut all = keys.keys.iter().filter(signs);
            all.next().filter(|_| all.next().is_none())
        }
    }
}
