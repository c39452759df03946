//! Session strings of other clients: one line that is the whole authorisation. Telethon's and Pyrogram's, read and written.
//!
//! Errors name the place, and never a value: the string is the account.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::SessionFile;
use crate::telegram::{AuthKey, Datacenter, SessionData};

/// Both write the URL-safe alphabet; Telethon with padding, Pyrogram without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const KEY: usize = 256;
/// Telethon's `StringSession`: a version, then `>B4sH256s` or `>B16sH256s` (datacentre, address, port, key).
const TELETHON_VERSION: char = '1';
const TELETHON_4: usize = 1 + 4 + 2 + KEY;
const TELETHON_6: usize = 1 + 16 + 2 + KEY;
/// Pyrogram 2's: `>BI?256sQ?` (datacentre, API id, test servers, key, user, bot).
const PYROGRAM_2: usize = 1 + 4 + 1 + KEY + 8 + 1;
/// Pyrogram 1's: `>B?256sQ?`, and before 64-bit ids `>B?256sI?`.
const PYROGRAM_1: usize = 1 + 1 + KEY + 8 + 1;
const PYROGRAM_0: usize = 1 + 1 + KEY + 4 + 1;

/// Whose form a session string has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Telekeep's own session file, JSON
    File,
    /// Telethon's StringSession
    Telethon,
    /// Pyrogram 2's session string, also of its forks
    Pyrogram,
}

/// An authorisation to be imported.
#[derive(Clone, PartialEq, Eq)]
pub struct Imported {
    /// As the file names it.
    pub label: Option<String>,
    pub session: SessionData,
}

impl fmt::Debug for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imported").field("label", &self.label).finish_non_exhaustive()
    }
}

/// What is wrong with a file of session strings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{place}, line {line}: {problem}; each line is a session string of Telethon or Pyrogram, or LABEL and one")]
    Line { place: String, line: usize, problem: &'static str },
    #[error("{place} holds no session; it is a session file (JSON), or session strings of Telethon or Pyrogram, one a line")]
    Nothing { place: String },
    #[error(transparent)]
    File(#[from] super::session_file::Error),
}

/// Reads what a file holds: one session file, or session strings line by line, each alone or after a label. Empty lines and
/// those that begin with `#` count for nothing.
pub fn read_all(path: &Path, text: &[u8]) -> Result<Vec<Imported>, Error> {
    let place = path.display().to_string();
    if text.trim_ascii_start().starts_with(b"{") {
        return Ok(vec![Imported { label: None, session: SessionFile::parse(path, text)?.session() }]);
    }
    let wrong = |line, problem| Error::Line { place: place.clone(), line, problem };
    let mut all = Vec::new();
    for (line, words) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line + 1;
        let words = std::str::from_utf8(words).map_err(|_| wrong(line, "is not text"))?.trim();
        if words.is_empty() || words.starts_with('#') {
            continue;
        }
        let (label, string) = match words.split_once(char::is_whitespace) {
            Some((label, string)) => (Some(label.trim_end_matches(['=', ':']).to_owned()), string.trim()),
            None => (None, words),
        };
        all.push(Imported { label, session: read(string).map_err(|problem| wrong(line, problem))? });
    }
    if all.is_empty() {
        return Err(Error::Nothing { place });
    }
    Ok(all)
}

/// Reads one string.
fn read(string: &str) -> Result<SessionData, &'static str> {
    if let Some(rest) = string.strip_prefix(TELETHON_VERSION)
        && let Ok(bytes) = BASE64.decode(rest)
        && matches!(bytes.len(), TELETHON_4 | TELETHON_6)
    {
        return telethon(&bytes);
    }
    let bytes = BASE64.decode(string).map_err(|_| "is no session string: it is not base64")?;
    match bytes.len() {
        PYROGRAM_2 => pyrogram(&bytes, 5, 8),
        PYROGRAM_1 => pyrogram(&bytes, 1, 8),
        PYROGRAM_0 => pyrogram(&bytes, 1, 4),
        _ => Err("is no session string of a known form: its length fits none; was it copied whole?"),
    }
}

fn telethon(bytes: &[u8]) -> Result<SessionData, &'static str> {
    let (dc, rest) = bytes.split_first().ok_or("is empty")?;
    let (address, key) = rest.split_at(rest.len() - KEY);
    let (ip, port) = address.split_at(address.len() - 2);
    let ip: IpAddr = match <[u8; 4]>::try_from(ip) {
        Ok(four) => four.into(),
        Err(_) => <[u8; 16]>::try_from(ip).map_err(|_| "holds no address")?.into(),
    };
    let port = port.try_into().map(u16::from_be_bytes).map_err(|_| "holds no port")?;
    let key = AuthKey(key.try_into().map_err(|_| "holds no key")?);
    let dc = i32::from(*dc);
    if dc == 0 || port == 0 {
        return Err("names no datacentre: a session string that never signed in");
    }
    // at Telegram the addresses are those of today, and all datacentres are reached; a server of one's own stays where it is
    let own = match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    };
    Ok(if own { SessionData::pinned(dc, SocketAddr::new(ip, port), Some(key), None) } else { at_telegram(dc, key, None) })
}

