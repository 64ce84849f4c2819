//! What single keys cannot show: whether the table as a whole can do what it promises, above all whether a delivery can be told from a stranger's answer.

use reqwest::Method;

use super::super::body;
use super::super::template::{Hole, Template};
use super::{CallbackRules, CallbackScheme, HttpSettings, ListRules, Pairs, Second, Shape};
use crate::connectors::shape::Json;
use crate::connectors::sign;
use crate::domain::delivery::ConfirmAt;
use crate::settings::{ConfigError, Reader};

/// What no answer about another document or to another applicant's question holds.
const NAMES_IT: [Hole; 6] = [
    Hole::Applicant,
    Hole::ApplicantFirst,
    Hole::ApplicantSecond,
    Hole::Document,
    Hole::FileName,
    Hole::Key,
];

impl HttpSettings {
    pub(super) fn agree(&self, reader: &mut Reader<'_>) {
        self.agree_about_upload(reader);
        self.agree_about_proof(reader);
        if let Some(second) = &self.second {
            self.agree_about_second(reader, second);
        }
        if let Some(list) = &self.list {
            self.agree_about_list(reader, "list", list, self.upload.per_part);
        }
        self.agree_about_verdict(reader);
        self.agree_about_callback(reader);
    }

    fn agree_about_upload(&self, reader: &mut Reader<'_>) {
        let upload = &self.upload;
        if upload.fixed_id && upload.method != Method::PUT {
            fault(reader, "upload.fixed_id", "must be true only with method = \"PUT\"");
        }
        if upload.answer.reference_prefix.is_some() && upload.answer.reference.is_none() {
            fault(reader, "upload.reference", "is needed with reference_prefix");
        }
        let keyed = |pairs: &Pairs| pairs.have_any(&[Hole::Key]);
        let listed = self.list.as_ref().is_some_and(|l| l.at.path.has(Hole::Key) || keyed(&l.names));
        if upload.idempotency_header.is_none() && (listed || keyed(&upload.answer.names)) {
            fault(
                reader,
                "idempotency_header",
                "is needed, because {key} is asked for and no request carries one",
            );
        }
        if matches!(upload.shape, Shape::Base64 | Shape::DataUri | Shape::Presigned) && self.sample(upload.per_part).is_err() {
            let more = if upload.shape == Shape::Presigned { "" } else { " and file_field" };
            let text = format!(
                "must have names{more} that do not stand in each other's way, also with two parts (use {{part}} or {{n}}, or per_part = true); a list is filled from 0"
            );
            fault(reader, "upload.fields", text);
        }
    }

    /// The names of a body of two parts, or of as many as there can be, planted once for a try.
    fn sample(&self, per_part: bool) -> Result<(), body::Clash> {
        let parts = if per_part || self.part_names.len() == 1 { 1 } else { 2 };
        let mut tree = None;
        let fields = self.upload.fields.0.iter().map(|(name, _)| (name, name.repeats()));
        let file = (self.upload.shape != Shape::Presigned).then_some((&self.upload.file_field, true));
        for (name, repeats) in fields.chain(file) {
            for n in 0..if repeats { parts } else { 1 } {
                body::plant(&mut tree, &example(name, n), Json::text(""))?;
            }
        }
        Ok(())
    }

