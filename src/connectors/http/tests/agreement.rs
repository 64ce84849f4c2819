//! Tables that could not do what they promise are refused at start, with every fault.

use super::*;

const NAMED: &str = "answer_names={'/who'='{applicant}'}";

#[test]
fn a_receipt_that_nothing_tells_from_a_strangers_is_refused() {
    let asked = "[upload]\npath='/d'\nreference='/id'\n[lookup]\npath='/d/{reference}'\nnames={'/file'='{file_name}'}";
    assert!(faults(asked).is_empty());
    let listed = "[upload]\npath='/d'\n[list]\npath='/d'\nitems=''\nfile_name='/name'";
    assert!(faults(listed).is_empty());
    let bytes = "[upload]\npath='/d'\nshape='presigned'\nreference='/id'\naddress='/url'\naddress_hosts=['a.example']\n";
    assert!(faults(&format!("{bytes}address_names={{'/file'='{{reference}}'}}")).is_empty());
    assert_faults(&[
        ("[upload]\npath='/d'\nreference='/id'", vec!["upload.answer_names"]),
        (
            "[upload]\npath='/d'\nreference='/id'\nanswer_names={'/purpose'='identity','/size'='{size}'}",
            vec!["upload.answer_names"],
        ),
        (
            "[upload]\npath='/d'\nanswer_names={'who'='{applicant}'}",
            vec!["upload.answer_names"],
        ),
        ("[upload]\npath='/d'\nanswer_names={'/who'='{nobody}'}", vec!["upload.answer_names"]),
        (&format!("{bytes}{NAMED}"), vec!["upload.address_names"]),
        (
            "[upload]\npath='/d'\n[lookup]\npath='/d/{reference}'\nnames={'/id'='{reference}'}",
            vec!["lookup.names", "upload.reference"],
        ),
        ("[upload]\npath='/d'\n[list]\npath='/d'\nitems='/data'", vec!["list.names"]),
        (
            "[upload]\npath='/d'\n[list]\npath='/d'\nitems='/data'\nnames={'/who'='{applicant}'}",
            vec!["list.names"],
        ),
        (
            "[upload]\npath='/d'\nper_part=true\n[list]\npath='/d'\nitems='/data'\nnames={'/tag'='{document}'}",
            vec!["list.names"],
        ),
        ("[upload]\npath='/d'\nanswer_names={'/key'='{key}'}", vec!["idempotency_header"]),
        (
            "idempotency_header='Idempotency-Key'\n[upload]\npath='/d'\nidempotency_header=''\nanswer_names={'/key'='{key}'}",
            vec!["idempotency_header"],
        ),
        (
            "confirm='verdict'\n[upload]\npath='/d'\n[list]\npath='/d'\nitems='/data'\nfile_name='/n'\n[verdict]\nstatus='/s'\naccepted=['a']",
            vec!["verdict.path"],
        ),
        (
            "[upload]\npath='/d'\nreference='/id'\n[lookup]\nbase_url='http://files.example.com'\npath='/d/{reference}'\nnames={'/file'='{file_name}'}",
            vec!["lookup.base_url"],
        ),
    ]);
}

#[test]
fn a_body_whose_names_clash_is_refused() {
    let upload = |more: &str| format!("[upload]\npath='/d'\nshape='base64'\n{NAMED}\n{more}");
    for sound in [
        "file_field='/{n}/content'\nfields={'/{n}/mime'='{type}'}",
        "file_field='/docs/{n}/data'\nfields={'/docs/{n}/side'='{part}','/a~1b'='x'}",
        "file_field='data'\nper_part=true",
        "file_field='/{part}/0'",
    ] {
        assert!(faults(&upload(sound)).is_empty(), "{sound}");
    }
    for clash in [
        "file_field='data'",
        "file_field='/{n}/content'\nfields={type='x'}",
        "file_field='/docs/1/data'\nper_part=true",
        "file_field='/a/b'\nper_part=true\nfields={'/a'='x'}",
    ] {
        assert_eq!(faults(&upload(clash)), ["upload.fields"], "{clash}");
    }
    // A table that takes one part alone needs no names for two.
    let table = format!("part_names={{front='front'}}\n{}", upload("file_field='data'"));
    assert!(faults(&table).is_empty());
}

#[test]
fn a_second_request_that_cannot_work_is_refused_with_all_faults() {
    let upload = format!("[upload]\npath='/f'\nper_part=true\nreference='/id'\n{NAMED}\n");
    let second = |more: &str| format!("{upload}[attach]\npath='/a/{{applicant}}'\n{more}");
    for sound in [
        "per_part=true\nfields={'/file'='{reference}'}\nanswer_names={'/file'='{reference}'}",
        "fields={'/files'='{references}'}\nanswer_names={'/who'='{applicant}'}",
        "fields={'/docs/{part}'='{reference}'}\n[attach.list]\npath='/a/{applicant}'\nitems='/data'\nnames={'/file'='{reference}'}",
    ] {
        assert!(faults(&second(sound)).is_empty(), "{sound}: {:?}", faults(&second(sound)));
    }
    let cases = [
        ("fields={'/files'='{references}'}", vec!["attach.answer_names"]),
        (
            "fixed_id=true\nfields={'/file'='{reference}'}\nanswer_names={'/file'='{reference}'}",
            vec!["attach.fixed_id", "attach.per_part"],
        ),
        (
            "per_part=true\nfields={'/files'='{references}'}\nanswer_names={'/who'='{applicant}'}",
            vec!["attach.fields"],
        ),
        (
            "fields={'/files'='all: {references}'}\nanswer_names={'/who'='{applicant}'}",
            vec!["attach.fields"],
        ),
        (
            "fields={'/a'='x','/a/b'='y'}\nanswer_names={'/who'='{applicant}'}",
            vec!["attach.fields"],
        ),
        ("answer_names={'/key'='{key}'}", vec!["attach.idempotency_header"]),
        (
            "answer_names={'/who'='{applicant}'}\n[submit]\npath='/s'\nanswer_names={'/who'='{applicant}'}",
            vec!["submit"],
        ),
        ("typo=1\nanswer_names={'/who'='{applicant}'}", vec!["attach.typo"]),
    ];
    for (more, expected) in cases {
        let mut found = faults(&second(more));
        found.sort();
        assert_eq!(found, expected, "{more}");
    }
    let whole = format!("[upload]\npath='/f'\n{NAMED}\n[attach]\npath='/a'\nper_part=true\nfields={{'/file'='{{reference}}'}}\n{NAMED}");
    let mut found = faults(&whole);
    found.sort();
    assert_eq!(found, ["attach.per_part", "upload.reference"]);
}
