//! `[sso]`: the company's own sign-in.

use std::path::PathBuf;

use super::reader::Reader;
use crate::domain::agent::Role;

/// What the file says; the secret is read at start.
#[derive(Clone, Debug)]
pub struct SsoConfig {
    pub issuer: String,
    pub client_id: String,
    pub client_secret_file: Option<PathBuf>,
    pub label: String,
    pub scopes: Vec<String>,
    pub role_claim: String,
    pub roles: Vec<(String, Role)>,
    pub create: bool,
    pub trust_second_factor: bool,
}

/// `None` where there is no issuer; faults are told with all others.
pub fn read(r: &mut Reader) -> Option<SsoConfig> {
    let issuer = r.string("sso.issuer");
    let client_id = r.string("sso.client_id");
    let client_secret_file = r.path("sso.client_secret_file");
    let label = r
        .string("sso.label")
        .unwrap_or_else(|| "Sign in with your company account".to_owned());
    let scopes = r
        .strings("sso.scopes")
        .unwrap_or_else(|| ["openid", "email", "profile"].map(str::to_owned).to_vec());
    let role_claim = r.string("sso.role_claim").unwrap_or_else(|| "groups".to_owned());
    let mut roles = Vec::new();
    for (word, name) in r.string_map("sso.roles") {
        match Role::parse(&name) {
            Some(role) => roles.push((word, role)),
            None => r.fault("sso.roles", "must give each word one of agent, admin, auditor, manual-handler"),
        }
    }
    let create = r.boolean("sso.create", false);
    if create && roles.is_empty() {
        r.fault("sso.create", "needs sso.roles: somebody without a mapped role gets no account");
    }
    let trust_second_factor = match r.string("sso.second_factor").as_deref() {
        None | Some("ours") => false,
        Some("theirs") => true,
        Some(_) => {
            r.fault("sso.second_factor", "must be \"ours\" or \"theirs\"");
            false
        }
    };
    let issuer = issuer?;
    let local = ["http://localhost", "http://127.0.0.1"].iter().any(|own| {
        let rest = issuer.strip_prefix(own);
        rest.is_some_and(|r| r.is_empty() || r.starts_with([':', '/']))
    });
    if !issuer.starts_with("https://") && !local {
        r.fault("sso.issuer", "must be the provider's https address, exactly as it writes it");
    }
    if !scopes.iter().any(|s| s == "openid") || !scopes.iter().any(|s| s == "email") {
        r.fault("sso.scopes", "needs at least \"openid\" and \"email\"");
    }
    let Some(client_id) = client_id else {
        r.fault("sso.client_id", "is needed: the name under which the provider knows this portal");
        return None;
    };
    Some(SsoConfig {
        issuer,
        client_id,
        client_secret_file,
        label,
        scopes,
        role_claim,
        roles,
        create,
        trust_second_factor,
    })
}
