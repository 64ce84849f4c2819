//! Sandboxes inside the portal: a provider of the kind `sandbox` without an address is started with the portal, on a free port of this machine, and ends with it. So a new
//! installation runs its whole loop, deletion and receipt included, before there is a contract with anybody; what it receives is hashed and forgotten.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use data_encoding::{BASE64, HEXLOWER};

use super::StartError;
use crate::chain::chain;
use crate::config::{Config, Provider};
use crate::connectors::Inside;
use crate::crypto::random;
use crate::domain::document::ProviderName;
use crate::sandbox::{Sandbox, SandboxSettings};
use crate::settings::Secret;

/// Those that run. One that the configuration names no more goes on until the portal ends: what is on its way to it arrives, and named again it is the same one.
#[derive(Default)]
pub(super) struct Insides(BTreeMap<ProviderName, InsideSandbox>);

struct InsideSandbox {
    sandbox: Sandbox,
    api_key: String,
    webhook_secret: String,
}

impl Insides {
    /// Starts one for each provider that wants it and has none, and tells every such provider where its own is. `public`: where the applicants' listener is, for
    /// callbacks.
    pub(super) async fn begin(&mut self, config: &Config, public: SocketAddr) -> Result<(), StartError> {
        for provider in config.providers.iter().filter(|p| p.connector.runs_inside()) {
            if !self.0.contains_key(&provider.name) {
                let started = start(config, provider, public).await?;
                self.0.insert(provider.name.clone(), started);
            }
            let Some(inside) = self.0.get(&provider.name) else { continue };
            let told = Inside {
                url: inside.sandbox.url(),
                api_key: &inside.api_key,
                webhook_secret: &inside.webhook_secret,
            };
            provider.connector.begin_inside(told).map_err(StartError::Configuration)?;
        }
        Ok(())
    }

    pub(super) async fn stop(self) {
        futures_util::future::join_all(self.0.into_values().map(|inside| inside.sandbox.stop())).await;
    }
}

async fn start(config: &Config, provider: &Provider, public: SocketAddr) -> Result<InsideSandbox, StartError> {
    let failed = |why: String| StartError::Unavailable(format!("the sandbox of providers.{} cannot be started: {why}", provider.name));
    let no_random = |_| failed("the operating system gives no random bytes".to_owned());
    let api_key = format!("sbx_{}", HEXLOWER.encode(&random::array::<16>().map_err(no_random)?));
    let webhook_secret = format!("whsec_{}", BASE64.encode(&random::array::<24>().map_err(no_random)?));
    let settings = SandboxSettings {
        api_key: Secret::new(&api_key),
        webhook_secret: Secret::new(&webhook_secret),
        callback_url: callback(config, public, provider.name.as_str()),
    };
    let sandbox = Sandbox::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), settings)
        .await
        .map_err(|error| failed(chain(&error).to_string()))?;
    tracing::warn!(
        event = "sandbox",
        provider = %provider.name,
        "this provider is a sandbox inside the portal: nothing leaves the machine, and no document is checked by anybody; it is for trying, never for real documents"
    );
    Ok(InsideSandbox {
        sandbox,
        api_key,
        webhook_secret,
    })
}

/// The sandbox tells its verdicts by plain HTTP; behind TLS the portal asks for them instead.
fn callback(config: &Config, mut public: SocketAddr, name: &str) -> Option<String> {
    if config.public.tls.is_on() {
        return None;
    }
    if public.ip().is_unspecified() {
        public.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    Some(format!("http://{public}/hooks/{name}"))
}
