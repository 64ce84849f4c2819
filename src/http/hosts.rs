//! Which names the staff listener answers to. A page of any site can have its own name resolve to this machine and then send requests here from a browser inside the
//! network (DNS rebinding): such a request carries the site's name as its host, and is refused before any handler sees it.
//!
//! Known are the host of `staff_url`, the hosts in `staff_hosts`, this machine's loopback names and addresses, and the address that is listened on (any address
//! where all are); the port does not matter. Health checks are answered under every name: they say nothing.
//! The public listener answers to every name: there the address is the capability, and proxies may send the host that they like.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HOST;
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError, web};

use super::context::ServerSettings;
use super::error::Problem;

const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// The names and addresses of one listener.
pub(crate) struct Known {
    names: BTreeSet<String>,
    address: IpAddr,
}

impl Known {
    pub(crate) fn of(settings: &ServerSettings) -> Self {
        let configured = settings.staff_hosts.iter().map(String::as_str);
        let console = settings
            .staff_url
            .as_deref()
            .and_then(|url| url.split_once("://"))
            .map(|(_, host)| host);
        Self {
            names: configured.chain(console).chain(["localhost"]).filter_map(name_of).collect(),
            address: SocketAddr::ip(&settings.staff).to_canonical(),
        }
    }

    /// `authority`: host and perhaps a port, as a request names it.
    fn answers_to(&self, authority: &str) -> bool {
        let Some(name) = name_of(authority) else { return false };
        if self.names.contains(&name) {
            return true;
        }
        // No site can make a browser send a bare address as the host of its own page, unless it is served from there.
        name.parse::<IpAddr>().map(|ip| ip.to_canonical()).is_ok_and(|ip| {
            let listened = if self.address.is_unspecified() {
                !ip.is_unspecified()
            } else {
                ip == self.address
            };
            ip.is_loopback() || listened
        })
    }
}

/// The host of an authority in one form: without port, brackets and the root's dot, in small letters. `None` for what is no host.
fn name_of(authority: &str) -> Option<String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']')?;
            inside.parse::<std::net::Ipv6Addr>().ok()?;
            (inside, after.strip_prefix(':').or_else(|| after.is_empty().then_some("")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    if !port?.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
    (!host.is_empty() && host.bytes().all(letters)).then(|| host.to_ascii_lowercase())
}

/// Refuses what is meant for another host. Of an absolute-form target the target counts, as RFC 9112 has it.
pub(crate) async fn known(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let answered = OPEN.contains(&request.path()) || {
        let mut lines = request.headers().get_all(HOST);
        let line = lines.next().filter(|_| lines.next().is_none()).and_then(|line| line.to_str().ok());
        let target = request.uri().authority().map(|authority| authority.as_str());
        let known = request.app_data::<web::Data<Known>>();
        match (target.or(line), known) {
            (Some(host), Some(known)) => known.answers_to(host),
            _ => false,
        }
    };
    if answered {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let problem = Problem::misdirected(
        "The console and the API do not answer to this host. Use the address in staff_url, or add the host to staff_hosts in nightdrop.toml.",
    );
    Ok(request.into_response(problem.error_response()).map_into_right_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(listen: &str, staff_url: Option<&str>, hosts: &[&str]) -> Known {
        Known::of(&ServerSettings {
            staff_url: staff_url.map(str::to_owned),
            staff_hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
            ..ServerSettings::of("https://drop.example.com", listen.parse().expect("an address"))
        })
    }

    #[test]
    fn known_names_are_answered_in_every_spelling() {
        let known = known(
            "10.0.0.5:8081",
            Some("https://console.example.com:8443"),
            &["nightdrop", "Admin.Example.Com:1"],
        );
        for host in [
            "console.example.com",
            "CONSOLE.example.com.",
            "console.example.com:443",
            "console.example.com.:8443",
            "nightdrop:8081",
            "admin.example.com",
            "localhost",
            "LocalHost.:9",
            "127.0.0.1:8081",
            "127.9.9.9",
            "[::1]",
            "[::1]:8081",
            "[0:0:0:0:0:0:0:1]:8081",
            "[::ffff:127.0.0.1]",
            "10.0.0.5",
            "10.0.0.5:8081",
        ] {
            assert!(known.answers_to(host), "{host}");
        }
        for host in [
            "",
            ".",
            ":8081",
            "evil.example",
            "console.example.com.evil.example",
            "evil.example:8081",
            "console.example.com..",
            "console.example.com:80x",
            "console.example.com:8443:1",
            "user@console.example.com",
            "localhost@evil.example",
            "10.0.0.6",
            "drop.example.com",
            "127.0.0.1.evil.example",
            "[::1",
            "[::1]x",
            "[localhost]",
            "[fe80::1%eth0]",
            "::1",
            "0.0.0.0",
            "[::]",
            "2130706433",
            "localhost,evil.example",
            "localhost evil.example",
            "löcalhost",
        ] {
            assert!(!known.answers_to(host), "{host}");
        }
    }

    #[test]
    fn where_all_addresses_are_listened_on_every_address_is_known_and_no_name() {
        let known = known("0.0.0.0:8081", None, &[]);
        assert!(known.answers_to("192.0.2.7:8081") && known.answers_to("[2001:db8::1]") && known.answers_to("localhost"));
        assert!(!known.answers_to("evil.example:8081") && !known.answers_to("0.0.0.0"));
    }
}
