//! The requests of a delivery, one after the other: uploads, the bytes to an address that an answer gave, a second request; and the questions that tell
//! what of it is there. A step counts as done once an answer named this document, and only then is it noted.

use reqwest::Url;
use serde_json::Value;

use super::answer::{self, judge, not_about_this, text_at, worse};
use super::body::{tree, written};
use super::send::Outgoing;
use super::settings::{Address, AnswerRules, ListRules, Second};
use super::template::{Hole, Values};
use super::{Http, class_of_second};
use crate::connectors::body::{Body, Segment};
use crate::connectors::client::{Answer, Call};
use crate::connectors::guard::foreign_url;
use crate::connectors::{Delivered, Failure, OutboundDocument, ProgressLog, Verdict};
use crate::domain::delivery::{DeliveryProblem, ProviderClass};

/// Call numbers of second requests; uploads have those below. More parts are never asked for.
const SECOND_CALLS: u8 = 128;
/// No provider's reference is longer; what is, is a page and not a reference.
const REFERENCE_MAX: usize = 512;

/// What an answer to a request said.
struct Said {
    body: Option<Value>,
    reference: String,
    /// It named this document.
    named: bool,
}

/// Of each part, whether the provider has it, with the reference that it gave.
type There = Vec<Option<String>>;

fn call_of(part: usize) -> u8 {
    u8::try_from(part).unwrap_or(SECOND_CALLS).min(SECOND_CALLS - 1)
}

impl Http {
    pub(super) async fn deliver_all(&self, outbound: &OutboundDocument, progress_log: &dyn ProgressLog) -> Result<Delivered, Failure> {
        let Some(second) = &self.settings.second else {
            let (references, verdict) = self.deliver_uploads(outbound, progress_log, &[]).await?;
            return Ok(Delivered {
                references: answer::named(references),
                verdict,
            });
        };
        // A proven absence of the whole may still be the presence of a part: where there is a list, it is read first.
        let attached = match &second.list {
            Some(list) if class_of_second(&self.settings, second) == ProviderClass::Reconcile => {
                self.attached(second, list, outbound).await?
            }
            _ => vec![None; outbound.parts.len()],
        };
        if attached.iter().all(Option::is_some) {
            return Ok(Delivered {
                references: dense(attached),
                verdict: Verdict::Pending,
            });
        }
        // What is attached already needs no upload.
        let done: &[Option<String>] = if second.per_part { &attached } else { &[] };
        let uploads = self
            .deliver_uploads(outbound, progress_log, done)
            .await
            .map_err(|failure| match failure {
                // Without the second request an upload means nothing to the provider, so that another one is harmless.
                Failure::Ambiguous { problem } if second.attaches => Failure::Definite {
                    problem,
                    after: None,
                    new_key: false,
                },
                other => other,
            });
        let references = self.deliver_second(second, outbound, progress_log, &uploads?.0, &attached).await?;
        Ok(Delivered {
            references: answer::named(references),
            verdict: Verdict::Pending,
        })
    }

    /// One reference for each upload. Those of finished uploads are noted, so that a later attempt of this epoch continues behind them. `done`: of each part,
    /// whether nothing is left to do.
    async fn deliver_uploads(
        &self,
        outbound: &OutboundDocument,
        progress_log: &dyn ProgressLog,
        done: &[Option<String>],
    ) -> Result<(Vec<String>, Verdict), Failure> {
        let all: Vec<usize> = (0..outbound.parts.len()).collect();
        let listed = match &self.settings.list {
            Some(list) if self.is_in_pieces() && self.upload_class() == ProviderClass::Reconcile => {
                self.present(list, outbound, &[], call_of).await?
            }
            _ => vec![None; all.len()],
        };
        let requests: Vec<(String, Vec<usize>)> = if self.settings.upload.per_part {
            let of = |part: usize| (format!("part:{}", outbound.parts[part].name), vec![part]);
            all.into_iter().map(of).collect()
        } else {
            vec![("upload".to_owned(), all)]
        };
        let (mut references, mut verdict) = (Vec::new(), Verdict::Accepted);
        for (number, (step, parts)) in requests.iter().enumerate() {
            let done = done.get(parts[0]).and_then(Option::as_deref);
            let known = outbound.step(step).or(done).or(listed[parts[0]].as_deref());
            if let Some(reference) = known {
                references.push(reference.to_owned());
                verdict = worse(verdict, Verdict::Pending);
                continue;
            }
            let (reference, one) = self.upload(outbound, parts, call_of(number)).await?;
            if self.is_in_pieces() {
                progress_log.note(step, &reference).await?;
            }
            references.push(reference);
            verdict = worse(verdict, one);
        }
        Ok((references, verdict))
    }

