//! A proxy's address as an operator writes it: `socks5://[user[:password]@]host:port`, alone or as a line of a file.
//!
//! Errors name the place, and never what was written: it may hold a password.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

/// RFC 1929: one byte tells the length of a user and of a password.
const LONGEST_LOGIN: usize = 255;
const LONGEST_NAME: usize = 100;

/// Where a proxy is, and what it is told.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    pub password: Option<String>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("that is no address of a proxy; write socks5://user@host:port")]
    NoUrl,
    #[error("only SOCKS5 proxies are spoken to; write socks5://user@host:port")]
    Scheme,
    #[error("the address names no host; write socks5://user@host:port")]
    NoHost,
    #[error("the address names no port; write socks5://user@host:port (1080 is SOCKS' own)")]
    NoPort,
    #[error("behind the port there is something that belongs to no proxy")]
    Beyond,
    #[error("there is a password without a user; write socks5://user@host:port")]
    NoUser,
    #[error("user and password have 1 to 255 bytes each (RFC 1929)")]
    Length,
    #[error("user or password is not text: write special characters as %40 for @")]
    NoText,
    #[error("a name has no spaces, does not begin with -, is at most 100 characters long, and is neither `pool` nor `none`")]
    Name,
    #[error("a user needs a password: write socks5://user:password@host:port")]
    NoPassword,
}

impl Address {
    /// Reads `socks5://[user[:password]@]host:port`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let url = Url::parse(text.trim()).map_err(|_| Problem::NoUrl)?;
        if !matches!(url.scheme(), "socks5" | "socks5h") {
            return Err(Problem::Scheme);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(Problem::NoHost)?;
        let port = url.port().filter(|port| *port > 0).ok_or(Problem::NoPort)?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(Problem::Beyond);
        }
        let plain = |coded: &str| match percent_decode_str(coded).decode_utf8() {
            Ok(plain) if (1..=LONGEST_LOGIN).contains(&plain.len()) => Ok(plain.into_owned()),
            Ok(_) => Err(Problem::Length),
            Err(_) => Err(Problem::NoText),
        };
        let user = Some(url.username()).filter(|user| !user.is_empty()).map(plain).transpose()?;
        let password = url.password().map(plain).transpose()?;
        if password.is_some() && user.is_none() {
            return Err(Problem::NoUser);
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port, user, password })
    }

    /// `user@host:port`: what a proxy is called where nobody named it.
    pub fn name(&self) -> String {
        let user = self.user.as_ref().map_or(String::new(), |user| format!("{user}@"));
        format!("{user}{}", host_and_port(&self.host, self.port))
    }
}

/// `host:port`, an IPv6 address in brackets.
pub fn host_and_port(host: &str, port: impl fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether a proxy can be called so.
pub fn check_name(name: &str) -> Result<(), Problem> {
    let bad = name.is_empty()
        || name.chars().count() > LONGEST_NAME
        || name.starts_with('-')
        || name.chars().any(|c| c.is_whitespace() || c.is_control())
        || matches!(name, "pool" | "none");
    if bad { Err(Problem::Name) } else { Ok(()) }
}

/// One line of a file of proxies: an address, or a name and an address. None for an empty line and a remark (`#`).
pub fn parse_line(line: &str) -> Result<Option<(String, Address)>, Problem> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, address) = match line.split_once(char::is_whitespace) {
        Some((name, address)) => (Some(name), address),
        None => (None, line),
    };
    let address = Address::parse(address)?;
    if address.user.is_some() && address.password.is_none() {
        return Err(Problem::NoPassword);
    }
    let name = name.map_or_else(|| address.name(), str::to_owned);
    check_name(&name)?;
    Ok(Some((name, address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_host_and_port_and_perhaps_a_login() {
        let read = |text: &str| Address::parse(text).unwrap();
        let plain = read("socks5://proxy.example:1080");
        assert_eq!((plain.host.as_str(), plain.port, &plain.user), ("proxy.example", 1080, &None));
        let full = read("socks5h://an%40na:p%3A%2Fss@[::1]:9/");
        assert_eq!((full.host.as_str(), full.port), ("::1", 9));
        assert_eq!((full.user.as_deref(), full.password.as_deref()), (Some("an@na"), Some("p:/ss")));
        assert_eq!(full.name(), "an@na@[::1]:9");
        assert!(!format!("{full:?}").contains("p:/ss"));
    }

    #[test]
    fn what_is_no_address_is_told_without_repeating_it() {
        for (text, problem) in [
            ("", Problem::NoUrl),
            ("proxy.example:1080", Problem::Scheme),
            ("http://user:s3cret@host:1080", Problem::Scheme),
            ("socks5://user:s3cret@host", Problem::NoPort),
            ("socks5://host:0", Problem::NoPort),
            ("socks5://host:70000", Problem::NoUrl),
            ("socks5:host:1080", Problem::NoHost),
            ("socks5://host:1080/path", Problem::Beyond),
            ("socks5://:s3cret@host:1080", Problem::NoUser),
            ("socks5://user:%ff@host:1080", Problem::NoText),
        ] {
            assert_eq!(Address::parse(text).unwrap_err(), problem, "{text}");
            assert!(!problem.to_string().contains("s3cret"));
        }
        let long = format!("socks5://user:{}@host:1080", "x".repeat(256));
        assert_eq!(Address::parse(&long).unwrap_err(), Problem::Length);
    }

    #[test]
    fn a_line_may_name_its_proxy() {
        let read = |line: &str| parse_line(line).map(|found| found.map(|(name, _)| name));
        assert_eq!(read("  berlin\tsocks5://u:p@host:1080 ").unwrap().as_deref(), Some("berlin"));
        assert_eq!(read("socks5://u:p@host:1080").unwrap().as_deref(), Some("u@host:1080"));
        assert_eq!(read("# socks5://u:p@host:1080").unwrap(), None);
        assert_eq!(read("").unwrap(), None);
        assert_eq!(read("socks5://u@host:1080").unwrap_err(), Problem::NoPassword);
        for name in ["pool", "none", "-x", "a\u{7}b"] {
            assert_eq!(read(&format!("{name} socks5://host:1080")).unwrap_err(), Problem::Name, "{name}");
        }
    }
}
