//! A multipart form as the upload door reads it: any bytes behind a fixed boundary, cut into pieces anywhere, then inspected. Nothing may panic or hang.
#![no_main]

use actix_web::web::Bytes;
use futures_util::stream;
use libfuzzer_sys::fuzz_target;
use nightdrop::testing::http::applicant::multipart::Multipart;
use nightdrop::testing::inspect::{Inspector, Policy};
use nightdrop::testing::workflow::intake::part::clean_name;

fuzz_target!(|data: &[u8]| {
    let Some((cut, rest)) = data.split_first() else { return };
    let size = usize::from(*cut).max(1);
    let pieces: Vec<_> = rest
        .chunks(size)
        .map(|p| Ok::<_, actix_web::error::PayloadError>(Bytes::copy_from_slice(p)))
        .collect();
    let mut form = Multipart::new("x", stream::iter(pieces));
    futures_executor::block_on(async {
        while let Ok(Some(head)) = form.next().await {
            let name = clean_name(&head.file_name);
            assert!(name.len() <= 255 && !name.contains(['/', '\\', '\0', '\n']));
            let (mut inspector, mut kept, mut ok) = (Inspector::new(Policy::default()), Vec::new(), true);
            while let Ok(Some(piece)) = form.piece().await {
                ok = ok && inspector.push(&piece, &mut kept).is_ok();
            }
            let _ = inspector.finish(&mut kept);
        }
    });
});
