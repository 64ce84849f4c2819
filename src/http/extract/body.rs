//! Small bodies, read whole: of one media type, bounded in size and time, without an encoding.

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use futures_util::StreamExt;
use zeroize::Zeroizing;

use crate::http::error::Problem;

/// No body here comes near it.
pub(crate) const BODY_MAX: usize = 64 * 1024;
/// A body of that size is here by then, or its sender is not in earnest.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);
/// The raw body of a media type.
pub(crate) async fn body_bytes(request: &HttpRequest, payload: &mut Payload, media_type: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let header = |name| {
        request
            .headers()
            .get(name)
            .map(|v| v.to_str().unwrap_or_default().to_ascii_lowercase())
    };
    if header(CONTENT_ENCODING).is_some_and(|e| e.trim() != "identity") {
        return Err(Problem::unsupported("Send the body without a Content-Encoding."));
    }
    let declared = header(CONTENT_TYPE);
    let fits = declared
        .as_deref()
        .map(|d| d.split(';').next().unwrap_or_default().trim() == media_type);
    let wrong = || Problem::unsupported(format!("Send the body as {media_type}.")).code("request.content_type");
    if fits == Some(false) {
        return Err(wrong());
    }
    let reading = async {
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(piece) = payload.next().await {
            let piece = piece.map_err(|_| Problem::malformed("The body was cut off."))?;
            if bytes.len() + piece.len() > BODY_MAX {
                return Err(Problem::too_large("The body may have at most 64 KiB.").code("request.too_large"));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    };
    let bytes = tokio::time::timeout(PATIENCE, reading)
        .await
        .map_err(|_| Problem::slow("The body came too slowly."))??;
    if !bytes.is_empty() && fits.is_none() {
        return Err(wrong());
    }
    Ok(bytes)
}
