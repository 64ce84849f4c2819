//! Key files and the keyring: formats, caps, locking, rotation, damaged and exposed files.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::crypto::keyfile::Argon2Cost;
use crate::crypto::secret::SecretBytes;
use crate::crypto::testing::{Scratch, open_vault, seq};

fn passphrase(text: &str) -> Protector<'_> {
    Protector::Passphrase(text.as_bytes(), Argon2Cost::smallest())
}

fn wrapped(protector: &Protector<'_>) -> ([u8; KEY_FILE_LEN], KeyId) {
    let secret = SecretKey::from_bytes(Suite::X25519, SecretBytes::take(&mut seq::<32>(1)));
    let id = secret.public().id();
    (KeyFile::wrap(&secret, id, protector, &OsEntropy).unwrap(), id)
}

#[test]
fn a_locked_portal_has_its_public_key_and_unlocks_while_it_runs() {
    let scratch = Scratch::new();
    let directory = scratch.path("keys");
    let id = Keyring::create_key(&directory, Suite::XWing, &passphrase("four words of passphrase")).unwrap();
    let keyring = Arc::new(Keyring::open(&directory).unwrap());
    assert_eq!(keyring.current().id(), id);
    assert!(keyring.is_locked());
    assert_eq!(keyring.secret(&id).err(), Some(KeyUnavailable::Locked));
    assert!(matches!(keyring.unlock(&passphrase("wrong")), Err(KeyringError::DoesNotOpen)));
    assert!(matches!(keyring.unlock(&Protector::None), Err(KeyringError::DoesNotOpen)));
    assert!(keyring.is_locked());

    let elsewhere = keyring.clone();
    let opened = std::thread::spawn(move || elsewhere.unlock(&passphrase("four words of passphrase")).unwrap());
    assert_eq!(opened.join().unwrap(), [id]);
    assert!(!keyring.is_locked());
    assert_eq!(keyring.secret(&id).unwrap().public().id(), id);
    assert!(
        keyring.unlock(&passphrase("anything")).unwrap().is_empty(),
        "nothing is locked any more"
    );
    keyring.lock();
    assert!(keyring.is_locked());
    assert!(!format!("{keyring:?}").contains("bytes"));
}

#[test]
fn files_have_their_modes_and_are_never_overwritten() {
    let scratch = Scratch::new();
    let directory = scratch.path("keys");
    let id = Keyring::create_key(&directory, Suite::X25519, &Protector::None).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    let key = key_path(&directory, &id);
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&key), 0o400);
    assert_eq!(mode(&public_path(&directory, &id)), 0o444);
    assert_eq!(std::fs::metadata(&key).unwrap().len(), 120);

    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o444)).unwrap();
    assert!(matches!(Keyring::open(&directory), Err(KeyringError::File(FileError::Exposed(..)))));
}

#[test]
fn old_keys_open_until_destroyed_and_new_documents_use_the_new_one() {
    let scratch = Scratch::new();
    let directory = scratch.path("keys");
    let old = Keyring::create_key(&directory, Suite::X25519, &Protector::None).unwrap();
    let new = Keyring::create_key(&directory, Suite::XWing, &Protector::None).unwrap();
    let keyring = Keyring::open(&directory).unwrap();
    assert_eq!(keyring.unlock(&Protector::None).unwrap().len(), 2);
    assert_eq!(keyring.current().id(), new);
    assert!(keyring.secret(&old).is_ok());
    assert!(matches!(keyring.destroy(&new), Err(KeyringError::IsCurrent(_))));
    keyring.destroy(&old).unwrap();
    assert_eq!(keyring.secret(&old).err(), Some(KeyUnavailable::Unknown));
    assert!(!key_path(&directory, &old).exists());
    assert!(matches!(keyring.destroy(&KeyId([0; 16])), Err(KeyringError::Unknown(_))));

    let again = Keyring::open(&directory).unwrap();
    let status = again.status();
    assert_eq!(status.len(), 2);
    assert!(status.iter().any(|key| key.id == old && key.protection.is_none() && !key.current));
    assert!(
        status
            .iter()
            .any(|key| key.id == new && key.protection == Some(Protection::None) && key.current)
    );
}

#[test]
fn a_credential_from_elsewhere_unlocks_and_a_foreign_one_is_refused() {
    let scratch = Scratch::new();
    let directory = scratch.path("keys");
    let id = Keyring::create_key(&directory, Suite::XWing, &Protector::None).unwrap();
    let credential = scratch.path("vault.key");
    std::fs::rename(key_path(&directory, &id), &credential).unwrap();
    let keyring = Keyring::open(&directory).unwrap();
    assert_eq!(keyring.secret(&id).err(), Some(KeyUnavailable::Unknown));
    assert_eq!(keyring.attach_credential(&credential).unwrap(), id);
    keyring.unlock(&Protector::None).unwrap();
    assert!(!keyring.is_locked());

    let (foreign, _) = wrapped(&Protector::None);
    let path = scratch.path("foreign.key");
    private_file::create(&path, &foreign, 0o400).unwrap();
    assert!(matches!(keyring.attach_credential(&path), Err(KeyringError::Unknown(_))));
}

