//! The providers, asked one harmless question each.

use std::time::Duration;

use super::Findings;
use super::codes::Code;
use crate::cli::output::{Failure, Outcome};
use crate::config::Config;

/// A provider that needs longer for a harmless question has a fault worth telling.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks the providers, or `only` the one. `refused`: names of tables that have errors, which stand among the findings already.
pub(super) async fn look(config: &Config, refused: &[String], only: Option<&str>, findings: &mut Findings) -> Outcome {
    const AREA: &str = "providers";
    let known: Vec<&str> = config.providers.iter().map(|p| p.name.as_str()).collect();
    let known: Vec<&str> = known.into_iter().chain(refused.iter().map(String::as_str)).collect();
    if let Some(name) = only.filter(|name| !known.contains(name)) {
        return Err(Failure::new(format!(
            "there is no provider {name:?} in the configuration; there is: {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        )));
    }
    if known.is_empty() {
        findings.note(
            Code::NoProvider,
            "none is configured: no document can be asked for",
            "add a [providers.NAME] table",
        );
    }
    for provider in config.providers.iter().filter(|p| only.is_none_or(|name| p.name.as_str() == name)) {
        let name = &provider.name;
        if only.is_some() {
            for request in &provider.requests {
                findings.good(AREA, format!("{name}: sends {request}"));
            }
        }
        match tokio::time::timeout(PATIENCE, provider.connector.check()).await {
            Ok(Ok(text)) => findings.good(AREA, format!("{name}: {text}")),
            Ok(Err(failure)) => {
                let problem = failure.problem();
                let fix = fix(name.as_str(), &provider.keys, &problem.code);
                findings.wrong(Code::ProviderAnswers, format!("{name}: {} ({})", problem.text, problem.code), fix);
            }
            Err(_) => findings.wrong(
                Code::ProviderAnswers,
                format!("{name}: no answer within {} s", PATIENCE.as_secs()),
                fix(name.as_str(), &provider.keys, "provider.timeout"),
            ),
        }
    }
    Ok(())
}

/// Which settings to look at after an answer with this code, by the keys that are set.
fn fix(name: &str, keys: &[String], code: &str) -> String {
    const ADDRESS: [&str; 4] = ["base_url", "environment", "region", "token_url"];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let is_credential = |key: &&str| {
        let other = key.starts_with("webhook") || *key == "ca_file";
        (key.ends_with("_file") && !other) || ["client_id", "user", "auth", "user_ip"].contains(key)
    };
    let credentials = keys.iter().copied().filter(is_credential).collect::<Vec<_>>().join(", ");
    let address = keys
        .iter()
        .copied()
        .filter(|key| ADDRESS.contains(key))
        .collect::<Vec<_>>()
        .join(", ");
    let address = if address.is_empty() { "base_url".to_owned() } else { address };
    let place = format!("of [providers.{name}]");
    match code {
        "provider.second_factor" => format!("register the device of fingerprint_file {place} with the provider"),
        "provider.credentials" | "provider.settings" => {
            format!(
                "look at {credentials} {place}: revoked, mistyped, or without a permission; and a sandbox's credentials do not open the live address ({address})"
            )
        }
        "provider.unreachable" | "provider.timeout" => format!("look at {address} {place}, at proxy and ca_file, and at the firewall"),
        "provider.rate_limited" | "provider.unavailable" | "provider.failed" => {
            format!(
                "nothing here: the provider has a fault or wants a pause; look at its status page, and try again ({address} {place} if it stays)"
            )
        }
        "provider.refused" | "provider.unreadable_answer" => {
            format!("look at {address} {place}: something answers there, and not as this provider does")
        }
        _ => format!("look at [providers.{name}]"),
    }
}
