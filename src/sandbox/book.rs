//! What the sandbox received. One lock, held for moments, so that every count is exact.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use serde_json::{Value, json};

use super::script::{Entry, Tell};

#[derive(Default)]
pub(super) struct Book {
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    script: VecDeque<Entry>,
    documents: Vec<Stored>,
    by_id: HashMap<String, usize>,
    by_applicant: HashMap<String, Vec<usize>>,
    by_key: HashMap<String, Remembered>,
    stuck_keys: HashSet<String>,
}

struct Remembered {
    digest: [u8; 32],
    document: usize,
}

struct Stored {
    upload: Upload,
    id: String,
    visible: Instant,
    pending: u64,
    reject: Option<String>,
    tell: Tell,
}

/// One upload as it was read.
pub(super) struct Upload {
    pub applicant: String,
    pub document: String,
    pub parts: Vec<PartSeen>,
    pub key: Option<String>,
    /// SHA-256 over everything that was read.
    pub digest: [u8; 32],
}

pub(super) struct PartSeen {
    pub part: String,
    pub file: String,
    pub sha256: String,
    pub size: u64,
}

pub(super) enum Committed {
    /// Stored now; the verdict may be told.
    New(Value, Option<Telling>),
    /// The key was seen with the same bytes: the same answer again, without effect.
    Again(Value),
    /// The key was seen with other bytes.
    OtherBytes,
}

/// A verdict to be told to the portal.
pub(super) struct Telling {
    pub document: String,
    pub status: &'static str,
    pub tell: Tell,
}

impl Book {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn plan(&self, entries: Vec<Entry>) {
        self.pages().script = entries.into();
    }

    pub(super) fn planned(&self) -> usize {
        self.pages().script.len()
    }

    pub(super) fn next_entry(&self) -> Entry {
        self.pages().script.pop_front().unwrap_or_default()
    }

    /// From now on this key is answered with 500.
    pub(super) fn stick(&self, key: String) {
        self.pages().stuck_keys.insert(key);
    }

    pub(super) fn is_stuck(&self, key: &str) -> bool {
        self.pages().stuck_keys.contains(key)
    }

    pub(super) fn commit(&self, upload: Upload, entry: &Entry, now: Instant) -> Committed {
        let mut pages = self.pages();
        if let Some(known) = upload.key.as_ref().and_then(|key| pages.by_key.get(key)) {
            let same = known.digest == upload.digest;
            return if same {
                Committed::Again(pages.documents[known.document].describe())
            } else {
                Committed::OtherBytes
            };
        }
        let index = pages.documents.len();
        let id = format!("sbx_{index:08}");
        pages.by_id.insert(id.clone(), index);
        pages.by_applicant.entry(upload.applicant.clone()).or_default().push(index);
        if let Some(key) = &upload.key {
            pages.by_key.insert(
                key.clone(),
                Remembered {
                    digest: upload.digest,
                    document: index,
                },
            );
        }
        let stored = Stored {
            upload,
            id,
            visible: now + entry.hide,
            pending: entry.pending,
            reject: entry.reject.clone(),
            tell: entry.tell,
        };
        let (answer, telling) = (stored.describe(), stored.telling());
        pages.documents.push(stored);
        Committed::New(answer, telling)
    }

    /// A look-up counts as a question for the verdict; the question that finds it out sets off the telling.
    pub(super) fn look_up(&self, id: &str, now: Instant) -> Option<(Value, Option<Telling>)> {
        let mut pages = self.pages();
        let index = *pages.by_id.get(id)?;
        let document = &mut pages.documents[index];
        if now < document.visible {
            return None;
        }
        if document.pending == 0 {
            return Some((document.describe(), None));
        }
        let answer = document.describe();
        document.pending -= 1;
        Some((answer, document.telling()))
    }

    pub(super) fn list(&self, applicant: &str, now: Instant) -> Value {
        let pages = self.pages();
        let shown = pages.of(applicant).filter(|d| d.visible <= now).map(Stored::describe);
        json!({"documents": shown.collect::<Vec<_>>()})
    }

    /// Everybody's identity document is wanted until one came that was not rejected.
    pub(super) fn missing(&self, applicant: &str, now: Instant) -> Value {
        let pages = self.pages();
        let ours = || {
            pages
                .of(applicant)
                .filter(|d| d.visible <= now && d.upload.document == "government-id")
        };
        if ours().any(|d| d.status() != "rejected") {
            return json!({"missing": []});
        }
        let reason = ours().last().and_then(|d| d.reject.clone());
        json!({"missing": [{"document": "government-id", "parts": ["front", "back"], "reason": reason}]})
    }

    /// One entry per submission, with the number of its deliveries that took effect; oldest first.
    pub(super) fn received(&self) -> Value {
        let pages = self.pages();
        let mut order: HashMap<(&str, &str, String), usize> = HashMap::new();
        let mut entries: Vec<(&Stored, u64)> = Vec::new();
        for document in &pages.documents {
            let upload = &document.upload;
            let at = *order
                .entry((&upload.applicant, &upload.document, upload.submission()))
                .or_insert_with(|| {
                    entries.push((document, 0));
                    entries.len() - 1
                });
            entries[at].1 += 1;
        }
        let entries = entries.into_iter().map(|(document, deliveries)| {
            let upload = &document.upload;
            let parts: Vec<Value> = upload
                .parts
                .iter()
                .map(|p| json!({"part": p.part, "sha256": p.sha256, "size": p.size}))
                .collect();
            json!({"applicant": upload.applicant, "document": upload.document, "parts": parts, "deliveries": deliveries})
        });
        Value::Array(entries.collect())
    }
}

impl Pages {
    fn of(&self, applicant: &str) -> impl Iterator<Item = &Stored> {
        self.by_applicant
            .get(applicant)
            .into_iter()
            .flatten()
            .map(|index| &self.documents[*index])
    }
}

impl Stored {
    fn status(&self) -> &'static str {
        match (self.pending, &self.reject) {
            (1.., _) => "pending",
            (0, Some(_)) => "rejected",
            (0, None) => "accepted",
        }
    }

    fn describe(&self) -> Value {
        let files: Vec<&str> = self.upload.parts.iter().map(|p| p.file.as_str()).collect();
        let status = self.status();
        let reason = self.reject.as_ref().filter(|_| status == "rejected");
        json!({"id": self.id, "document": self.upload.document, "status": status, "reason": reason, "files": files})
    }

    fn telling(&self) -> Option<Telling> {
        (self.pending == 0).then(|| Telling {
            document: self.id.clone(),
            status: self.status(),
            tell: self.tell,
        })
    }
}

impl Upload {
    /// What makes two uploads the same submission: the document's id in its file names, else its bytes.
    fn submission(&self) -> String {
        let stem = |p: &PartSeen| {
            let name = p.file.rsplit_once('.').map_or(p.file.as_str(), |(name, _)| name);
            name.strip_suffix(&format!("-{}", p.part))
                .filter(|_| name.starts_with("document-"))
                .map(str::to_owned)
        };
        let stems: Option<HashSet<String>> = self.parts.iter().map(stem).collect();
        match stems {
            Some(stems) if stems.len() == 1 => stems.into_iter().collect(),
            _ => self.parts.iter().map(|p| p.sha256.as_str()).collect(),
        }
    }
}
