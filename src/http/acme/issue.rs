//! One certificate from an authority: account, order, proof, request, chain. Each try is a whole one; what a try leaves at the authority expires there by itself.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, ExternalAccountKey, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::directory::DirectoryClient;
use super::kept::KeptCertificates;
use super::settings::{AccountBinding, AcmeSettings, DomainName};
use crate::chain::chain;
use crate::http::tls::{self, Challenges};

/// An authority looks from several places, one after the other; it may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// What an authority says is shown in the log up to here.
const WORDS_MAX: usize = 600;

/// Why there is no new certificate.
#[derive(Debug)]
pub(crate) struct NotIssued {
    /// For the log, in one line.
    pub why: String,
    /// The authority wants to be left alone until then.
    pub come_again: Option<Duration>,
}

/// When an authority advises to renew a certificate (RFC 9773).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RenewalWindow {
    pub start: OffsetDateTime,
    pub end: OffsetDateTime,
}

/// An authority as one configuration names it.
pub(crate) struct Authority<'a> {
    pub settings: &'a AcmeSettings,
    pub kept: &'a KeptCertificates,
    pub challenges: &'a Arc<Challenges>,
}

impl Authority<'_> {
    /// Fetches a certificate for this name and keeps it. `replaces`: the one that it stands in for, where the authority should know that.
    pub(crate) async fn obtain(&self, name: &DomainName, replaces: Option<&CertificateDer<'_>>) -> Result<CertifiedKey, NotIssued> {
        let mut client = None;
        let obtained = self.try_obtain(name, replaces, &mut client).await;
        obtained.map_err(|why| NotIssued {
            why: one_line(&why),
            come_again: client.and_then(|client: DirectoryClient| client.come_again()),
        })
    }

    async fn try_obtain(
        &self,
        name: &DomainName,
        replaces: Option<&CertificateDer<'_>>,
        client: &mut Option<DirectoryClient>,
    ) -> Result<CertifiedKey, String> {
        let client = &*client.insert(self.settings.client()?);
        let identifiers = [Identifier::Dns(name.as_str().to_owned())];
        let wanted = || {
            let plain = NewOrder::new(&identifiers);
            match replaces.and_then(|der| CertificateIdentifier::try_from(der).ok()) {
                Some(before) => plain.replaces(before.into_owned()),
                None => plain,
            }
        };
        let account = self.account(client).await?;
        let mut order = match account.new_order(&wanted()).await {
            Err(Error::Api(problem)) if is(&problem, "accountDoesNotExist") => {
                self.kept.forget_account();
                self.account(client).await?.new_order(&wanted()).await
            }
            // An authority that gives no advice on renewals does not want to be told of them either.
            Err(Error::Unsupported(_)) => account.new_order(&NewOrder::new(&identifiers)).await,
            ordered => ordered,
        }
        .map_err(|e| said("the order", &e))?;
        self.prove(name, &mut order).await?;
        let key = KeyPair::generate().map_err(|e| chain(&e).to_string())?;
        let mut params = CertificateParams::new(vec![name.as_str().to_owned()]).map_err(|e| chain(&e).to_string())?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(|e| chain(&e).to_string())?;
        order
            .finalize_csr(request.der())
            .await
            .map_err(|e| said("the certificate request", &e))?;
        let pem = order.poll_certificate(&patience()).await.map_err(|e| said("the certificate", &e))?;
        let both = Zeroizing::new(format!("{}{pem}", *Zeroizing::new(key.serialize_pem())));
        let certified = tls::parse(both.as_bytes()).map_err(|why| format!("the certificate that was issued cannot be used: {why}"))?;
        self.kept
            .keep_certificate(name, &both)
            .map_err(|why| format!("the certificate cannot be kept: {why}"))?;
        Ok(certified)
    }

    /// What the authority advises about a certificate that it issued, and when it wants to be asked again; `None` from one that gives no advice.
    pub(crate) async fn renewal_window(&self, certificate: &CertificateDer<'_>) -> Result<Option<(RenewalWindow, Duration)>, String> {
        let id = CertificateIdentifier::try_from(certificate)?.into_owned();
        let client = self.settings.client()?;
        let account = self.account(&client).await?;
        match account.renewal_info(&id).await {
            Ok((info, again)) => {
                let (start, end) = (info.suggested_window.start, info.suggested_window.end);
                Ok((start <= end).then_some((RenewalWindow { start, end }, again)))
            }
            Err(Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(one_line(&said("its advice on the renewal", &error))),
        }
    }

    /// The account of before, or a new one.
    async fn account(&self, client: &DirectoryClient) -> Result<Account, String> {
        let builder = || Account::builder_with_http(Box::new(client.clone()));
        if let Some(kept) = self.kept.account()? {
            return builder().from_credentials(kept).await.map_err(|e| said("the directory", &e));
        }
        let contact = self.settings.contact.as_ref().map(|address| format!("mailto:{address}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let binding = match &self.settings.binding {
            AccountBinding::Open => None,
            AccountBinding::External { key_id, .. } => {
                let key = self
                    .settings
                    .binding
                    .key()
                    .ok_or("acme.external_account_key_file is not base64url")?;
                Some(ExternalAccountKey::new(key_id.clone(), &key))
            }
        };
        let wanted = NewAccount {
            contact: &contact,
            // The settings are refused without it.
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = self.settings.directory.clone();
        let made = builder().create(&wanted, directory, binding.as_ref()).await;
        let (account, credentials) = made.map_err(|e| said("a new account", &e))?;
        self.kept
            .keep_account(&credentials)
            .map_err(|why| format!("the account cannot be kept: {why}"))?;
        Ok(account)
    }

    /// Shows the authority that the name leads here. What it is shown is taken back in any case.
    async fn prove(&self, name: &DomainName, order: &mut Order) -> Result<(), String> {
        let mut shown = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|e| said("the authorization", &e))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let mut challenge = authorization
                .challenge(ChallengeType::TlsAlpn01)
                .ok_or("the authority does not offer the challenge tls-alpn-01, which is the only one that the portal answers")?;
            let answer = answer(name, challenge.key_authorization().digest().as_ref())?;
            shown.push(self.challenges.show(name.as_str(), answer));
            challenge.set_ready().await.map_err(|e| said("the challenge", &e))?;
        }
        match order.poll_ready(&patience()).await {
            Ok(OrderStatus::Ready) => Ok(()),
            // Why stands with the challenge, and in the order only sometimes.
            other => {
                let told = match other {
                    Ok(_) => "the authority called the order invalid".to_owned(),
                    Err(error) => said("the proof that the name leads here", &error),
                };
                Err(refusal(order).await.unwrap_or(told))
            }
        }
    }
}

