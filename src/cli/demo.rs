//! `nightdrop demo`: the whole loop on this machine. A portal, a sandbox provider, a sample agent and an upload link for James, in a folder that goes away.
//!
//! Everything is the real thing: keys, sealing, erasure slots, store, listeners, worker. Only the provider is a stand-in, and the vault key's own key lies beside it.

mod events;
mod lan;
mod once;
mod search;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use data_encoding::{BASE64, HEXLOWER};
use serde_json::json;
use tracing::Level;
use zeroize::Zeroizing;

use crate::app::{self, App, KeyProtection, Running};
use crate::chain::chain;
use crate::config::{Config, StoreSettings};
use crate::crypto::envelope::Suite;
use crate::crypto::{memory, private_file, random};
use crate::domain::agent::{Actor, Role, Scope};
use crate::domain::document::{ApplicantRef, DocumentKind, ProviderName};
use crate::domain::id::{CROCKFORD, RequestId};
use crate::http::address_of;
use crate::sandbox::{self, Sandbox};
use crate::settings::Secret;
use crate::storage::clock::Source;
use crate::worker::Worker;
use crate::workflow::query::first_steps;
use crate::workflow::{Portal, WorkflowError, issue, sign_in};

use super::log::{self, LogFormat, To};
use super::output::{self, Failure, Format, Marks, Outcome};
use super::process::{self, Stop};

use events::Tail;

/// Submissions at once; 4 KiB of disk each, written when the demo starts.
const SLOTS: u64 = 1_024;
const AGENT: &str = "agent@demo.example";
const APPLICANT: &str = "james";
/// How often the audit log is looked at: it notifies nobody.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  nightdrop demo
  nightdrop demo --once
  nightdrop demo --lan
  nightdrop demo --once --database postgres://nightdrop:secret@localhost/nightdrop
  nightdrop demo --json --public-port 8080 --staff-port 8081

Needs no configuration and no rights, and leaves nothing behind. It ends on Ctrl-C (SIGINT) or SIGTERM.
With --json the first line is {\"public_url\", \"staff_url\", \"api_key\", \"upload_url\", \"sandbox_url\", \"data_dir\"},
every later line an event {\"at\", \"request\", \"state\", …}, also for requests that you make yourself through console or API.
The sandbox provider answers GET {sandbox_url}/received and takes POST {sandbox_url}/behaviour {\"next\": […]} to misbehave.")]
pub(super) struct Demo {
    /// Walk the whole loop without you, with a sample photo, and exit 0 only if every promise was kept
    #[arg(long)]
    once: bool,
    /// Open the applicants' page to the local network and show its link as a QR code, for a telephone. Over plain HTTP: nobody drops a real document [default address: the
    /// one by which this machine reaches others]
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = lan::AUTO, conflicts_with = "once")]
    lan: Option<String>,
    /// Port of the applicants' page [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    public_port: u16,
    /// Port of console and API [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    staff_port: u16,
    /// Port of the sandbox provider [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    sandbox_port: u16,
    /// A new or empty folder to work in; emptied at the end [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Keep records and sealed documents in this database of PostgreSQL, postgres://user:password@host/database. It must be empty, and is emptied at the end
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The certificate of the authority that signed the database server's; needed unless the server is on this machine
    #[arg(long, value_name = "FILE", requires = "database")]
    database_ca_file: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(demo: Demo) -> Outcome {
    let memory = memory::harden();
    process::raise_descriptors();
    log::start(LogFormat::Text, To::Error, log::level_or(Level::WARN)?)?.release(|| {});
    if memory.may_reach_a_disk() {
        tracing::warn!("this machine's swap is not known to be encrypted: documents of the demo may be written to it");
    }
    process::block_on(async {
        let mut stop = Stop::listen()?;
        let begun = Instant::now();
        let folder = Folder::make(demo.data_dir.as_deref())?;
        let mut stage = Stage::set(&demo, &folder.path).await?;
        let mut screen = Screen {
            json: demo.format.json,
            marks: Marks::new(),
        };
        let played = play(&mut stage, &demo, &mut screen, &mut stop, begun).await;
        let struck = stage.strike(&mut stop).await;
        folder.remove()?;
        played.and(struck)
    })
}

async fn play(stage: &mut Stage, demo: &Demo, screen: &mut Screen, stop: &mut Stop, begun: Instant) -> Outcome {
    screen.introduce(stage, demo.once)?;
    let mut tail = Tail::new(stage.running.portal.clone());
    if demo.once {
        return tokio::select! {
            walked = once::walk(stage, screen, &mut tail, begun) => walked,
            signal = stop.signal() => Err(Failure::new(format!("stopped by {signal} before the loop was complete"))),
        };
    }
    loop {
        for step in tail.look().await? {
            screen.step(&step)?;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stop.signal() => return screen.farewell(),
        }
    }
}

