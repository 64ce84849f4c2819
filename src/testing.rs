//! What tests, benchmarks, fuzz targets and the examples of the documentation may reach: everything else is the crate's own.
//!
//! The modules are those of the crate. Nothing is defined here, and no part of the product uses it.

pub mod app {
    pub use crate::app::{App, FetchPace, KeyProtection, Layout, Running, Store, bind_database, create};
}
pub mod config {
    pub use crate::config::Config;
}
pub mod connectors {
    pub use crate::connectors::{
        Callback, CallbackRefused, Connector, Delivered, Failure, Hint, KINDS, Keys, Limits, Missing, OutboundDocument, OutboundPart,
        Presence, Profile, ProgressLog, Source, SourceError, Unsupported, Verdict, read,
    };
    pub mod client {
        pub use crate::connectors::client::install_tls;
    }
    pub mod sign {
        pub use crate::connectors::sign::{Algorithm, Encoding, mac, sign_standard, standard_key, verify, verify_standard};
    }
}
pub mod crypto {
    pub mod assurance {
        pub use crate::crypto::assurance::{AssuranceClass, Watch};
    }
    pub mod envelope {
        pub use crate::crypto::envelope::Suite;
    }
    pub mod erase {
        pub use crate::crypto::erase::{EraseError, ErasureStore, LiveSlot, ReadBack, SlotRef};
    }
    pub mod header {
        pub use crate::crypto::header::{Context, ErasureKind, Header};
    }
    pub mod heap {
        pub use crate::crypto::heap::set_up;
    }
    pub mod keyfile {
        pub use crate::crypto::keyfile::{Argon2Cost, KeyFile, Protector, parse_public_file};
    }
    pub mod keyring {
        pub use crate::crypto::keyring::Keyring;
    }
    pub mod meta {
        pub use crate::crypto::meta::Meta;
    }
    pub mod open {
        pub use crate::crypto::open::{DocumentOpener, OpenError};
    }
    pub mod password {
        pub use crate::crypto::password::Passwords;
    }
    pub mod random {
        pub use crate::crypto::random::array;
    }
    pub mod receipt {
        pub use crate::crypto::receipt::{public_key, sign, verify};
    }
    pub mod seal {
        pub use crate::crypto::seal::DocumentSealer;
    }
    pub mod secret {
        pub use crate::crypto::secret::{ErasureSecret, SecretBytes};
    }
    pub mod secrets {
        pub use crate::crypto::secrets::PortalSecrets;
    }
    pub mod slots {
        pub use crate::crypto::slots::{PAGE, SlotsFile};
    }
    pub mod totp {
        pub use crate::crypto::totp::TotpSecret;
    }
}
pub mod domain {
    pub mod account {
        pub use crate::domain::account::Change;
    }
    pub mod agent {
        pub use crate::domain::agent::{Actor, Agent, ApiKey, AuthMethod, PasswordHash, PasswordKind, Role, Scope, Session, Team};
    }
    pub mod audit {
        pub use crate::domain::audit::{AuditAction, AuditEntry, AuditEvent, GENESIS, canonical, chain_hash};
    }
    pub mod delivery {
        pub use crate::domain::delivery::{ConfirmAt, DeliveryProblem, Intent, Phase, ProviderClass, PurgeCause, Receipt};
    }
    pub mod dispatch {
        pub use crate::domain::dispatch::{Body, Dispatch, Progress};
    }
    pub mod document {
        pub use crate::domain::document::{
            ApplicantRef, Document, DocumentKind, Durable, FileType, PartName, PartSpec, PictureLimits, ProviderName, SealedText, SlotRef,
        };
    }
    pub mod factors {
        pub use crate::domain::factors::WRONG_CODES;
    }
    pub mod id {
        pub use crate::domain::id::{DocumentId, RequestId};
    }
    pub mod link {
        pub use crate::domain::link::UploadLink;
    }
    pub mod receipt {
        pub use crate::domain::receipt::{DeletionReceipt, Erasure, SignedReceipt};
    }
    pub mod request {
        pub use crate::domain::request::{Cleanup, DocumentRequest, Intake, IntakeKind, RequestState, SENDING_GRACE, Stage, StagedPart};
    }
    pub mod token {
        pub use crate::domain::token::{HashedToken, PlainToken};
    }
    pub mod transition {
        pub use crate::domain::transition::{AgentAction, EndOf, IntakeStep, Refusal, Transition, WorkerStep, apply};
    }
}
pub mod failpoint {
    pub use crate::failpoint::{Failpoint, arm};
}
pub mod http {
    pub use crate::http::Company;
    pub mod applicant {
        pub mod multipart {
            pub use crate::http::applicant::multipart::{FormError, Multipart, boundary, head};
        }
        pub mod page {
            pub use crate::http::applicant::page::{PageContext, Resumable, View, form};
        }
        pub mod tus {
            pub mod headers {
                pub use crate::http::applicant::tus::headers::{Metadata, Proof, number};
            }
        }
    }
    pub mod schema {
        pub use crate::http::extract::schema::Shape;
    }
    pub mod api {
        pub use crate::http::staff::api::{TABLE, openapi};
        pub mod view {
            pub use crate::http::staff::view::request::entry;
        }
    }
    pub mod body {
        pub use crate::http::body::BodyPace;
    }
    pub mod console {
        pub use crate::http::staff::console::TABLE;
    }
    pub mod settings {
        pub use crate::http::settings::{ListenerTls, TlsFiles};
    }
}
pub mod inspect {
    pub use crate::inspect::photos::JoinedPhotos;
    pub use crate::inspect::{FileType, FileTypes, Inspector, Limits, Policy, Refusal, Report, Strip};
}
pub mod sandbox {
    pub use crate::sandbox::{Sandbox, SandboxSettings};
}
pub mod settings {
    pub use crate::settings::{Reader, Secret};
}
pub mod storage {
    pub use crate::storage::{BlobKey, BlobStore, Filter, PartWriter, ReadError, StorageError, WorkQueues};
    pub mod clock {
        pub use crate::storage::clock::{Manual, Source, from_ms};
    }
    pub mod files {
        pub use crate::storage::files::FileStore;
    }
    pub mod key {
        pub use crate::storage::key::{agent, api_key, email, meta, receipt, request, session};
    }
    pub mod outbox {
        pub use crate::storage::outbox::NotificationPreferences;
    }
    pub mod postgres {
        pub use crate::storage::backend::DatabaseMetrics;
        pub use crate::storage::postgres::{Database, OpenError, PostgresStore, Unusable};
    }
    pub mod record {
        pub use crate::storage::record::Record;
    }
    pub mod seal {
        pub use crate::storage::seal::{MAC_LEN, Seal};
    }
    pub mod sled {
        pub use crate::storage::sled::SledStore;
        pub mod durable {
            pub use crate::storage::sled::durable::{DurableSled, Options, outlive_dead_stores};
        }
        pub mod error {
            pub use crate::storage::sled::error::StoreError;
        }
        pub mod records {
            pub use crate::storage::sled::records::Batch;
        }
    }
}
pub mod words {
    pub use crate::words::{LANGUAGES, english, of};
}
pub mod worker {
    pub use crate::worker::{Step, clean, step};
}
pub mod workflow {
    pub use crate::workflow::{Portal, WorkflowError};
    pub mod delivery {
        pub use crate::workflow::delivery::{LEASE, step};
        pub mod outbound {
            pub use crate::workflow::delivery::outbound::open;
        }
    }
    pub mod intake {
        pub use crate::workflow::intake::{SlotGuard, Source, Submission};
        pub mod discard {
            pub use crate::workflow::intake::discard::step;
        }
        pub mod link {
            pub use crate::workflow::intake::link::look_up;
        }
        pub mod part {
            pub use crate::workflow::intake::part::clean_name;
        }
    }
    pub mod issue {
        pub use crate::workflow::issue::*;
    }
    pub mod manual_download {
        pub use crate::workflow::manual_download::manual_download;
    }
    pub mod outgoing {
        pub use crate::workflow::outgoing::step;
        pub mod checkpoint {
            pub use crate::workflow::outgoing::checkpoint::step;
        }
    }
    pub mod pool {
        pub use crate::workflow::pool::WAITING;
    }
    pub mod sign_in {
        pub use crate::workflow::sign_in::{
            Browser, Proof, Visitor, add_agent, add_api_key, disable_agent, prove_password, reset_password,
        };
        pub mod account {
            pub use crate::workflow::sign_in::account::{add_team_key, change_agent, disable_agent, parse_teams, sign_out_everywhere};
        }
    }
    pub mod sweep {
        pub use crate::workflow::sweep::{Pass, minute, spare_memory, sweep};
    }
    pub mod terms {
        pub use crate::workflow::terms::load;
    }
    pub mod trusted {
        pub use crate::workflow::trusted::TrustedRequest;
    }
    pub mod vault {
        pub use crate::workflow::vault::{accept_clock, keys};
    }
}