    /// Something must tell this document's answer from anybody's.
    fn agree_about_proof(&self, reader: &mut Reader<'_>) {
        let upload = &self.upload;
        if !reader.has("upload") {
            return;
        }
        if !upload.answer.names.is_empty() && !upload.answer.names.have_any(&NAMES_IT) {
            fault(
                reader,
                "upload.answer_names",
                "names nothing of this document: one of {applicant}, {document}, {file_name} and {key} must stand there",
            );
        }
        if let Some(lookup) = &self.lookup {
            let by_size = lookup.names.have_any(&[Hole::Size]) && lookup.names.have_any(&[Hole::Reference]);
            if !by_size && !lookup.names.have_any(&NAMES_IT) {
                fault(
                    reader,
                    "lookup.names",
                    "must name this document: one of {applicant}, {document}, {file_name} and {key}, or {reference} with {size}",
                );
            }
            let by_reference = lookup.at.path.has(Hole::Reference) || lookup.names.have_any(&[Hole::Reference]);
            if by_reference && upload.answer.reference.is_none() {
                fault(reader, "upload.reference", "is needed, because [lookup] asks by {reference}");
            }
        }
        let asked = self.lookup.is_some() || self.list.is_some();
        match &upload.address {
            Some(address) => {
                let named = address.names.have_any(&NAMES_IT) || address.names.have_any(&[Hole::Reference]);
                if address.names.have_any(&[Hole::Reference]) && upload.answer.reference.is_none() {
                    fault(reader, "upload.reference", "is needed, because address_names has {reference}");
                }
                if !named && !asked {
                    fault(
                        reader,
                        "upload.address_names",
                        "is needed, or a [lookup] or a [list]: the answer to the bytes names no document, so that anybody could have given it",
                    );
                }
            }
            None if upload.answer.names.is_empty() && !asked => fault(
                reader,
                "upload.answer_names",
                "is needed: what stands in the answer of this very document, such as { \"/applicant_id\" = \"{applicant}\" }; where it names nothing, a [lookup] \
                 or a [list] that the provider is asked by. Without one of them anybody's answer would pass for a receipt",
            ),
            None => {}
        }
    }

    fn agree_about_second(&self, reader: &mut Reader<'_>, second: &Second) {
        let word = second.word;
        let key = |name: &str| format!("{word}.{name}");
        if second.fixed_id && second.method != Method::PUT {
            fault(reader, &key("fixed_id"), "must be true only with method = \"PUT\"");
        }
        let names_it = [&NAMES_IT[..], &[Hole::Reference]].concat();
        if !second.answer.names.have_any(&names_it) && second.list.is_none() {
            fault(
                reader,
                &key("answer_names"),
                format!(
                    "is needed: what stands in the answer of this very document, such as {{ \"/file_id\" = \"{{reference}}\" }}; or an [{word}.list] that the provider is asked by"
                ),
            );
        }
        let fields = &second.fields.0;
        let one = |template: &Template| template.has(Hole::Reference);
        let in_names = second.answer.names.have_any(&[Hole::Reference]);
        let in_list = second
            .list
            .as_ref()
            .is_some_and(|l| one(&l.at.path) || l.names.have_any(&[Hole::Reference]));
        let all = fields.iter().any(|(_, text)| text.has(Hole::References));
        let any = one(&second.to.path) || fields.iter().any(|(_, text)| one(text)) || in_names || in_list || all;
        if any && self.upload.answer.reference.is_none() {
            fault(reader, "upload.reference", format!("is needed, because [{word}] has {{reference}}"));
        }
        let once = one(&second.to.path) || in_names || fields.iter().any(|(name, text)| one(text) && !name.repeats());
        if once && !second.per_part && self.upload.per_part && self.part_names.len() != 1 {
            fault(
                reader,
                &key("per_part"),
                "must be true, because there is a {reference} for each part; or use {references}, or a field whose name has {part} or {n}",
            );
        }
        if fields
            .iter()
            .any(|(_, text)| text.has(Hole::References) && !text.is_only(Hole::References))
        {
            fault(
                reader,
                &key("fields"),
                "must be a table in which {references} stands alone: it is a list",
            );
        }
        if second.per_part && all {
            fault(
                reader,
                &key("fields"),
                "must be a table without {references}, because each part has a request of its own",
            );
        }
        if second.per_part && !self.upload.per_part {
            fault(reader, &key("per_part"), "must be true only with upload.per_part = true");
        }
        let parts = if second.per_part || self.part_names.len() == 1 { 1 } else { 2 };
        let mut tree = None;
        let clash = fields.iter().any(|(name, _)| {
            (0..if name.repeats() { parts } else { 1 }).any(|n| body::plant(&mut tree, &example(name, n), Json::text("")).is_err())
        });
        if clash {
            fault(
                reader,
                &key("fields"),
                "must have names that do not stand in each other's way; a list is filled from 0",
            );
        }
        let keyed = second.answer.names.have_any(&[Hole::Key])
            || second
                .list
                .as_ref()
                .is_some_and(|l| l.at.path.has(Hole::Key) || l.names.have_any(&[Hole::Key]));
        if keyed && second.idempotency_header.is_none() {
            fault(
                reader,
                &key("idempotency_header"),
                "is needed, because {key} is asked for and this request carries none",
            );
        }
        if let Some(list) = &second.list {
            self.agree_about_list(reader, &key("list"), list, second.per_part);
        }
    }

