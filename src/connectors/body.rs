//! Request bodies that are streamed: text that we wrote, and parts of the document that pass through.
//!
//! * The length is known before the first byte leaves, so a provider can tell a cut-off body from a whole one.
//! * At most one chunk of the document is in memory; base64 is made on the way, across chunk borders.
//! * A part that turns out shorter or longer than recorded breaks the body off: a provider never gets a whole request with wrong bytes.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt, try_unfold};

use super::{OutboundDocument, Source, SourceError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Bytes(Bytes),
    /// The bytes of the document's n-th part as they are.
    Part(usize),
    /// The same in standard base64 with padding.
    PartBase64(usize),
}

/// One request's body.
#[derive(Clone)]
pub(crate) struct Body {
    content_type: String,
    segments: Vec<Segment>,
    parts: Vec<(u64, [u8; 32])>,
    source: Option<Arc<dyn Source>>,
    /// Set when the document, not the network, broke the stream off.
    broken: Arc<OnceLock<SourceError>>,
}

impl Body {
    pub(crate) fn new(content_type: impl Into<String>, segments: Vec<Segment>, outbound: &OutboundDocument) -> Self {
        Self {
            content_type: content_type.into(),
            segments,
            parts: outbound.parts.iter().map(|p| (p.size, p.digest)).collect(),
            source: Some(outbound.source.clone()),
            broken: Arc::default(),
        }
    }

    /// A body without a document.
    pub(crate) fn text(content_type: impl Into<String>, text: impl Into<Bytes>) -> Self {
        let segments = vec![Segment::Bytes(text.into())];
        Self {
            content_type: content_type.into(),
            segments,
            parts: Vec::new(),
            source: None,
            broken: Arc::default(),
        }
    }

    pub(crate) fn content_type(&self) -> &str {
        &self.content_type
    }

    pub(crate) fn content_length(&self) -> u64 {
        let size = |part: &usize| self.parts.get(*part).map_or(0, |(size, _)| *size);
        self.segments
            .iter()
            .map(|segment| match segment {
                Segment::Bytes(bytes) => bytes.len() as u64,
                Segment::Part(part) => size(part),
                Segment::PartBase64(part) => size(part).div_ceil(3) * 4,
            })
            .sum()
    }

    /// Why the document broke the body off, once it did.
    pub(crate) fn broken(&self) -> Option<SourceError> {
        self.broken.get().cloned()
    }

    /// The body's bytes, exactly `content_length` of them or an error.
    pub(crate) fn stream(&self) -> BoxStream<'static, Result<Bytes, SourceError>> {
        let pump = Pump {
            rest: self.segments.iter().cloned().collect(),
            sizes: self.parts.iter().map(|(size, _)| *size).collect(),
            source: self.source.clone(),
            open: None,
        };
        let broken = self.broken.clone();
        try_unfold(pump, |mut pump| async move { Ok(pump.next().await?.map(|bytes| (bytes, pump))) })
            .inspect_err(move |error: &SourceError| {
                let _ = broken.set(error.clone());
            })
            .boxed()
    }

    /// Reads the whole body once, for a signature over it. The document is opened a second time when it is sent; its bytes are the same.
    pub(crate) async fn read(&self, mut take: impl FnMut(&[u8])) -> Result<(), SourceError> {
        let mut stream = self.stream();
        while let Some(bytes) = stream.try_next().await? {
            take(&bytes);
        }
        Ok(())
    }
}

struct Pump {
    rest: VecDeque<Segment>,
    sizes: Vec<u64>,
    source: Option<Arc<dyn Source>>,
    open: Option<OpenPart>,
}

struct OpenPart {
    stream: BoxStream<'static, Result<Bytes, SourceError>>,
    left: u64,
    /// 0–2 bytes that wait for their group of three; `None` when the part goes out raw.
    carry: Option<Vec<u8>>,
}

