//! `nightdrop init`: a commented `nightdrop.toml`, the keys, the erasure slots, an empty store, the first admin and an API key.
//!
//! Nothing that exists is overwritten, and a failed init leaves nothing behind: what it made is taken away again, by the next init if this one is killed.

mod interview;
mod service;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;
use zeroize::Zeroizing;

use crate::app::beginning::{self, Beginning};
use crate::app::{self, App, KeyProtection, Layout, Store};
use crate::chain::chain;
use crate::config::{Config, VAULT_CREDENTIAL, template};
use crate::crypto::envelope::Suite;
use crate::crypto::keyfile::Argon2Cost;
use crate::crypto::private_file;
use crate::domain::agent::{Actor, Role, Scope};
use crate::http::address_of;
use crate::storage::clock::Source;
use crate::workflow::sign_in;

use interview::{Interview, Question, fits, line};

use super::ask;
use super::output::{self, Exit, Failure, Format, Outcome};
use super::process::{self, Stop};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop init
  nightdrop init --data-dir data --public-url https://drop.example.com --listen-public 0.0.0.0:8080 \\
      --listen-staff 127.0.0.1:8081 --company 'Example Bank' --support support@example.com --sandbox \\
      --admin-email ana@example.com --admin-password-file pw --yes --json
  nightdrop init --public-url https://drop.example.com --database-url-file secrets/database
  nightdrop init --systemd > install.sh       then read it, and: sudo sh install.sh --public-url https://drop.example.com

At a terminal each answer is judged at once, and asked for again with the reason; unattended, all faults are told together.

With --json it prints {\"config\": path, \"api_key\": \"…\"}. The API key is shown this once.
Without --config the configuration is ./nightdrop.toml, or DIR/nightdrop.toml when --data-dir is an absolute path.")]
pub(super) struct Init {
    /// Where records, sealed documents, erasure slots and keys go [default: data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The address that applicants see, such as https://drop.example.com
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Where the applicants' page listens [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDR")]
    listen_public: Option<String>,
    /// Where console and API listen [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    listen_staff: Option<String>,
    /// How browsers reach the console, such as https://console.example.com; passkeys and single sign-on work there only
    /// [default: none; with a listener on this machine alone, http://localhost and its port]
    #[arg(long, value_name = "URL")]
    staff_url: Option<String>,
    /// The company's name, as applicants read it [default: Example Bank, to be changed in the configuration]
    #[arg(long, value_name = "NAME")]
    company: Option<String>,
    /// Whom an applicant may ask: an e-mail address, a telephone number or a web address
    #[arg(long, value_name = "TEXT")]
    support: Option<String>,
    /// Add the sandbox, which runs inside the portal: everything can be tried before a provider is connected
    #[arg(long)]
    sandbox: bool,
    /// The first admin's e-mail address: the sign-in name
    #[arg(long, value_name = "EMAIL")]
    admin_email: Option<String>,
    /// A file with the first admin's password, `-` for standard input
    #[arg(long, value_name = "FILE")]
    admin_password_file: Option<PathBuf>,
    /// The first admin's name [default: Admin]
    #[arg(long, value_name = "NAME")]
    admin_name: Option<String>,
    /// The configuration to write
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What opens the vault key: a key file beside it, a passphrase, or nothing, for systemd to keep it [default: file]
    #[arg(long, value_enum, value_name = "KIND")]
    key_protection: Option<Protection>,
    /// A file with the vault key's passphrase. Alone, the configuration refers to it and the portal opens its vault at start;
    /// with `--key-protection passphrase` it is read this once, and the portal starts locked
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Where `--key-protection credential` writes the vault key, for `systemd-creds encrypt`
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
    /// Keep records and sealed documents in PostgreSQL: a file with the address of an empty database, postgres://user:password@host/database
    #[arg(long, value_name = "FILE")]
    database_url_file: Option<PathBuf>,
    /// The certificate of the authority that signed the database server's; needed unless the server is on this machine
    #[arg(long, value_name = "FILE", requires = "database_url_file")]
    database_ca_file: Option<PathBuf>,
    /// How many submissions can be held at once, 4 KiB of disk each [default: 16384]
    #[arg(long, value_name = "N")]
    erasure_slots: Option<u64>,
    /// Run on a file system on which overwriting is not shown to erase
    #[arg(long)]
    accept_weak_erasure: bool,
    /// Make nothing, and print what root runs to have a service of systemd: user, folder, unit, portal and start, as a script
    #[arg(long, exclusive = true)]
    systemd: bool,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    format: Format,
}

/// How a new vault key is protected, for `init` and `recover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Protection {
    /// 32 random bytes in a file beside the key: the portal starts by itself.
    File,
    /// A passphrase: the portal starts locked until somebody enters it.
    Passphrase,
    /// The key goes to a file that you encrypt with systemd-creds and remove: systemd hands it to the service at start.
    Credential,
}

