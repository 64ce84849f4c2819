//! Stored forms of what is told: dispatches and templates.

use super::*;
use crate::domain::dispatch::{Body, Channel, Dispatch, Progress};
use crate::domain::id::DispatchId;
use crate::domain::message::Template;

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct DispatchRow {
    #[n(0)]
    id: Bytes,
    #[n(1)]
    channel: String,
    #[n(2)]
    ordering_key: Bytes,
    #[n(3)]
    order: u64,
    #[n(4)]
    kind: String,
    #[n(5)]
    request: Option<Bytes>,
    #[n(6)]
    generation: u32,
    #[n(7)]
    created_at: i64,
    #[n(8)]
    give_up_at: i64,
    #[n(9)]
    attempts: u32,
    #[n(10)]
    fence: u64,
    #[n(11)]
    last: Option<String>,
    /// waiting, sent, failed or dropped; and when.
    #[n(12)]
    progress: String,
    #[n(13)]
    at: i64,
    /// An event.
    #[n(14)]
    event: Option<String>,
    /// A mail to an agent.
    #[n(15)]
    agent: Option<Bytes>,
    #[n(16)]
    subject: Option<String>,
    #[n(17)]
    text: Option<String>,
    /// A mail to an applicant.
    #[n(18)]
    slot: Option<u64>,
    #[n(19)]
    slot_generation: Option<u64>,
    #[n(20)]
    sealed: Option<Bytes>,
}

impl From<&Dispatch> for DispatchRow {
    fn from(d: &Dispatch) -> Self {
        let at = match d.progress {
            Progress::Waiting(at) | Progress::Sent(at) | Progress::Failed(at) | Progress::Dropped(at) => at,
        };
        let mut row = Self {
            id: bytes(&d.id.0),
            channel: d.channel.to_string(),
            ordering_key: bytes(&d.ordering_key),
            order: d.order,
            kind: d.kind.clone(),
            request: d.request.map(|r| bytes(&r.0)),
            generation: d.generation,
            created_at: to_ms(d.created_at),
            give_up_at: to_ms(d.give_up_at),
            attempts: d.attempts,
            fence: d.fence,
            last: d.last.clone(),
            progress: d.progress.as_str().to_owned(),
            at: to_ms(at),
            event: None,
            agent: None,
            subject: None,
            text: None,
            slot: None,
            slot_generation: None,
            sealed: None,
        };
        match &d.body {
            Body::Gone => {}
            Body::Event(json) => row.event = Some(json.clone()),
            Body::ToAgent { agent, subject, text } => {
                row.agent = Some(bytes(&agent.0));
                row.subject = Some(subject.clone());
                row.text = Some(text.clone());
            }
            Body::Sealed { slot, sealed } => {
                row.slot = Some(slot.index);
                row.slot_generation = Some(slot.generation);
                row.sealed = Some(bytes(&sealed.0));
            }
        }
        row
    }
}

impl DispatchRow {
    pub(super) fn into_domain(self) -> Read<Dispatch> {
        let at = instant(self.at)?;
        let body = match (self.event, self.agent, self.slot.zip(self.slot_generation).zip(self.sealed)) {
            (Some(json), None, None) => Body::Event(json),
            (None, Some(agent), None) => Body::ToAgent {
                agent: AgentId(array(&agent)?),
                subject: self.subject.unwrap_or_default(),
                text: self.text.unwrap_or_default(),
            },
            (None, None, Some(((index, generation), sealed))) => Body::Sealed {
                slot: SlotRef { index, generation },
                sealed: SealedText(sealed.to_vec()),
            },
            (None, None, None) => Body::Gone,
            _ => return Err(Unreadable("a dispatch with two bodies")),
        };
        Ok(Dispatch {
            id: DispatchId(array(&self.id)?),
            channel: word(Channel::parse(&self.channel))?,
            ordering_key: array(&self.ordering_key)?,
            order: self.order,
            kind: self.kind,
            request: self.request.map(|r| array(&r).map(RequestId)).transpose()?,
            generation: self.generation,
            created_at: instant(self.created_at)?,
            give_up_at: instant(self.give_up_at)?,
            attempts: self.attempts,
            fence: self.fence,
            last: self.last,
            body,
            progress: match self.progress.as_str() {
                "waiting" => Progress::Waiting(at),
                "sent" => Progress::Sent(at),
                "failed" => Progress::Failed(at),
                "dropped" => Progress::Dropped(at),
                _ => return Err(Unreadable("an unknown word")),
            },
        })
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct TemplateRow {
    #[n(0)]
    document: Option<String>,
    #[n(1)]
    language: String,
    #[n(2)]
    subject: String,
    #[n(3)]
    body: String,
    #[n(4)]
    changed_at: i64,
    #[n(5)]
    changed_by: String,
}

impl From<&Template> for TemplateRow {
    fn from(t: &Template) -> Self {
        Self {
            document: t.document.as_ref().map(ToString::to_string),
            language: t.language.clone(),
            subject: t.subject.clone(),
            body: t.body.clone(),
            changed_at: to_ms(t.changed_at),
            changed_by: t.changed_by.to_string(),
        }
    }
}

impl TemplateRow {
    pub(super) fn into_domain(self) -> Read<Template> {
        Ok(Template {
            document: self.document.map(|d| word(DocumentKind::parse(&d))).transpose()?,
            language: self.language,
            subject: self.subject,
            body: self.body,
            changed_at: instant(self.changed_at)?,
            changed_by: word(Actor::parse(&self.changed_by))?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    proptest! {
        #[test]
        fn a_dispatch_reads_back_as_itself(
            which in 0..4_u8, done in 0..4_u8, ids in any::<([u8; 16], [u8; 16], u64, u64)>(), text in ".{0,80}", attempts in any::<u32>(), of in any::<bool>(),
        ) {
            let (id, ordering_key, order, fence) = ids;
            let now = datetime!(2026-01-02 03:04:05.678 UTC);
            let body = match which {
                0 => Body::Event(text.clone()),
                1 => Body::ToAgent { agent: AgentId(ordering_key), subject: text.clone(), text: text.clone() },
                2 => Body::Sealed { slot: SlotRef { index: order, generation: fence }, sealed: SealedText(text.clone().into_bytes()) },
                _ => Body::Gone,
            };
            let progress = [Progress::Waiting(now), Progress::Sent(now), Progress::Failed(now), Progress::Dropped(now)][usize::from(done)];
            let dispatch = Dispatch {
                id: DispatchId(id), channel: if of { Channel::Hook(format!("x{attempts}")) } else { Channel::Mail }, ordering_key, order, kind: text.clone(),
                request: of.then_some(RequestId(ordering_key)), generation: attempts, created_at: now, give_up_at: now, attempts, fence, last: of.then_some(text), body, progress,
            };
            prop_assert_eq!(Dispatch::decode(&dispatch.encode()).unwrap(), dispatch);
        }
    }
}