/// What the authority saw when it came to look.
async fn refusal(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let state = authorization.refresh().await.ok()?;
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return Some(format!(
                "the authority could not verify that the name leads to this portal: {}. Its connection comes to port 443 of the name",
                words(problem)
            ));
        }
    }
    None
}

fn patience() -> RetryPolicy {
    RetryPolicy::new()
        .initial_delay(Duration::from_millis(500))
        .backoff(1.5)
        .timeout(PATIENCE)
}

/// The certificate that proves this very challenge (RFC 8737), made by a key that is used for nothing else.
fn answer(name: &DomainName, digest: &[u8]) -> Result<CertifiedKey, String> {
    let failed = |e: rcgen::Error| chain(&e).to_string();
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(vec![name.as_str().to_owned()]).map_err(failed)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let made = params.self_signed(&key).map_err(failed)?;
    tls::proof(made.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

fn is(problem: &Problem, kind: &str) -> bool {
    let named = problem
        .r#type
        .as_deref()
        .and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:"));
    named == Some(kind)
}

fn said(what: &str, error: &Error) -> String {
    match error {
        Error::Api(problem) => format!("the authority refused {what}: {}", words(problem)),
        Error::Timeout(_) => format!("the authority did not come to an end with {what} in time"),
        error => format!("{what} failed: {}", chain(error)),
    }
}

/// What an authority says, with the name of the problem.
fn words(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
    let detail = problem.detail.as_deref().unwrap_or("no reason given");
    let more: String = problem.subproblems.iter().map(|sub| format!("; {sub}")).collect();
    format!("{detail}{more} ({kind})")
}

/// Words of a stranger become one line of bounded length.
fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(WORDS_MAX).collect()
}