impl Pump {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        loop {
            let bytes = match &mut self.open {
                Some(part) => match part.stream.try_next().await? {
                    Some(chunk) => part.pass(chunk)?,
                    None => {
                        let last = part.last()?;
                        self.open = None;
                        last
                    }
                },
                None => match self.rest.pop_front() {
                    None => return Ok(None),
                    Some(Segment::Bytes(bytes)) => bytes,
                    Some(Segment::Part(part)) => self.begin(part, None)?,
                    Some(Segment::PartBase64(part)) => self.begin(part, Some(Vec::with_capacity(2)))?,
                },
            };
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    fn begin(&mut self, part: usize, carry: Option<Vec<u8>>) -> Result<Bytes, SourceError> {
        let source = self.source.as_ref().ok_or(SourceError::Final("this body has no document"))?;
        let left = *self.sizes.get(part).ok_or(SourceError::Final("the document has no such part"))?;
        self.open = Some(OpenPart {
            stream: source.open(part),
            left,
            carry,
        });
        Ok(Bytes::new())
    }
}

impl OpenPart {
    fn pass(&mut self, chunk: Bytes) -> Result<Bytes, SourceError> {
        self.left = self
            .left
            .checked_sub(chunk.len() as u64)
            .ok_or(SourceError::Final("the part is longer than recorded"))?;
        let Some(carry) = &mut self.carry else { return Ok(chunk) };
        let need = (3 - carry.len()) % 3;
        if chunk.len() < need {
            carry.extend_from_slice(&chunk);
            return Ok(Bytes::new());
        }
        let (head, rest) = chunk.split_at(need);
        let (middle, tail) = rest.split_at(rest.len() - rest.len() % 3);
        carry.extend_from_slice(head);
        let mut text = String::with_capacity((carry.len() + middle.len()) / 3 * 4);
        BASE64.encode_append(carry, &mut text);
        BASE64.encode_append(middle, &mut text);
        carry.clear();
        carry.extend_from_slice(tail);
        Ok(text.into())
    }

    fn last(&mut self) -> Result<Bytes, SourceError> {
        if self.left != 0 {
            return Err(SourceError::Final("the part is shorter than recorded"));
        }
        Ok(self.carry.take().map(|carry| BASE64.encode(&carry).into()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::connectors::fake::{Memory, outbound_of};
    use proptest::prelude::*;

    async fn whole(body: &Body) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        body.read(|b| bytes.extend_from_slice(b)).await?;
        Ok(bytes)
    }

    proptest! {
        #[test]
        fn streamed_base64_equals_the_whole_one(data in proptest::collection::vec(any::<u8>(), 0..400), chunk in 1usize..70) {
            let outbound = outbound_of("a", &[("front", &data)], chunk);
            let segments = vec![Segment::Bytes(Bytes::from_static(b"<")), Segment::PartBase64(0), Segment::Part(0), Segment::Bytes(Bytes::from_static(b">"))];
            let body = Body::new("x/y", segments, &outbound);
            let bytes = futures_executor(whole(&body)).unwrap();
            let mut expected = b"<".to_vec();
            expected.extend_from_slice(BASE64.encode(&data).as_bytes());
            expected.extend_from_slice(&data);
            expected.push(b'>');
            prop_assert_eq!(bytes.len() as u64, body.content_length());
            prop_assert_eq!(bytes, expected);
        }
    }

    fn futures_executor<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[tokio::test]
    async fn a_part_that_is_not_as_long_as_recorded_breaks_the_body_off() {
        for (recorded, data) in [(4u64, &b"abc"[..]), (2, b"abc")] {
            let mut outbound = outbound_of("a", &[("front", data)], 2);
            outbound.parts[0].size = recorded;
            for segment in [Segment::Part(0), Segment::PartBase64(0)] {
                let body = Body::new("x/y", vec![segment], &outbound);
                assert!(whole(&body).await.is_err());
                assert!(body.broken().is_some());
            }
        }
        let mut outbound = outbound_of("a", &[("front", b"abc")], 2);
        outbound.source = Arc::new(Memory::failing());
        assert_eq!(
            whole(&Body::new("x/y", vec![Segment::Part(0)], &outbound)).await,
            Err(SourceError::Final("sealed part damaged"))
        );
    }
}
