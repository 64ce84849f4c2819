//! The command line. Every command answers `--help` with an example and `--json` for machines, exits with 0 only on success, and says on standard error in one
//! sentence what went wrong and how to fix it ([`output::Exit`] has the codes). No secret is taken from the command line: everybody on the machine can read those.

mod agents;
mod api_keys;
mod ask;
mod audit;
mod backup;
mod client;
mod compact;
mod demo;
mod doctor;
mod init;
mod key;
mod log;
mod manual;
mod mcp;
mod notify;
mod output;
mod person;
mod portal;
mod process;
mod receipts;
mod recover;
mod requests;
mod serve;

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{CommandFactory, Parser, Subcommand};
use serde_json::Value;

use output::Outcome;

/// What `--version` says behind the name; `-V` says the first line alone.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    use crate::version::{COMMIT, COMPILER, TARGET, VERSION};
    let layout = crate::app::identity::LAYOUT;
    format!("{VERSION}\ncommit       {COMMIT}\ntarget       {TARGET}\ndata layout  {layout}\ncompiler     {COMPILER}")
});

/// A self-hosted drop for identity documents: ask, drop, seal, forward, confirm, purge.
#[derive(Parser, Debug)]
#[command(name = "nightdrop", version = crate::version::VERSION, long_version = LONG_VERSION.as_str(), arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "Start here:
  nightdrop demo          everything on this machine, nothing kept
  nightdrop init          keys, store, configuration, the first admin
  nightdrop doctor        what is wrong, and how to fix it
  nightdrop serve         the portal

Commands that speak to a running portal read its staff address from NIGHTDROP_URL (or --url) and an API key from NIGHTDROP_TOKEN (or --token-file).")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// The whole loop on this machine, with a sandbox provider
    Demo(demo::Demo),
    /// Run the portal
    Serve(serve::Serve),
    /// Make configuration, keys, store and the first admin
    Init(init::Init),
    /// Take a backup of a running or a stopped portal, or check one
    Backup(backup::Backup),
    /// Give back the disk that the records of a stopped portal no longer need
    Compact(compact::Compact),
    /// Make a portal work again that has lost a part for good
    Recover(recover::Recover),
    /// Look for everything that is wrong, and say how to fix it
    Doctor(doctor::Doctor),
    /// Ask applicants for documents, and follow what becomes of them
    Request(requests::Requests),
    /// What a provider still wants of an applicant
    Missing(requests::Missing),
    /// One person's data: a copy of it, or its erasure with a signed statement
    Person(person::People),
    /// The configured providers
    Provider(portal::Providers),
    /// The people who sign in to the console
    Agent(agents::Agents),
    /// The keys that machines call the API with
    #[command(name = "api-key")]
    ApiKey(api_keys::ApiKeys),
    /// Webhooks and mails: what was sent, what waits, what has failed
    Dispatch(portal::Dispatches),
    /// A running portal as a whole
    Status(portal::Status),
    /// What is still to be done once with a new portal
    #[command(name = "first-steps")]
    FirstSteps(portal::FirstSteps),
    /// The machine's clock, after a jump
    Clock(portal::Clock),
    /// The vault key: status, unlock, rotate
    Key(key::Keys),
    /// Export the audit log, or verify an export offline
    Audit(audit::Audit),
    /// Deletion receipts: get one, or verify one offline
    Receipt(receipts::Receipts),
    /// Tools for assistants, by the Model Context Protocol
    Mcp(mcp::Mcp),
    /// Print the API's OpenAPI document
    #[command(after_help = "Example:\n  nightdrop openapi > openapi.json")]
    Openapi(OpenApi),
    /// Print a script that completes commands and options in a shell
    Completions(manual::Completions),
    /// Write a manual page for every command into a folder
    Man(manual::Manual),
    /// Explain a command
    Help(manual::Help),
}

#[derive(clap::Args, Debug)]
struct OpenApi {
    #[command(flatten)]
    format: output::Format,
}

/// Runs the process's command line.
pub fn main() -> ExitCode {
    crate::crypto::heap::set_up();
    process::guard();
    let line = match Line::try_parse() {
        Ok(line) => line,
        // Help and version are answers too; their exit code is 0, a wrong line's is 2.
        Err(answer) => answer.exit(),
    };
    match run(line.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                output::complain(format_args!("nightdrop: {text}"));
            }
            ExitCode::from(failure.exit().code())
        }
    }
}

/// What is wrong with a command line, by the definition that the program parses its own with; nothing is wrong with a question for help. For the commands in documents.
pub fn fault_of(line: &[String]) -> Option<String> {
    let answer = Line::try_parse_from(line).err()?;
    (answer.exit_code() != 0).then(|| answer.to_string())
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Demo(demo) => demo::run(demo),
        Command::Serve(serve) => serve::run(serve),
        Command::Init(init) => init::run(init),
        Command::Backup(given) => backup::run(&given),
        Command::Compact(given) => compact::run(&given),
        Command::Recover(recover) => recover::run(recover),
        Command::Doctor(doctor) => doctor::run(doctor),
        Command::Request(requests) => requests::run(requests),
        Command::Missing(missing) => requests::missing(missing),
        Command::Person(people) => person::run(people),
        Command::Provider(providers) => portal::providers(&providers),
        Command::ApiKey(keys) => api_keys::run(keys),
        Command::Dispatch(dispatches) => portal::dispatches(&dispatches),
        Command::Status(status) => portal::status(&status),
        Command::FirstSteps(steps) => portal::first_steps(&steps),
        Command::Clock(clock) => portal::clock(&clock),
        Command::Agent(agents) => agents::run(agents),
        Command::Key(keys) => key::run(keys),
        Command::Audit(audit) => audit::run(audit),
        Command::Receipt(receipts) => receipts::run(receipts),
        Command::Mcp(given) => mcp::run(&given, &description()?),
        Command::Openapi(print) => openapi(print.format),
        Command::Completions(given) => manual::completions(&given, Line::command()),
        Command::Man(given) => manual::pages(&given, Line::command()),
        Command::Help(given) => manual::help(&given, Line::command()),
    }
}

/// The API's description as a value.
fn description() -> Outcome<Value> {
    serde_json::to_value(crate::http::staff::api::openapi())
        .map_err(|e| output::Failure::new(format!("the document cannot be written: {e}")))
}

/// The document is JSON anyway: one line for machines, indented for people.
fn openapi(format: output::Format) -> Outcome {
    let document = crate::http::staff::api::openapi();
    let text = if format.json {
        document.to_json()
    } else {
        document.to_pretty_json()
    };
    output::line(text.map_err(|e| output::Failure::new(format!("the document cannot be written: {e}")))?)
}
