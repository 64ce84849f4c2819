//! What the documents and the program's own sentences tell somebody to type is what the program takes: each `nightdrop …` is parsed by the definition of the command line.

use nightdrop::cli::fault_of;

use super::{blocks, documents, quoted, read, root};
use crate::support::walk;

/// What ends one command of a shell.
const ENDS: [&str; 7] = ["|", "||", "&&", ";", "&", ")", "("];
/// Stands for more of the same.
const MORE: &str = "…";
/// What begins like a command and is none: the heads of a receipt and of a statement, and what `--version` says.
const OTHERS: [&str; 3] = [
    "nightdrop deletion receipt v1",
    "nightdrop erasure statement v1",
    concat!("nightdrop ", env!("CARGO_PKG_VERSION")),
];

/// The words of a line as a shell takes them, quotation marks gone. Operators are words of their own; a comment, or what stands three blanks behind a command as its
/// explanation, is none.
fn words(line: &str) -> Vec<String> {
    let line = line.trim().strip_prefix("$ ").unwrap_or(line.trim());
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let word = words.last_mut().unwrap();
        match (quote, c) {
            (Some(mark), c) if c == mark => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '#') if word.is_empty() => break,
            (None, ' ') => {
                if characters.peek() == Some(&' ') && words.len() > 1 && characters.clone().take_while(|c| *c == ' ').count() > 1 {
                    break;
                }
                words.push(String::new());
            }
            (None, ';' | '|' | '&' | '(' | ')') => {
                let doubled = characters.next_if_eq(&c).is_some();
                let operator = if doubled { format!("{c}{c}") } else { c.to_string() };
                // `file|passphrase` is a choice, and no pipe.
                let is_choice = operator == "|" && !word.is_empty() && characters.peek().is_some_and(|next| *next != ' ');
                match is_choice {
                    true => word.push(c),
                    false => words.extend([operator, String::new()]),
                }
            }
            _ => word.push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a word sets a variable for one command.
fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_' || b.is_ascii_digit()))
}

/// The command lines of the program in one line of a shell; what a command's output is put into (`$(…)`) is one more.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    if let Some((before, rest)) = line.split_once("$(") {
        let (inside, after) = rest.split_once(')').unwrap_or((rest, ""));
        found.extend(commands(inside));
        found.extend(commands(&format!("{before}VALUE{after}")));
        return found;
    }
    for command in words(line).split(|word| ENDS.contains(&word.as_str())) {
        let mut command: Vec<&str> = command.iter().map(String::as_str).collect();
        while command
            .first()
            .is_some_and(|word| is_assignment(word) || ["sudo", "exec", "export"].contains(word))
        {
            command.remove(0);
        }
        // `sudo -u nightdrop`
        if command.first() == Some(&"-u") {
            command.drain(..2);
        }
        // Where output goes and input comes from.
        if let Some(at) = command.iter().position(|word| word.starts_with(['<', '>'])) {
            command.truncate(at);
        }
        match command[..] {
            ["cargo", "run", ..] => {
                let given = command.iter().skip_while(|word| **word != "--").skip(1);
                found.push(["nightdrop"].iter().chain(given).map(|word| (*word).to_owned()).collect());
            }
            _ if OTHERS.contains(&command.join(" ").as_str()) => {}
            [program, ..] if program == "nightdrop" || program.ends_with("/nightdrop") => {
                found.push(command.iter().map(|word| (*word).to_owned()).collect());
            }
            _ => {}
        }
    }
    found
}

/// What is wrong with a command that can be typed as it stands. One that is cut off by `…` has the options that it names.
fn fault(command: &[String]) -> Option<String> {
    let is_whole = !command.iter().any(|word| word == MORE);
    if is_whole { fault_of(command) } else { fault_of_beginning(command) }
}

/// The same for a command that a sentence names, perhaps without what it needs: the first of each choice, with a value behind an option that wants one, and `…` for a value or for
/// more options.
fn fault_of_beginning(command: &[String]) -> Option<String> {
    let first = |word: &String| word.split('|').next().unwrap_or_default().to_owned();
    let given: Vec<String> = command.iter().map(first).collect();
    let shorter: Vec<String> = given.iter().filter(|word| *word != MORE).cloned().collect();
    let asking = |command: &[String], more: &[&str]| {
        let more = more.iter().map(|word| (*word).to_owned());
        fault_of(&command.iter().cloned().chain(more).collect::<Vec<_>>())
    };
    let fault = asking(&shorter, &["--help"])?;
    let others = [(&shorter, &["1", "--help"][..]), (&given, &["--help"])];
    others
        .iter()
        .all(|(command, more)| asking(command, more).is_some())
        .then_some(fault)
}

