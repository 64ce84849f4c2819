//! The table of classes, what each source of facts decides, and what a watch notices.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::crypto::testing::Scratch;

fn plain_ext4() -> Facts {
    Facts {
        file_system: "ext4".into(),
        options: "rw,relatime".into(),
        journal: Journal::Metadata,
        no_copy_on_write: false,
        blocks: Blocks::Own,
        rotational: Some(true),
        virtual_device: false,
        swap: false,
        canary: Some(ReadBack::Direct),
    }
}

#[test]
fn the_table_of_classes() {
    use AssuranceClass::{A, B, C};
    let ext4 = plain_ext4;
    let on = |file_system: &str| Facts {
        file_system: file_system.into(),
        ..ext4()
    };
    for (facts, class) in [
        (ext4(), A),
        (on("xfs"), A),
        (
            Facts {
                rotational: Some(false),
                ..ext4()
            },
            B,
        ),
        (
            Facts {
                rotational: None,
                ..ext4()
            },
            B,
        ),
        (
            Facts {
                virtual_device: true,
                ..ext4()
            },
            B,
        ),
        (
            Facts {
                journal: Journal::Data,
                ..ext4()
            },
            C,
        ),
        (
            Facts {
                journal: Journal::Unknown,
                ..ext4()
            },
            C,
        ),
        (
            Facts {
                blocks: Blocks::Moved,
                ..ext4()
            },
            C,
        ),
        (
            Facts {
                blocks: Blocks::Unknown,
                ..on("xfs")
            },
            C,
        ),
        (
            Facts {
                blocks: Blocks::Shared,
                ..on("xfs")
            },
            C,
        ),
        (
            Facts {
                blocks: Blocks::Shared,
                no_copy_on_write: true,
                ..on("btrfs")
            },
            C,
        ),
        (
            Facts {
                canary: Some(ReadBack::Buffered),
                ..ext4()
            },
            B,
        ),
        (Facts { canary: None, ..ext4() }, C),
        (on("btrfs"), C),
        (
            Facts {
                no_copy_on_write: true,
                ..on("btrfs")
            },
            B,
        ),
        (
            Facts {
                rotational: None,
                canary: Some(ReadBack::Buffered),
                ..on("tmpfs")
            },
            A,
        ),
        (Facts { swap: true, ..on("tmpfs") }, C),
        (on("overlay"), C),
        (on("zfs"), C),
        (on("nfs4"), C),
        (on("f2fs"), C),
    ] {
        let verdict = judge(&facts);
        assert_eq!(verdict.class, class, "{facts:?}");
        assert!(class == A || !verdict.reasons.is_empty());
    }
}

#[test]
fn the_deepest_mount_counts() {
    let table = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,data=ordered\n\
                 28 27 0:25 / /var/lib rw,nosuid - btrfs /dev/sdb rw,space_cache\n\
                 29 27 0:26 / /var/li rw - tmpfs none rw\n\
                 30 27 0:27 / /srv/with\\040space rw shared:1 - xfs /dev/sdc rw,noquota\n";
    let of = |path: &str| mount_of(table, Path::new(path)).unwrap();
    assert_eq!(
        of("/var/lib/nightdrop/erase.slots"),
        ("btrfs".into(), "rw,nosuid,rw,space_cache".into())
    );
    assert_eq!(of("/etc/x").0, "ext4");
    assert_eq!(of("/srv/with space/x").0, "xfs");
}

#[test]
fn journalled_data_are_seen_by_any_sign_and_their_absence_must_be_shown() {
    use Journal::{Data, Metadata, Unknown};
    let ordered = Some("rw\ndata=ordered\nerrors=continue\n");
    let journalled = Some("rw\ndata=journal\n");
    for (flag, mounted, in_effect, direct_io, expected) in [
        (false, "rw", ordered, Some(true), Metadata),
        (false, "rw", ordered, None, Metadata),
        (false, "rw", None, Some(true), Metadata),
        (false, "rw", Some("data=writeback"), None, Metadata),
        // The default of the superblock: in no mount table.
        (false, "rw,relatime", journalled, None, Data),
        (false, "rw", None, Some(false), Data),
        (true, "rw", ordered, None, Data),
        (false, "rw,data=journal", None, None, Data),
        (false, "rw", ordered, Some(false), Data),
        (false, "rw", None, None, Unknown),
        (false, "rw,data=ordered", Some("rw\n"), None, Unknown),
    ] {
        assert_eq!(
            journal(flag, mounted, in_effect, direct_io),
            expected,
            "{flag} {mounted} {in_effect:?} {direct_io:?}"
        );
    }
}

#[test]
fn the_self_test_runs_here_and_leaves_no_slot() {
    use crate::crypto::erase::ErasureStore;
    let scratch = Scratch::new();
    let path = scratch.path("erase.slots");
    SlotsFile::create(&path, 4).unwrap();
    let store = SlotsFile::open(&path, None).unwrap();
    let watch = Watch::begin(&path, &store, None).unwrap();
    assert!(!watch.current().file_system.is_empty());
    assert_eq!(store.free().unwrap(), 4);
    assert!(store.live().unwrap().is_empty());
    let look = watch.look();
    assert_eq!(look.assurance, watch.current());
    assert!(look.weakened.is_none() && !look.fresh && !watch.is_weakened());
}

#[test]
fn a_file_that_was_replaced_or_is_elsewhere_than_noted_is_worth_less() {
    let scratch = Scratch::new();
    let path = scratch.path("erase.slots");
    SlotsFile::create(&path, 4).unwrap();
    let store = SlotsFile::open(&path, None).unwrap();
    let watch = Watch::begin(&path, &store, None).unwrap();
    let Some(blocks) = watch.blocks() else { return };
    assert!(!Watch::begin(&path, &store, Some(&blocks)).unwrap().is_weakened());
    let elsewhere = Watch::begin(&path, &store, Some(&[1; 32])).unwrap();
    assert!(elsewhere.is_weakened());
    assert_eq!(elsewhere.current().class, AssuranceClass::C);
    assert!(!elsewhere.look().fresh, "it was known at start");

    let copy = scratch.path("copy");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    let look = watch.look();
    assert!(look.fresh);
    assert_eq!(look.assurance.class, AssuranceClass::C);
    assert_eq!(look.weakened, Some(MOVED));
    let again = watch.look();
    assert!(!again.fresh && again.weakened.is_some(), "said once, and never taken back");
}
