//! Forms as browsers send them: `application/x-www-form-urlencoded`, at most 64 KiB, read into pairs.

use std::marker::PhantomData;
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::{HttpRequest, web};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::crypto::random;
use crate::domain::agent::Agent;
use crate::http::error::Problem;
use crate::workflow::WorkflowError;
use crate::workflow::issue::ClientKey;

use super::Take;
use super::body::body_bytes;

/// Which fields of a form are kept for its sender when it comes after the session's end, each by its name: a field that nobody has thought of, such as a new secret, is
/// not kept.
pub(crate) trait Keeps: 'static {
    const FIELDS: &'static [&'static str];
}

/// A type for each form, with the fields that are kept of it.
macro_rules! keeps {
    ($($(#[$doc:meta])* $name:ident: $($field:literal)+;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl $crate::http::extract::form::Keeps for $name {
            const FIELDS: &'static [&'static str] = &[$($field),+];
        }
    )+};
}

pub(crate) use keeps;

/// A form of which some fields are kept. Of a plain [`Form`] none is.
pub(crate) struct Typed<K> {
    form: Form,
    fields: PhantomData<K>,
}

impl<K> Deref for Typed<K> {
    type Target = Form;

    fn deref(&self) -> &Form {
        &self.form
    }
}

impl<K: Keeps> Take for Typed<K> {
    async fn take(request: &HttpRequest, payload: &mut Payload) -> Result<Self, Problem> {
        Ok(Self {
            form: Form::take(request, payload).await?,
            fields: PhantomData,
        })
    }

    fn keeps(field: &str) -> bool {
        K::FIELDS.contains(&field)
    }
}

#[derive(Default)]
pub(crate) struct Form {
    pairs: Vec<(String, String)>,
    /// Where it was sent to.
    path: String,
}

impl Take for Form {
    async fn take(request: &HttpRequest, payload: &mut Payload) -> Result<Self, Problem> {
        let unreadable = || Problem::malformed("The form cannot be read.");
        let bytes = body_bytes(request, payload, "application/x-www-form-urlencoded").await?;
        let text = std::str::from_utf8(&bytes).map_err(|_| unreadable())?;
        let pairs = web::Query::<Vec<(String, String)>>::from_query(text).map_err(|_| unreadable())?;
        Ok(Self {
            pairs: pairs.into_inner(),
            path: request.path().to_owned(),
        })
    }
}

impl Form {
    /// What a form is filled with before anybody has typed.
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        Self {
            pairs: pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            path: String::new(),
        }
    }

    /// The first value under a name, trimmed; empty when there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// The same untrimmed: passwords may begin with a space.
    pub(crate) fn raw(&self, name: &str) -> &str {
        self.pairs.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// A value that was filled in.
    pub(crate) fn filled(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|t| !t.is_empty()).map(str::to_owned)
    }

    pub(crate) fn ticked(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// What is kept of it, to be shown again; and where it was sent to.
    pub(crate) fn kept(self, keeps: fn(&str) -> bool) -> (String, Vec<(String, String)>) {
        let mut pairs = self.pairs;
        pairs.retain(|(name, _)| keeps(name));
        (self.path, pairs)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.pairs
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// The form's own number as an idempotency key: sent twice by an impatient finger or a reload, it has its effect once.
    pub(crate) fn once(&self, agent: &Agent) -> Result<ClientKey, Problem> {
        let key = self.text("once");
        if key.len() != 32 || !key.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Problem::malformed("This form is too old. Open it again."));
        }
        let mut hash = Sha256::new();
        for text in std::iter::once(self.path.as_str()).chain(self.pairs.iter().flat_map(|(n, v)| [n.as_str(), v.as_str()])) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        Ok(ClientKey {
            caller: format!("console {}", agent.id),
            key: key.to_owned(),
            body: hash.finalize().into(),
            // 128 random bits, of which the store keeps a keyed hash.
            secret: Zeroizing::new(key.to_owned()),
        })
    }
}

/// A number for one form.
pub(crate) fn once() -> Result<String, WorkflowError> {
    Ok(HEXLOWER.encode(&random::array::<16>()?))
}
