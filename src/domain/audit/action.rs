//! What an audit entry says was done. One row for each action holds everything that follows from it, so that an action cannot be added without its words.

use crate::domain::dispatch::EventType;
use crate::domain::request::RequestState;

macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

macro_rules! actions {
    ($($variant:ident = $text:literal, $label:literal $(, state: $state:ident)? $(, event: $event:ident)?;)+) => {
        text_enum! {
            /// An audited action. Its text (such as `link.issued`) is stored, exported and hashed into the chain, so a text never changes its meaning.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            AuditAction { $($variant = $text,)+ }
        }

        impl AuditAction {
            /// What people read.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }

            /// The state that the request is in after this action; `None` where the state does not follow from the action.
            pub const fn state(self) -> Option<RequestState> {
                match self {
                    $(Self::$variant => optional!($(RequestState::$state)?),)+
                }
            }

            /// The type of the event that receivers are sent; `None` for an action that is not sent to them.
            pub const fn event(self) -> Option<EventType> {
                match self {
                    $(Self::$variant => optional!($(EventType::$event)?),)+
                }
            }
        }
    };
}

// Variant = stable text, label, then the state of the request afterwards and the type of the outgoing event, where there are any.
actions! {
    AccessRefused = "access.refused", "Not allowed";
    AgentAdded = "agent.added", "Agent added";
    AgentDeleted = "agent.deleted", "Agent deleted";
    AgentDisabled = "agent.disabled", "Agent disabled";
    AgentEnabled = "agent.enabled", "Agent enabled again";
    AgentIdentityBound = "agent.identity_bound", "Account bound to single sign-on";
    AgentInvitationAccepted = "agent.invitation_accepted", "Sign-in link used";
    AgentInvited = "agent.invited", "Sign-in link made";
    AgentPasswordChanged = "agent.password_changed", "Password changed";
    AgentPasswordRehashed = "agent.password_rehashed", "Password stored in a newer form";
    AgentRoleChanged = "agent.role_changed", "Role changed";
    AgentSecondFactorReset = "agent.second_factor_reset", "Second factor reset";
    AgentSignedOutEverywhere = "agent.signed_out_everywhere", "Signed out everywhere";
    AgentTeamsChanged = "agent.teams_changed", "Teams changed";
    ApiKeyAdded = "api_key.added", "API key made";
    ApiKeyRefused = "api_key.refused", "API key refused";
    ApiKeyRevoked = "api_key.revoked", "API key revoked";
    ApiKeyThrottled = "api_key.throttled", "API key asked too often";
    AuditCheckpoint = "audit.checkpoint", "Audit checkpoint signed", event: AuditCheckpoint;
    BackupTaken = "backup.taken", "Backup taken";
    CallbackRefused = "callback.refused", "Provider callback refused";
    ClockAccepted = "clock.accepted", "Clock accepted";
    DeliveryAbsent = "delivery.absent", "Provider does not have it";
    DeliveryConfirmed = "delivery.confirmed", "Confirmed by the provider", state: Confirmed, event: DocumentConfirmed;
    DeliveryFailed = "delivery.failed", "Attempt failed";
    DeliveryMarkedUploaded = "delivery.marked_uploaded", "Marked as uploaded", event: DocumentConfirmed;
    DeliveryNeedsAttention = "delivery.needs_attention", "Needs attention", state: NeedsAttention, event: RequestNeedsAttention;
    DeliveryReceived = "delivery.received", "Provider has it", state: AwaitingConfirmation, event: DocumentDelivered;
    DeliveryRejected = "delivery.rejected", "Rejected by the provider", state: Rejected, event: DocumentRejected;
    DeliveryRetried = "delivery.retried", "Sent again";
    DeliveryStarted = "delivery.started", "Sending started", state: Forwarding;
    DeliveryUncertain = "delivery.uncertain", "Outcome unknown";
    DocumentHandedOut = "document.handed_out", "Part downloaded by hand";
    DocumentPurged = "document.purged", "Document destroyed", state: Purged, event: DocumentPurged;
    DocumentReceived = "document.received", "Document received", state: Received, event: DocumentReceived;
    FirstStepTicked = "first_step.ticked_off", "First step ticked off";
    FirstStepsHidden = "first_steps.hidden", "First steps hidden";
    FirstStepsShown = "first_steps.shown", "First steps shown again";
    KeyProtectionChanged = "key.protection_changed", "Vault key protected anew";
    KeyRotated = "key.rotated", "Vault key renewed";
    KeyUnlockRefused = "key.unlock_refused", "Wrong passphrase for the vault";
    KeyUnlocked = "key.unlocked", "Vault opened";
    LinkExpired = "link.expired", "Link expired", state: Expired, event: RequestExpired;
    LinkExtended = "link.extended", "Link extended", event: RequestExtended;
    LinkIssued = "link.issued", "Link issued", state: Awaiting, event: RequestCreated;
    LinkOpened = "link.opened", "Link opened";
    LinkPasscodeRenewed = "link.passcode_renewed", "Fresh passcode given";
    LinkPasscodeTried = "link.passcode_tried", "Passcode tried";
    LinkReissued = "link.reissued", "New link issued", state: Awaiting, event: RequestReissued;
    LinkRevoked = "link.revoked", "Link withdrawn", state: Revoked, event: RequestRevoked;
    MailFailed = "mail.failed", "E-mail could not be sent", event: MailFailed;
    MailQueued = "mail.queued", "E-mail on its way";
    MailSent = "mail.sent", "E-mail sent";
    PartReceived = "part.received", "Part received";
    PersonErased = "person.erased", "Person’s data erased";
    PersonExported = "person.exported", "Person’s data exported";
    PortalRecovered = "portal.recovered", "Portal recovered after a loss";
    PurgeRequested = "purge.requested", "Purge ordered";
    PurgeStarted = "purge.started", "Purge started";
    ReceiptsDropped = "receipts.dropped", "Old deletion receipts dropped";
    RecoveryCodesMade = "recovery_codes.made", "Recovery codes made";
    RequestAssigned = "request.assigned", "Assigned";
    RequestCrossSite = "request.cross_site", "Another site’s request refused";
    RequestForgotten = "request.forgotten", "Request forgotten";
    RequestNoted = "request.noted", "Note added";
    RequestsExported = "requests.exported", "List of requests exported";
    RowAltered = "row.altered", "Stored row changed outside the portal";
    SecondFactorClosed = "second_factor.closed", "Codes no longer taken";
    SecondFactorEnrolled = "second_factor.enrolled", "Second factor set up";
    SecondFactorRefused = "second_factor.refused", "Second factor refused";
    SecondFactorRemoved = "second_factor.removed", "Second factor removed";
    SecondFactorThrottled = "second_factor.throttled", "Second factor tried too often";
    SecondFactorUsed = "second_factor.used", "Second factor shown";
    SessionConfirmed = "session.confirmed", "Confirmed that it is them";
    SessionEnded = "session.ended", "Session ended";
    SignInAccepted = "sign_in.accepted", "Signed in";
    SignInClosed = "sign_in.closed", "Sign-in closed to strangers";
    SignInPasskeyRefused = "sign_in.passkey_refused", "Passkey refused";
    SignInPasswordAccepted = "sign_in.password_accepted", "Password right, second factor wanted";
    SignInRefused = "sign_in.refused", "Sign-in refused";
    SignInSsoRefused = "sign_in.sso_refused", "Single sign-on refused";
    SignInSsoUnreachable = "sign_in.sso_unreachable", "Single sign-on not reachable";
    SignInThrottled = "sign_in.throttled", "Sign-in tried too often";
    SignInWrongTriesOver = "sign_in.wrong_tries_over", "Signed in after wrong tries";
    TemplateChanged = "template.changed", "Message changed";
    TemplateDropped = "template.dropped", "Message back to the built-in one";
    UploadExpired = "upload.expired", "Upload given up";
    VaultKeyDestroyed = "vault_key.destroyed", "Retired vault key destroyed";
    WebhookResent = "webhook.resent", "Webhook sent again";
}

impl std::fmt::Display for AuditAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn texts_are_unique_and_parse_back_and_every_action_has_a_label() {
        let texts: BTreeSet<_> = AuditAction::ALL.iter().map(|action| action.as_str()).collect();
        assert_eq!(texts.len(), AuditAction::ALL.len());
        for &action in AuditAction::ALL {
            assert_eq!(AuditAction::parse(action.as_str()), Some(action));
            assert!(!action.label().is_empty(), "{action}");
        }
        assert_eq!(AuditAction::parse("link.unheard_of"), None);
    }

    #[test]
    fn every_type_of_event_comes_from_an_action() {
        let sent: BTreeSet<_> = AuditAction::ALL.iter().filter_map(|action| action.event()).collect();
        assert_eq!(sent, EventType::ALL.iter().copied().collect());
    }
}
