//! The documentation's pages: as much of Markdown as they use (headings, paragraphs, lists, tables, code, and inside a line code, bold and links), and nothing of HTML.
//!
//! The text is the project's own, and still every character of it is escaped. Links lead to other pages or to `https`; any other target is shown as text.

use maud::{Markup, html};

use crate::domain::agent::Agent;
use crate::http::staff::console::frame::{self, Place};

#[derive(Debug, PartialEq, Eq)]
enum Block<'a> {
    Heading(usize, &'a str),
    Code(Vec<&'a str>),
    /// The first row is the head.
    Table(Vec<Vec<String>>),
    List(Vec<String>),
    Text(String),
}

pub(crate) fn page(agent: &Agent, text: &str, index: bool) -> Markup {
    let blocks = blocks(text);
    let title = blocks.iter().find_map(|block| match block {
        Block::Heading(1, title) => Some(*title),
        _ => None,
    });
    let body = html! {
        @if !index { p.crumbs { a href="/docs" { "Providers" } } }
        article.docs { @for block in &blocks { (markup(block)) } }
    };
    frame::page(agent, Place::Docs, title.unwrap_or("Documentation"), body)
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            blocks.push(Block::Code(lines.by_ref().take_while(|line| !line.starts_with("```")).collect()));
            continue;
        }
        let depth = line.bytes().take_while(|b| *b == b'#').count();
        if (1..=3).contains(&depth) && line[depth..].starts_with(' ') {
            blocks.push(Block::Heading(depth, line[depth..].trim()));
        } else if line.starts_with('|') {
            let row = cells(line);
            let is_rule = row.iter().all(|cell| !cell.is_empty() && cell.bytes().all(|b| b"-:".contains(&b)));
            match blocks.last_mut() {
                Some(Block::Table(_)) if is_rule => {}
                Some(Block::Table(rows)) => rows.push(row),
                _ => blocks.push(Block::Table(vec![row])),
            }
        } else if let Some(item) = line.strip_prefix("- ") {
            match blocks.last_mut() {
                Some(Block::List(items)) => items.push(item.to_owned()),
                _ => blocks.push(Block::List(vec![item.to_owned()])),
            }
        } else if line.trim().is_empty() {
            // Ends whatever went on; dropped below.
            blocks.push(Block::Text(String::new()));
        } else {
            let line = line.trim();
            match blocks.last_mut() {
                Some(Block::Text(text)) if text.is_empty() => *text = line.to_owned(),
                Some(Block::Text(text)) => *text = format!("{text} {line}"),
                Some(Block::List(items)) if !items.is_empty() => {
                    let last = items.len() - 1;
                    items[last] = format!("{} {line}", items[last]);
                }
                _ => blocks.push(Block::Text(line.to_owned())),
            }
        }
    }
    blocks.retain(|block| *block != Block::Text(String::new()));
    blocks
}

/// `| a | b \| c |`
fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|');
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    let mut cells = vec![String::new()];
    let mut before = ' ';
    for c in inner.chars() {
        let last = cells.len() - 1;
        match c {
            '|' if before == '\\' => {
                cells[last].pop();
                cells[last].push('|');
            }
            '|' => cells.push(String::new()),
            c => cells[last].push(c),
        }
        before = c;
    }
    cells.into_iter().map(|cell| cell.trim().to_owned()).collect()
}

fn markup(block: &Block<'_>) -> Markup {
    html! {
        @match block {
            Block::Heading(1, text) => h1 { (line(text)) },
            Block::Heading(2, text) => h2 { (line(text)) },
            Block::Heading(_, text) => h3 { (line(text)) },
            Block::Code(lines) => pre tabindex="0" { code { (lines.join("\n")) } },
            Block::List(items) => ul { @for item in items { li { (line(item)) } } },
            Block::Text(text) => p { (line(text)) },
            Block::Table(rows) => (table(rows)),
        }
    }
}

fn table(rows: &[Vec<String>]) -> Markup {
    let Some((head, rows)) = rows.split_first() else { return html! {} };
    html! {
        table.rows {
            thead { tr { @for cell in head { th scope="col" { (line(cell)) } } } }
            tbody {
                @for row in rows {
                    tr {
                        @for (n, cell) in row.iter().enumerate() {
                            @if n == 0 { td.head { (line(cell)) } } @else { td data-label=(head.get(n).map_or("", String::as_str)) { (line(cell)) } }
                        }
                    }
                }
            }
        }
    }
}

