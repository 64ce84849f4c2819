//! What the console keeps in memory for one browser for some minutes: the page that answers a form, so that the browser lands on a GET, and a form that could not be
//! sent because the session had ended.
//!
//! A page may hold a link, a passcode or a key that is shown once. It is sealed under a key that needs its address and the cookie of the browser it was made for, and
//! neither is kept here. Nothing of it is stored, and a restart forgets all. Every shelf is bounded: the oldest entry makes room, and strangers have a shelf of their own.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::crypto::random::{self, RandomUnavailable};
use crate::crypto::secrets::PortalSecrets;

/// How long a page can be loaded again.
const PAGE_LIVES: Duration = Duration::minutes(10);
/// How long a form waits for its sender to sign in.
const FORM_LIVES: Duration = Duration::minutes(30);
/// A longer page is answered in place.
pub(crate) const PAGE_MAX: usize = 512 << 10;

struct Bounds {
    entries: usize,
    of_one: usize,
    bytes: usize,
}

const PAGES: Bounds = Bounds {
    entries: 4_000,
    of_one: 24,
    bytes: 64 << 20,
};
const STRANGERS: Bounds = Bounds {
    entries: 500,
    of_one: 24,
    bytes: 8 << 20,
};
const FORMS: Bounds = Bounds {
    entries: 500,
    of_one: 8,
    bytes: 8 << 20,
};

/// With which cookie a page can be had again.
#[derive(Clone, Copy)]
pub(crate) enum Holder<'a> {
    Session(&'a str),
    /// Of somebody who has no session yet: a random number that says nothing else.
    Stranger(&'a str),
}

impl Holder<'_> {
    fn cookie(self) -> Zeroizing<Vec<u8>> {
        let (kind, cookie) = match self {
            Self::Session(cookie) => (b's', cookie),
            Self::Stranger(cookie) => (b'r', cookie),
        };
        Zeroizing::new([&[kind], cookie.as_bytes()].concat())
    }
}

/// A page as a form was answered with it.
pub(crate) struct KeptPage {
    /// Where it is shown.
    pub path: String,
    pub status: u16,
    pub retry_after: Option<u32>,
    pub html: Zeroizing<Vec<u8>>,
}

/// A form that was not carried out, without its secrets.
pub(crate) struct KeptForm {
    /// Where it was sent to.
    pub path: String,
    pub pairs: Vec<(String, String)>,
    /// The mark of the browser that sent it: whose it was.
    pub mark: String,
}

#[derive(Default)]
pub(crate) struct Kept {
    pages: Mutex<Shelf>,
    strangers: Mutex<Shelf>,
    forms: Mutex<Shelf>,
}

impl Kept {
    /// Keeps a page; what comes back finds it again, with the cookie.
    pub(crate) fn keep_page(
        &self,
        secrets: &PortalSecrets,
        holder: Holder<'_>,
        page: &KeptPage,
        now: OffsetDateTime,
    ) -> Result<String, RandomUnavailable> {
        let (id, place) = drawn()?;
        let cookie = holder.cookie();
        let sealed = secrets.seal_for_browser(&cookie, &id, &page.html)?;
        let (shelf, bounds) = self.shelf(holder);
        add(
            shelf,
            bounds,
            Entry {
                place,
                owner: Sha256::digest(&*cookie).into(),
                until: now + PAGE_LIVES,
                path: page.path.clone(),
                answer: (page.status, page.retry_after),
                sealed,
            },
            now,
        );
        Ok(HEXLOWER.encode(&id))
    }

    pub(crate) fn page(&self, secrets: &PortalSecrets, holder: Holder<'_>, id: &str, path: &str, now: OffsetDateTime) -> Option<KeptPage> {
        let id = HEXLOWER.decode(id.as_bytes()).ok()?;
        let shelf = self.shelf(holder).0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = shelf.find(&id, now).filter(|entry| entry.path == path)?;
        let html = secrets.open_for_browser(&holder.cookie(), &id, &entry.sealed).ok()?;
        let (status, retry_after) = entry.answer;
        Some(KeptPage {
            path: path.to_owned(),
            status,
            retry_after,
            html,
        })
    }