/// Everything that runs.
struct Stage {
    running: Running,
    /// In `--once` the worker starts only when the sealed document has been looked at.
    worker: Option<Worker>,
    sandbox: Sandbox,
    data_dir: PathBuf,
    /// Where it keeps its records, unless that is in the folder: to be shown.
    database: Option<String>,
    public_url: String,
    staff_url: String,
    api_key: Zeroizing<String>,
    password: Zeroizing<String>,
    upload_url: Zeroizing<String>,
    request: RequestId,
    /// The page is open to the local network.
    lan: bool,
}

impl Stage {
    async fn set(demo: &Demo, folder: &Path) -> Outcome<Self> {
        let lan = demo.lan.as_deref().map(lan::address).transpose()?;
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        let public = listen(lan.unwrap_or(here), demo.public_port)?;
        let staff = listen(here, demo.staff_port)?;
        let public_url = format!("http://{}", address(&public)?);
        let staff_url = address_of(address(&staff)?, false);
        let secrets = ProviderSecrets::make(folder)?;
        let sandbox = sandbox(demo.sandbox_port, &secrets, format!("{public_url}/hooks/sandbox")).await?;
        let config = config(folder, &public_url, sandbox.url(), &database(demo, folder)?)?;
        let database = match &config.store {
            StoreSettings::Embedded => None,
            StoreSettings::Postgres(database) => Some(database.to_string()),
        };
        let made = config.clone();
        tokio::task::spawn_blocking(move || app::create(&made, &KeyProtection::KekFile, Suite::XWing))
            .await
            .map_err(|_| Failure::new("making the keys failed"))??;
        app::bind_database(&config).await?;
        let app = App::open(config, Source::System).await?;
        let password = new_password()?;
        let people = people(&app.portal, &password).await?;
        let running = app.start_on(public, staff, !demo.once).await?;
        Ok(Self {
            running,
            worker: None,
            sandbox,
            data_dir: folder.to_path_buf(),
            database,
            public_url,
            staff_url,
            api_key: people.api_key,
            password,
            upload_url: people.upload_url,
            request: people.request,
            lan: lan.is_some(),
        })
    }

    fn portal(&self) -> &Arc<Portal> {
        &self.running.portal
    }

    fn start_worker(&mut self) {
        self.worker = Some(Worker::start(&self.running.live));
    }

    /// Ends everything and returns when the store is closed, so that its folder can go.
    async fn strike(self, stop: &mut Stop) -> Outcome {
        let (store, open) = (self.running.store.clone(), Arc::downgrade(&self.running.records));
        if let Some(worker) = self.worker {
            worker.stop(Duration::from_secs(5)).await;
        }
        tokio::select! {
            () = self.running.stop() => {}
            _ = stop.signal() => {}
        }
        self.sandbox.stop().await;
        let cleared = store.clear().await;
        drop(store);
        // The listeners' threads let go of the store a moment after they have answered.
        let patience = Instant::now();
        while open.strong_count() > 0 && patience.elapsed() < Duration::from_secs(3) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(cleared?)
    }
}

fn listen(ip: IpAddr, port: u16) -> Outcome<TcpListener> {
    let address = SocketAddr::from((ip, port));
    TcpListener::bind(address).map_err(|e| Failure::new(format!("cannot listen on {address}: {e}; give another port, or none")))
}

fn address(listener: &TcpListener) -> Outcome<SocketAddr> {
    listener
        .local_addr()
        .map_err(|e| Failure::new(format!("a listener has no address: {e}")))
}

/// What portal and provider know of each other.
struct ProviderSecrets {
    api_key: String,
    webhook: String,
}

impl ProviderSecrets {
    fn make(folder: &Path) -> Outcome<Self> {
        let secrets = Self {
            api_key: format!("sbx_{}", HEXLOWER.encode(&bytes::<16>()?)),
            webhook: format!("whsec_{}", BASE64.encode(&bytes::<24>()?)),
        };
        let place = folder.join("secrets");
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&place)
            .map_err(|e| Failure::new(format!("{}: {e}", place.display())))?;
        for (name, text) in [("sandbox", &secrets.api_key), ("sandbox-webhook", &secrets.webhook)] {
            private_file::create(&place.join(name), text.as_bytes(), 0o400).map_err(|e| Failure::new(chain(&e).to_string()))?;
        }
        Ok(secrets)
    }
}

