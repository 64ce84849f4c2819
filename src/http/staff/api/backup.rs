//! A backup over the API: written while the portal runs, encrypted before it leaves, and never in memory as a whole.

use std::io::{self, Write};
use std::time::Duration;

use actix_web::HttpResponse;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use crate::chain::chain;
use crate::http::context::State;
use crate::http::error::PROBLEM_JSON;
use crate::http::extract::json::{Json, Secret};
use crate::http::staff::auth::Call;
use crate::http::staff::permission::Admin;
use crate::http::staff::shapes::BackupFileText;
use crate::http::staff::view::problem::ProblemSchema;
use crate::workflow::backup;

use super::Answer;

/// So much is sent at once.
const PIECE: usize = 64 << 10;
/// A reader that takes nothing for so long has gone away: the store keeps what changes for as long as it is read.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"recipients": ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]})))]
pub(crate) struct Backup {
    /// Whoever knows it opens the backup. Not where the configuration names recipients.
    #[schema(value_type = Option<String>)]
    pub passphrase: Option<Secret>,
    /// Age recipients, `age1…`; those of the configuration unless given.
    pub recipients: Option<Vec<String>>,
}

/// Take a backup: rows, keys and configuration at one point of the audit log, encrypted, as an age file. No document and no erasure secret is in it. Whoever opens it
/// has the portal's secrets. An answer that was cut off is no backup.
#[utoipa::path(post, path = "/backup", operation_id = "take_backup", tag = "admin", request_body = Backup,
    responses(
        (status = 200, description = "The backup, as it is made.", body = BackupFileText, content_type = "application/octet-stream"),
        (status = 409, description = "`backup.by_database`: the records are in PostgreSQL, whose own tools back them up.", body = ProblemSchema, content_type = PROBLEM_JSON),
    ),
    security(("api_key" = ["admin"])))]
pub(crate) async fn take(
    Call {
        who: caller,
        with: Json(body),
    }: Call<Admin, Json<Backup>>,
    state: State,
) -> Answer {
    let passphrase = body.passphrase.map(|secret| secret.0);
    let lock = backup::allowed(&state.portal.backups.recipients, passphrase, &body.recipients.unwrap_or_default())?;
    let prepared = backup::begin(&state.portal, &lock, caller.actor()).await?;
    let (sender, receiver) = mpsc::channel(4);
    let tasks = state.portal.tasks.clone();
    let out = Pieces {
        tasks: tasks.clone(),
        sender: sender.clone(),
        piece: Vec::with_capacity(PIECE),
    };
    tasks.spawn_blocking(move || {
        let at = prepared.at;
        match backup::write(prepared, &lock, out).and_then(|mut out| out.flush()) {
            Ok(()) => state.portal.backups.complete(at),
            Err(error) => {
                tracing::error!(error = %chain(&error), "a backup was cut off");
                // Whoever is still there sees that it has no end.
                let _ = sender.blocking_send(Err(io::Error::other("the backup was cut off")));
            }
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        let piece: Option<io::Result<Bytes>> = receiver.recv().await;
        piece.map(|piece| (piece, receiver))
    });
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        .insert_header(("Content-Disposition", "attachment; filename=\"nightdrop-backup.age\""))
        .streaming(pieces))
}

/// Hands what is written to the connection, and waits for it.
struct Pieces {
    tasks: tokio::runtime::Handle,
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE)));
        let sent = tokio::time::timeout(PATIENCE, self.sender.send(Ok(piece)));
        match self.tasks.block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "whoever asked for it takes nothing more")),
        }
    }
}
