//! PDFs, real and forged.

use super::super::Refusal;
use super::super::samples::Pdf;
use super::{Cut, D, No, Whole};
use super::{Row, pdf_with, real, without_end, zip};

pub(super) fn rows() -> Vec<Row> {
    let headed = |head: &str| {
        Pdf {
            head: head.into(),
            ..Pdf::default()
        }
        .build()
    };
    let ended = |end: &str| {
        Pdf {
            end: end.into(),
            ..Pdf::default()
        }
        .build()
    };
    let archive = [&pdf_with("")[..], &zip()].concat();
    let mut inner_archive = Pdf {
        end: String::new(),
        ..Pdf::default()
    }
    .build();
    inner_archive.extend([&zip()[..], b"\n%%EOF"].concat());
    vec![
        ("smallest whole", pdf_with(""), Whole(D)),
        ("real photo in a PDF", real!("photo.pdf"), Whole(D)),
        ("real with two pages", real!("two-pages.pdf"), Whole(D)),
        ("real with password", real!("password.pdf"), No(Refusal::PasswordProtected)),
        ("real with attachment", real!("attachment.pdf"), Whole(D)),
        ("script", pdf_with("<</S/JavaScript>>"), Whole(D)),
        ("program start", pdf_with("<</S/Launch>>"), No(Refusal::ActiveContent("/Launch"))),
        ("PDF 2.0", headed("%PDF-2.0\n"), Whole(D)),
        ("PDF 3", headed("%PDF-3.0\n"), No(Refusal::UnknownType)),
        ("HTML before the head", headed("<html>\n%PDF-1.4\n"), No(Refusal::UnknownType)),
        ("GIF before the head", headed("GIF89aaaaa;\n%PDF-1.4\n"), No(Refusal::UnknownType)),
        (
            "head out of reach",
            headed(&format!("{}%PDF-1.4\n", " ".repeat(1024))),
            No(Refusal::UnknownType),
        ),
        ("cut", without_end(pdf_with(""), 6), No(Refusal::Truncated)),
        (
            "end mark too far up",
            ended(&format!("%%EOF\n{}", "x".repeat(1024))),
            No(Refusal::Truncated),
        ),
        ("HTML behind the end", ended("%%EOF\n<html>"), Cut(D, 6)),
        ("PDF/ZIP: archive behind the end", archive, Cut(D, zip().len() as u64)),
        ("PDF/ZIP: archive before the end", inner_archive, No(Refusal::Disguised("zip"))),
        (
            "201 pages",
            pdf_with(&"<</Type/Page>>".repeat(200)),
            No(Refusal::TooManyPages { max: 200 }),
        ),
    ]
}