/// One line's text: `` `code` ``, `**bold**`, `[words](target)`.
fn line(text: &str) -> Markup {
    let marks = ["`", "**", "["];
    let first = marks.iter().filter_map(|mark| Some((text.find(mark)?, *mark))).min();
    let Some((at, mark)) = first else {
        return html! { (text) };
    };
    let (before, rest) = (&text[..at], &text[at + mark.len()..]);
    match mark {
        "`" => {
            if let Some((code, after)) = rest.split_once('`') {
                return html! { (before) code { (code) } (line(after)) };
            }
        }
        "**" => {
            if let Some((bold, after)) = rest.split_once("**") {
                return html! { (before) strong { (line(bold)) } (line(after)) };
            }
        }
        _ => {
            let link = rest.split_once("](").and_then(|(words, rest)| Some((words, rest.split_once(')')?)));
            if let Some((words, (target, after))) = link {
                return html! { (before) (anchor(words, target)) (line(after)) };
            }
        }
    }
    // A mark without its end is a character like any other.
    html! { (before) (mark) (line(rest)) }
}

fn anchor(words: &str, target: &str) -> Markup {
    let is_page = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    match target.strip_suffix(".md") {
        Some("README") => html! { a href="/docs" { (line(words)) } },
        Some(name) if is_page(name) => html! { a href={ "/docs/providers/" (name) } { (line(words)) } },
        _ if target.starts_with("https://") => html! { a href=(target) rel="noreferrer noopener" { (line(words)) } },
        _ => html! { (line(words)) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        blocks(text).iter().map(|block| markup(block).into_string()).collect()
    }

    #[test]
    fn what_the_pages_use_is_shown() {
        let cases = [
            ("# A `b`", "<h1>A <code>b</code></h1>"),
            ("## A\none\ntwo\n\nthree", "<h2>A</h2><p>one two</p><p>three</p>"),
            (
                "- **a**: b\n  more\n- c\n\nd",
                "<ul><li><strong>a</strong>: b more</li><li>c</li></ul><p>d</p>",
            ),
            (
                "```toml\n# <b>\n\n[x]\n```\nend",
                "<pre tabindex=\"0\"><code># &lt;b&gt;\n\n[x]</code></pre><p>end</p>",
            ),
            (
                "| k | v |\n| --- | :-: |\n| `a` | b \\| c |\n\n| x |",
                "<table class=\"rows\"><thead><tr><th scope=\"col\">k</th><th scope=\"col\">v</th></tr></thead><tbody><tr><td class=\"head\"><code>a</code></td>\
                 <td data-label=\"v\">b | c</td></tr></tbody></table><table class=\"rows\"><thead><tr><th scope=\"col\">x</th></tr></thead><tbody></tbody></table>",
            ),
            (
                "[a](README.md) [b](stripe.md) [c](https://x.example/y)",
                "<p><a href=\"/docs\">a</a> <a href=\"/docs/providers/stripe\">b</a> <a href=\"https://x.example/y\" rel=\"noreferrer noopener\">c</a></p>",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn what_is_not_understood_is_text() {
        let cases = [
            ("a ` b", "<p>a ` b</p>"),
            ("a ** b [c] (d)", "<p>a ** b [c] (d)</p>"),
            ("[a](javascript:alert(1))", "<p>a)</p>"),
            ("[a](../../etc.md)", "<p>a</p>"),
            ("<script>alert(1)</script> &", "<p>&lt;script&gt;alert(1)&lt;/script&gt; &amp;</p>"),
            ("####### a", "<p>####### a</p>"),
            ("```\nnever closed", "<pre tabindex=\"0\"><code>never closed</code></pre>"),
            ("", ""),
            (
                "|",
                "<table class=\"rows\"><thead><tr><th scope=\"col\"></th></tr></thead><tbody></tbody></table>",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_a_panic_or_markup_of_its_own(text in "[#|`*\\[\\]() \n<>\\\\a-]{0,80}") {
            let shown = shown(&text);
            proptest::prop_assert!(!shown.contains("<a>") && !shown.contains("<->"), "{}", shown);
        }
    }
}
