//! What is written reads back as itself; what is damaged or foreign is refused, and nothing panics.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::domain::transition::tests::walked;

fn requests() -> impl Strategy<Value = DocumentRequest> {
    let text = proptest::option::of("\\PC{0,40}");
    let sealed = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    (
        walked(),
        text,
        sealed(),
        sealed(),
        sealed(),
        any::<([u8; 32], Option<[u8; 16]>, bool)>(),
        0..4_000_000_000_000_i64,
    )
        .prop_map(|(mut r, locale, url, message, metadata, (mac, salt, verdict), at)| {
            r.locale = locale;
            r.return_url = url.map(SealedText);
            r.message = message.clone().map(SealedText);
            r.search_words = vec![[mac[3]; 16]; usize::from(mac[4] % 4)];
            r.ticket = message.clone().map(SealedText).filter(|_| mac[5] > 99);
            r.metadata = metadata.map(SealedText);
            let note = |text| Note {
                by: r.created_by,
                at: from_ms(at),
                text: SealedText(text),
            };
            r.assigned = (mac[6] > 99).then_some(AgentId([mac[6]; 16]));
            r.notes = message.map(note).into_iter().collect();
            r.terms_mac = mac;
            r.link.salt = salt;
            r.link.parts_received = u32::from(mac[0]);
            r.link.opened_at = verdict.then(|| from_ms(at));
            r.link.issued_at = from_ms(at);
            r.created_at = from_ms(at);
            if verdict {
                r.parts[0].pictures = PictureLimits {
                    min_bytes: u64::from(mac[0]) << 10,
                    min_side: mac[1].into(),
                    max_side: mac[2].into(),
                };
                r.confirm = ConfirmAt::Verdict;
            }
            if let Stage::Held { document, delivery, .. } = &mut r.stage {
                document.receiver = Some(mac);
                delivery.progress = vec![("file:front".into(), "x".into())];
            }
            r
        })
}

/// Whatever is read, by any type, without a panic.
fn read_all(bytes: &[u8]) {
    if let Ok(request) = DocumentRequest::decode(bytes) {
        // What was let in can be worked with.
        let now = datetime!(2030-01-01 0:00 UTC);
        let _ = (
            request.state(now),
            request.resting_state(),
            request.due_at(),
            request.must_forget(now),
            request.terms(),
        );
        assert_eq!(DocumentRequest::decode(&request.encode()), Ok(request));
    }
    let _ = (AuditEntry::decode(bytes), SignedReceipt::decode(bytes), Agent::decode(bytes));
    let _ = (Session::decode(bytes), ApiKey::decode(bytes), ClaimRow::decode(bytes));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_reads_back_as_itself(request in requests()) {
        prop_assert_eq!(DocumentRequest::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn damage_is_refused_or_harmless(request in requests(), at in any::<prop::sample::Index>(), to: u8, cut in any::<prop::sample::Index>()) {
        let whole = request.encode();
        let mut damaged = whole.clone();
        damaged[at.index(whole.len())] = to;
        read_all(&damaged);
        let cut = cut.index(whole.len());
        prop_assert!(DocumentRequest::decode(&whole[..cut]).is_err(), "cut at {}", cut);
        read_all(&whole[..cut]);
    }

    #[test]
    fn noise_is_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
        read_all(&[&[VERSION], &bytes[..]].concat());
    }

    #[test]
    fn audit_entries_and_receipts_read_back(action in prop::sample::select(AuditAction::ALL), method in "\\PC{0,20}", detail in proptest::collection::vec(("\\PC{0,9}", "\\PC{0,9}"), 0..4), number: u64, hash: [u8; 32]) {
        let event = AuditEvent {
            at: datetime!(2026-01-01 0:00 UTC),
            actor: Actor::Portal,
            action,
            request: Some(RequestId([1; 16])),
            detail,
        };
        let entry = AuditEntry::chain(number, &hash, event);
        prop_assert_eq!(AuditEntry::decode(&entry.encode()), Ok(entry));
        let at = datetime!(2026-01-01 0:00:00.123 UTC);
        let receipt = DeletionReceipt::chain(number, hash, Erasure {
            request: RequestId([1; 16]),
            document: DocumentId([2; 16]),
            slot: SlotRef { index: number, generation: number },
            cause: "agent".into(),
            class: "B".into(),
            method,
            parts: 2,
            received_at: at,
            erased_at: at,
            purged_at: at,
        });
        let signed = SignedReceipt { receipt, text: "as it was signed\n".into() };
        prop_assert_eq!(SignedReceipt::decode(&signed.encode()), Ok(signed));
    }
}

#[test]
fn an_entry_with_an_unknown_action_is_unreadable() {
    let event = AuditEvent::new(datetime!(2026-01-01 0:00 UTC), Actor::Portal, AuditAction::LinkIssued);
    let row = AuditEntry::chain(1, &[0; 32], event).encode();
    let action = row.windows(11).position(|text| text == b"link.issued").unwrap();
    let other = [&row[..action], b"link.forged", &row[action + 11..]].concat();
    assert_eq!(AuditEntry::decode(&other), Err(Unreadable("an unknown word")));
}

#[test]
fn another_versions_row_is_refused_and_says_so() {
    assert_eq!(DocumentRequest::decode(&[]), Err(Unreadable("empty row")));
    assert_eq!(
        DocumentRequest::decode(&[VERSION + 1, 0xa0]),
        Err(Unreadable("row of a later version"))
    );
    assert_eq!(DocumentRequest::decode(&[VERSION, 0xa0]), Err(Unreadable("damaged row")));
}

#[test]
fn impossible_times_are_refused() {
    for ms in [i64::MIN, -1, LAST_MS, i64::MAX] {
        assert!(instant(ms).is_err(), "{ms}");
    }
    for seconds in [i64::MIN, -1, LONGEST_S + 1, i64::MAX] {
        assert!(span(seconds).is_err(), "{seconds}");
    }
    let last = instant(LAST_MS - 1).unwrap();
    assert!(last.checked_add(span(LONGEST_S).unwrap()).is_some(), "sums of what is let in exist");
}