/// What the template says where the console has no address of its own.
const STAFF_URL: &str = "# staff_url = \"https://console.example.com\"";
const NO_URL: &str = "none";
/// What it says where nobody has named the company.
const COMPANY: &str = "name = \"Example Bank\"";
const SUPPORT: &str = "support = \"support@example.com\"";
const SANDBOX: &str = "# [providers.sandbox]\n# kind = \"sandbox\"";
/// What it says of a database.
const DATABASE: &str = "# [database]\n# url_file = \"secrets/database\"";
const DATABASE_CA: &str = "# ca_file = \"secrets/database-ca.pem\"";

/// Everything answered, nothing made yet.
struct Plan {
    config: PathBuf,
    text: String,
    email: String,
    name: String,
    password: Zeroizing<String>,
    protection: KeyProtection,
    json: bool,
}

pub(super) fn run(init: Init) -> Outcome {
    if init.systemd {
        let program = std::env::current_exe().map_err(|error| Failure::new(format!("this program's own file is not known: {error}")))?;
        return output::write(&service::script(&program.display().to_string()));
    }
    // Nothing was started that a service manager might start again.
    begin(init).map_err(|failure| failure.exits(Exit::Failed))
}

fn begin(init: Init) -> Outcome {
    let asking = !init.yes && ask::somebody();
    let plan = plan(init, asking)?;
    let base = plan.config.parent().map(Path::to_path_buf).unwrap_or_default();
    let config = Config::parse(&plan.text, &base, process::environment()).map_err(app::StartError::Configuration)?;
    beginning::clear(&Layout::of(&config))?;
    must_be_new(&plan.config)?;
    process::block_on(make(plan, config))
}