#[test]
fn a_swapped_or_damaged_public_key_is_refused() {
    let scratch = Scratch::new();
    let (_, id) = open_vault(&scratch, Suite::XWing);
    let directory = scratch.path("keys");
    let path = public_path(&directory, &id);
    let good = std::fs::read(&path).unwrap();
    for (place, what) in [
        (0usize, "magic"),
        (8, "suite"),
        (9, "reserved"),
        (12, "id"),
        (30, "length"),
        (40, "key"),
    ] {
        let mut changed = good.clone();
        changed[place] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &changed).unwrap();
        assert!(matches!(Keyring::open(&directory), Err(KeyringError::Key(..))), "{what}");
    }
    std::fs::write(&path, &good).unwrap();
    std::fs::remove_file(directory.join("current")).unwrap();
    assert!(matches!(Keyring::open(&directory), Err(KeyringError::NoCurrentKey(_))));
}

#[test]
fn all_three_protections_open_with_theirs_only() {
    let kek = SecretBytes::take(&mut [3u8; 32]);
    let other_kek = SecretBytes::take(&mut [4u8; 32]);
    let protectors = [
        passphrase("one"),
        passphrase("two"),
        Protector::Kek(&kek),
        Protector::Kek(&other_kek),
        Protector::None,
    ];
    for (made, protector) in protectors.iter().enumerate() {
        let (bytes, id) = wrapped(protector);
        let file = KeyFile::parse(&bytes).unwrap();
        assert_eq!(file.id(), id);
        for (tried, other) in protectors.iter().enumerate() {
            let opened = file.open(other);
            assert_eq!(opened.is_ok(), made == tried);
            assert!(opened.map_or(true, |secret| secret.public().id() == id));
        }
    }
}

#[test]
fn a_key_file_that_names_another_key_is_refused() {
    let secret = SecretKey::from_bytes(Suite::X25519, SecretBytes::take(&mut seq::<32>(1)));
    let bytes = KeyFile::wrap(&secret, KeyId([9; 16]), &Protector::None, &OsEntropy).unwrap();
    let opened = KeyFile::parse(&bytes).unwrap().open(&Protector::None);
    assert!(matches!(opened, Err(KeyFileError::Malformed(_))));
}

#[test]
fn every_changed_byte_of_a_key_file_is_noticed() {
    let (good, _) = wrapped(&passphrase("p"));
    for place in 0..KEY_FILE_LEN {
        // A higher cost within the caps would only make this test slow.
        if (12..24).contains(&place) {
            continue;
        }
        let mut changed = good;
        changed[place] ^= 1;
        let opened = KeyFile::parse(&changed).and_then(|file| file.open(&passphrase("p")));
        assert!(opened.is_err(), "byte {place}");
    }
    let mut harder = good;
    harder[15] = 9;
    assert_eq!(
        KeyFile::parse(&harder).unwrap().open(&passphrase("p")).err(),
        Some(KeyFileError::DoesNotOpen)
    );
}

#[test]
fn costs_beyond_the_caps_are_refused_before_anything_is_allocated() {
    let (good, _) = wrapped(&passphrase("p"));
    let started = Instant::now();
    for (memory, passes, lanes) in [
        (u32::MAX, 1u32, 1u32),
        ((4 << 20) + 1, 1, 1),
        (8, 17, 1),
        (8, u32::MAX, 1),
        (1 << 20, 1, 17),
        (1 << 20, 1, u32::MAX),
        (8, 0, 1),
        (8, 1, 0),
        (7, 1, 1),
        (0, 0, 0),
    ] {
        let mut bytes = good;
        bytes[12..16].copy_from_slice(&memory.to_be_bytes());
        bytes[16..20].copy_from_slice(&passes.to_be_bytes());
        bytes[20..24].copy_from_slice(&lanes.to_be_bytes());
        assert!(matches!(KeyFile::parse(&bytes), Err(KeyFileError::Malformed(_))));
        let protector = Protector::Passphrase(
            b"p",
            Argon2Cost {
                memory_kib: memory,
                passes,
                lanes,
            },
        );
        let secret = SecretKey::from_bytes(Suite::X25519, SecretBytes::take(&mut seq::<32>(1)));
        let made = KeyFile::wrap(&secret, KeyId([0; 16]), &protector, &OsEntropy);
        assert!(matches!(made, Err(KeyFileError::Malformed(_))));
    }
    assert!(started.elapsed().as_millis() < 100, "ten refusals, twice, at less than 10 ms each");
    assert_eq!(Argon2Cost::for_memory(8 << 30).memory_kib, 2 << 20);
    assert_eq!(Argon2Cost::for_memory((8 << 30) - 1).memory_kib, 64 << 10);
}

proptest! {
    #[test]
    fn no_bytes_panic_the_parsers(bytes in proptest::collection::vec(any::<u8>(), 0..200), graft in 0usize..120) {
        let (good, _) = wrapped(&Protector::None);
        let mut input = good[..graft].to_vec();
        input.extend_from_slice(&bytes);
        let _ = KeyFile::parse(&input);
        let _ = keyfile::parse_public_file(&input);
        if input.len() >= KEY_FILE_LEN {
            let _ = KeyFile::parse(&input[..KEY_FILE_LEN]);
        }
    }
}
