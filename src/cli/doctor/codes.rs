//! Every finding that is no good news, by a name that does not change: `--json` and docs/operations/doctor.md tell it by this name.

macro_rules! findings {
    ($($name:ident = $area:literal, $code:literal;)*) => {
        /// What was found.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Code {
            $($name,)*
        }

        impl Code {
            /// All of them, in the order in which they are looked for.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name,)*];

            pub(super) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// Under which word it stands in the list.
            pub(super) fn area(self) -> &'static str {
                match self {
                    $(Self::$name => $area,)*
                }
            }
        }
    };
}

findings! {
    ConfigurationFault = "configuration", "configuration.fault";
    ExampleCompany = "configuration", "configuration.example_company";

    CertificateEnds = "listeners", "certificate.ends";
    CertificateName = "listeners", "certificate.name";
    CertificateStale = "listeners", "certificate.stale";
    CertificateUnseen = "listeners", "certificate.unseen";
    AcmeNotFetched = "listeners", "acme.not_fetched";
    AcmeUnreadable = "listeners", "acme.unreadable";
    AcmePort = "listeners", "acme.port";
    AcmeUnreached = "listeners", "acme.unreached";
    StaffInTheClear = "listeners", "listeners.staff_in_the_clear";
    NoStaffUrl = "listeners", "listeners.no_staff_url";
    NoTls = "listeners", "listeners.no_tls";
    NotHttps = "listeners", "listeners.not_https";

    FewFiles = "open files", "limits.open_files";
    FewFilesForAll = "open files", "limits.connections";
    LittleMemory = "memory", "limits.memory";
    MemoryReadable = "memory", "memory.readable";
    SwapReadable = "memory", "memory.swap";
    ClockUnset = "clock", "clock.unset";
    ClockUnsynchronised = "clock", "clock.unsynchronised";
    ClockUnknown = "clock", "clock.unknown";
    ClockFuture = "clock", "clock.files_from_the_future";
    ClockJumped = "clock", "clock.jumped";

    NoPortal = "data", "data.no_portal";
    Unfinished = "data", "data.unfinished";
    PartMissing = "data", "data.part";
    FolderUnseen = "folders", "folders.unseen";
    FolderOwner = "folders", "folders.owner";
    FolderOpen = "folders", "folders.open";
    FolderInMemory = "folders", "folders.in_memory";
    KeysUnusable = "keys", "keys.unusable";
    KeysAbsent = "keys", "keys.absent";
    KeysLocked = "keys", "keys.locked_at_start";
    StoreMismatch = "data", "data.mismatch";
    DatabaseRefused = "database", "database.refused";
    DatabaseUnreached = "database", "database.unreached";
    DatabaseEmpty = "database", "database.empty";
    DatabaseStranger = "database", "database.stranger";
    StoreMissing = "store", "store.missing";
    StoreUnusable = "store", "store.unusable";
    StoreReusable = "store", "store.reusable";
    NoSlot = "erasure", "erasure.no_slot";
    SlotsToCome = "erasure", "erasure.more";
    SlotsFewer = "erasure", "erasure.fewer";
    SlotsDamaged = "erasure", "erasure.damaged";
    SlotsUnusable = "erasure", "erasure.unusable";
    ErasureWeak = "erasure", "erasure.weak";
    RoomUnknown = "room", "room.unknown";
    NoRoom = "room", "room.none";
    LittleRoom = "room", "room.little";

    NoProvider = "providers", "providers.none";
    ProviderAnswers = "providers", "providers.check";
    ProviderGone = "providers", "providers.gone";
    MailServer = "outgoing", "mail.server";
    WebhookUnreached = "outgoing", "webhooks.unreached";
    SsoIssuer = "sign-in", "sso.issuer";
    ScanOff = "virus scan", "scan.off";
    ScanUnfit = "virus scan", "scan.unfit";

    PortalAbsent = "portal", "portal.absent";
    PortalLocked = "portal", "portal.locked";
    PortalNotReady = "portal", "portal.not_ready";
    PortalStranger = "portal", "portal.stranger";

    ThroughSecrets = "through", "through.secrets";
    ThroughName = "through", "through.name";
    ThroughConnection = "through", "through.connection";
    ThroughCertificate = "through", "through.certificate";
    ThroughChain = "through", "through.chain";
    ThroughEnds = "through", "through.certificate_ends";
    ThroughRedirect = "through", "through.redirect";
    ThroughGateway = "through", "through.gateway";
    ThroughStranger = "through", "through.stranger";
    ThroughClock = "through", "through.clock";
    ThroughBusy = "through", "through.busy";
    ThroughUntrusted = "through", "through.untrusted_proxy";
    ThroughNameless = "through", "through.no_client_address";
    ThroughForged = "through", "through.forged_address";
    ThroughOtherHeader = "through", "through.other_header";
    ThroughProtocol = "through", "through.protocol";
    ThroughHost = "through", "through.host";
    ThroughMethods = "through", "through.methods";
    ThroughHeaders = "through", "through.headers";
    ThroughCached = "through", "through.cached";
    ThroughPacked = "through", "through.packed";
    ThroughBodyLimit = "through", "through.body_limit";
    ThroughBuffered = "through", "through.buffered";
    ThroughCutOff = "through", "through.cut_off";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_tells_every_finding_once_and_no_other() {
        let text = include_str!("../../../docs/operations/doctor.md");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        let told: Vec<&str> = rows
            .filter_map(|row| row.split('`').next())
            .filter(|name| name.contains('.'))
            .collect();
        let all: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(told, all);
    }
}