    pub(crate) fn keep_form(&self, secrets: &PortalSecrets, form: &KeptForm, now: OffsetDateTime) -> Result<String, RandomUnavailable> {
        let (id, place) = drawn()?;
        let plain = Zeroizing::new(serde_json::to_vec(&(&form.mark, &form.pairs)).unwrap_or_default());
        let sealed = secrets.seal_for_browser(&id, &place, &plain)?;
        add(
            &self.forms,
            &FORMS,
            Entry {
                place,
                owner: Sha256::digest(&form.mark).into(),
                until: now + FORM_LIVES,
                path: form.path.clone(),
                answer: (0, None),
                sealed,
            },
            now,
        );
        Ok(HEXLOWER.encode(&id))
    }

    pub(crate) fn form(&self, secrets: &PortalSecrets, id: &str, now: OffsetDateTime) -> Option<KeptForm> {
        let id = HEXLOWER.decode(id.as_bytes()).ok()?;
        let shelf = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = shelf.find(&id, now)?;
        let plain = secrets.open_for_browser(&id, &entry.place, &entry.sealed).ok()?;
        let (mark, pairs) = serde_json::from_slice(&plain).ok()?;
        Some(KeptForm {
            path: entry.path.clone(),
            pairs,
            mark,
        })
    }

    const fn shelf(&self, holder: Holder<'_>) -> (&Mutex<Shelf>, &'static Bounds) {
        match holder {
            Holder::Session(_) => (&self.pages, &PAGES),
            Holder::Stranger(_) => (&self.strangers, &STRANGERS),
        }
    }
}

/// A number for an address, and what it is found by here.
fn drawn() -> Result<([u8; 16], [u8; 32]), RandomUnavailable> {
    let id = random::array()?;
    Ok((id, Sha256::digest(id).into()))
}

struct Entry {
    place: [u8; 32],
    owner: [u8; 32],
    until: OffsetDateTime,
    path: String,
    answer: (u16, Option<u32>),
    sealed: Vec<u8>,
}

/// Oldest first.
#[derive(Default)]
struct Shelf {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Shelf {
    fn find(&self, id: &[u8], now: OffsetDateTime) -> Option<&Entry> {
        let place: [u8; 32] = Sha256::digest(id).into();
        self.entries.iter().find(|entry| entry.place == place && entry.until > now)
    }