fn plan(init: Init, asking: bool) -> Outcome<Plan> {
    let json = init.format.json;
    let mut interview = Interview::new(asking);
    let named = init.config.clone();
    let question = |given, text, default, option| Question {
        given,
        text,
        default,
        option,
    };
    let data_dir = init.data_dir.as_ref().map(|d| d.display().to_string());
    let data_dir = interview.answer(
        question(data_dir, "Where shall records and keys go", Some("data"), "--data-dir"),
        |data_dir| is_free(named.as_deref(), Path::new(data_dir)).map_err(|failure| failure.to_string()),
    )?;
    let data_dir = PathBuf::from(data_dir);
    let public_url = interview.answer(
        question(
            init.public_url,
            "The address that applicants will see (https://…)",
            None,
            "--public-url",
        ),
        |url| fits("public_url", &line("public_url", url)),
    )?;
    let listener = |name: &'static str| move |address: &str| fits(&format!("listen.{name}"), &format!("[listen]\n{}", line(name, address)));
    let public = interview.answer(
        question(
            init.listen_public,
            "Where the applicants' page listens",
            Some("0.0.0.0:8080"),
            "--listen-public",
        ),
        listener("public"),
    )?;
    let staff = interview.answer(
        question(
            init.listen_staff,
            "Where console and API listen",
            Some("127.0.0.1:8081"),
            "--listen-staff",
        ),
        listener("staff"),
    )?;
    let staff_url = interview.answer(
        question(
            init.staff_url,
            "How browsers reach the console (https://…, none: by localhost on this machine)",
            Some(NO_URL),
            "--staff-url",
        ),
        |url| {
            if url == NO_URL {
                Ok(())
            } else {
                fits("staff_url", &line("staff_url", url))
            }
        },
    )?;
    let company = optional(
        &mut interview,
        init.company,
        "The company's name, as applicants read it",
        "--company",
        "company.name",
    )?;
    let support = optional(
        &mut interview,
        init.support,
        "Whom applicants may ask (e-mail address, telephone number or web address)",
        "--support",
        "company.support",
    )?;
    let sandbox = init.sandbox
        || asking && ask::yes("Add the sandbox, to try everything before a provider is connected? Nothing leaves this machine")?;
    let email = interview.answer(
        question(init.admin_email, "The first admin's e-mail address", None, "--admin-email"),
        interview::email,
    )?;
    let name = interview.answer(
        question(init.admin_name, "The first admin's name", Some("Admin"), "--admin-name"),
        interview::name,
    )?;
    let context = [email.as_str(), name.as_str(), company.as_deref().unwrap_or("Example Bank")];
    let password = interview.password(init.admin_password_file.as_deref(), |password| {
        interview::password(password, &context)
    })?;
    if let Some(slots) = init.erasure_slots {
        let judged = fits("erasure.slots", &format!("[erasure]\nslots = {slots}"));
        judged.unwrap_or_else(|why| interview.fault("--erasure-slots", why));
    }
    interview.finish()?;
    let config = config_place(init.config.as_deref(), &data_dir);
    let (protection, noted) = match (init.key_protection, &init.credential_file) {
        (Some(Protection::Credential), Some(file)) if init.passphrase_file.is_none() => (KeyProtection::Credential(absolute(file)?), None),
        (Some(Protection::Credential), _) => {
            return Err(Failure::new(
                "--key-protection credential needs --credential-file, the file to write the vault key to, and no --passphrase-file",
            ));
        }
        (_, Some(_)) => return Err(Failure::new("--credential-file goes with --key-protection credential")),
        (kind, None) => protection(kind, init.passphrase_file.as_deref(), asking)?,
    };
    let data_dir = if config.parent() == Some(Path::new("")) {
        data_dir
    } else {
        absolute(&data_dir)?
    };
    let mut text = template::write(&data_dir.display().to_string(), &public_url, &public, &staff);
    if staff_url != NO_URL {
        let url = toml::Value::String(staff_url);
        settle(&mut text, STAFF_URL, &format!("staff_url = {url}"));
    }
    if let Some(company) = company {
        settle(&mut text, COMPANY, line("name", &company).trim_end());
        // The template's address is nobody's.
        let support = support.map_or_else(|| format!("# {SUPPORT}"), |support| line("support", &support).trim_end().to_owned());
        settle(&mut text, SUPPORT, &support);
    } else if let Some(support) = support {
        settle(&mut text, SUPPORT, line("support", &support).trim_end());
    }
    if sandbox {
        settle(&mut text, SANDBOX, &SANDBOX.replace("# ", ""));
    }
    if let Some(slots) = init.erasure_slots {
        settle(&mut text, "slots = 16384", &format!("slots = {slots}"));
    }
    if init.accept_weak_erasure {
        settle(&mut text, "accept_weak = false", "accept_weak = true ");
    }
    if let Some(file) = &init.database_url_file {
        settle(&mut text, DATABASE, &format!("[database]\nurl_file = {}", path(file)?));
    }
    if let Some(file) = &init.database_ca_file {
        settle(&mut text, DATABASE_CA, &format!("ca_file = {}", path(file)?));
    }
    if let Some(noted) = noted {
        settle(
            &mut text,
            "# passphrase_file = \"secrets/passphrase\"",
            &format!("passphrase_file = {}", path(&noted)?),
        );
    }
    Ok(Plan {
        config,
        text,
        email,
        name,
        password,
        protection,
        json,
    })
}

/// A text of `[company]`: asked for at a terminal, and the template's where nobody says one.
fn optional(interview: &mut Interview, given: Option<String>, text: &str, option: &str, key: &str) -> Outcome<Option<String>> {
    if given.is_none() && !interview.asking {
        return Ok(None);
    }
    let (table, name) = key.split_once('.').unwrap_or_default();
    let question = Question {
        given,
        text,
        default: None,
        option,
    };
    let answer = interview.answer(question, |answer| match answer.trim() {
        "" => Err("must not be empty".to_owned()),
        answer => fits(key, &format!("[{table}]\n{}", line(name, answer))),
    })?;
    Ok(Some(answer.trim().to_owned()))
}

/// Whether nothing is where the portal would go. The file of an init that was killed is taken away with the rest of its half.
fn is_free(config: Option<&Path>, data_dir: &Path) -> Outcome {
    let config = config_place(config, data_dir);
    let folder = config.parent().unwrap_or(Path::new("")).join(data_dir);
    match folder.join("unfinished").exists() {
        true => Ok(()),
        false => must_be_new(&config),
    }
}

