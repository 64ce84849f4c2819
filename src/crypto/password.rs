//! Passwords of the console and passcodes of links: argon2id with a pepper.
//!
//! Both hashes are PHC strings. The pepper is in the portal's secrets, so a stolen database alone does not let
//! anyone guess. Passwords enter argon2 with the pepper as its secret input; passcodes enter as
//! HMAC(pepper, "nightdrop/v1/passcode" ‖ 00 ‖ code). Verifying an unknown user costs the same as a known one.
//! Every call takes tens of milliseconds and about 19 MiB: run it in a bounded blocking pool. Two run at once (`scratch`), and a
//! third call waits.

use std::fmt;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, Version};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::keyfile::Argon2Cost;
use super::random::{self, Entropy, OsEntropy, RandomUnavailable};
use super::scratch::Scratch;
use super::secret::SecretBytes;
use super::secrets::{self, PortalSecrets};

/// OWASP's first recommendation for argon2id: 19 MiB, 2 passes, 1 lane.
pub(crate) const DEFAULT_COST: Argon2Cost = Argon2Cost {
    memory_kib: 19 * 1024,
    passes: 2,
    lanes: 1,
};

/// What a stored hash may make us spend: 256 MiB, 16 passes, 4 lanes. A database writer cannot exhaust the server.
const MOST: Argon2Cost = Argon2Cost {
    memory_kib: 256 * 1024,
    passes: 16,
    lanes: 4,
};

/// Bytes of a hash.
const OUTPUT: usize = 32;

/// Why a password could not be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// No random bytes for the salt.
    #[error(transparent)]
    Random(RandomUnavailable),
    /// argon2 refused, for want of memory or because of impossible parameters.
    #[error("argon2 could not run")]
    Argon2,
}

/// A generated passcode, to be shown once.
pub(crate) struct Passcode(Zeroizing<String>);

impl Passcode {
    /// Six digits, each of the million codes equally likely.
    pub(crate) fn generate() -> Result<Passcode, RandomUnavailable> {
        Self::generate_from(&OsEntropy)
    }

    /// `generate` with a given source of random bytes.
    pub(crate) fn generate_from(source: &dyn Entropy) -> Result<Passcode, RandomUnavailable> {
        const CODES: u32 = 1_000_000;
        // Values above the last whole million would make low codes likelier; they are drawn again.
        const FAIR: u32 = u32::MAX - u32::MAX % CODES;
        // One draw in 9,500 is repeated; a source that fails this often in a row is broken.
        for _ in 0..64 {
            let value = u32::from_be_bytes(random::array_from(source)?);
            if value < FAIR {
                return Ok(Passcode(Zeroizing::new(format!("{:06}", value % CODES))));
            }
        }
        Err(RandomUnavailable)
    }

    /// The digits.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passcode([redacted])")
    }
}

/// Hashes and verifies passwords and passcodes.
pub struct Passwords {
    pepper: SecretBytes<32>,
    cost: Argon2Cost,
    nobody: String,
    scratch: Scratch,
}

impl Passwords {
    /// Takes the pepper from the portal's secrets. `cost` is `DEFAULT_COST` outside tests.
    pub fn new(secrets: &PortalSecrets, cost: Argon2Cost) -> Result<Passwords, HashError> {
        let mut pepper = secrets::mac(secrets.password_pepper(), &[b"nightdrop/v1/password-pepper\0"]);
        let mut passwords = Passwords {
            pepper: SecretBytes::take(&mut pepper),
            cost,
            nobody: String::new(),
            scratch: Scratch::new(),
        };
        // The hash that unknown users are compared with: of random bytes that nobody knows.
        let unknown: [u8; 32] = random::array().map_err(HashError::Random)?;
        passwords.nobody = passwords.hash(&unknown)?;
        Ok(passwords)
    }

    /// Hashes an agent's password.
    pub fn hash_password(&self, password: &str) -> Result<String, HashError> {
        self.hash(password.as_bytes())
    }

    /// Verifies an agent's password. A malformed or too costly stored hash never matches.
    pub fn verify_password(&self, password: &str, stored: &str) -> bool {
        self.verify(password.as_bytes(), stored)
    }

    /// Spends what a verification costs, for users that do not exist. The answer is always no.
    pub fn verify_nobody(&self, password: &str) -> bool {
        let _spent = self.verify(password.as_bytes(), &self.nobody);
        false
    }