    fn drop_at(&mut self, at: usize) {
        if let Some(gone) = self.entries.remove(at) {
            self.bytes -= gone.sealed.len();
        }
    }
}

fn add(shelf: &Mutex<Shelf>, bounds: &Bounds, entry: Entry, now: OffsetDateTime) {
    let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
    while shelf.entries.front().is_some_and(|oldest| oldest.until <= now) {
        shelf.drop_at(0);
    }
    let own = |shelf: &Shelf| shelf.entries.iter().filter(|other| other.owner == entry.owner).count();
    if own(&shelf) >= bounds.of_one
        && let Some(at) = shelf.entries.iter().position(|other| other.owner == entry.owner)
    {
        shelf.drop_at(at);
    }
    while !shelf.entries.is_empty() && (shelf.entries.len() >= bounds.entries || shelf.bytes + entry.sealed.len() > bounds.bytes) {
        shelf.drop_at(0);
    }
    shelf.bytes += entry.sealed.len();
    shelf.entries.push_back(entry);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const AT: OffsetDateTime = time::macros::datetime!(2026-05-01 12:00 UTC);

    fn secrets() -> PortalSecrets {
        let path = std::env::temp_dir().join(format!("nightdrop-kept-{}-{:?}", std::process::id(), std::thread::current().id()));
        PortalSecrets::create(&path, &[1; 16]).unwrap();
        let secrets = PortalSecrets::load(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        secrets
    }

    fn page(text: &str) -> KeptPage {
        KeptPage {
            path: "/requests/new".into(),
            status: 200,
            retry_after: None,
            html: Zeroizing::new(text.as_bytes().to_vec()),
        }
    }

    #[test]
    fn a_page_opens_for_the_browser_it_was_made_for_at_its_address_and_for_minutes() {
        let (kept, secrets) = (Kept::default(), secrets());
        let mine = Holder::Session("cookie");
        let id = kept.keep_page(&secrets, mine, &page("the link"), AT).unwrap();
        let shown = |holder, id: &str, path, now| kept.page(&secrets, holder, id, path, now).map(|p| p.html.to_vec());
        let soon = AT + Duration::minutes(9);
        assert_eq!(shown(mine, &id, "/requests/new", soon).unwrap(), b"the link");
        assert_eq!(
            shown(mine, &id, "/requests/new", soon).unwrap(),
            b"the link",
            "a reload shows it again"
        );
        for (holder, id, path, now) in [
            (Holder::Session("other"), &*id, "/requests/new", soon),
            (Holder::Stranger("cookie"), &*id, "/requests/new", soon),
            (mine, &*id, "/missing", soon),
            (mine, "00", "/requests/new", soon),
            (mine, &*id, "/requests/new", AT + PAGE_LIVES),
        ] {
            assert_eq!(shown(holder, id, path, now), None);
        }
        let entry = &kept.pages.lock().unwrap().entries[0];
        assert!(!entry.sealed.windows(8).any(|piece| piece == b"the link"));
    }

    #[test]
    fn nobody_fills_the_memory_or_pushes_anothers_pages_out() {
        let (kept, secrets) = (Kept::default(), secrets());
        let mine = Holder::Session("mine");
        let id = kept.keep_page(&secrets, mine, &page("mine"), AT).unwrap();
        for _ in 0..50 {
            kept.keep_page(&secrets, Holder::Session("busy"), &page("theirs"), AT).unwrap();
            kept.keep_page(&secrets, Holder::Stranger("busy"), &page("theirs"), AT).unwrap();
        }
        assert_eq!(kept.pages.lock().unwrap().entries.len(), 1 + PAGES.of_one);
        assert_eq!(kept.strangers.lock().unwrap().entries.len(), STRANGERS.of_one);
        assert!(kept.page(&secrets, mine, &id, "/requests/new", AT).is_some());
        let long = KeptPage {
            html: Zeroizing::new(vec![b'x'; PAGE_MAX]),
            ..page("")
        };
        for n in 0..20 {
            let cookie = n.to_string();
            kept.keep_page(&secrets, Holder::Stranger(&cookie), &long, AT).unwrap();
        }
        assert!(kept.strangers.lock().unwrap().bytes <= STRANGERS.bytes);
        let later = AT + Duration::hours(1);
        kept.keep_page(&secrets, mine, &page("later"), later).unwrap();
        assert_eq!(kept.pages.lock().unwrap().entries.len(), 1, "what is too old goes");
    }

    #[test]
    fn a_form_comes_back_by_its_number() {
        let (kept, secrets) = (Kept::default(), secrets());
        let form = KeptForm {
            path: "/requests/new".into(),
            pairs: vec![("applicant".into(), "acct_1".into())],
            mark: "mark".into(),
        };
        let id = kept.keep_form(&secrets, &form, AT).unwrap();
        let back = kept.form(&secrets, &id, AT).unwrap();
        assert_eq!((back.path, back.pairs, back.mark), (form.path, form.pairs, form.mark));
        assert!(kept.form(&secrets, &id, AT + FORM_LIVES).is_none());
        assert!(kept.form(&secrets, "00", AT).is_none());
    }
}
