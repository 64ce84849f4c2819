//! Access tokens that expire: fetched once for all who need one, kept in memory only, renewed before their end and forgotten when the provider refuses them.
//!
//! * While one caller fetches a token the others wait for it; a failed fetch is told to the one who tried, and the next one tries again.
//! * A request that a kept token could not open (401) is sent once more with a fresh one: refused credentials store nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use data_encoding::BASE64;
use reqwest::{Method, Url};
use sha2::{Digest, Sha256};
use time::Duration;

use super::Failure;
use super::client::{Answer, Call, Client, join};
use super::endpoint::Endpoint;
use super::guard::checked_url;
use super::shape::form;
use crate::domain::delivery::DeliveryProblem;
use crate::settings::{Reader, Secret};

/// Holders whose tokens are kept at once; beyond that all are fetched afresh.
const HOLDERS: usize = 1_024;
/// A token is not used in the last minute of its life, or the last tenth of a short one.
const MARGIN: Duration = Duration::seconds(60);

pub(crate) struct Token {
    pub secret: Secret,
    /// Zero: for this one use.
    pub lives: Duration,
}

struct Kept {
    secret: Secret,
    until: Instant,
}

type HolderLock = Arc<tokio::sync::Mutex<Option<Kept>>>;

/// Tokens by holder: a client has one, a provider that gives them per user has many. The holder's name is kept as a digest.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<[u8; 32], HolderLock>>);

impl Tokens {
    /// The kept token, or the one that `fetch` brings.
    pub(crate) async fn get(&self, holder: &str, fetch: impl Future<Output = Result<Token, Failure>>) -> Result<Secret, Failure> {
        let lock = self.lock_of(holder);
        let mut kept = lock.lock().await;
        if let Some(known) = kept.as_ref().filter(|k| Instant::now() < k.until) {
            return Ok(known.secret.clone());
        }
        *kept = None;
        let token = fetch.await?;
        let usable = token.lives - MARGIN.min(token.lives / 10);
        if usable > Duration::ZERO
            && let Some(until) = Instant::now().checked_add(usable.unsigned_abs())
        {
            *kept = Some(Kept {
                secret: token.secret.clone(),
                until,
            });
        }
        Ok(token.secret)
    }

    /// The provider refused this token: unless another one came meanwhile, the next use fetches.
    pub(crate) async fn forget(&self, holder: &str, refused: &Secret) {
        let lock = self.lock_of(holder);
        let mut kept = lock.lock().await;
        if kept.as_ref().is_some_and(|k| k.secret.expose() == refused.expose()) {
            *kept = None;
        }
    }

    fn lock_of(&self, holder: &str) -> HolderLock {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() >= HOLDERS {
            locks.clear();
        }
        locks.entry(Sha256::digest(holder).into()).or_default().clone()
    }
}

/// Where a token request carries the client's id and secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `Authorization: Basic`
    Basic,
    /// Fields of the form.
    Form,
}

/// OAuth 2.0 client credentials.
pub(crate) struct ClientCredentials {
    url: Url,
    id: String,
    secret: Secret,
    place: Place,
    /// The form's `grant_type`, which some providers' own libraries leave out.
    grant_type: bool,
    scope: Option<String>,
    tokens: Tokens,
}

impl std::fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted client credentials]")
    }
}

/// What a provider's token call looks like, where the table is silent.
pub(crate) struct TokenDefaults {
    /// Behind `base_url`. `""`: the table must say `token_url`.
    pub path: &'static str,
    pub place: Place,
    pub grant_type: bool,
}

