//! An outage of the portal's own storage is no verdict on a document, however long it lasts; damage is one, after three looks.

use async_trait::async_trait;
use bytes::Bytes;
use nightdrop::testing::crypto::erase::{EraseError, ErasureStore, LiveSlot, ReadBack, SlotRef};
use nightdrop::testing::crypto::secret::ErasureSecret;
use nightdrop::testing::domain::delivery::Phase;
use nightdrop::testing::domain::request::RequestState;
use nightdrop::testing::worker::{self, Step};
use nightdrop::testing::workflow::Portal;

use nightdrop::testing::storage::PartWriter;

use super::*;

/// What reading answers while it is set.
#[derive(Clone, Default)]
struct Fault(Arc<std::sync::Mutex<Option<ReadError>>>);

impl Fault {
    fn set(&self, fault: Option<ReadError>) {
        *self.0.lock().unwrap() = fault;
    }

    fn now(&self) -> Option<ReadError> {
        self.0.lock().unwrap().clone()
    }
}

struct Chunks(Arc<dyn BlobStore>, Fault);

#[async_trait]
impl BlobStore for Chunks {
    async fn writer(&self, document: DocumentId, file_index: u8, from: u32) -> Result<Box<dyn PartWriter>, StorageError> {
        self.0.writer(document, file_index, from).await
    }
    async fn get(&self, key: BlobKey) -> Result<Option<Bytes>, ReadError> {
        self.1.now().map_or(Ok(()), Err)?;
        self.0.get(key).await
    }
    async fn delete(&self, document: DocumentId) -> Result<(), StorageError> {
        self.0.delete(document).await
    }
    async fn delete_file(&self, document: DocumentId, file_index: u8) -> Result<(), StorageError> {
        self.0.delete_file(document, file_index).await
    }
    async fn documents(&self) -> Result<Vec<DocumentId>, StorageError> {
        self.0.documents().await
    }
    fn room_for(&self, bytes: u64) -> bool {
        self.0.room_for(bytes)
    }
}

struct Slots(Arc<dyn ErasureStore>, Fault);

impl ErasureStore for Slots {
    fn put(&self, doc_id: &[u8; 16], secret: &ErasureSecret) -> Result<SlotRef, EraseError> {
        self.0.put(doc_id, secret)
    }
    fn get(&self, doc_id: &[u8; 16], slot: &SlotRef) -> Result<ErasureSecret, EraseError> {
        match self.1.now() {
            Some(_) => Err(EraseError::Io(std::io::Error::from_raw_os_error(5))),
            None => self.0.get(doc_id, slot),
        }
    }
    fn destroy(&self, doc_id: &[u8; 16], slot: &SlotRef) -> Result<ReadBack, EraseError> {
        self.0.destroy(doc_id, slot)
    }
    fn live(&self) -> Result<Vec<LiveSlot>, EraseError> {
        self.0.live()
    }
    fn damaged(&self) -> Result<Vec<LiveSlot>, EraseError> {
        self.0.damaged()
    }
    fn destroy_damaged(&self, slot: &LiveSlot) -> Result<ReadBack, EraseError> {
        self.0.destroy_damaged(slot)
    }
    fn ready(&self) -> Result<(), EraseError> {
        self.0.ready()
    }
    fn free(&self) -> Result<u64, EraseError> {
        self.0.free()
    }
}

enum Where {
    Chunks,
    Slots,
}

async fn work(portal: &Arc<Portal>) {
    while worker::step(portal).await.unwrap() == Step::Done {}
}

/// A held document, and its portal with a fault in one place; the worker is driven by hand.
async fn held(place: Where) -> (TestApp, crate::support::TestClock, Link, Arc<Portal>, Fault) {
    let (options, clock) = TestOptions::default().with_clock();
    let source = options.clock.clone();
    let mut app = TestApp::with_options(options).await;
    let link = app.issue(ask("applicant-1", "passport")).await;
    app.drop_front(&link, 1).await;
    app.stop().await;
    app.let_go().await;
    let config = app.config().clone();
    let mut opened = None;
    until("the store is free", async || {
        opened = App::open(config.clone(), source.clone()).await.ok();
        opened.is_some()
    })
    .await;
    let mut portal = opened.unwrap().portal;
    let fault = Fault::default();
    let inside = Arc::get_mut(&mut portal).expect("nobody else has it yet");
    match place {
        Where::Chunks => inside.blobs = Arc::new(Chunks(inside.blobs.clone(), fault.clone())),
        Where::Slots => inside.erasure = Arc::new(Slots(inside.erasure.clone(), fault.clone())),
    }
    (app, clock, link, portal, fault)
}

#[tokio::test]
async fn an_outage_of_reading_uses_up_no_try_and_the_document_leaves_when_it_is_over() {
    for place in [Where::Chunks, Where::Slots] {
        let (app, clock, link, portal, fault) = held(place).await;
        fault.set(Some(ReadError::Transient("the disk is away".into())));
        for _ in 0..60 {
            work(&portal).await;
            clock.forward(time::Duration::seconds(40));
        }
        let request = portal.requests.request(link.id).await.unwrap().unwrap();
        let (_, delivery) = request.held().expect("still held");
        assert_eq!((delivery.attempts, delivery.poison), (0, 0));
        assert!(matches!(delivery.phase, Phase::Pending { .. }), "{:?}", request.state(portal.now()));
        assert_eq!(delivery.last_problem.as_ref().unwrap().code, "storage.unavailable");
        fault.set(None);
        work(&portal).await;
        clock.forward(time::Duration::minutes(2));
        work(&portal).await;
        let request = portal.requests.request(link.id).await.unwrap().unwrap();
        assert_eq!(request.state(portal.now()), RequestState::Purged);
        assert_eq!(app.has("applicant-1").await.len(), 1);
    }
}

#[tokio::test]
async fn damage_is_a_verdict_after_three_looks() {
    let (_app, clock, link, portal, fault) = held(Where::Chunks).await;
    fault.set(Some(ReadError::Final("its length is wrong".into())));
    for look in 1..=3 {
        let before = portal.requests.request(link.id).await.unwrap().unwrap();
        assert_ne!(before.state(portal.now()), RequestState::NeedsAttention, "before look {look}");
        work(&portal).await;
        clock.forward(time::Duration::minutes(2));
    }
    let request = portal.requests.request(link.id).await.unwrap().unwrap();
    assert_eq!(request.state(portal.now()), RequestState::NeedsAttention);
    assert_eq!(
        request.held().unwrap().1.last_problem.as_ref().unwrap().code,
        "document.cannot_be_opened"
    );
}