    /// One request for the given parts: all of them, or one.
    async fn upload(&self, outbound: &OutboundDocument, parts: &[usize], call: u8) -> Result<(String, Verdict), Failure> {
        let upload = &self.settings.upload;
        let values = self.of_parts(outbound, parts, call);
        let request = Outgoing {
            method: &upload.method,
            url: upload.to.url(&self.client, &values[0]),
            body: Some(self.body(outbound, parts, call)?),
            key: key_of(upload.idempotency_header.as_deref(), outbound, call),
        };
        let answered = self.send(request).await?;
        let mut said = read(&upload.answer, &answered, &values)?;
        let whole = said.named;
        if let Some(address) = &upload.address
            && (200..300).contains(&answered.status)
        {
            let values = values[0].reference(&said.reference);
            let taken = self.put(outbound, parts[0], address, said.body.as_ref(), &values).await?;
            // The answer that gave the address says nothing of the bytes.
            said.named = !address.names.is_empty() && taken;
        }
        let found = self.prove(outbound, parts, call, &said).await?;
        let reference = if said.reference.is_empty() {
            found.unwrap_or_default()
        } else {
            said.reference
        };
        let judged = self.settings.verdict.as_ref().zip(said.body.as_ref()).filter(|_| whole);
        Ok((reference, judged.map_or(Verdict::Pending, |(rules, body)| judge(rules, body))))
    }

    /// The bytes to where the answer says; without any credentials unless the table sends them: the address itself is the permission. It is never stored.
    async fn put(
        &self,
        outbound: &OutboundDocument,
        part: usize,
        address: &Address,
        said: Option<&Value>,
        values: &Values<'_>,
    ) -> Result<bool, Failure> {
        let text = said.and_then(|body| text_at(body, &address.pointer)).ok_or_else(not_about_this)?;
        let url = self.upload_url(address, &text)?;
        let body = Body::new(outbound.parts[part].file_type.mime(), vec![Segment::Part(part)], outbound);
        let put = if address.credentials {
            let request = Outgoing {
                method: &address.method,
                url,
                body: Some(body),
                key: None,
            };
            self.send(request).await?
        } else {
            self.client.send(Call::sending(address.method.clone(), url).body(body)).await?
        };
        if !(200..300).contains(&put.status) {
            return Err(match put.failure() {
                Failure::Credentials { .. } => put.definite(
                    "provider.upload_address_refused",
                    "The upload address is no longer valid; a fresh one is fetched by itself.",
                ),
                other => other,
            });
        }
        if address.names.is_empty() {
            return Ok(true);
        }
        match answer::json(&put).is_some_and(|body| address.names.fit(&body, &[*values])) {
            true => Ok(true),
            false => Err(not_about_this()),
        }
    }

    /// An address behind `base_url`, or an absolute one at its host or at one of those that the table lists; as safe as a configured one in any case.
    fn upload_url(&self, address: &Address, text: &str) -> Result<Url, Failure> {
        let endpoint = &self.settings.common.endpoint;
        let base = self.client.url("/");
        let absolute = if text.starts_with('/') {
            base.join(text).ok()
        } else {
            Url::parse(text).ok()
        };
        let own = absolute.as_ref().filter(|url| url.origin() == base.origin());
        let mut hosts = address.hosts.clone();
        hosts.extend(own.and_then(Url::host_str).map(str::to_owned));
        // What begins with / may still leave the host ("//other.example"): then it must be a listed one, as any other.
        foreign_url(endpoint, &hosts, absolute.as_ref().map_or(text, Url::as_str))
    }

