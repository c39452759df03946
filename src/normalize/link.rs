//! Links of a message: out of its text, its entities, buttons and web preview, each once, and what each leads to.

use serde_json::{Map, Value};
use url::Url;

use crate::record::link::{Link, LinkKind};

/// Telegram's own hosts: <https://core.telegram.org/api/links>.
const TELEGRAM: [&str; 3] = ["t.me", "telegram.me", "telegram.dog"];

/// First parts of paths there that are no public names: <https://core.telegram.org/api/links>.
#[rustfmt::skip]
const RESERVED: [&str; 22] = [
    "addemoji", "addlist", "addstickers", "addtheme", "auction", "bg", "boost", "call", "confirmphone", "contact", "giftcode",
    "invoice", "iv", "joinchat", "login", "msg", "nft", "proxy", "setlanguage", "share", "socks", "web",
];

/// The links that a message's fields show, in no order that matters.
pub fn of_body(body: &Map<String, Value>) -> Vec<Link> {
    let strings = |field: &str| body.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let buttons = body.get("buttons").and_then(Value::as_array).into_iter().flatten().filter_map(|button| button["url"].as_str());
    let preview = body.get("webpage").and_then(|page| page["url"].as_str());
    let told = strings("links").chain(buttons).chain(preview).filter_map(link);
    // A mention without a public name is a user's id.
    let named = strings("mentions").filter(|name| is_public_name(name)).map(|name| Link {
        url: format!("https://t.me/{name}"),
        kind: LinkKind::Public,
        host: Some("t.me".to_owned()),
    });
    let mut links: Vec<Link> = told.chain(named).collect();
    links.sort_unstable();
    links.dedup();
    links
}

/// One link as it was told; None for an empty one.
pub fn link(told: &str) -> Option<Link> {
    let told = told.trim();
    if told.is_empty() {
        return None;
    }
    let Some(url) = parse(told) else { return Some(Link { url: told.to_owned(), kind: LinkKind::Web, host: None }) };
    let host = url.host_str().filter(|host| !host.is_empty()).map(str::to_lowercase);
    let (kind, host) = match url.scheme() {
        "tg" => (deep(&url), None),
        _ => (host.as_deref().map_or(LinkKind::Web, |host| on_host(host, &url)), host),
    };
    Some(Link { url: url.into(), kind, host })
}

/// With a scheme: what Telegram's clients take a text without one for is http, and its own hosts speak https alone.
fn parse(told: &str) -> Option<Url> {
    match Url::parse(told) {
        // `example.org:8080/x` reads as a scheme.
        Ok(url) if told.contains("://") || matches!(url.scheme(), "tg" | "mailto" | "ton") => Some(url),
        _ if told.contains("://") => None,
        _ => {
            let url = Url::parse(&format!("http://{told}")).ok()?;
            let secure = url.host_str().is_some_and(|host| is_telegram(host).is_some());
            if secure { Url::parse(&format!("https://{told}")).ok() } else { Some(url) }
        }
    }
}

/// Whether a host is Telegram's own, and the name before it in `NAME.t.me`.
fn is_telegram(host: &str) -> Option<Option<&str>> {
    let host = host.strip_prefix("www.").unwrap_or(host);
    if TELEGRAM.contains(&host) {
        return Some(None);
    }
    host.strip_suffix(".t.me").map(Some)
}

/// Where `tg:` links lead. Some write two slashes, some none.
fn deep(url: &Url) -> LinkKind {
    let action = url.host_str().filter(|host| !host.is_empty()).unwrap_or(url.path()).trim_matches('/').to_lowercase();
    let has = |key: &str| url.query_pairs().any(|(name, _)| name == key);
    match action.as_str() {
        "join" => LinkKind::Invite,
        "resolve" if has("domain") => LinkKind::Public,
        "proxy" | "socks" => LinkKind::Mtproxy,
        _ => LinkKind::Web,
    }
}

