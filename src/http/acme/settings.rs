//! The settings of `[acme]`: which authority, in whose name, and for which listeners.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use data_encoding::BASE64URL_NOPAD;
use reqwest::{Proxy, Url};
use zeroize::Zeroizing;

use super::directory::DirectoryClient;
use crate::settings::{Reader, Secret};

/// The directory of Let's Encrypt.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// No name in the DNS is longer.
const LONGEST_NAME: usize = 253;

/// How certificates are fetched.
#[derive(Clone, Debug)]
pub struct AcmeSettings {
    /// Where the authority says what it offers.
    pub directory: String,
    /// Whom the authority may write to.
    pub contact: Option<String>,
    /// Further authorities for the connection to the directory, PEM.
    pub ca_file: Option<PathBuf>,
    pub proxy: Option<String>,
    pub binding: AccountBinding,
    pub listeners: Vec<AcmeListener>,
}

/// What an authority knows its customer by before there is an account.
#[derive(Clone, Debug)]
pub enum AccountBinding {
    /// Whoever asks gets an account.
    Open,
    /// An account is made for a customer, with a key that the authority gave them.
    External { key_id: String, key: Secret },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeListener {
    Public,
    Staff,
}

impl AcmeListener {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Staff => "staff",
        }
    }
}

impl AcmeSettings {
    pub fn read(reader: &mut Reader<'_>) -> Self {
        const DIRECTORY: &str = "the https address of an authority's ACME directory; Let's Encrypt unless given";
        const CONTACT: &str = "a mail address that the authority may write to, such as \"it@example.com\"";
        const CA_FILE: &str = "the path of a PEM file with authorities for the connection to the directory, for one of a company's own";
        let agreed = reader.flag(
            "terms_agreed",
            false,
            "that you agree to the authority's terms; nothing is fetched without",
        );
        if !agreed {
            reader.error(
                "terms_agreed",
                "must be true: read the terms of the certificate authority (Let's Encrypt: https://letsencrypt.org/repository/) and say that you agree",
            );
        }
        let directory = reader.text_with("directory", LETS_ENCRYPT, DIRECTORY);
        let sound =
            |url: &Url| url.scheme() == "https" && url.host_str().is_some() && url.username().is_empty() && url.password().is_none();
        if !Url::parse(&directory).is_ok_and(|url| sound(&url)) {
            reader.must_be("directory", DIRECTORY);
        }
        let contact = reader.text("contact", CONTACT);
        if contact.as_deref().is_some_and(|contact| !is_mail_address(contact)) {
            reader.must_be("contact", CONTACT);
        }
        let settings = Self {
            directory,
            contact,
            ca_file: reader.path("ca_file", CA_FILE),
            proxy: reader.text("proxy", "a proxy's address, such as \"http://proxy.internal:3128\""),
            binding: AccountBinding::read(reader),
            listeners: read_listeners(reader),
        };
        if settings.proxy.as_ref().is_some_and(|proxy| Proxy::all(proxy).is_err()) {
            reader.must_be("proxy", "a proxy's address, such as \"http://proxy.internal:3128\"");
        } else if let Err(why) = settings.client() {
            let key = if settings.ca_file.is_some() { "ca_file" } else { "directory" };
            reader.error(key, format!("cannot be used: {why}"));
        }
        settings
    }

    /// The error is the rest of a sentence about the settings.
    pub(crate) fn client(&self) -> Result<DirectoryClient, String> {
        DirectoryClient::new(self.ca_file.as_deref(), self.proxy.as_deref())
    }
}

impl AccountBinding {
    fn read(reader: &mut Reader<'_>) -> Self {
        const KEY: &str = "the key of an external account binding, in base64url as the authority shows it";
        let key_id = reader.text(
            "external_account_id",
            "the key id of an external account binding, where the authority asks for one",
        );
        let key = reader.secret("external_account_key_file", KEY);
        match (key_id, key) {
            (None, None) => Self::Open,
            (Some(key_id), Some(key)) => {
                let binding = Self::External { key_id, key };
                if binding.key().is_none_or(|key| key.len() < 16) {
                    reader.must_be("external_account_key_file", format!("the path of a file with {KEY}"));
                }
                binding
            }
            (id, _) => {
                let missing = if id.is_some() {
                    "external_account_key_file"
                } else {
                    "external_account_id"
                };
                reader.is_needed(missing, "an external account binding has both, a key id and its key");
                Self::Open
            }
        }
    }