impl ClientCredentials {
    /// Keys: `client_id`, `client_secret_file`, `token_url`, `token_auth` (`basic` or `form`), `token_grant_type` (`true` or `false`), `scope`.
    pub(crate) fn read(reader: &mut Reader<'_>, endpoint: &Endpoint, defaults: &TokenDefaults) -> Self {
        const URL: &str = "the address that gives access tokens";
        let id = reader.required("client_id", "the client's id");
        if !id.bytes().all(|b| (b'!'..=b'~').contains(&b)) {
            reader.must_be("client_id", "printable ASCII without spaces");
        }
        let secret = reader.required_secret("client_secret_file", "the client's secret");
        let nowhere = || Url::parse("https://token.invalid").expect("the constant is an address");
        let url = if reader.has("token_url") || defaults.path.is_empty() {
            let text = reader.required("token_url", URL);
            checked_url(endpoint, &text).unwrap_or_else(|takes| {
                if !text.is_empty() {
                    reader.must_be("token_url", takes);
                }
                nowhere()
            })
        } else {
            // A faulty base address is told by its own reader.
            Url::parse(&endpoint.base_url).map_or_else(|_| nowhere(), |base| join(&base, defaults.path))
        };
        Self {
            url,
            id,
            secret,
            place: reader.choice(
                "token_auth",
                &[("basic", Place::Basic), ("form", Place::Form)],
                if defaults.place == Place::Basic { "basic" } else { "form" },
                "where the client's credentials stand",
            ),
            grant_type: reader.flag("token_grant_type", defaults.grant_type, "sends grant_type=client_credentials"),
            scope: reader.text("scope", "the scopes, separated by spaces"),
            tokens: Tokens::default(),
        }
    }

    pub(crate) async fn token(&self, client: &Client) -> Result<Secret, Failure> {
        self.tokens.get("", self.fetch(client)).await
    }

    /// Sends what `call` makes of a token, and once more with a fresh one after a 401.
    pub(crate) async fn send(&self, client: &Client, call: impl Fn(&str) -> Call) -> Result<Answer, Failure> {
        let token = self.token(client).await?;
        let answer = client.send(call(token.expose())).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        self.tokens.forget("", &token).await;
        let fresh = self.token(client).await?;
        client.send(call(fresh.expose())).await
    }

    async fn fetch(&self, client: &Client) -> Result<Token, Failure> {
        let mut fields = Vec::new();
        let mut call = Call::asking(Method::POST, self.url.clone()).header("accept", "application/json");
        match self.place {
            Place::Basic => {
                let pair = BASE64.encode(format!("{}:{}", self.id, self.secret.expose()).as_bytes());
                call = call.header("authorization", &format!("Basic {pair}"));
            }
            Place::Form => {
                fields.push(("client_id".to_owned(), self.id.clone()));
                fields.push(("client_secret".to_owned(), self.secret.expose().to_owned()));
            }
        }
        if self.grant_type {
            fields.push(("grant_type".to_owned(), "client_credentials".to_owned()));
        }
        if let Some(scope) = &self.scope {
            fields.push(("scope".to_owned(), scope.clone()));
        }
        let answer = client.send(call.body(form(&fields))).await?;
        // RFC 6749 answers a wrong client with 400 or 401.
        if matches!(answer.status, 400 | 401 | 403 | 404) {
            return Err(Failure::Credentials {
                problem: DeliveryProblem::new(
                    "provider.credentials",
                    format!(
                        "The provider gives no access token to this portal (status {}). Check client_id and client_secret_file.",
                        answer.status
                    ),
                ),
            });
        }
        let body = answer.success()?;
        let secret = body["access_token"].as_str().filter(|t| is_token(t)).map(Secret::new);
        Ok(Token {
            secret: secret.ok_or_else(|| answer.unreadable())?,
            lives: lifetime(&body["expires_in"]),
        })
    }
}