fn bytes<const N: usize>() -> Outcome<[u8; N]> {
    random::array().map_err(|_| Failure::new("the operating system gives no random bytes"))
}

/// Nineteen characters that can be typed: 80 random bits.
fn new_password() -> Outcome<Zeroizing<String>> {
    let plain = Zeroizing::new(CROCKFORD.encode(&bytes::<10>()?));
    let groups: Vec<&str> = (0..4).map(|n| &plain[n * 4..n * 4 + 4]).collect();
    Ok(Zeroizing::new(groups.join("-")))
}

async fn sandbox(port: u16, secrets: &ProviderSecrets, callback: String) -> Outcome<Sandbox> {
    let settings = sandbox::SandboxSettings {
        api_key: Secret::new(&secrets.api_key),
        webhook_secret: Secret::new(&secrets.webhook),
        callback_url: Some(callback),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Sandbox::start(address, settings)
        .await
        .map_err(|e| Failure::new(format!("the sandbox provider cannot listen on {address}: {e}")))
}

/// The lines of the configuration about a database.
fn database(demo: &Demo, folder: &Path) -> Outcome<String> {
    let Some(url) = &demo.database else { return Ok(String::new()) };
    private_file::create(&folder.join("secrets/database"), url.as_bytes(), 0o400).map_err(|e| Failure::new(chain(&e).to_string()))?;
    let authority = match &demo.database_ca_file {
        Some(file) => {
            let file = std::path::absolute(file).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
            format!("ca_file = {}\n", toml::Value::String(file.display().to_string()))
        }
        None => String::new(),
    };
    Ok(format!("[database]\nurl_file = \"secrets/database\"\n{authority}"))
}

fn config(folder: &Path, public_url: &str, sandbox_url: &str, database: &str) -> Outcome<Config> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    // No configuration file may say plain HTTP beyond this machine; the demo does, and says so.
    let local = "http://127.0.0.1";
    let text = format!(
        "data_dir = {}\npublic_url = {}\naccept_volatile_data = true\n\
         [listen]\npublic = \"127.0.0.1:0\"\nstaff = \"127.0.0.1:0\"\n\
         [company]\nname = \"Example Bank\"\nsupport = \"support@demo.example\"\npurpose = \"We are required by law to check the identity of our customers.\"\n\
         [limits]\nuploads = 256\nuploads_per_address = 64\npages_per_address = 1000\n\
         [erasure]\nslots = {SLOTS}\naccept_weak = true\n{database}\
         [providers.sandbox]\nkind = \"sandbox\"\nbase_url = {}\napi_key_file = \"secrets/sandbox\"\nwebhook_secret_file = \"secrets/sandbox-webhook\"\nconfirm = \"verdict\"\n",
        quoted(&folder.display().to_string()),
        quoted(local),
        quoted(sandbox_url),
    );
    let config = Config::parse(&text, folder, std::iter::empty()).map_err(app::StartError::Configuration)?;
    Ok(Config {
        public_url: public_url.to_owned(),
        ..config
    })
}

struct People {
    api_key: Zeroizing<String>,
    upload_url: Zeroizing<String>,
    request: RequestId,
}

/// The sample agent, an API key, and the agent's request to James.
async fn people(portal: &Portal, password: &str) -> Outcome<People> {
    // The demo's company is made up and its folder goes away: there is nothing to set up.
    first_steps::hide(portal, true, Actor::Operator)
        .await
        .map_err(WorkflowError::from)?;
    let agent = sign_in::add_agent(portal, AGENT, "Sample agent", Role::Admin, password, Actor::Operator).await?;
    let (_, api_key) = sign_in::add_api_key(portal, "demo", Scope::ALL.to_vec(), None, Actor::Operator).await?;
    let ask = issue::Ask {
        provider: ProviderName::parse("sandbox").expect("a word"),
        applicant: ApplicantRef::parse(APPLICANT).expect("a word"),
        document: DocumentKind::parse("government-id").expect("a word"),
        parts: None,
        expires: issue::Expiry::Default,
        passcode: false,
        locale: Some("en".to_owned()),
        message: None,
        return_url: None,
        metadata: None,
        ticket: None,
    };
    let issued = issue::issue(portal, ask, Actor::Agent(agent.id), None).await?;
    Ok(People {
        api_key,
        upload_url: Zeroizing::new(issued.url(portal)),
        request: issued.request.id,
    })
}

/// The demo's folder: left as it was found, whatever happens.
struct Folder {
    path: PathBuf,
    ours: bool,
    gone: bool,
}