    /// Whether a hash was made with other parameters than today's and should be renewed at the next sign-in.
    pub fn wants_rehash(&self, stored: &str) -> bool {
        match parse(stored) {
            Some((_, cost)) => cost != self.cost,
            None => true,
        }
    }

    /// Hashes a passcode.
    pub fn hash_passcode(&self, code: &str) -> Result<String, HashError> {
        self.hash(&self.peppered(code)[..])
    }

    /// Verifies a passcode. The caller has already, durably, taken one attempt away.
    pub fn verify_passcode(&self, code: &str, stored: &str) -> bool {
        self.verify(&self.peppered(code)[..], stored)
    }

    fn peppered(&self, code: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(secrets::mac(&self.pepper, &[b"nightdrop/v1/passcode\0", code.as_bytes()]))
    }

    /// argon2id of these bytes with the pepper.
    fn digest(&self, input: &[u8], salt: &[u8], params: Params) -> Result<Zeroizing<[u8; OUTPUT]>, HashError> {
        let blocks = params.block_count();
        let argon2 = Argon2::new_with_secret(self.pepper.expose(), Algorithm::Argon2id, Version::V0x13, params);
        let argon2 = argon2.map_err(|_| HashError::Argon2)?;
        let mut out = Zeroizing::new([0; OUTPUT]);
        let done = self.scratch.with(blocks, |memory| {
            argon2.hash_password_into_with_memory(input, salt, &mut out[..], memory)
        });
        done.map_err(|_| HashError::Argon2)?.map_err(|_| HashError::Argon2)?;
        Ok(out)
    }

    fn hash(&self, input: &[u8]) -> Result<String, HashError> {
        let mut salt: [u8; 16] = random::array().map_err(HashError::Random)?;
        let params = params(self.cost).ok_or(HashError::Argon2)?;
        let written = ParamsString::try_from(&params).map_err(|_| HashError::Argon2)?;
        let output = self.digest(input, &salt, params)?;
        let hash = PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: written,
            salt: Some(Salt::new(&salt).map_err(|_| HashError::Argon2)?),
            hash: Some(Output::new(&output[..]).map_err(|_| HashError::Argon2)?),
        };
        salt.zeroize();
        Ok(hash.to_string())
    }

    fn verify(&self, input: &[u8], stored: &str) -> bool {
        let Some((
            PasswordHash {
                salt: Some(salt),
                hash: Some(expected),
                ..
            },
            cost,
        )) = parse(stored)
        else {
            return false;
        };
        let Some(params) = params(cost) else {
            return false;
        };
        self.digest(input, &salt, params)
            .is_ok_and(|output| output[..].ct_eq(expected.as_bytes()).into())
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passwords({:?}, [redacted])", self.cost)
    }
}

fn params(cost: Argon2Cost) -> Option<Params> {
    Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(OUTPUT)).ok()
}