fn must_be_new(config: &Path) -> Outcome {
    if config.exists() {
        return Err(Failure::new(format!(
            "{} exists already and is not overwritten; name another file with --config",
            config.display()
        )));
    }
    Ok(())
}

/// Beside a relative data folder, inside an absolute one: several portals on one machine do not meet.
fn config_place(given: Option<&Path>, data_dir: &Path) -> PathBuf {
    let named = given.is_some() || std::env::var_os("NIGHTDROP_CONFIG").is_some_and(|p| !p.is_empty());
    if named || data_dir.is_relative() {
        process::config_path(given)
    } else {
        data_dir.join("nightdrop.toml")
    }
}

fn absolute(path: &Path) -> Outcome<PathBuf> {
    std::path::absolute(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

/// A path as the configuration has it.
fn path(file: &Path) -> Outcome<toml::Value> {
    Ok(toml::Value::String(absolute(file)?.display().to_string()))
}

/// Changes one line of the template, which has it.
fn settle(text: &mut String, line: &str, to: &str) {
    debug_assert!(text.contains(line), "the template has {line:?}");
    *text = text.replacen(line, to, 1);
}

/// How the vault key is protected, and the passphrase file that the configuration shall name.
fn protection(kind: Option<Protection>, file: Option<&Path>, asking: bool) -> Outcome<(KeyProtection, Option<PathBuf>)> {
    let cost = Argon2Cost::for_this_machine();
    let of = |secret: Zeroizing<String>| KeyProtection::Passphrase(Zeroizing::new(secret.as_bytes().to_vec()), cost);
    match (kind, file) {
        (Some(Protection::File), Some(_)) => Err(Failure::new(
            "--key-protection file needs no --passphrase-file; give one of the two",
        )),
        (Some(Protection::Credential), _) => Err(Failure::new("--key-protection credential needs --credential-file")),
        (None, Some(file)) => Ok((of(ask::from_file(file)?), Some(file.to_path_buf()))),
        (Some(Protection::Passphrase), Some(file)) => Ok((of(ask::from_file(file)?), None)),
        (Some(Protection::Passphrase), None) if asking => Ok((of(ask::new_secret("A passphrase for the vault key")?), None)),
        (Some(Protection::Passphrase), None) => Err(Failure::new(
            "--key-protection passphrase needs --passphrase-file when nobody can be asked",
        )),
        (Some(Protection::File), None) => Ok((KeyProtection::KekFile, None)),
        (None, None) if asking && ask::yes("Protect the vault key with a passphrase? The portal then starts locked")? => {
            Ok((of(ask::new_secret("A passphrase for the vault key")?), None))
        }
        (None, None) => Ok((KeyProtection::KekFile, None)),
    }
}

async fn make(plan: Plan, config: Config) -> Outcome {
    let mut stop = Stop::listen()?;
    let credential = match &plan.protection {
        KeyProtection::Credential(file) => Some(file.clone()),
        _ => None,
    };
    let files = [Some(absolute(&plan.config)?), credential.clone()];
    let files: Vec<PathBuf> = files.into_iter().flatten().collect();
    let beginning = Beginning::start(&Layout::of(&config), &files)?;
    let told = |stop: &mut Stop| futures_util::FutureExt::now_or_never(stop.signal()).is_some();
    let slots = config.clone();
    let protection = plan.protection;
    tokio::task::spawn_blocking(move || app::create(&slots, &protection, Suite::XWing))
        .await
        .map_err(|_| Failure::new("making the keys failed"))??;
    if let Some(folder) = plan.config.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|e| Failure::new(format!("{}: {e}", folder.display())))?;
    }
    private_file::create(&plan.config, plan.text.as_bytes(), 0o600).map_err(|e| Failure::new(chain(&e).to_string()))?;
    let console = console(&config);
    app::bind_database(&config).await?;
    let (api_key, store) = first_people(config, &plan.email, &plan.name, &plan.password).await?;
    if told(&mut stop) {
        return Err(Failure::new("interrupted; nothing was left behind"));
    }
    store.finish().await?;
    drop(store);
    let path = absolute(&plan.config)?;
    if plan.json {
        output::json(&json!({"config": path.display().to_string(), "api_key": &*api_key}))?;
    } else {
        tell(&path, console.as_deref(), &plan.email, &api_key)?;
        credential.as_deref().map_or(Ok(()), hand_over)?;
    }
    Ok(beginning.finish()?)
}

