//! What a test upload through the public address says about the way to the portal, each fault with the line that mends it in nginx, HAProxy or Caddy.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::{AGE, CACHE_CONTROL, CONTENT_ENCODING, HeaderMap, LOCATION};
use serde_json::Value;

use super::Findings;
use super::codes::Code;
use super::upload::{FORGED, Pace, Reply, Sent};
use crate::config::Config;
use crate::http::headers;

const AREA: &str = "through";
const STYLE_MAX: usize = 1 << 20;
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What stands around packed bytes: a head without a name, and two sums.
const FRAME: (usize, usize) = (10, 8);

fn text<'a>(said: &'a Value, name: &str) -> Option<&'a str> {
    said[name].as_str()
}

/// Somebody else has answered, or the portal has refused the question.
pub(super) fn stranger(reply: &Reply, base: &Url, config: &Config, findings: &mut Findings) {
    let status = reply.status;
    if (300..400).contains(&status) {
        return redirect(reply, base, findings);
    }
    match text(&reply.said, "code") {
        Some("check.time") => findings.wrong(
            Code::ThroughClock,
            "the portal goes by another time than this machine",
            "set the clock right (timedatectl); or, where it is right, nightdrop clock accept",
        ),
        Some("check.busy" | "request.too_many") => busy(findings),
        Some(_) => findings.wrong(
            Code::ThroughStranger,
            format!("a portal answers under {base}, and not the running one of this data folder (status {status})"),
            format!("have the proxy pass on to {}; if this portal was updated, restart it (systemctl restart nightdrop)", config.public.address),
        ),
        None if matches!(status, 502..=504) => findings.wrong(
            Code::ThroughGateway,
            format!("what stands in front does not reach the portal (status {status})"),
            format!(
                "start the portal (systemctl start nightdrop) and have the proxy pass on to {} (nginx: proxy_pass http://{};)",
                config.public.address, config.public.address
            ),
        ),
        None if status == 413 => body_limit(1, findings),
        None if status == 200 && reply.said["nonce"].is_string() => cached(findings),
        None => findings.wrong(
            Code::ThroughStranger,
            format!("something else than the portal answers under {base} (status {status})"),
            format!(
                "look that the name leads to this machine and that the proxy passes everything on to {}: no login, no filter and no page of its own in front of it",
                config.public.address
            ),
        ),
    }
}

pub(super) fn busy(findings: &mut Findings) {
    findings.note(
        Code::ThroughBusy,
        "another check runs, or many ran just now",
        "try again in five minutes",
    );
}

fn redirect(reply: &Reply, base: &Url, findings: &mut Findings) {
    let location = reply.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| base.join(location).ok());
    let what = match &target {
        Some(url) if url.scheme() == "http" && base.scheme() == "https" => format!("to http, in the clear, at {}", host(url)),
        Some(url) if url.host_str() != base.host_str() => format!("to another host, {}", host(url)),
        Some(url) if url.scheme() != base.scheme() => format!("to {}://{}", url.scheme(), host(url)),
        Some(_) => "within itself".to_owned(),
        None => "to nowhere".to_owned(),
    };
    let fix = match target.filter(|url| url.scheme() == "https" && url.host_str() != base.host_str()) {
        Some(url) => format!(
            "set public_url = \"https://{}\" if applicants should come there; else take the redirect out of the proxy",
            host(&url)
        ),
        None => "take the redirect out of the proxy's rules for this name (nginx: return 301, rewrite): an upload does not follow one"
            .to_owned(),
    };
    findings.wrong(
        Code::ThroughRedirect,
        format!("{base} redirects {what} (status {}): uploads end there", reply.status),
        fix,
    );
}

/// Host and port.
fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// What the proxy speaks with the portal.
pub(super) fn protocol(plain: &Reply, public: &str, findings: &mut Findings) {
    match text(&plain.said, "protocol") {
        Some("HTTP/1.1") => {}
        other => findings.wrong(
            Code::ThroughProtocol,
            format!(
                "the portal is spoken to by {}: bodies of unknown length do not come through",
                other.unwrap_or("an unknown protocol")
            ),
            "nginx: proxy_http_version 1.1;",
        ),
    }
    let asked = text(&plain.said, "host").unwrap_or_default();
    let name = asked.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    let name = name.map_or(asked, |(name, _)| name);
    if !name.eq_ignore_ascii_case(public) {
        findings.note(
            Code::ThroughHost,
            format!("the host that the portal is asked for is {asked:?} and not {public:?}"),
            "pass it on (nginx: proxy_set_header Host $host;): what logs and other programs see is then what applicants see",
        );
    }
}

