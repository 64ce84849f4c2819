//! What a browser calls itself, in words of ours: `Firefox on Windows`. It tells somebody's open sessions apart and decides nothing; no byte of what was sent is kept.

use actix_web::HttpRequest;
use actix_web::http::header::USER_AGENT;

/// The first that fits: browsers name those that they resemble, so the more special ones come first.
const FAMILIES: [(&str, &str); 10] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];

const SYSTEMS: [(&str, &str); 8] = [
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("BSD", "BSD"),
    ("Linux", "Linux"),
];

/// Family and system of the browser that sent this.
pub(crate) fn browser_name(request: &HttpRequest) -> String {
    let header = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
    words(header.unwrap_or_default())
}

fn words(sent: &str) -> String {
    let first = |list: &[(&str, &'static str)]| list.iter().find(|(mark, _)| sent.contains(mark)).map(|(_, name)| *name);
    match (first(&FAMILIES), first(&SYSTEMS)) {
        (Some(family), Some(system)) => format!("{family} on {system}"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) => "Another browser".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn browsers_are_called_what_people_call_them() {
        for (sent, name) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
                "Firefox on Windows",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15",
                "Safari on macOS",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/142.0.0.0 Mobile/15E148 Safari/604.1",
                "Chrome on iPhone",
            ),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
                "Samsung Internet on Android",
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/142.0.0.0 Safari/537.36",
                "Chrome on Linux",
            ),
            ("curl/8.5.0", "Another browser"),
            ("", "Another browser"),
            ("<script>Firefox/", "Firefox"),
        ] {
            assert_eq!(words(sent), name, "{sent}");
        }
    }
}