/// Lines that end in a backslash go on in the next.
fn joined(lines: &[String]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        let (line, more) = line
            .strip_suffix('\\')
            .map_or((line.as_str(), false), |line| (line.trim_end(), true));
        match joined.last_mut() {
            Some(last) if goes_on => *last = format!("{last} {}", line.trim_start()),
            _ => joined.push(line.to_owned()),
        }
        goes_on = more;
    }
    joined
}

#[test]
fn every_command_in_the_documents_is_one_that_the_program_takes() {
    let mut wrong = Vec::new();
    let mut looked = 0;
    for document in documents() {
        let name = document.strip_prefix(root()).unwrap_or(&document).display().to_string();
        let text = read(&document);
        for block in blocks(&text) {
            for command in joined(&block.lines).iter().flat_map(|line| commands(line)) {
                looked += 1;
                wrong.extend(fault(&command).map(|why| format!("{name}: {}: {why}", command.join(" "))));
            }
        }
        for command in quoted(&text).into_iter().flat_map(|said| commands(&said.replace('\n', " "))) {
            looked += 1;
            wrong.extend(fault_of_beginning(&command).map(|why| format!("{name}: {}: {why}", command.join(" "))));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked > 200, "only {looked} commands were found");
}

/// What a refusal tells an operator to type: every command between backticks in the sources and in the template of the configuration.
#[test]
fn every_command_that_the_program_names_is_one_that_it_takes() {
    let mut wrong = Vec::new();
    let mut looked = 0;
    let files = ["src", "assets", "examples"]
        .into_iter()
        .flat_map(|folder| walk(&root().join(folder)));
    for file in files.filter(|file| {
        file.extension()
            .is_some_and(|e| e == "rs" || e == "toml" || e == "service" || e == "yaml")
    }) {
        let text = read(&file);
        for line in text.lines() {
            for said in line.split('`').skip(1).step_by(2).filter(|said| !said.contains(['{', '\\'])) {
                for command in commands(said) {
                    looked += 1;
                    wrong.extend(fault_of_beginning(&command).map(|why| format!("{}: {said}: {why}", file.display())));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked > 50, "only {looked} commands were found");
}

/// The examples that `--help` shows, as they stand in the sources of the commands.
#[test]
fn every_example_in_the_help_is_one_that_the_program_takes() {
    let mut wrong = Vec::new();
    let mut looked = 0;
    for file in walk(&root().join("src/cli")) {
        let text = read(&file).replace("\\n", "\n").replace("\\\\\n", " ");
        let examples = text.lines().filter(|line| line.starts_with("  nightdrop "));
        for command in examples.flat_map(|line| commands(line.split("\")").next().unwrap_or_default())) {
            looked += 1;
            wrong.extend(fault(&command).map(|why| format!("{}: {}: {why}", file.display(), command.join(" "))));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked > 50, "only {looked} examples were found");
}

#[test]
fn a_command_that_the_program_does_not_take_is_found() {
    let of = |line: &str| commands(line).iter().map(|command| command.join(" ")).collect::<Vec<_>>();
    assert_eq!(
        of("nightdrop status && nightdrop openapi > openapi.json"),
        ["nightdrop status", "nightdrop openapi"]
    );
    assert_eq!(
        of("$ A=b sudo ./nightdrop key --with 'a b'   # why"),
        ["./nightdrop key --with a b"]
    );
    assert_eq!(of("nightdrop demo      everything on this machine"), ["nightdrop demo"]);
    assert_eq!(of("cargo run --release -- demo --once"), ["nightdrop demo --once"]);
    assert_eq!(
        of("nightdrop a \"$(nightdrop receipt key)\" | y"),
        ["nightdrop receipt key", "nightdrop a VALUE"]
    );
    let wrong = |line: &str| commands(line).iter().find_map(|command| fault(command));
    assert!(wrong("nightdrop request show").is_some(), "an argument is missing");
    assert!(wrong("nightdrop request show …").is_none());
    assert!(wrong("nightdrop request look …").is_some());
    assert!(wrong("nightdrop agent add --email … --name … --role admin").is_none());
    assert!(wrong("nightdrop serve --colour").is_some());
    assert!(
        commands("nightdrop recover --from")
            .iter()
            .all(|command| fault_of_beginning(command).is_none())
    );
    assert_eq!(joined(&["a \\".to_owned(), "   b".to_owned(), "c".to_owned()]), ["a b", "c"]);
}