/// Whom the limits count, and whether somebody can choose that.
pub(super) fn client_address(plain: &Reply, forged: &Reply, config: &Config, findings: &mut Findings) {
    let said = &plain.said;
    let peer = text(said, "peer").unwrap_or("nobody");
    let header = text(said, "header").unwrap_or("X-Forwarded-For");
    let is_trusted = said["peer_is_trusted"] == true;
    let is_named = text(said, "named").is_some();
    let is_named_otherwise = text(said, "named_otherwise").is_some();
    let before = findings.0.len();
    let set =
        format!("nginx: proxy_set_header {header} $remote_addr; HAProxy: http-request set-header {header} %[src]; Caddy does it by itself");
    if text(&forged.said, "client") == Some(FORGED) {
        findings.wrong(
            Code::ThroughForged,
            format!("visitors choose the address that limits count: the {header} that a visitor wrote was believed"),
            format!(
                "have the outermost proxy put the client's address in its place ({set}), and name in trusted_proxies only proxies that do"
            ),
        );
    }
    if is_trusted && !is_named && is_named_otherwise {
        findings.wrong(
            Code::ThroughOtherHeader,
            format!("the proxy {peer} names its clients in another header than {header}, which is the one that counts"),
            match header {
                "Forwarded" => "set forwarded_header = \"x-forwarded-for\", or have the proxy send Forwarded",
                _ => "set forwarded_header = \"forwarded\", or have the proxy send X-Forwarded-For",
            },
        );
    } else if is_trusted && !is_named {
        findings.wrong(
            Code::ThroughNameless,
            format!("the trusted proxy {peer} does not say for whom it speaks: all applicants share the limits of one address"),
            set,
        );
    } else if !is_trusted && (is_named || is_named_otherwise || (!config.public.tls.is_on() && config.public_url.starts_with("https:"))) {
        findings.wrong(
            Code::ThroughUntrusted,
            format!("the portal is reached from {peer}, which is no trusted proxy: all applicants share the limits of its address"),
            format!("set trusted_proxies = [\"{peer}\"], and have the proxy name its clients in {header}"),
        );
    }
    if findings.0.len() == before {
        let client = text(said, "client").unwrap_or("nobody");
        let how = match is_trusted {
            true => format!("by {header} of {peer}, and believes no forged one"),
            false => "directly, and believes no forged header".to_owned(),
        };
        findings.good(AREA, format!("the portal sees this machine as {client}, {how}"));
    }
}

pub(super) fn methods(blocked: &[String], findings: &mut Findings) {
    if blocked.is_empty() {
        return findings.good(AREA, "every method comes through, as resumable uploads need it");
    }
    findings.note(
        Code::ThroughMethods,
        format!("something in front refuses {}: uploads that break off go on by a detour", blocked.join(", ")),
        "let all methods through (nginx: no limit_except and no if ($request_method …); a firewall for web applications: allow HEAD, PATCH, DELETE and OPTIONS under /d/)",
    );
}

/// Whether the portal's own headers arrive as it sends them.
pub(super) fn headers(reply: &Reply, findings: &mut Findings) {
    let values = |name: &str| -> Vec<String> {
        let all = reply.headers.get_all(name).into_iter();
        all.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect()
    };
    let (mut gone, mut changed) = (Vec::new(), Vec::new());
    for (name, wanted) in headers::of_public_answers() {
        let found = values(name);
        let as_sent = |value: &String| value == wanted || (name == "Strict-Transport-Security" && is_long(value));
        if found.is_empty() {
            gone.push(name);
        } else if !found.iter().all(as_sent) {
            changed.push(name);
        }
    }
    if gone.is_empty() && changed.is_empty() {
        findings.good(AREA, "the headers that protect the page arrive as the portal sends them");
    } else {
        let mut what = Vec::new();
        if !gone.is_empty() {
            what.push(format!("{} taken away", gone.join(", ")));
        }
        if !changed.is_empty() {
            what.push(format!("{} changed", changed.join(", ")));
        }
        findings.wrong(
            Code::ThroughHeaders,
            format!("headers of the portal's answers do not arrive: {}", what.join("; ")),
            "take the lines for these headers out of the proxy (nginx: add_header, proxy_hide_header, expires; HAProxy: http-response set-header, del-header; Caddy: header): the portal sets them all",
        );
    }
    let hit = |name: &str| values(name).iter().any(|value| value.to_ascii_uppercase().contains("HIT"));
    if reply.headers.contains_key(AGE) || hit("x-cache") || hit("cf-cache-status") || hit("x-proxy-cache") {
        cached(findings);
    }
    if reply.headers.contains_key(CONTENT_ENCODING) {
        findings.note(
            Code::ThroughPacked,
            "something in front packs answers that the portal sends unpacked on purpose",
            "switch it off for this name (nginx: gzip off; Caddy: no encode; a CDN: no compression): docs/decisions/compression.md says why",
        );
    }
}

/// A year or more: a longer promise of somebody in front is as good.
fn is_long(value: &str) -> bool {
    const YEAR: u64 = 31_536_000;
    let mut parts = value.split(';').map(str::trim);
    parts
        .find_map(|part| part.strip_prefix("max-age=")?.parse::<u64>().ok())
        .is_some_and(|age| age >= YEAR)
}

