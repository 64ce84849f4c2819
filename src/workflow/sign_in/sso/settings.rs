//! The settings of `[sso]`: the company's own sign-in.

use crate::domain::agent::Role;
use crate::settings::{Reader, Secret};

/// What the configuration says.
#[derive(Clone, Debug)]
pub struct SsoSettings {
    /// Exactly as the provider writes it.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Option<Secret>,
    /// What stands on the button.
    pub label: String,
    pub scopes: Vec<String>,
    /// The claim that roles are mapped from: a word or a list of words.
    pub role_claim: String,
    /// Word → role. Empty: roles are given here and nowhere else.
    pub roles: Vec<(String, Role)>,
    /// Makes accounts for people with a mapped role.
    pub create: bool,
    /// The provider's own second factor is enough.
    pub trust_second_factor: bool,
}

impl SsoSettings {
    /// `None` where there is no issuer.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        const ISSUER: &str = "the provider's https address, exactly as it writes it";
        const ROLES: &str = "a table from words to roles (agent, admin, auditor, manual-handler)";
        let issuer = reader.text("issuer", ISSUER);
        let client_id = reader.text("client_id", "the name under which the provider knows this portal");
        let client_secret = reader.secret("client_secret_file", "the client's secret");
        let label = reader.text_with("label", "Sign in with your company account", "what stands on the button");
        let scopes = reader.texts_with("scopes", &["openid", "email", "profile"], "a list of scopes");
        let role_claim = reader.text_with("role_claim", "groups", "the claim that roles are mapped from");
        let words = reader.pairs("roles", ROLES);
        let mapped = |(word, name): (String, String)| Some((word, Role::parse(&name)?));
        let roles: Vec<_> = words.iter().cloned().filter_map(mapped).collect();
        if roles.len() < words.len() {
            reader.must_be("roles", ROLES);
        }
        let create = reader.flag(
            "create",
            false,
            "people with a mapped role get an account at their first sign-in, unless it was deleted",
        );
        if create && words.is_empty() {
            reader.error("create", "needs sso.roles: somebody without a mapped role gets no account");
        }
        let factors = [("ours", false), ("theirs", true)];
        let trust_second_factor = reader.choice("second_factor", &factors, "ours", "whose second factor counts");
        if client_id.is_some() && !reader.has("issuer") {
            reader.is_needed("issuer", ISSUER);
        }
        let issuer = issuer?;
        if !issuer.starts_with("https://") && !is_local(&issuer) {
            reader.must_be("issuer", ISSUER);
        }
        if !scopes.iter().any(|s| s == "openid") || !scopes.iter().any(|s| s == "email") {
            reader.error("scopes", "needs at least \"openid\" and \"email\"");
        }
        let Some(client_id) = client_id else {
            reader.is_needed("client_id", "the name under which the provider knows this portal");
            return None;
        };
        let settings = Self {
            issuer,
            client_id,
            client_secret,
            label,
            scopes,
            role_claim,
            roles,
            create,
            trust_second_factor,
        };
        if settings.client().is_err() {
            reader.error("issuer", "needs a system with a certificate store");
        }
        Some(settings)
    }

    /// The client that speaks to the provider.
    pub(super) fn client(&self) -> Result<reqwest::Client, reqwest::Error> {
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(std::time::Duration::from_secs(5))
            .timeout(std::time::Duration::from_secs(10))
            .user_agent(concat!("nightdrop/", env!("CARGO_PKG_VERSION")));
        // Plain HTTP needs no certificate store, and minimal images have none.
        let is_plain = self.issuer.starts_with("http://");
        let builder = if is_plain { builder.tls_certs_only([]) } else { builder };
        builder.build()
    }
}

fn is_local(issuer: &str) -> bool {
    ["http://localhost", "http://127.0.0.1"].iter().any(|own| {
        let rest = issuer.strip_prefix(own);
        rest.is_some_and(|r| r.is_empty() || r.starts_with([':', '/']))
    })
}