    /// Nothing is reported as delivered before an answer named it: the upload's own, or one to a question about it. The reference that the list has for it.
    async fn prove(&self, outbound: &OutboundDocument, parts: &[usize], call: u8, said: &Said) -> Result<Option<String>, Failure> {
        let mut proven = said.named;
        if let Some(lookup) = &self.settings.lookup {
            let values: Vec<_> = self
                .of_parts(outbound, parts, call)
                .into_iter()
                .map(|v| v.reference(&said.reference))
                .collect();
            let by_reference = lookup.at.path.has(Hole::Reference) && said.reference.is_empty();
            if !by_reference {
                let body = self.ask(lookup.at.url(&self.client, &values[0])).await.map_err(after_sending)?;
                if !lookup.names.fit(&body, &values) {
                    return Err(not_about_this());
                }
                proven = true;
            }
        }
        if proven {
            return Ok(None);
        }
        let Some(list) = &self.settings.list else {
            return Err(not_about_this());
        };
        let there = self.present(list, outbound, &[], call_of).await.map_err(after_sending)?;
        match there.get(parts[0]).cloned().flatten() {
            Some(reference) => Ok(Some(reference)),
            None => Err(not_about_this()),
        }
    }

    /// What a list shows of each part. `references`: those of the uploads, where a list is asked by them.
    async fn present(
        &self,
        rules: &ListRules,
        outbound: &OutboundDocument,
        references: &[String],
        call: impl Fn(usize) -> u8,
    ) -> Result<There, Failure> {
        const OF_PART: [Hole; 7] = [
            Hole::Part,
            Hole::Number,
            Hole::Type,
            Hole::FileName,
            Hole::Size,
            Hole::Key,
            Hole::Reference,
        ];
        let (mut there, mut kept) = (Vec::new(), None);
        for part in 0..outbound.parts.len() {
            let reference = references
                .get(part.min(references.len().saturating_sub(1)))
                .map_or("", String::as_str);
            let values = Values {
                number: part,
                reference,
                references,
                ..Values::of(&self.settings, outbound).part(part).call(call(part))
            };
            let by_reference = rules.at.path.has(Hole::Reference) || rules.names.have_any(&[Hole::Reference]);
            if by_reference && reference.is_empty() {
                there.push(None);
                continue;
            }
            let body = match kept.take() {
                Some(body) => body,
                None => self.ask(rules.at.url(&self.client, &values)).await?,
            };
            let found = find(rules, &body, &values)?;
            kept = Some(body).filter(|_| !rules.at.path.has_any(&OF_PART));
            there.push(found);
        }
        Ok(there)
    }

    /// What the list of the second request shows of each part.
    async fn attached(&self, second: &Second, list: &ListRules, outbound: &OutboundDocument) -> Result<There, Failure> {
        let mut uploads: Vec<String> = self.noted_uploads(outbound).into_iter().map(Option::unwrap_or_default).collect();
        let by_reference = list.at.path.has(Hole::Reference) || list.names.have_any(&[Hole::Reference]);
        if by_reference
            && uploads.iter().any(String::is_empty)
            && let Some(list) = &self.settings.list
        {
            uploads = self
                .present(list, outbound, &[], call_of)
                .await?
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect();
        }
        let found = self.present(list, outbound, &uploads, |part| second_call(second, part)).await?;
        // Whoever wants the references of the uploads from here on gets them, where the list has no other.
        let own = |(part, found): (usize, Option<String>)| {
            let upload = uploads.get(part.min(uploads.len().saturating_sub(1))).cloned().unwrap_or_default();
            found.map(|found| if found.is_empty() { upload } else { found })
        };
        Ok(found.into_iter().enumerate().map(own).collect())
    }

    /// The references that this epoch's attempts have noted, one for each upload.
    fn noted_uploads(&self, outbound: &OutboundDocument) -> Vec<Option<String>> {
        let step = |step: &str| outbound.step(step).map(str::to_owned);
        if self.settings.upload.per_part {
            outbound.parts.iter().map(|part| step(&format!("part:{}", part.name))).collect()
        } else {
            vec![step("upload")]
        }
    }