fn cached(findings: &mut Findings) {
    findings.wrong(
        Code::ThroughCached,
        "an answer came out of a cache in front: one applicant may be shown another one's page",
        "switch it off for this name (nginx: proxy_cache off; a CDN: bypass the cache); every answer says no-store",
    );
}

/// A body as it was before it was packed, once.
pub(super) fn unpacked(headers: &HeaderMap, body: Vec<u8>) -> Vec<u8> {
    let is_packed = headers.contains_key(CONTENT_ENCODING) && body.starts_with(&GZIP) && body.len() > FRAME.0 + FRAME.1;
    if !is_packed {
        return body;
    }
    let inner = &body[FRAME.0..body.len() - FRAME.1];
    miniz_oxide::inflate::decompress_to_vec_with_limit(inner, STYLE_MAX).unwrap_or(body)
}

/// A file that the portal packs once: twice packed, no browser reads it.
pub(super) fn packed(headers: &HeaderMap, body: &[u8], findings: &mut Findings) {
    let lines = headers.get_all(CONTENT_ENCODING).into_iter();
    let codings = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).count();
    if codings > 1 || unpacked(headers, body.to_vec()).starts_with(&GZIP) {
        findings.wrong(
            Code::ThroughPacked,
            "something in front packs what the portal has packed already",
            "switch it off for this name (nginx: gzip off; Caddy: no encode; a CDN: no compression)",
        );
    }
    let kept = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kept.is_empty() {
        findings.wrong(
            Code::ThroughHeaders,
            "headers of the portal's answers do not arrive: Cache-Control of styles and scripts taken away",
            "take the lines for this header out of the proxy (nginx: expires, add_header, proxy_hide_header)",
        );
    }
}

fn body_limit(size: u64, findings: &mut Findings) {
    findings.wrong(
        Code::ThroughBodyLimit,
        format!("something in front refuses a body of {} (413), in its own words: a document of the allowed size does not arrive", megabytes(size)),
        "nginx: client_max_body_size 0; Apache: LimitRequestBody 0; a CDN or firewall for web applications: a limit above limits.max_file × parts + 1 MB",
    );
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// What became of the large one.
pub(super) fn upload(size: u64, pace: Pace, sent: &Sent, came: Result<&Reply, &reqwest::Error>, config: &Config, findings: &mut Findings) {
    let reply = match came {
        Ok(reply) => reply,
        Err(error) => {
            let why = match error.is_timeout() {
                true => "no answer came in time",
                false => "the connection broke before an answer came",
            };
            return cut_off(pace, sent, why, config, findings);
        }
    };
    let code = text(&reply.said, "code");
    match (reply.status, code) {
        _ if reply.is_ours => {}
        (413, None) => return body_limit(size, findings),
        (_, Some("check.busy" | "check.time")) => {
            return busy(findings);
        }
        (status, Some(code)) => return cut_off(pace, sent, &format!("the portal answers {status}, {code}"), config, findings),
        (status, None) => return cut_off(pace, sent, &format!("something in front answers {status}"), config, findings),
    }
    let bytes = reply.said["bytes"].as_u64().unwrap_or(0);
    if bytes != size {
        return cut_off(
            pace,
            sent,
            &format!("{} of {} arrived", megabytes(bytes), megabytes(size)),
            config,
            findings,
        );
    }
    let took = sent.took();
    let span = Duration::from_millis(reply.said["span_ms"].as_u64().unwrap_or(0));
    let seconds = |span: Duration| format!("{:.1} s", span.as_secs_f64());
    // What is passed on as it comes arrives over the same time as it was sent in.
    if span < took / 2 {
        findings.wrong(
            Code::ThroughBuffered,
            format!(
                "something in front keeps bodies back: what was sent over {} reached the portal within {}. A copy of each document lies there, and uploads that break off begin anew",
                seconds(took),
                seconds(span)
            ),
            "nginx: proxy_request_buffering off; proxy_http_version 1.1; HAProxy: no option http-buffer-request; Apache: no proxy-sendcl; a CDN: request streaming. Then look for copies (nginx: client_body_temp_path) and delete them",
        );
    } else {
        findings.good(
            AREA,
            format!(
                "{} sent over {} arrived as they were sent; none of it was kept",
                megabytes(size),
                seconds(took)
            ),
        );
    }
}

fn cut_off(pace: Pace, sent: &Sent, why: &str, config: &Config, findings: &mut Findings) {
    let idle = config.limits.upload_idle;
    let fix = match pace.pause >= idle {
        true => format!("the portal itself waits {} s (limits.upload_idle): try a shorter --pause", idle.as_secs()),
        false => "let the proxy wait as long as the portal does (nginx: client_body_timeout 60s; proxy_send_timeout 60s; proxy_read_timeout 120s; HAProxy: timeout client 60s, timeout server 120s); \
                  and look for a limit on bodies there"
            .to_owned(),
    };
    findings.wrong(
        Code::ThroughCutOff,
        format!(
            "the test upload was cut off after {} in {:.1} s: {why}",
            megabytes(sent.bytes()),
            sent.took().as_secs_f64()
        ),
        fix,
    );
}