    /// An entry must be this document's, and with a request for each part this part's.
    fn agree_about_list(&self, reader: &mut Reader<'_>, key: &str, list: &ListRules, per_part: bool) {
        let (names, at) = (&list.names, format!("{key}.names"));
        let of_part = names.have_any(&[Hole::FileName, Hole::Key, Hole::Reference])
            || (names.have_any(&[Hole::Document]) && (names.have_any(&[Hole::Part]) || !per_part || self.part_names.len() == 1));
        if names.is_empty() {
            fault(
                reader,
                &at,
                "is needed: what stands in an entry of this very document, such as { \"/fileName\" = \"{file_name}\" }",
            );
        } else if !of_part {
            fault(
                reader,
                &at,
                "must tell this document and part from others: {file_name}, {key}, or {document} with {part}; the applicant has other documents too",
            );
        }
    }

    fn agree_about_verdict(&self, reader: &mut Reader<'_>) {
        let verdict = self.verdict.as_ref();
        let received = self.common.confirm != ConfirmAt::Verdict;
        if !received && verdict.is_none() {
            fault(reader, "verdict", "is needed with confirm = \"verdict\"");
        }
        let Some(rules) = verdict else { return };
        let by_reference = rules.at.as_ref().is_some_and(|at| at.path.has(Hole::Reference)) || rules.names.have_any(&[Hole::Reference]);
        let second = self.second.as_ref().and_then(|second| second.answer.reference.as_ref());
        if by_reference && self.upload.answer.reference.is_none() && second.is_none() {
            fault(reader, "upload.reference", "is needed, because verdict.path asks by {reference}");
        }
        if rules.at.is_some() {
            return;
        }
        if !received && self.upload.per_part {
            fault(
                reader,
                "verdict.path",
                "is needed with one request per part: a continued upload must be able to ask",
            );
        }
        if self.upload.answer.names.is_empty() {
            fault(
                reader,
                "verdict.path",
                "is needed, because the upload's answer names no document (upload.answer_names)",
            );
        }
        if self.second.is_some() {
            fault(
                reader,
                "verdict.path",
                "is needed with a second request: the upload's answer knows nothing of it",
            );
        }
    }

    fn agree_about_callback(&self, reader: &mut Reader<'_>) {
        if self.callback.is_some() && self.common.webhook_secrets.is_empty() && !reader.has("webhook_secret_file") {
            fault(
                reader,
                "webhook_secret_file",
                "is needed with [callback]: an unsigned callback is never believed",
            );
        }
        let standard = matches!(
            self.callback,
            Some(CallbackRules {
                scheme: CallbackScheme::Standard,
                ..
            })
        );
        if standard && self.common.webhook_secrets.iter().any(|s| sign::standard_key(s.expose()).is_none()) {
            fault(
                reader,
                "webhook_secret_file",
                "must be a file with whsec_ and base64, because of scheme = \"standard\"",
            );
        }
    }
}

/// Notes what is wrong with a key, unless the key itself could not be read.
fn fault(reader: &mut Reader<'_>, key: &str, fix: impl Into<String>) {
    reader.note::<()>(Err(vec![ConfigError::new(key, fix)]));
}

/// A name as it is for the n-th part, for a try without a document.
fn example(name: &Template, n: usize) -> String {
    name.shown().replace("{n}", &n.to_string()).replace("{part}", &format!("part-{n}"))
}