    /// Of each part, whether this epoch's attempts have noted its last step, which they do once an answer named it. With its reference.
    fn noted(&self, outbound: &OutboundDocument) -> There {
        let uploads = self.noted_uploads(outbound);
        let upload = |part: usize| uploads.get(part.min(uploads.len().saturating_sub(1))).cloned().flatten();
        let of = |part: usize| match &self.settings.second {
            None => upload(part),
            Some(second) => {
                let name = &outbound.parts[part].name;
                let step = if second.per_part {
                    format!("{}:{name}", second.word)
                } else {
                    second.word.to_owned()
                };
                let own = outbound.step(&step)?.to_owned();
                Some(if second.answer.reference.is_some() {
                    own
                } else {
                    upload(part).unwrap_or_default()
                })
            }
        };
        (0..outbound.parts.len()).map(of).collect()
    }

    async fn deliver_second(
        &self,
        second: &Second,
        outbound: &OutboundDocument,
        progress_log: &dyn ProgressLog,
        uploads: &[String],
        attached: &There,
    ) -> Result<Vec<String>, Failure> {
        let word = second.word;
        let all: Vec<usize> = (0..outbound.parts.len()).collect();
        let requests: Vec<(String, Vec<usize>)> = if second.per_part {
            all.iter()
                .map(|part| (format!("{word}:{}", outbound.parts[*part].name), vec![*part]))
                .collect()
        } else {
            vec![(word.to_owned(), all)]
        };
        let mut references = Vec::new();
        for (step, parts) in &requests {
            // With one request for all, what is attached of one part is attached of all.
            let known = outbound.step(step).map(str::to_owned).or_else(|| attached[parts[0]].clone());
            let reference = match known {
                Some(reference) => reference,
                None => {
                    let reference = self.send_second(second, outbound, parts, uploads).await?;
                    progress_log.note(step, &reference).await?;
                    reference
                }
            };
            references.push(reference);
        }
        Ok(if second.answer.reference.is_some() {
            references
        } else {
            uploads.to_vec()
        })
    }

    async fn send_second(
        &self,
        second: &Second,
        outbound: &OutboundDocument,
        parts: &[usize],
        uploads: &[String],
    ) -> Result<String, Failure> {
        let call = second_call(second, parts[0]);
        let of = |(number, part): (usize, &usize)| Values {
            number,
            reference: &uploads[(*part).min(uploads.len() - 1)],
            references: uploads,
            ..Values::of(&self.settings, outbound).part(*part).call(call)
        };
        let values: Vec<_> = parts.iter().enumerate().map(of).collect();
        let body = tree(written(&second.fields, &values))?;
        let request = Outgoing {
            method: &second.method,
            url: second.to.url(&self.client, &values[0]),
            body: body.map(|body| body.body(outbound)),
            key: key_of(second.idempotency_header.as_deref(), outbound, call),
        };
        let answered = self.send(request).await?;
        let said = read(&second.answer, &answered, &values)?;
        if said.named {
            return Ok(said.reference);
        }
        let Some(list) = &second.list else {
            return Err(not_about_this());
        };
        let there = self
            .present(list, outbound, uploads, |part| second_call(second, part))
            .await
            .map_err(after_sending)?;
        match there.get(parts[0]).cloned().flatten() {
            Some(found) if said.reference.is_empty() => Ok(found),
            Some(_) => Ok(said.reference),
            None => Err(not_about_this()),
        }
    }

    /// Whether everything is there, nothing, or something; `None` where the provider cannot say.
    pub(super) async fn found(&self, outbound: &OutboundDocument) -> Result<Option<There>, Failure> {
        let noted = self.noted(outbound);
        if self.is_in_pieces() && noted.iter().all(Option::is_some) {
            return Ok(Some(noted));
        }
        let Some(second) = &self.settings.second else {
            let Some(list) = &self.settings.list else { return Ok(None) };
            return Ok(Some(self.present(list, outbound, &[], call_of).await?));
        };
        if let Some(list) = &second.list {
            return Ok(Some(self.attached(second, list, outbound).await?));
        }
        // The second request is sent only behind all uploads, and each of them is noted.
        let begun = self.noted_uploads(outbound).iter().all(Option::is_some);
        Ok((second.attaches && !begun).then(|| vec![None; outbound.parts.len()]))
    }