fn on_host(host: &str, url: &Url) -> LinkKind {
    let Some(name) = is_telegram(host) else {
        return if host.ends_with(".onion") { LinkKind::Onion } else { LinkKind::Web };
    };
    if name.is_some_and(is_public_name) {
        return LinkKind::Public;
    }
    let mut parts = url.path().split('/').filter(|part| !part.is_empty());
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match first.to_ascii_lowercase().as_str() {
        "joinchat" if !second.is_empty() => LinkKind::Invite,
        "proxy" | "socks" => LinkKind::Mtproxy,
        // A preview of a public channel.
        "s" if is_public_name(second) => LinkKind::Public,
        // Digits alone are somebody's phone number.
        hash if hash.len() > 1 && hash.starts_with('+') && !hash[1..].bytes().all(|byte| byte.is_ascii_digit()) => LinkKind::Invite,
        reserved if RESERVED.contains(&reserved) => LinkKind::Web,
        name if is_public_name(name) => LinkKind::Public,
        _ => LinkKind::Web,
    }
}

/// Whether Telegram could have given this name: a letter, then letters, digits and underscores, 4 to 32 in all
/// (<https://core.telegram.org/method/channels.checkUsername>; names of four were sold).
fn is_public_name(name: &str) -> bool {
    (4..=32).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind(told: &str) -> (LinkKind, String) {
        let link = link(told).expect("a link");
        (link.kind, link.url)
    }

    #[test]
    fn each_link_leads_somewhere() {
        for (told, expected) in [
            ("https://t.me/+AbCdEf0123", LinkKind::Invite),
            ("t.me/joinchat/AbCdEf0123", LinkKind::Invite),
            ("tg://join?invite=AbCdEf0123", LinkKind::Invite),
            ("tg:join?invite=AbCdEf0123", LinkKind::Invite),
            ("https://t.me/+15550100", LinkKind::Web),
            ("T.me/Library", LinkKind::Public),
            ("https://telegram.me/library/12?single", LinkKind::Public),
            ("https://t.me/s/library", LinkKind::Public),
            ("https://library.t.me/5", LinkKind::Public),
            ("tg://resolve?domain=library&post=5", LinkKind::Public),
            ("https://t.me/proxy?server=x&port=1&secret=ee", LinkKind::Mtproxy),
            ("https://t.me/socks?server=x&port=1", LinkKind::Mtproxy),
            ("tg://proxy?server=x", LinkKind::Mtproxy),
            ("tg://user?id=5", LinkKind::Web),
            ("https://t.me/c/42/7", LinkKind::Web),
            ("https://t.me/addstickers/Books", LinkKind::Web),
            ("https://t.me/share/url?url=x", LinkKind::Web),
            ("http://abcdefghij234567.onion/x", LinkKind::Onion),
            ("abcdefghij234567.onion", LinkKind::Onion),
            ("https://notonion.example/t.me/+x", LinkKind::Web),
            ("example.org:8080/x", LinkKind::Web),
            ("https://evil-t.me/library", LinkKind::Web),
        ] {
            assert_eq!(kind(told).0, expected, "{told}");
        }
    }

    #[test]
    fn one_address_has_one_form() {
        for (told, url) in [
            ("Example.ORG/Path", "http://example.org/Path"),
            ("HTTPS://Example.org", "https://example.org/"),
            ("t.me/Library", "https://t.me/Library"),
            ("TG://Resolve?domain=Library", "tg://Resolve?domain=Library"),
            ("пример.рф", "http://xn--e1afmkfd.xn--p1ai/"),
            ("example.org:8080/x", "http://example.org:8080/x"),
            ("http://[broken", "http://[broken"),
        ] {
            assert_eq!(kind(told).1, url, "{told}");
        }
        assert_eq!(link("  "), None);
        assert_eq!(link("http://[broken").and_then(|link| link.host), None);
    }

    #[test]
    fn every_place_of_a_message_is_looked_at_and_each_link_comes_once() {
        let body = json!({
            "text": "…", "links": ["https://example.org/a", "example.org", "http://Example.org/"], "mentions": ["library", "12345", "me"],
            "buttons": [{"text": "go", "url": "https://t.me/+AbCdEf0123"}, {"text": "no url"}],
            "webpage": {"url": "https://example.org/a"},
        });
        let links = of_body(body.as_object().expect("an object"));
        let found: Vec<(&str, &str, Option<&str>)> =
            links.iter().map(|link| (link.url.as_str(), link.kind.as_str(), link.host.as_deref())).collect();
        assert_eq!(
            found,
            [
                ("http://example.org/", "web", Some("example.org")),
                ("https://example.org/a", "web", Some("example.org")),
                ("https://t.me/+AbCdEf0123", "invite", Some("t.me")),
                ("https://t.me/library", "public", Some("t.me")),
            ]
        );
    }
}
