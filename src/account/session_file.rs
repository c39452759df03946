//! A session file: an authorisation made elsewhere, to be imported. JSON with dc, address, port, key and user_id.
//!
//! Its errors name the file and the place, and never a value: the key in it is the account.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::telegram::{AuthKey, Datacenter, SessionData};

/// What a session file holds.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionFile {
    pub dc: i32,
    pub address: SocketAddr,
    pub key: AuthKey,
    pub user_id: Option<i64>,
    /// Other datacentres, where files lie: `elsewhere` in the file, each with dc, address, port and key.
    pub elsewhere: BTreeMap<i32, (SocketAddr, AuthKey)>,
}

impl fmt::Debug for SessionFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFile").field("dc", &self.dc).field("address", &self.address).finish_non_exhaustive()
    }
}

/// What is wrong with a session file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the session file {} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the session file {} is damaged: {what} at line {line}, column {column}. {REMEDY}", path.display())]
    NotJson { path: PathBuf, what: &'static str, line: usize, column: usize },
    #[error("the session file {} is damaged: {field} {problem}. {REMEDY}", path.display())]
    Field { path: PathBuf, field: &'static str, problem: &'static str },
}

const REMEDY: &str = "Write the file again (`telekeep-simulator account NAME`), or sign in with `telekeep account login`";

impl SessionFile {
    /// Reads and checks a session file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Checks the content of a session file; the path is for its errors.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, Error> {
        let fields: Value = serde_json::from_slice(text).map_err(|error| Error::NotJson {
            path: path.to_owned(),
            what: if error.is_eof() { "it ends early" } else { "it is not JSON" },
            line: error.line(),
            column: error.column(),
        })?;
        let wrong = |field, problem| Error::Field { path: path.to_owned(), field, problem };
        let Value::Object(fields) = fields else {
            return Err(wrong("the whole", "is not an object with dc, address, port, key and user_id"));
        };
        let (dc, address, key) = datacentre(&fields).map_err(|(field, problem)| wrong(field, problem))?;
        let user_id = match fields.get("user_id") {
            None | Some(Value::Null) => None,
            Some(_) => Some(
                integer(&fields, "user_id")
                    .and_then(|id| if id > 0 { Ok(id) } else { Err("is not a user's id") })
                    .map_err(|problem| wrong("user_id", problem))?,
            ),
        };
        let others = match fields.get("elsewhere") {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(others)) => others,
            Some(_) => return Err(wrong("elsewhere", "is not a list")),
        };
        let mut elsewhere = BTreeMap::new();
        for other in others {
            let Value::Object(other) = other else { return Err(wrong("elsewhere", "has an entry that is not an object")) };
            let (dc, address, key) = datacentre(other).map_err(|(field, problem)| wrong(field, problem))?;
            elsewhere.insert(dc, (address, key));
        }
        Ok(Self { dc, address, key, user_id, elsewhere })
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let Self { dc, address, key, user_id, elsewhere } = self;
        let mut fields =
            serde_json::json!({ "dc": dc, "address": address.ip(), "port": address.port(), "key": key, "user_id": user_id });
        if !elsewhere.is_empty() {
            let other = |(dc, (address, key)): (&i32, &(SocketAddr, AuthKey))| serde_json::json!({ "dc": dc, "address": address.ip(), "port": address.port(), "key": key });
            fields["elsewhere"] = elsewhere.iter().map(other).collect();
        }
        format!("{fields:#}")
    }

    /// The session that this file begins: its address stays as it is, whatever a server tells.
    pub fn session(&self) -> SessionData {
        let mut session = SessionData::pinned(self.dc, self.address, Some(self.key.clone()), self.user_id);
        for (dc, (address, key)) in &self.elsewhere {
            session.datacenters.insert(*dc, Datacenter { address: Some(*address), key: Some(key.clone()) });
        }
        session
    }
}