/// Reads a stored hash and its cost; refuses other algorithms and whatever costs more than `MOST`.
fn parse(stored: &str) -> Option<(PasswordHash, Argon2Cost)> {
    let hash = PasswordHash::new(stored).ok()?;
    let params = Params::try_from(&hash).ok()?;
    let cost = Argon2Cost {
        memory_kib: params.m_cost(),
        passes: params.t_cost(),
        lanes: params.p_cost(),
    };
    let bearable = cost.memory_kib <= MOST.memory_kib && cost.passes <= MOST.passes && cost.lanes <= MOST.lanes;
    let complete = hash.salt.is_some() && hash.hash.as_ref().is_some_and(|output| output.len() == OUTPUT);
    let known = hash.algorithm == ARGON2ID_IDENT && hash.version == Some(Version::V0x13.into());
    (known && bearable && complete).then_some((hash, cost))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashMap;
    use std::time::Instant;

    fn quick() -> Passwords {
        Passwords::new(&PortalSecrets::counting(1), Argon2Cost::smallest()).unwrap()
    }

    #[test]
    fn passwords_verify_with_their_pepper_only() {
        let passwords = quick();
        let stored = passwords.hash_password("correct horse battery").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{stored}");
        assert!(passwords.verify_password("correct horse battery", &stored));
        assert!(!passwords.verify_password("correct horse batterz", &stored));
        let elsewhere = Passwords::new(&PortalSecrets::counting(2), Argon2Cost::smallest()).unwrap();
        assert!(!elsewhere.verify_password("correct horse battery", &stored));
        assert_ne!(stored, passwords.hash_password("correct horse battery").unwrap());
        assert!(!passwords.verify_nobody("correct horse battery"));
    }

    #[test]
    fn long_passwords_are_not_cut() {
        let passwords = quick();
        let long = "x".repeat(100);
        let stored = passwords.hash_password(&long).unwrap();
        assert!(!passwords.verify_password(&long[..72], &stored));
        assert!(passwords.verify_password(&long, &stored));
    }

    #[test]
    fn a_password_hash_is_no_passcode_hash() {
        let passwords = quick();
        let stored = passwords.hash_passcode("123456").unwrap();
        assert!(passwords.verify_passcode("123456", &stored));
        assert!(!passwords.verify_passcode("123457", &stored));
        assert!(!passwords.verify_password("123456", &stored));
    }

    #[test]
    fn a_hash_that_would_cost_too_much_is_refused_at_once() {
        let passwords = quick();
        let salt_and_hash = "AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let started = Instant::now();
        for cost in [
            "m=4294967295,t=1,p=1",
            "m=8,t=4294967295,p=1",
            "m=1048576,t=1,p=1",
            "m=80000,t=1,p=9",
        ] {
            assert!(!passwords.verify_password("x", &format!("$argon2id$v=19${cost}${salt_and_hash}")));
        }
        for nonsense in ["", "$argon2id$", "plain", "$argon2i$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA"] {
            assert!(!passwords.verify_password("x", nonsense));
            assert!(passwords.wants_rehash(nonsense));
        }
        assert!(started.elapsed().as_millis() < 100);
    }

    #[test]
    fn other_parameters_want_a_rehash() {
        let old = quick().hash_password("p").unwrap();
        let cost = Argon2Cost {
            memory_kib: 16,
            passes: 1,
            lanes: 1,
        };
        let today = Passwords::new(&PortalSecrets::counting(1), cost).unwrap();
        assert!(today.verify_password("p", &old));
        assert!(today.wants_rehash(&old));
        assert!(!today.wants_rehash(&today.hash_password("p").unwrap()));
    }

    #[test]
    fn passcodes_are_fair_and_unfair_draws_are_repeated() {
        let mut digits: HashMap<char, u32> = HashMap::new();
        for _ in 0..20_000 {
            let code = Passcode::generate().unwrap();
            assert_eq!(code.expose().len(), 6);
            for digit in code.expose().chars() {
                *digits.entry(digit).or_default() += 1;
            }
        }
        // 120,000 digits, ten kinds: chi-squared with 9 degrees of freedom stays below 33.7 (p = 0.0001).
        let expected = 12_000.0;
        let chi: f64 = digits.values().map(|seen| (f64::from(*seen) - expected).powi(2) / expected).sum();
        assert_eq!(digits.len(), 10);
        assert!(chi < 33.7, "chi-squared {chi}");

        struct Highest(std::sync::atomic::AtomicU32);
        impl Entropy for Highest {
            fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
                let first = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
                out.fill(if first { 0xFF } else { 0 });
                Ok(())
            }
        }
        let code = Passcode::generate_from(&Highest(0.into())).unwrap();
        assert_eq!(code.expose(), "000000", "the first, unfair draw was not used");
        assert_eq!(format!("{code:?}"), "Passcode([redacted])");
    }

    /// What this process has in memory now, in KiB.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }

    /// Other tests take memory beside this one, so it runs in a process of its own: this same test, told apart by a variable.
    #[test]
    fn checking_passwords_again_and_again_gives_all_memory_back() {
        const CHILD: &str = "NIGHTDROP_TEST_ARGON2";
        if std::env::var_os(CHILD).is_none() {
            let this = "crypto::password::tests::checking_passwords_again_and_again_gives_all_memory_back";
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", this, "--nocapture"])
                .env(CHILD, "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&child.stdout);
            assert!(
                child.status.success() && said.contains("1 passed"),
                "{said}{}",
                String::from_utf8_lossy(&child.stderr)
            );
            return;
        }
        super::super::heap::set_up();
        let passwords = Passwords::new(&PortalSecrets::counting(1), DEFAULT_COST).unwrap();
        let stored = passwords.hash_password("correct horse battery").unwrap();
        let before = resident();
        // Threads come and go, as those of a blocking pool do; each has memory of its own in the C library.
        for _ in 0..25 {
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        assert!(passwords.verify_password("correct horse battery", &stored));
                        // Something small that stays keeps a freed block below it from being given back.
                        std::mem::forget(Box::new([0u8; 64]));
                    });
                }
            });
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < 8 * 1024, "{grown} KiB more after 200 checks");
    }
}