    /// The key's bytes; `None` where there is none, or it is not base64url.
    pub(super) fn key(&self) -> Option<Zeroizing<Vec<u8>>> {
        let Self::External { key, .. } = self else { return None };
        BASE64URL_NOPAD
            .decode(key.expose().trim_end_matches('=').as_bytes())
            .ok()
            .map(Zeroizing::new)
    }
}

fn read_listeners(reader: &mut Reader<'_>) -> Vec<AcmeListener> {
    const LISTENERS: &str = "a list of the listeners that get a certificate: \"public\", \"staff\" or both";
    let names = reader.texts_with("listeners", &["public"], LISTENERS);
    let known = [AcmeListener::Public, AcmeListener::Staff];
    let listeners: Vec<_> = known
        .into_iter()
        .filter(|listener| names.iter().any(|name| name == listener.name()))
        .collect();
    if names.is_empty() || listeners.len() != names.len() {
        reader.must_be("listeners", LISTENERS);
    }
    listeners
}

fn is_mail_address(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !",;:?&#<>\"()".contains(c);
    text.split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && host.contains('.') && !host.contains('@'))
        && text.chars().all(plain)
}

/// A name for which an authority can issue a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainName(String);

impl DomainName {
    /// The host of `https://host` or `https://host:port`. The error says what it must be instead.
    pub fn of_origin(url: &str) -> Result<Self, String> {
        let Some(rest) = url.strip_prefix("https://") else {
            return Err("must begin with https:// while [acme] fetches its certificate".to_owned());
        };
        let host = rest.rsplit_once(':').map_or(rest, |(host, port)| match port.parse::<u16>() {
            Ok(_) => host,
            Err(_) => rest,
        });
        let host = host.to_ascii_lowercase();
        let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
        let label = |label: &str| {
            let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
        };
        // A name that ends in a number is read as an address by browsers.
        let ends_in_number = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        let is_local = host == "localhost" || host.ends_with(".localhost");
        if is_address || ends_in_number || is_local {
            return Err(format!(
                "must have a host name of the DNS while [acme] fetches its certificate, such as \"https://drop.example.com\": no authority issues one for {host}"
            ));
        }
        if host.len() > LONGEST_NAME || !host.split('.').all(label) {
            return Err(
                "must have a host name of letters, digits, hyphens and dots while [acme] fetches its certificate; write others as xn--…"
                    .to_owned(),
            );
        }
        Ok(Self(host))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_name_is_the_hosts_of_an_https_address() {
        for url in ["https://Drop.example.com", "https://drop.example.com:8443"] {
            assert_eq!(DomainName::of_origin(url).unwrap().as_str(), "drop.example.com");
        }
        assert_eq!(DomainName::of_origin("https://drop").unwrap().as_str(), "drop");
    }

    #[test]
    fn what_no_authority_issues_for_is_refused_in_words() {
        for (url, word) in [
            ("http://drop.example.com", "https://"),
            ("https://192.0.2.1", "192.0.2.1"),
            ("https://192.0.2.1:8443", "192.0.2.1"),
            ("https://[2001:db8::1]:443", "2001:db8::1"),
            ("https://localhost:8443", "localhost"),
            ("https://drop.localhost", "localhost"),
            ("https://1.2.3", "1.2.3"),
            ("https://drop_box.example.com", "hyphens"),
            ("https://dröp.example.com", "xn--"),
            ("https://drop..example.com", "hyphens"),
        ] {
            let why = DomainName::of_origin(url).unwrap_err();
            assert!(why.contains(word), "{url}: {why}");
        }
    }

    #[test]
    fn a_contact_is_one_plain_mail_address() {
        assert!(is_mail_address("it@example.com"));
        for wrong in [
            "",
            "it",
            "@example.com",
            "it@example",
            "it@a.b@c.d",
            "a@b.c,d@e.f",
            "it@example.com?x",
            "mailto:it@example.com",
        ] {
            assert!(!is_mail_address(wrong), "{wrong}");
        }
    }
}
