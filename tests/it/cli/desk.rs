//! What colleagues tell one another about a request, from a shell.

use std::process::Stdio;

use super::commands::{asking, portal};
use super::{done, fails, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_note_is_given_as_a_word_or_by_standard_input() {
    let app = portal("").await;
    let id = app.link().await.id.to_string();
    let run = |arguments: &[&str]| done(&mut asking(&app, &app.api_key, arguments));
    run(&["request", "note", &id, "Called back: the new passport comes next week"]);
    let file = app.data().join("note.txt");
    std::fs::write(&file, "first line\nsecond \u{9}line\n").unwrap();
    let mut command = asking(&app, &app.api_key, &["request", "note", &id]);
    done(command.stdin(std::fs::File::open(&file).unwrap()));
    let shown = run(&["request", "show", &id]);
    assert!(
        shown.contains("          Called back: the new passport comes next week\n"),
        "{shown}"
    );
    assert!(shown.contains("          first line\n          second \u{fffd}line\n"), "{shown}");
    let whole = json(&run(&["request", "show", &id, "--json"]));
    assert_eq!(whole["notes"][1]["text"], "first line\nsecond \u{9}line");
    let empty = fails(asking(&app, &app.api_key, &["request", "note", &id]).stdin(Stdio::null()));
    assert!(empty.contains("1 to 1000 characters"), "{empty}");
}