/// A datacentre, its address, and the account's key there; else which field is wrong.
fn datacentre(fields: &Map<String, Value>) -> Result<(i32, SocketAddr, AuthKey), (&'static str, &'static str)> {
    let dc = integer(fields, "dc")
        .and_then(|dc| i32::try_from(dc).ok().filter(|dc| *dc > 0).ok_or("is not a datacentre's number"))
        .map_err(|problem| ("dc", problem))?;
    let ip: IpAddr = text_of(fields, "address")
        .and_then(|ip| ip.parse().map_err(|_| "is not an IP address"))
        .map_err(|problem| ("address", problem))?;
    let port = integer(fields, "port")
        .and_then(|port| u16::try_from(port).ok().filter(|port| *port > 0).ok_or("is not a port (1 to 65535)"))
        .map_err(|problem| ("port", problem))?;
    let key = text_of(fields, "key")
        .and_then(|key| AuthKey::from_hex(key).ok_or("is not 512 hexadecimal digits"))
        .map_err(|problem| ("key", problem))?;
    Ok((dc, SocketAddr::new(ip, port), key))
}

fn integer(fields: &Map<String, Value>, name: &str) -> Result<i64, &'static str> {
    fields.get(name).ok_or("is missing")?.as_i64().ok_or("is not a whole number")
}

fn text_of<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, &'static str> {
    fields.get(name).ok_or("is missing")?.as_str().ok_or("is not a text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn whole() -> Value {
        json!({"dc": 2, "address": "127.0.0.1", "port": 4430, "key": "ab".repeat(256), "user_id": 7})
    }

    fn told(text: &str) -> String {
        SessionFile::parse(Path::new("anna.json"), text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_whole_file_gives_a_pinned_session() {
        let file = SessionFile::parse(Path::new("anna.json"), whole().to_string().as_bytes()).unwrap();
        assert_eq!(file.address, "127.0.0.1:4430".parse().unwrap());
        let session = file.session();
        assert!(session.pinned);
        assert_eq!((session.home_dc, session.user_id), (2, Some(7)));
        assert_eq!(session.datacenters[&2].key, Some(AuthKey([0xab; 256])));
        assert!(!format!("{file:?}").contains("ab"));
    }

    #[test]
    fn other_datacentres_come_along_and_their_fields_are_checked_too() {
        let mut whole = whole();
        whole["elsewhere"] = json!([{"dc": 4, "address": "127.0.0.1", "port": 4431, "key": "cd".repeat(256)}]);
        let file = SessionFile::parse(Path::new("anna.json"), whole.to_string().as_bytes()).unwrap();
        assert_eq!(file.session().datacenters[&4].key, Some(AuthKey([0xcd; 256])));
        assert_eq!(SessionFile::parse(Path::new("anna.json"), file.to_json().as_bytes()).unwrap(), file);
        whole["elsewhere"][0]["port"] = json!(0);
        assert!(told(&whole.to_string()).contains("port is not a port"));
        whole["elsewhere"] = json!(4);
        assert!(told(&whole.to_string()).contains("elsewhere is not a list"));
    }

    #[test]
    fn each_field_that_is_wrong_is_named_and_no_value_is_told() {
        for (field, value, problem) in [
            ("dc", json!(0), "dc is not a datacentre's number"),
            ("dc", json!("ab".repeat(256)), "dc is not a whole number"),
            ("address", json!("localhost"), "address is not an IP address"),
            ("port", json!(70_000), "port is not a port"),
            ("key", json!("ab".repeat(255)), "key is not 512 hexadecimal digits"),
            ("key", json!("ag".repeat(256)), "key is not 512 hexadecimal digits"),
            ("key", json!(5), "key is not a text"),
            ("user_id", json!(-1), "user_id is not a user's id"),
        ] {
            let mut file = whole();
            file[field] = value;
            let told = told(&file.to_string());
            assert!(told.contains("anna.json") && told.contains(problem), "{told}");
            assert!(!told.contains("abab") && !told.contains("agag"), "{told}");
        }
        for field in ["dc", "address", "port", "key"] {
            let mut file = whole();
            file.as_object_mut().unwrap().remove(field);
            assert!(told(&file.to_string()).contains(&format!("{field} is missing")));
        }
    }

    #[test]
    fn a_damaged_file_names_its_place() {
        let text = whole().to_string();
        let cut = told(&text[..40]);
        assert!(cut.contains("anna.json is damaged: it ends early at line 1, column 40"), "{cut}");
        assert!(told("{\"dc\": 2,\n oops").contains("it is not JSON at line 2, column 2"));
        assert!(told("[]").contains("the whole is not an object"));
        let missing = SessionFile::read(Path::new("/nowhere/anna.json")).unwrap_err();
        assert!(missing.to_string().contains("/nowhere/anna.json"));
    }
}