    /// Whether a delivery takes several requests that send, so that some of them may be done and others not.
    fn is_in_pieces(&self) -> bool {
        self.settings.upload.per_part || self.settings.second.is_some()
    }

    /// How many parts must be found one by one.
    pub(super) fn needed(&self, outbound: &OutboundDocument) -> usize {
        let per_part = match &self.settings.second {
            Some(second) => second.per_part,
            None => self.settings.upload.per_part,
        };
        if per_part { outbound.parts.len() } else { 1 }
    }
}

fn second_call(second: &Second, part: usize) -> u8 {
    SECOND_CALLS + if second.per_part { call_of(part) } else { 0 }
}

fn key_of<'a>(header: Option<&'a str>, outbound: &OutboundDocument, call: u8) -> Option<(&'a str, String)> {
    header.map(|name| (name, outbound.keys.idempotency(call)))
}

/// Each reference once; two parts of one upload have one.
fn dense(there: There) -> Vec<String> {
    let mut references = answer::named(there.into_iter().flatten());
    references.dedup();
    references
}

/// The entry of this part, with its reference.
fn find(rules: &ListRules, body: &Value, values: &Values<'_>) -> Result<Option<String>, Failure> {
    if !rules.answer_names.fit(body, &[*values]) {
        return Err(Failure::Definite {
            problem: DeliveryProblem::new(
                "provider.unreadable_answer",
                "The provider's list is not about this applicant (something in between may have answered). If this goes on, look at the provider's settings.",
            ),
            after: None,
            new_key: false,
        });
    }
    let items = answer::items(body, &rules.items)?;
    let item = items.into_iter().find(|item| rules.names.fit(item, &[*values]));
    Ok(item.map(|item| {
        rules
            .reference
            .as_ref()
            .and_then(|pointer| text_at(item, pointer))
            .unwrap_or_default()
    }))
}

/// A question that failed when the document had been sent already: it may well be there.
fn after_sending(failure: Failure) -> Failure {
    match failure {
        Failure::Definite { problem, .. } | Failure::Final { problem } | Failure::Credentials { problem } => Failure::Ambiguous { problem },
        other => other,
    }
}

/// What an answer to a request says, by its status and by what the table looks for in it.
fn read(rules: &AnswerRules, answer: &Answer, values: &[Values<'_>]) -> Result<Said, Failure> {
    let duplicate = rules.duplicate_statuses.contains(&answer.status);
    if !duplicate && rules.definite_statuses.contains(&answer.status) {
        return Err(answer.definite(
            "provider.unavailable",
            "The provider asks for a later try; it is tried again by itself.",
        ));
    }
    if !duplicate && !(200..300).contains(&answer.status) {
        return Err(match answer.failure() {
            // Not among the statuses that surely mean "not stored".
            Failure::Definite { problem, .. } => Failure::Ambiguous { problem },
            other => other,
        });
    }
    let body = answer::json(answer);
    let begins = |reference: &String| rules.reference_prefix.as_ref().is_none_or(|prefix| reference.starts_with(prefix));
    let sound = |reference: &String| !reference.trim().is_empty() && reference.len() <= REFERENCE_MAX && begins(reference);
    let reference = match &rules.reference {
        None => String::new(),
        Some(pointer) => match body.as_ref().and_then(|b| text_at(b, pointer)).filter(sound) {
            Some(reference) => reference,
            None if duplicate => String::new(),
            None => return Err(not_about_this()),
        },
    };
    let named = !rules.names.is_empty() && body.as_ref().is_some_and(|body| rules.names.fit(body, values));
    // That the provider has it already is rarely said with a name; then it is asked.
    if !named && !rules.names.is_empty() && !duplicate {
        return Err(not_about_this());
    }
    Ok(Said { body, reference, named })
}