fn pyrogram(bytes: &[u8], test_at: usize, user: usize) -> Result<SessionData, &'static str> {
    let end = bytes.len() - 1 - user;
    if bytes[test_at] != 0 {
        return Err("is a session of Telegram's test servers, which nothing is collected from");
    }
    let key = AuthKey(bytes[end - KEY..end].try_into().map_err(|_| "holds no key")?);
    let user_id = bytes[end..end + user].iter().fold(0_u64, |id, byte| id << 8 | u64::from(*byte));
    let user_id = i64::try_from(user_id).ok().filter(|id| *id > 0);
    let dc = i32::from(bytes[0]);
    if dc == 0 {
        return Err("names no datacentre: a session string that never signed in");
    }
    Ok(at_telegram(dc, key, user_id))
}

fn at_telegram(dc: i32, key: AuthKey, user_id: Option<i64>) -> SessionData {
    let home = Datacenter { address: None, key: Some(key) };
    SessionData { home_dc: dc, datacenters: [(dc, home)].into(), pinned: false, user_id, phone: None }
}

/// Writes a session in another client's form; none where it has no key, or the form no place for what it needs. `address` is
/// the home datacentre's.
pub fn write(session: &SessionData, format: Format, address: SocketAddr, api_id: i32) -> Option<String> {
    let key = session.datacenters.get(&session.home_dc)?.key.as_ref()?;
    let dc = u8::try_from(session.home_dc).ok()?;
    match format {
        Format::File => {
            let file = SessionFile {
                dc: session.home_dc,
                address,
                key: key.clone(),
                user_id: session.user_id,
                elsewhere: Default::default(),
            };
            Some(file.to_json())
        }
        Format::Telethon => {
            let mut bytes = vec![dc];
            match address.ip() {
                IpAddr::V4(ip) => bytes.extend(ip.octets()),
                IpAddr::V6(ip) => bytes.extend(ip.octets()),
            }
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(key.0);
            Some(format!("{TELETHON_VERSION}{}", base64::engine::general_purpose::URL_SAFE.encode(bytes)))
        }
        Format::Pyrogram => {
            let mut bytes = vec![dc];
            bytes.extend(u32::try_from(api_id).ok()?.to_be_bytes());
            bytes.push(0);
            bytes.extend(key.0);
            bytes.extend(u64::try_from(session.user_id?).ok()?.to_be_bytes());
            bytes.push(0);
            Some(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AuthKey {
        AuthKey(std::array::from_fn(|at| at as u8))
    }

    fn all(text: &str) -> Result<Vec<Imported>, String> {
        read_all(Path::new("many.txt"), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let loopback: SocketAddr = "127.0.0.1:4430".parse().unwrap();
        let own = SessionData::pinned(2, loopback, Some(key()), None);
        let string = write(&own, Format::Telethon, loopback, 1).unwrap();
        assert_eq!(all(&string).unwrap()[0].session, own);
        let own = SessionData { user_id: Some(7), ..own };
        let file = write(&own, Format::File, loopback, 1).unwrap();
        assert_eq!(all(&file).unwrap()[0].session, own);

        let telegram = at_telegram(4, key(), Some(5_000_000_000));
        let string = write(&telegram, Format::Pyrogram, loopback, 94_575).unwrap();
        assert_eq!(string.len(), 362);
        assert_eq!(all(&string).unwrap()[0].session, telegram);
        assert_eq!(write(&SessionData::empty(), Format::Telethon, loopback, 1), None);
    }

    #[test]
    fn telegrams_own_addresses_are_not_kept() {
        for address in ["149.154.167.50:443", "[2001:67c:4e8:f002::a]:443"] {
            let string = write(&at_telegram(2, key(), None), Format::Telethon, address.parse().unwrap(), 1).unwrap();
            assert_eq!(all(&string).unwrap()[0].session, at_telegram(2, key(), None));
        }
    }

    #[test]
    fn older_strings_of_pyrogram_are_read() {
        for (user, length) in [(8_usize, PYROGRAM_1), (4, PYROGRAM_0)] {
            let mut bytes = vec![2, 0];
            bytes.extend(key().0);
            bytes.extend(&7_u64.to_be_bytes()[8 - user..]);
            bytes.push(0);
            assert_eq!(bytes.len(), length);
            let string = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
            assert_eq!(all(&string).unwrap()[0].session, at_telegram(2, key(), Some(7)));
        }
    }

    #[test]
    fn a_file_of_many_has_labels_and_comments() {
        let string = write(&at_telegram(2, key(), Some(7)), Format::Pyrogram, "127.0.0.1:1".parse().unwrap(), 1).unwrap();
        let text = format!("# ours\n\nanna {string}\r\nben= {string}\n{string}\n");
        let labels: Vec<_> = all(&text).unwrap().into_iter().map(|imported| imported.label).collect();
        assert_eq!(labels, [Some("anna".to_owned()), Some("ben".to_owned()), None]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_no_value_is_told() {
        let string = write(&at_telegram(2, key(), Some(7)), Format::Pyrogram, "127.0.0.1:1".parse().unwrap(), 1).unwrap();
        for (text, problem) in [
            (format!("anna {}", &string[..300]), "line 1: is no session string of a known form"),
            (format!("{string}\n!!!!"), "line 2: is no session string: it is not base64"),
            ("# nothing\n".to_owned(), "holds no session"),
            (String::new(), "holds no session"),
        ] {
            let told = all(&text).unwrap_err();
            assert!(told.contains("many.txt") && told.contains(problem), "{told}");
            assert!(!told.contains(&string[40..60]), "{told}");
        }
        let mut test = BASE64.decode(&string).unwrap();
        test[5] = 1;
        let told = all(&base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(test)).unwrap_err();
        assert!(told.contains("test servers"), "{told}");
        assert!(!format!("{:?}", all(&string).unwrap()).contains(&string[40..60]));
    }
}