/// Seconds, as a number or as text; anything else is for one use. At most a day.
pub(crate) fn lifetime(value: &serde_json::Value) -> Duration {
    let seconds = value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default();
    Duration::seconds(seconds.clamp(0, 86_400))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| (b'!'..=b'~').contains(&b))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::connectors::fake::{Fake, Reply, no_secrets};
    use serde_json::json;

    fn endpoint(fake: &Fake) -> Endpoint {
        Endpoint {
            base_url: fake.url(),
            allow_insecure: false,
            allow_private: false,
            allow_loopback: true,
            ca_file: None,
            proxy: None,
            timeout: Duration::seconds(5),
        }
    }

    fn credentials(fake: &Fake, lines: &str) -> ClientCredentials {
        let table: toml::Table = format!("client_id='key'\nclient_secret_file='secret'\n{lines}").parse().unwrap();
        let mut reader = Reader::new(&table, no_secrets());
        let defaults = TokenDefaults {
            path: "/token",
            place: Place::Basic,
            grant_type: true,
        };
        let read = ClientCredentials::read(&mut reader, &endpoint(fake), &defaults);
        reader.finish(read).unwrap()
    }

    fn token(n: usize, expires: serde_json::Value) -> Reply {
        Reply::json(
            200,
            json!({"access_token": format!("t{n}"), "token_type": "bearer", "expires_in": expires}),
        )
    }

    #[tokio::test]
    async fn one_token_serves_all_until_it_ends_or_is_refused() {
        let fake = Fake::start(|n, seen| match seen.line.as_str() {
            "POST /token HTTP/1.1" => token(n, json!(3600)),
            _ if seen.header("authorization") == "Bearer t0" && n > 6 => Reply::with(401, &[], b""),
            _ => Reply::json(200, json!({})),
        })
        .await;
        let (client, oauth) = (Client::new(&endpoint(&fake)).unwrap(), credentials(&fake, ""));
        let call = |token: &str| Call::asking(Method::GET, client.url("/x")).bearer(token);
        let all: Vec<_> = (0..6).map(|_| oauth.send(&client, call)).collect();
        assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
        let fetched = || fake.seen().iter().filter(|s| s.line.contains("/token")).count();
        assert_eq!(fetched(), 1, "six callers, one token");
        assert_eq!(oauth.send(&client, call).await.unwrap().status, 200);
        assert_eq!(fetched(), 2, "a refused one is replaced once");
        let seen = fake.seen();
        assert_eq!(seen[0].text(), "grant_type=client_credentials");
        assert_eq!(seen[0].header("authorization"), "Basic a2V5OnNlY3JldA==");
        assert_eq!(seen.last().unwrap().header("authorization"), "Bearer t8");
    }

    #[tokio::test]
    async fn short_lives_are_not_kept_and_a_second_refusal_is_final() {
        let fake = Fake::start(|n, seen| {
            if seen.line.contains("/oauth") {
                token(n, json!("0"))
            } else {
                Reply::with(401, &[], b"")
            }
        })
        .await;
        let lines = format!(
            "token_url='{}/oauth'\ntoken_auth='form'\ntoken_grant_type=false\nscope='a b'",
            fake.url()
        );
        let (client, oauth) = (Client::new(&endpoint(&fake)).unwrap(), credentials(&fake, &lines));
        let call = |token: &str| Call::sending(Method::POST, client.url("/x")).bearer(token);
        let answer = oauth.send(&client, call).await.unwrap();
        assert!(matches!(answer.failure(), Failure::Credentials { .. }));
        let seen = fake.seen();
        assert_eq!(seen.len(), 4, "two tokens, two tries, no more");
        assert_eq!(seen[0].text(), "client_id=key&client_secret=secret&scope=a%20b");
    }

    #[tokio::test]
    async fn a_refused_client_is_told_apart_from_a_bad_day() {
        let fake = Fake::replies(vec![
            Reply::json(400, json!({"error": "invalid_client"})),
            Reply::with(500, &[], b""),
            Reply::json(200, json!({"access_token": "bad\ntoken"})),
            Reply::json(200, json!({})),
        ])
        .await;
        let (client, oauth) = (Client::new(&endpoint(&fake)).unwrap(), credentials(&fake, ""));
        assert!(matches!(oauth.token(&client).await, Err(Failure::Credentials { .. })));
        for _ in 0..3 {
            assert!(
                matches!(oauth.token(&client).await, Err(Failure::Definite { .. })),
                "nothing was sent"
            );
        }
    }

    #[test]
    fn lifetimes() {
        for (value, seconds) in [
            (json!(3600), 3600),
            (json!("60"), 60),
            (json!(-1), 0),
            (json!(null), 0),
            (json!("x"), 0),
            (json!(9_999_999), 86_400),
        ] {
            assert_eq!(lifetime(&value), Duration::seconds(seconds), "{value}");
        }
    }
}
