//! The audit log's stable words as people say them, for the timeline of a request and for the log's own page. Every action of the source has its line here.

/// An action of another version stays itself.
pub fn action_words(action: &str) -> &str {
    WORDS
        .iter()
        .find_map(|(stable, said)| (*stable == action).then_some(*said))
        .unwrap_or(action)
}

const WORDS: &[(&str, &str)] = &[
    ("access.refused", "Not allowed"),
    ("agent.added", "Agent added"),
    ("agent.disabled", "Agent disabled"),
    ("agent.identity_bound", "Account bound to single sign-on"),
    ("agent.password_changed", "Password changed"),
    ("agent.role_changed", "Role changed"),
    ("agent.second_factor_reset", "Second factor reset"),
    ("agent.signed_out_everywhere", "Signed out everywhere"),
    ("agent.teams_changed", "Teams changed"),
    ("api_key.added", "API key made"),
    ("api_key.refused", "API key refused"),
    ("api_key.revoked", "API key revoked"),
    ("api_key.throttled", "API key asked too often"),
    ("audit.checkpoint", "Audit checkpoint signed"),
    ("callback.refused", "Provider callback refused"),
    ("clock.accepted", "Clock accepted"),
    ("delivery.absent", "Provider does not have it"),
    ("delivery.confirmed", "Confirmed by the provider"),
    ("delivery.failed", "Attempt failed"),
    ("delivery.marked_uploaded", "Marked as uploaded"),
    ("delivery.needs_attention", "Needs attention"),
    ("delivery.received", "Provider has it"),
    ("delivery.rejected", "Rejected by the provider"),
    ("delivery.retried", "Sent again"),
    ("delivery.started", "Sending started"),
    ("delivery.uncertain", "Outcome unknown"),
    ("document.handed_out", "Part downloaded by hand"),
    ("document.purged", "Document destroyed"),
    ("document.received", "Document received"),
    ("key.rotated", "Vault key renewed"),
    ("key.unlock_refused", "Wrong passphrase for the vault"),
    ("key.unlocked", "Vault opened"),
    ("link.expired", "Link expired"),
    ("link.extended", "Link extended"),
    ("link.issued", "Link issued"),
    ("link.passcode_renewed", "RecentlyVerified passcode given"),
    ("link.passcode_tried", "Passcode tried"),
    ("link.reissued", "New link issued"),
    ("link.revoked", "Link withdrawn"),
    ("mail.failed", "E-mail could not be sent"),
    ("mail.queued", "E-mail on its way"),
    ("mail.sent", "E-mail sent"),
    ("part.received", "Part received"),
    ("portal.recovered", "Portal recovered after a loss"),
    ("purge.requested", "Purge ordered"),
    ("purge.started", "Purge started"),
    ("recovery_codes.made", "Recovery codes made"),
    ("request.cross_site", "Another site’s request refused"),
    ("request.forgotten", "Request forgotten"),
    ("row.altered", "Stored row changed outside the portal"),
    ("second_factor.closed", "Codes no longer taken"),
    ("second_factor.enrolled", "Second factor set up"),
    ("second_factor.refused", "Second factor refused"),
    ("second_factor.removed", "Second factor removed"),
    ("second_factor.throttled", "Second factor tried too often"),
    ("second_factor.used", "Second factor shown"),
    ("session.confirmed", "Confirmed that it is them"),
    ("session.ended", "Session ended"),
    ("sign_in.accepted", "Signed in"),
    ("sign_in.closed", "Sign-in closed to strangers"),
    ("sign_in.passkey_refused", "Passkey refused"),
    ("sign_in.password_accepted", "Password right, second factor wanted"),
    ("sign_in.refused", "Sign-in refused"),
    ("sign_in.sso_refused", "Single sign-on refused"),
    ("sign_in.sso_unreachable", "Single sign-on not reachable"),
    ("sign_in.throttled", "Sign-in tried too often"),
    ("sign_in.wrong_tries_over", "Signed in after wrong tries"),
    ("template.changed", "Message changed"),
    ("template.dropped", "Message back to the built-in one"),
    ("upload.expired", "Upload given up"),
    ("vault_key.destroyed", "Retired vault key destroyed"),
    ("webhook.resent", "Webhook sent again"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    /// Dotted words that stand beside audit events and are codes, kinds of notices or names of files.
    const NO_ACTIONS: &[&str] = &[
        "callback.malformed",
        "callback.signature",
        "callback.too_large",
        "document.glare",
        "mail.link",
        "mail.reminder",
    ];

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }

    /// Every dotted word of every file that makes audit events, tests left out.
    fn dotted() -> BTreeSet<String> {
        let (mut files, mut words) = (Vec::new(), BTreeSet::new());
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        for file in files {
            if ["contract", "contract.rs", "connectors"]
                .iter()
                .any(|room| file.iter().any(|part| part == *room))
            {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            if !["AuditEvent::new", "log.add(", "event(", "audit(", ".refused("]
                .iter()
                .any(|maker| text.contains(maker))
            {
                continue;
            }
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                for quoted in line.split('"').skip(1).step_by(2) {
                    let parts: Vec<&str> = quoted.split('.').collect();
                    let plain = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                    if parts.len() == 2 && parts.iter().all(plain) {
                        words.insert(quoted.to_owned());
                    }
                }
            }
        }
        words
    }

    #[test]
    fn every_action_has_words() {
        let dotted = dotted();
        for word in &dotted {
            let known = WORDS.iter().any(|(stable, _)| stable == word) || NO_ACTIONS.contains(&word.as_str());
            assert!(known, "{word} has no words, and is not said to be no action");
        }
        for (stable, _) in WORDS {
            let made_elsewhere = ["audit.checkpoint"].contains(stable);
            assert!(dotted.contains(*stable) || made_elsewhere, "nothing says {stable} any more");
        }
        for word in NO_ACTIONS {
            assert!(dotted.contains(*word), "{word} is gone");
        }
        assert_eq!(action_words("of.tomorrow"), "of.tomorrow");
    }
}
