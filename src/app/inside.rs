//! Sandboxes inside the portal: a provider of the kind `sandbox` without an address is started with the portal, on a free port of this machine, and ends with it. So a new
//! installation runs its whole loop, deletion and receipt included, before there is a contract with anybody; what it receives is hashed and forgotten.

use std::net::{Ipv4Addr, SocketAddr};

use data_encoding::{BASE64, HEXLOWER};

use super::StartError;
use crate::chain::chain;
use crate::config::Config;
use crate::connectors::Inside;
use crate::crypto::random;
use crate::sandbox::{Sandbox, SandboxSettings};
use crate::settings::Secret;

/// Starts one for each provider that wants it. `public`: where the applicants' listener is, for callbacks.
pub(super) async fn start(config: &Config, public: SocketAddr) -> Result<Vec<Sandbox>, StartError> {
    let mut started = Vec::new();
    for provider in config.providers.iter().filter(|p| p.connector.runs_inside()) {
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
        let inside = Inside {
            url: sandbox.url(),
            api_key: &api_key,
            webhook_secret: &webhook_secret,
        };
        provider.connector.begin_inside(inside).map_err(StartError::Configuration)?;
        tracing::warn!(
            event = "sandbox",
            provider = %provider.name,
            "this provider is a sandbox inside the portal: nothing leaves the machine, and no document is checked by anybody; it is for trying, never for real documents"
        );
        started.push(sandbox);
    }
    Ok(started)
}

/// The sandbox tells its verdicts by plain HTTP; behind TLS the portal asks for them instead.
fn callback(config: &Config, mut public: SocketAddr, name: &str) -> Option<String> {
    if config.public.tls.is_some() {
        return None;
    }
    if public.ip().is_unspecified() {
        public.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    Some(format!("http://{public}/hooks/{name}"))
}