/// The first admin, and an API key that may do everything.
async fn first_people(config: Config, email: &str, name: &str, password: &str) -> Outcome<(Zeroizing<String>, Store)> {
    let app = App::open_new(config, Source::System).await.map_err(|error| match error {
        app::StartError::Refused(why) if why.contains("erasure.accept_weak") => {
            Failure::new(why.replace("set erasure.accept_weak = true", "pass --accept-weak-erasure"))
        }
        other => other.into(),
    })?;
    sign_in::add_agent(&app.portal, email, name, Role::Admin, password, Actor::Operator).await?;
    let (_, secret) = sign_in::add_api_key(&app.portal, "first key, made by init", Scope::ALL.to_vec(), None, Actor::Operator).await?;
    app.records
        .flush()
        .await
        .map_err(|e| Failure::new(format!("the store cannot be flushed: {}", chain(&e))))?;
    Ok((secret, app.store))
}

/// Where the console will be; unknown with any free port.
fn console(config: &Config) -> Option<String> {
    let staff = &config.staff;
    let here = || (staff.address.port() != 0).then(|| address_of(staff.address, staff.tls.is_on()));
    config.staff_url.clone().or_else(here)
}

fn tell(config: &Path, console: Option<&str>, email: &str, api_key: &str) -> Outcome {
    output::line(format_args!("Configuration   {}", config.display()))?;
    if let Some(console) = console {
        output::line(format_args!("Console         {console}"))?;
    }
    output::line(format_args!("First admin     {email}"))?;
    output::line(format_args!("API key         {api_key}"))?;
    output::line("                (all scopes; it is shown this once and stored only as a hash)")?;
    output::line("")?;
    output::line(format_args!(
        "Next: set company.name (unless it is) and a provider in the configuration, then"
    ))?;
    output::line(format_args!(
        "  nightdrop doctor --config {0}\n  nightdrop serve --config {0}",
        config.display()
    ))
}

/// What is still to be done with a key that lies open.
fn hand_over(key: &Path) -> Outcome {
    output::line(format_args!(
        "\nThe vault key lies open in {0} until you hand it to systemd, as root:
  systemd-creds encrypt --name={VAULT_CREDENTIAL} {0} /etc/credstore.encrypted/{VAULT_CREDENTIAL} && shred -u {0}
and the service's unit has
  LoadCredentialEncrypted={VAULT_CREDENTIAL}:/etc/credstore.encrypted/{VAULT_CREDENTIAL}",
        key.display()
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_template_has_the_lines_that_init_settles() {
        let mut text = template::write("data", "https://drop.example.com", "127.0.0.1:0", "127.0.0.1:0");
        settle(&mut text, "slots = 16384", "slots = 64");
        settle(&mut text, "accept_weak = false", "accept_weak = true ");
        settle(&mut text, COMPANY, "name = \"Bank\"");
        settle(&mut text, SUPPORT, "support = \"+44\"");
        settle(&mut text, SANDBOX, &SANDBOX.replace("# ", ""));
        settle(&mut text, STAFF_URL, "staff_url = \"https://console.bank.example\"");
        settle(&mut text, "# passphrase_file = \"secrets/passphrase\"", "passphrase_file = \"x\"");
        assert!(text.contains(DATABASE) && text.contains(DATABASE_CA));
        let config = Config::parse(&text, Path::new(""), std::iter::empty()).unwrap();
        assert_eq!(config.erasure_slots, 64);
        assert_eq!((config.company.name.as_str(), config.providers.len()), ("Bank", 1));
        assert_eq!(config.staff_url.as_deref(), Some("https://console.bank.example"));
        assert_eq!(text.matches("staff_url =").count(), 1);
        assert!(config.accept_weak_erasure);
        assert_eq!(config.keys.passphrase_file, Some(PathBuf::from("x")));
    }

    #[test]
    fn an_absolute_data_folder_holds_its_configuration() {
        assert_eq!(config_place(Some(Path::new("a.toml")), Path::new("/srv/x")), Path::new("a.toml"));
        if std::env::var_os("NIGHTDROP_CONFIG").is_none() {
            assert_eq!(config_place(None, Path::new("data")), Path::new("nightdrop.toml"));
            assert_eq!(config_place(None, Path::new("/srv/x")), Path::new("/srv/x/nightdrop.toml"));
        }
    }
}
