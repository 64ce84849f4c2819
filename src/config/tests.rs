//! What the configuration refuses, with its words: every bad entry is named, and nothing is left out in silence.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::{Config, Resolved};
use crate::connectors::KINDS;
use crate::http::settings::ListenerTls;
use crate::settings::Setting;

fn parsed(more: &str) -> Result<Config, Vec<String>> {
    let text = format!("public_url = \"https://drop.example.com\"\n{more}");
    Config::parse(&text, Path::new(""), std::iter::empty()).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

fn faults(more: &str) -> Vec<String> {
    parsed(more).err().unwrap_or_default()
}

#[test]
fn a_bad_entry_of_the_catalogue_is_named_and_never_left_out() {
    let table = |lines: &str| format!("[documents.government-id]\n{lines}\n");
    let said = faults(&table("parts = [\"front\", \"Back\"]"));
    assert_eq!(
        said,
        ["documents.government-id.parts: has \"Back\"; it takes names of 1–32 characters of a-z, 0-9 and -, such as [\"front\", \"back\"]"]
    );
    let said = faults(&table("accepted = [\"image/jpeg\", \"image/webp\"]"));
    assert_eq!(
        said,
        ["documents.government-id.accepted: has \"image/webp\"; it takes image/jpeg, image/png, application/pdf, image/heic"]
    );
    for lines in ["parts = []", "parts = [\"a\", \"b\", \"c\"]", "parts = [\"front\", \"front\"]"] {
        assert!(faults(&table(lines))[0].contains("one or two names"), "{lines}");
    }
    assert!(faults(&table("accepted = []"))[0].contains("at least one of image/jpeg"));
    let config = parsed(&table("parts = [\"front\", \"back\"]\naccepted = [\"image/jpeg\"]")).unwrap();
    let kind = crate::domain::document::DocumentKind::parse("government-id").unwrap();
    let entry = config.catalogue.get(&kind).unwrap();
    assert_eq!((entry.parts.len(), entry.accepted.len()), (2, 1));
}

#[test]
fn numbers_that_would_stop_everything_are_refused() {
    for (key, value, takes) in [
        ("limits.uploads", "0", "a whole number from 1 to 100000"),
        ("limits.uploads", "100001", "a whole number from 1 to 100000"),
        ("limits.uploads_per_address", "0", "a whole number from 1 to 100000"),
        ("limits.uploads_per_link", "0", "a whole number from 1 to 100000"),
        ("limits.connections_per_address", "0", "a whole number from 1 to 100000"),
        ("limits.silent_per_address", "0", "a whole number from 1 to 100000"),
        ("limits.upload_idle", "\"11m\"", "a span from \"1s\" to \"10m\""),
        ("limits.head_timeout", "\"11m\"", "a span from \"1s\" to \"10m\""),
        (
            "limits.upload_rate",
            "\"2MiB\"",
            "a size from 0 to 1MiB, in bytes or with KiB, MiB, kB or MB",
        ),
        ("limits.pages_per_address", "0", "a whole number from 1 to 10000000"),
        ("limits.api_per_minute", "0", "a whole number from 1 to 1000000"),
        ("forwarding.attempts", "0", "a whole number from 1 to 10000"),
        ("erasure.slots", "15", "a whole number from 16 to 1048576"),
        ("workers", "99999999999", "a whole number from 0 to 1024"),
    ] {
        assert_eq!(
            faults(&format!("{key} = {value}\n")),
            [format!("{key}: must be {takes}")],
            "{key} = {value}"
        );
    }
    assert_eq!(
        faults("limits.uploads = -1\n"),
        ["limits.uploads: must be a whole number from 1 to 100000"]
    );
    let config = parsed("limits.uploads = 1\nforwarding.attempts = 1\n").unwrap();
    assert_eq!((config.limits.uploads, config.attempts), (1, 1));
}

#[test]
fn a_bad_staff_url_is_told_once_and_a_good_one_reaches_everybody() {
    assert_eq!(faults("staff_url = \"http://console.example.com\"\n").len(), 1);
    let config = parsed("staff_url = \"https://console.example.com/\"\n").unwrap();
    let wanted = Some("https://console.example.com".to_owned());
    assert_eq!(config.staff_url, wanted);
}

#[test]
fn fetching_a_certificate_is_refused_in_words_where_none_can_be_had() {
    const AGREED: &str = "[acme]\nterms_agreed = true\n";
    let of = |url: &str, more: &str| {
        let text = format!("public_url = \"{url}\"\n{more}");
        let read = Config::parse(&text, Path::new(""), std::iter::empty());
        read.err().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (url, words) in [
        ("https://192.0.2.7", "no authority issues one for 192.0.2.7"),
        ("https://localhost:8443", "no authority issues one for localhost"),
        ("http://localhost:8080", "must begin with https://"),
    ] {
        let said = of(url, AGREED);
        assert!(
            said.len() == 1 && said[0].starts_with("public_url: ") && said[0].contains(words),
            "{said:?}"
        );
    }
    let name = "https://drop.example.com";
    for (more, key, words) in [
        ("[acme]\n", "acme.terms_agreed", "must be true: read the terms"),
        (
            "listen.public_tls = { cert = \"/no/cert\", key = \"/no/key\" }\n[acme]\nterms_agreed = true\n",
            "listen.public_tls",
            "must go while [acme] fetches",
        ),
        (
            "[acme]\nterms_agreed = true\nlisteners = [\"public\", \"staff\"]\n",
            "staff_url",
            "acme.listeners names the staff listener",
        ),
        (
            "[acme]\nterms_agreed = true\nlisteners = [\"all\"]\n",
            "acme.listeners",
            "\"public\", \"staff\" or both",
        ),
        (
            "[acme]\nterms_agreed = true\ndirectory = \"http://ca.example.com/dir\"\n",
            "acme.directory",
            "https address",
        ),
        (
            "[acme]\nterms_agreed = true\ncontact = \"nobody\"\n",
            "acme.contact",
            "mail address",
        ),
        ("[acme]\nterms_agreed = true\nca_file = \"/no/ca\"\n", "acme.ca_file", "/no/ca"),
        (
            "[acme]\nterms_agreed = true\nexternal_account_id = \"kid\"\n",
            "acme.external_account_key_file",
            "has both",
        ),
    ] {
        let said = of(name, more);
        assert!(
            said.iter()
                .any(|line| line.starts_with(&format!("{key}: ")) && line.contains(words)),
            "{more}: {said:#?}"
        );
    }
    let config =
        parsed("staff_url = \"https://console.example.com:8443\"\n[acme]\nterms_agreed = true\nlisteners = [\"staff\"]\n").unwrap();
    assert!(!config.public.tls.is_on());
    assert!(matches!(&config.staff.tls, ListenerTls::Acme(name) if name.as_str() == "console.example.com"));
    assert!(parsed("").unwrap().acme.is_none(), "off unless it is configured");
}

#[test]
fn a_provider_without_a_kind_is_told_all_kinds() {
    let said = faults("[providers.x]\napi_key_file = \"x\"\n");
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("providers.x.kind: is needed") && KINDS.iter().all(|k| said[0].contains(k)),
        "{said:?}"
    );
}

/// Every provider kind, with what makes it ask for all of its keys.
const TABLES: &[(&str, &str)] = &[
    ("adyen", ""),
    ("bridge", ""),
    ("dwolla", "token_url = 'x'"),
    (
        "http",
        "auth = 'basic'\nupload = { shape = 'presigned', address_hosts = ['x'] }\nlookup = {}\nlist = {}\nattach = { list = {} }\nsubmit = { list = {} }\nverdict = { path = '/' }\nmissing = {}\nsigning = {}\ncallback = {}",
    ),
    ("http", "auth = 'header'"),
    ("http", "auth = 'oauth'"),
    ("lithic", ""),
    ("manual", ""),
    ("onfido", "client_id = 'x'\ntoken_url = 'x'"),
    ("onfido", ""),
    ("sandbox", ""),
    ("stripe", ""),
    ("sumsub", ""),
    ("synapse", ""),
    ("unit", ""),
];

/// Everything that a configuration with these lines is asked for, whatever is wrong in it.
fn asked(lines: &str) -> Vec<Setting> {
    Resolved::parse(lines, Path::new(""), std::iter::empty()).unwrap().settings
}

fn asked_everywhere() -> Vec<Setting> {
    let mut found = asked("mail = {}\nacme = {}\n[listen]\npublic_tls = {}\nstaff_tls = {}\n[webhooks.NAME]\n[documents.name]\n");
    for setting in &mut found {
        // A kind has a name in small letters, or nothing more is asked of its table.
        setting.key = setting.key.replace("documents.name.", "documents.NAME.");
    }
    found
}

/// The settings of a kind, by their key in the provider's table.
fn asked_of(kind: &str) -> Vec<Setting> {
    let mut found: Vec<Setting> = Vec::new();
    for (_, lines) in TABLES.iter().filter(|(of, _)| *of == kind) {
        for mut setting in asked(&format!("[providers.x]\nkind = '{kind}'\n{lines}\n")) {
            let Some(key) = setting.key.strip_prefix("providers.x.").map(str::to_owned) else {
                continue;
            };
            setting.key = key;
            if found.iter().all(|known| known.key != setting.key) {
                found.push(setting);
            }
        }
    }
    found
}

#[test]
fn every_setting_stands_in_the_template_with_its_default() {
    let template = include_str!("../../assets/nightdrop.toml");
    let mut section = String::new();
    let mut found: Vec<(String, String)> = Vec::new();
    for line in template.lines().map(|line| line.trim_start_matches("# ").trim()) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|l| l.split(']').next())
            .filter(|n| !n.contains(['"', ' ']))
        {
            section = format!("{name}.");
            found.push((name.to_owned(), "[".to_owned()));
        } else if let Some((key, value)) = line.split_once('=') {
            let value = value.split(" #").next().unwrap_or_default().trim();
            found.push((format!("{section}{}", key.trim()), value.to_owned()));
        }
    }
    let mut wrong = Vec::new();
    // What the template shows differs from the default where only an example says anything.
    let examples = ["company.name", "sso.label"];
    for setting in asked_everywhere() {
        let key = setting.key.as_str();
        if key.contains("NAME") || key.contains("_tls.") {
            continue;
        }
        let Some((_, value)) = found.iter().find(|(known, _)| known.as_str() == key) else {
            wrong.push(format!("{key} is missing"));
            continue;
        };
        let is_word = !value.starts_with(['@', '[']) && !setting.default.is_empty() && !examples.contains(&key);
        if is_word && value.trim_matches('"') != setting.default.trim_matches('"') {
            wrong.push(format!("{key} is {value}, its default {}", setting.default));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_two_settings_have_one_variable() {
    let mut variables: Vec<String> = asked_everywhere().iter().map(Setting::variable).collect();
    let all = variables.len();
    variables.sort();
    variables.dedup();
    assert!(all > 80 && variables.len() == all);
}

#[test]
fn every_setting_of_a_provider_stands_on_its_page() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/docs/providers");
    let of_all = std::fs::read_to_string(pages.join("README.md")).unwrap();
    let mut wrong = Vec::new();
    for kind in KINDS {
        let own = std::fs::read_to_string(pages.join(format!("{kind}.md"))).unwrap();
        let settings = asked_of(kind);
        assert!(settings.iter().any(|s| s.key == "kind") && settings.len() > 5, "{kind}");
        for setting in settings {
            let key = setting.key.rsplit('.').next().unwrap();
            if ![&own, &of_all].iter().any(|page| page.contains(key)) {
                wrong.push(format!("{kind}: {key}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `docs/operations/settings.md` is written from the declarations: run this test with `NIGHTDROP_TEST_WRITE=1` after changing one.
#[test]
fn the_reference_of_all_settings_is_what_is_asked_for() {
    let row = |key: &str, setting: &Setting, variable: &str| {
        let default = match setting.default.as_str() {
            "" => "–".to_owned(),
            default => format!("`{default}`"),
        };
        let doc = setting.doc.replace('|', "\\|");
        format!("| `{key}`{variable} | {} | {default} | {doc} |\n", setting.kind)
    };
    let head = "| key | type | default | what |\n| --- | --- | --- | --- |\n";
    let mut text = include_str!("../../docs/operations/settings.md")
        .split("\n## ")
        .next()
        .unwrap()
        .to_owned();
    text.push_str("\n## All sections\n\n");
    text.push_str(head);
    for setting in asked_everywhere() {
        text.push_str(&row(&setting.key, &setting, &format!("<br>`{}`", setting.variable())));
    }
    let common = asked_of("sandbox");
    let is_common = |key: &str| key != "api_key_file" && common.iter().any(|setting| setting.key == key);
    text.push_str("\n## Every provider\n\nBesides `kind`. Defaults in this table are those of the sandbox; each provider has its own limits and pauses.\n\n");
    text.push_str(head);
    for setting in common.iter().filter(|s| is_common(&s.key) && s.key != "kind") {
        text.push_str(&row(&setting.key, setting, ""));
    }
    for kind in KINDS {
        let own: Vec<Setting> = asked_of(kind).into_iter().filter(|s| !is_common(&s.key)).collect();
        if !own.is_empty() {
            text.push_str(&format!("\n## `kind = \"{kind}\"`\n\n{head}"));
        }
        for setting in own {
            text.push_str(&row(&setting.key, &setting, ""));
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations/settings.md");
    if std::env::var_os("NIGHTDROP_TEST_WRITE").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        text,
        "run again with NIGHTDROP_TEST_WRITE=1"
    );
}

#[test]
fn every_section_tells_its_errors_at_once() {
    let said = faults(
        "staff_url = \"http://console\"\n[listen]\nstaff = \"0.0.0.0:8081\"\npublic_tls = { cert = \"/no/cert\", key = \"/no/key\" }\n\
         [limits]\nmax_file = \"1TB\"\n[providers.x]\nkind = \"stripe\"\n[providers.y]\nkind = \"sandbox\"\nbase_url = \"https://s.example\"\n\
         api_key_file = \"/no/key\"\nca_file = \"/no/ca\"\n[mail]\nhost = \"localhost\"\n[webhooks.w]\nurl = \"https://w.example\"\n\
         [sso]\nissuer = \"x\"\nclient_id = \"y\"\nclient_secret_file = \"/no/secret\"\n",
    );
    for key in [
        "staff_url",
        "listen.public_tls",
        "limits.max_file",
        "providers.x.api_key_file",
        "providers.y.api_key_file",
        "providers.y.ca_file",
        "mail.from",
        "webhooks.w.secret_file",
        "sso.issuer",
        "sso.client_secret_file",
    ] {
        assert!(said.iter().any(|line| line.starts_with(&format!("{key}: "))), "{key}: {said:#?}");
    }
}

#[test]
fn variables_of_all_sections_are_named_after_their_keys() {
    let text = "public_url = \"https://drop.example.com\"\n[providers.my-stripe]\nkind = \"manual\"\n";
    let variables = [
        ("NIGHTDROP_LISTEN_PUBLIC", "127.0.0.1:9000"),
        ("NIGHTDROP_TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("NIGHTDROP_PROVIDERS_MY_STRIPE_MAX_BYTES", "1MiB"),
        ("NIGHTDROP_MAIL_FROM", "a@example.com"),
        ("NIGHTDROP_MAIL_HOST", "localhost"),
        ("NIGHTDROP_MAIL_TLS", "none"),
        ("NIGHTDROP_COMPANY_NAME", "2026"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::parse(text, Path::new(""), variables.into_iter()).unwrap();
    assert_eq!((config.public.address.port(), config.trusted_proxies.len()), (9_000, 2));
    assert_eq!(config.company.name, "2026");
    assert!(config.outgoing.mailer.is_some());
    assert_eq!(config.providers[0].keys, ["kind", "max_bytes"]);
}
