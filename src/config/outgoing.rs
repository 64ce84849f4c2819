//! Whom the portal tells: mail, webhooks, checkpoints of the audit log, and where applicants may be sent back to. The tables of mail and webhooks are checked by those
//! who use them, in [`crate::connectors`].

use std::path::{Path, PathBuf};

use time::macros::format_description;
use time::{Duration, Time};

use super::reader::Reader;

#[derive(Clone, Debug)]
pub struct Outgoing {
    pub mail: Option<toml::Table>,
    /// By name.
    pub webhooks: Vec<(String, toml::Table)>,
    /// Where agents open the console, without a trailing slash.
    pub staff_url: Option<String>,
    pub digest_at: Time,
    pub checkpoint_file: PathBuf,
    pub checkpoint_every: Duration,
    /// Host names, each with its port unless that is the usual one.
    pub return_hosts: Vec<String>,
    /// Folder that `…_file` values are relative to.
    pub base: PathBuf,
}

pub fn read(r: &mut Reader, base: &Path, data_dir: &Path, staff_url: Option<String>) -> Outgoing {
    let mail = r.tables("mail").is_empty();
    let mail = (!mail).then(|| r.take_table("mail"));
    let mut webhooks = Vec::new();
    for name in r.tables("webhooks") {
        let table = r.take_table(&format!("webhooks.{name}"));
        let fits = (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits {
            webhooks.push((name, table));
        } else {
            r.fault(&format!("webhooks.{name}"), "names are 1–40 characters of a-z, 0-9 and -");
        }
    }
    let digest_at = r.string("notices.digest_at").map_or(Time::MIDNIGHT + Duration::hours(7), |text| {
        Time::parse(&text, format_description!("[hour]:[minute]")).unwrap_or_else(|_| {
            r.fault("notices.digest_at", "must be a time of the day in UTC, such as \"07:00\"");
            Time::MIDNIGHT
        })
    });
    // Beside the store and not in it; what makes it worth something is a copy on another machine.
    let checkpoint_file = r
        .path("audit.checkpoint_file")
        .unwrap_or_else(|| data_dir.join("checkpoints.jsonl"));
    let every = r.duration("audit.checkpoint_every", Duration::HOUR);
    if every < Duration::MINUTE {
        r.fault("audit.checkpoint_every", "must be at least \"1m\"");
    }
    let return_hosts = r.strings("hosted.return_hosts").unwrap_or_default();
    if !return_hosts.iter().all(|host| is_host(host)) {
        r.fault(
            "hosted.return_hosts",
            "must be host names such as [\"app.example.com\", \"localhost:3000\"]",
        );
    }
    Outgoing {
        mail,
        webhooks,
        staff_url,
        digest_at,
        checkpoint_file,
        checkpoint_every: every,
        return_hosts,
        base: base.to_path_buf(),
    }
}

fn is_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').unwrap_or((text, "1"));
    let named = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    named && port.parse::<u16>().is_ok_and(|p| p > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_with_or_without_a_port() {
        for good in ["app.example.com", "localhost:3000", "127.0.0.1:8080"] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            "https://app.example.com",
            "App.example.com",
            "a b",
            "*.example.com",
            "a:0",
            "a:x",
            "a/b",
            "u@a",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
