//! The rows of a request, field by number. A number is never given twice.

use super::Bytes;
use minicbor::{Decode, Encode};

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct RequestRow {
    #[n(0)]
    pub(super) id: Bytes,
    #[n(1)]
    pub(super) created_at: i64,
    #[n(2)]
    pub(super) created_by: String,
    #[n(3)]
    pub(super) provider: String,
    #[n(4)]
    pub(super) applicant: Bytes,
    #[n(5)]
    pub(super) applicant_index: Bytes,
    #[n(6)]
    pub(super) document: String,
    #[n(7)]
    pub(super) parts: Vec<PartRow>,
    #[n(8)]
    pub(super) locale: Option<String>,
    #[n(9)]
    pub(super) message: Option<Bytes>,
    #[n(10)]
    pub(super) metadata: Option<Bytes>,
    #[n(11)]
    pub(super) return_url: Option<String>,
    #[n(12)]
    pub(super) keep_s: i64,
    #[n(13)]
    pub(super) forget_s: i64,
    #[n(14)]
    pub(super) confirm_verdict: bool,
    #[n(15)]
    pub(super) link: LinkRow,
    #[n(16)]
    pub(super) terms_mac: Bytes,
    #[n(17)]
    pub(super) receivings: Vec<ReceivingRow>,
    #[n(18)]
    pub(super) stage: StageRow,
    #[n(19)]
    pub(super) lease_until: Option<i64>,
    #[n(20)]
    pub(super) fence: u64,
    #[n(21)]
    pub(super) tombstones: Vec<TombstoneRow>,
}

#[derive(Encode, Decode)]
pub(super) struct PartRow {
    #[n(0)]
    pub(super) name: String,
    #[n(1)]
    pub(super) accepted: Vec<u8>,
    #[n(2)]
    pub(super) min_bytes: u64,
    #[n(3)]
    pub(super) max_bytes: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct LinkRow {
    #[n(0)]
    pub(super) hashed: Bytes,
    #[n(1)]
    pub(super) generation: u32,
    #[n(2)]
    pub(super) issued_at: i64,
    #[n(3)]
    pub(super) expires_at: i64,
    #[n(4)]
    pub(super) revoked_at: Option<i64>,
    #[n(5)]
    pub(super) passcode: Option<String>,
    #[n(6)]
    pub(super) tries_left: u8,
    #[n(7)]
    pub(super) salt: Option<Bytes>,
}

#[derive(Encode, Decode)]
pub(super) struct ReceivingRow {
    #[n(0)]
    pub(super) document: Bytes,
    #[n(1)]
    pub(super) slot: u64,
    #[n(2)]
    pub(super) generation: u64,
    #[n(3)]
    pub(super) started_at: i64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct DocumentRow {
    #[n(0)]
    pub(super) id: Bytes,
    #[n(1)]
    pub(super) slot: u64,
    #[n(2)]
    pub(super) generation: u64,
    #[n(3)]
    pub(super) received_at: i64,
    #[n(4)]
    pub(super) purge_at: i64,
    #[n(5)]
    pub(super) parts: Vec<StoredPartRow>,
    #[n(6)]
    pub(super) receiver: Option<Bytes>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct StoredPartRow {
    #[n(0)]
    pub(super) name: String,
    #[n(1)]
    pub(super) file_type: u8,
    #[n(2)]
    pub(super) header: Bytes,
    #[n(3)]
    pub(super) meta: Bytes,
    #[n(4)]
    pub(super) digest: Bytes,
    #[n(5)]
    pub(super) size: u64,
    #[n(6)]
    pub(super) chunks: u32,
}

#[derive(Encode, Decode)]
pub(super) enum StageRow {
    #[n(0)]
    Open(#[n(0)] bool),
    #[n(1)]
    Held(#[n(0)] DocumentRow, #[n(1)] DeliveryRow, #[n(2)] bool),
    #[n(2)]
    Purging(#[n(0)] DocumentRow, #[n(1)] CauseRow, #[n(2)] i64),
    #[n(3)]
    Purged,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct DeliveryRow {
    #[n(0)]
    pub(super) epoch: u32,
    #[n(1)]
    pub(super) attempts: u32,
    #[n(2)]
    pub(super) poison: u32,
    #[n(3)]
    pub(super) progress: Vec<(String, String)>,
    #[n(4)]
    pub(super) last_problem: Option<ProblemRow>,
    #[n(5)]
    pub(super) phase: PhaseRow,
}

#[derive(Encode, Decode)]
pub(super) struct ProblemRow {
    #[n(0)]
    pub(super) code: String,
    #[n(1)]
    pub(super) text: String,
}

#[derive(Encode, Decode)]
pub(super) struct IntentRow {
    #[n(0)]
    pub(super) epoch: u32,
    #[n(1)]
    pub(super) started_at: i64,
    #[n(2)]
    pub(super) digest: Bytes,
}

#[derive(Encode, Decode)]
pub(super) enum PhaseRow {
    #[n(0)]
    Pending(#[n(0)] i64),
    #[n(1)]
    Sending(#[n(0)] IntentRow),
    #[n(2)]
    Uncertain(#[n(0)] IntentRow, #[n(1)] i64, #[n(2)] Option<i64>, #[n(3)] u32),
    #[n(3)]
    Awaiting(#[n(0)] Vec<String>, #[n(1)] i64, #[n(2)] i64, #[n(3)] u32),
    #[n(4)]
    NeedsAttention(#[n(0)] ProblemRow, #[n(1)] i64),
}

#[derive(Encode, Decode)]
pub(super) enum CauseRow {
    #[n(0)]
    Confirmed,
    #[n(1)]
    Rejected(#[n(0)] ProblemRow),
    #[n(2)]
    Deadline,
    #[n(3)]
    Agent,
    #[n(4)]
    Lost,
    #[n(5)]
    Infected,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct TombstoneRow {
    #[n(0)]
    pub(super) document: Bytes,
    #[n(1)]
    pub(super) cause: CauseRow,
    #[n(2)]
    pub(super) parts: Vec<String>,
    #[n(3)]
    pub(super) received_at: i64,
    #[n(4)]
    pub(super) purged_at: i64,
    #[n(5)]
    pub(super) receipt: u64,
    #[n(6)]
    pub(super) generation: u32,
}