impl Folder {
    fn make(given: Option<&Path>) -> Outcome<Self> {
        let path = match given {
            Some(path) => std::path::absolute(path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?,
            None => std::env::temp_dir().join(format!("nightdrop-demo-{}", HEXLOWER.encode(&bytes::<8>()?))),
        };
        let failed = |e: std::io::Error| Failure::new(format!("{}: {e}", path.display()));
        let ours = !path.exists();
        if ours {
            std::fs::DirBuilder::new()
                .recursive(given.is_some())
                .mode(0o700)
                .create(&path)
                .map_err(failed)?;
        } else if std::fs::read_dir(&path).map_err(failed)?.next().is_some() {
            return Err(Failure::new(format!(
                "{} is not empty; the demo works in a new or empty folder and empties it at the end",
                path.display()
            )));
        }
        Ok(Self { path, ours, gone: false })
    }

    fn remove(mut self) -> Outcome {
        self.gone = true;
        self.clear()
            .map_err(|e| Failure::new(format!("{} could not be removed: {e}; remove it by hand", self.path.display())))
    }

    fn clear(&self) -> std::io::Result<()> {
        if self.ours {
            return std::fs::remove_dir_all(&self.path);
        }
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?.path();
            if entry.is_dir() {
                std::fs::remove_dir_all(entry)?
            } else {
                std::fs::remove_file(entry)?
            }
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.gone {
            // A failure is being reported already.
            let _ = self.clear();
        }
    }
}

/// What the demo shows, for people or for machines.
struct Screen {
    json: bool,
    marks: Marks,
}

impl Screen {
    fn introduce(&self, stage: &Stage, once: bool) -> Outcome {
        if self.json {
            return output::json(&json!({
                "public_url": stage.public_url,
                "staff_url": stage.staff_url,
                "api_key": &*stage.api_key,
                "upload_url": &*stage.upload_url,
                "sandbox_url": stage.sandbox.url(),
                "data_dir": stage.data_dir.display().to_string(),
            }));
        }
        let assurance = stage.portal().assurance.current();
        let erasure = format!("class {} on {}", assurance.class, assurance.file_system);
        let sign_in = format!("{AGENT}   {}", *stage.password);
        let books = format!("{}/received", stage.sandbox.url());
        let data = stage.data_dir.display().to_string();
        let where_to = if stage.lan { "for the local network" } else { "on this machine" };
        output::line(format_args!(
            "{}  the whole loop {where_to}; nothing is kept\n",
            self.marks.bold("nightdrop demo")
        ))?;
        let mut rows = vec![
            ("Console", stage.staff_url.as_str(), ""),
            ("Sign in", &sign_in, ""),
            ("API key", &stage.api_key, ""),
            ("Upload link", &stage.upload_url, "for James: government ID, front and back"),
            ("Provider", &books, "what the sandbox has received"),
            ("Data", &data, ""),
        ];
        if let Some(database) = &stage.database {
            rows.push(("Database", database, "emptied at the end"));
        }
        // Its reasons stand below it.
        rows.push(("Erasure", &erasure, ""));
        for (name, value, note) in rows {
            let name = self.marks.dim(&format!("{name:<13}"));
            let note = if note.is_empty() {
                String::new()
            } else {
                format!("   {}", self.marks.dim(note))
            };
            output::line(format_args!("  {name}{value}{note}"))?;
        }
        for reason in &assurance.reasons {
            output::line(format_args!("  {:13}{}", "", self.marks.dim(reason)))?;
        }
        if stage.lan {
            output::line(format_args!(
                "\nScan this with a telephone in the same network (or type the upload link):\n\n{}",
                lan::qr(&stage.upload_url, self.marks.has_colour())?
            ))?;
            output::line(format_args!(
                "{} Plain HTTP: whoever is in this network can read what is dropped. Drop no real document. The console is on this machine alone.",
                self.marks.note()
            ))?;
            output::line("  If the telephone reaches nothing, a firewall of this machine is in the way.")?;
        }
        let next = if once {
            "Now the loop, by itself."
        } else {
            "Open the upload link and drop two photos. Ctrl-C ends the demo and removes everything."
        };
        output::line(format_args!("\n{next}\n"))
    }

    fn step(&mut self, step: &events::Step) -> Outcome {
        if self.json {
            output::json(&step.json())
        } else {
            output::line(step.text(self.marks))
        }
    }

    fn farewell(&self) -> Outcome {
        if self.json {
            Ok(())
        } else {
            output::line("\nStopping; the demo's data is removed.")
        }
    }
}
