//! The proxies that there are: added, imported, removed, bound to accounts, and sealed anew with a new key.

use sqlx::{Connection, PgConnection};

use super::address::{self, Address, Problem};
use super::{Binding, Error, Proxy, Routes, sealed_as, table};
use crate::account::{self, Result, SealKey};
use crate::record::account as accounts;

/// A line of a file of proxies that is wrong. Never repeats it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    pub problem: String,
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl Routes {
    /// Adds a proxy. Where its address has a user it must have a password.
    pub async fn add(&self, name: &str, address: &Address, pooled: bool) -> Result<()> {
        self.add_within(&mut *self.connection().await?, name, address, pooled).await
    }

    /// [`Self::add`] in the caller's transaction.
    pub async fn add_within(&self, conn: &mut PgConnection, name: &str, address: &Address, pooled: bool) -> Result<()> {
        address::check_name(name).map_err(Error::Address)?;
        let mut tx = conn.begin().await?;
        if !self.insert(&mut tx, name, address, pooled).await? {
            return Err(Error::Taken(name.to_owned()).into());
        }
        Ok(tx.commit().await?)
    }

    /// Adds the proxies of a text, one a line; gives their names. Where a line is wrong, all wrong ones are told and none is added.
    pub async fn import(&self, text: &str, pooled: bool) -> Result<Vec<String>> {
        let (mut found, mut bad) = (Vec::new(), Vec::new());
        for (at, line) in text.lines().enumerate() {
            match address::parse_line(line) {
                Ok(None) => {}
                Ok(Some((name, address))) => found.push((at + 1, name, address)),
                Err(problem) => bad.push(BadLine { line: at + 1, problem: problem.to_string() }),
            }
        }
        let mut conn = self.connection().await?;
        let mut tx = conn.begin().await?;
        for (line, name, address) in &found {
            if !self.insert(&mut tx, name, address, pooled).await? {
                bad.push(BadLine { line: *line, problem: Error::Taken(name.clone()).to_string() });
            }
        }
        if !bad.is_empty() {
            bad.sort_by_key(|bad| bad.line);
            return Err(Error::BadLines(bad).into());
        }
        tx.commit().await?;
        Ok(found.into_iter().map(|(_, name, _)| name).collect())
    }

    async fn insert(&self, conn: &mut PgConnection, name: &str, address: &Address, pooled: bool) -> Result<bool> {
        let password = match (&address.user, &address.password) {
            (Some(_), Some(password)) => {
                // A rotation of the key would pass over a row that it cannot see yet.
                if !accounts::share_keys(conn).await? {
                    return Err(account::Error::Rotating);
                }
                Some(self.key(conn).await?.seal(&sealed_as(name), password.as_bytes())?)
            }
            (Some(_), None) => return Err(Error::Address(Problem::NoPassword).into()),
            (None, _) => None,
        };
        let (host, login) = (address.host.as_str(), address.user.as_deref());
        let new = table::NewProxy { name, host, port: address.port, login, password: password.as_ref(), pooled };
        Ok(table::insert(conn, &new).await?)
    }

    /// Removes a proxy, unless an account is bound to it. Accounts of the pool that are with it take another.
    pub async fn remove(&self, name: &str) -> Result<()> {
        remove_within(&mut *self.connection().await?, name).await
    }

    /// All proxies, by name.
    pub async fn list(&self) -> Result<Vec<Proxy>> {
        Ok(table::list(&mut *self.connection().await?).await?)
    }

    /// Binds the account of this label, which may be one that is yet to be signed in. What is connected goes on until it is closed:
    /// see [`Routes::is_still`].
    pub async fn bind(&self, label: &str, to: &Binding) -> Result<()> {
        bind_within(&mut *self.connection().await?, label, to).await
    }

    /// Which way the account of this label goes, and why it has the proxy of the pool that it has.
    pub async fn binding(&self, label: &str) -> Result<(Binding, Option<String>)> {
        Ok(table::binding_with_reason(&mut *self.connection().await?, label).await?)
    }
}

/// [`Routes::bind`] in the caller's transaction.
pub async fn bind_within(conn: &mut PgConnection, label: &str, to: &Binding) -> Result<()> {
    match (table::bind(conn, label, to).await?, to) {
        (false, Binding::Bound { proxy }) => Err(Error::Unknown(proxy.clone()).into()),
        _ => Ok(()),
    }
}

/// [`Routes::remove`] in the caller's transaction.
pub async fn remove_within(conn: &mut PgConnection, name: &str) -> Result<()> {
    match table::remove(conn, name).await? {
        None => Err(Error::Unknown(name.to_owned()).into()),
        Some(labels) if !labels.is_empty() => Err(Error::Bound { name: name.to_owned(), labels }.into()),
        Some(_) => Ok(()),
    }
}

/// What became of the passwords when the key was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resealed {
    pub sealed: usize,
    /// Names of the proxies whose passwords no key opens.
    pub unreadable: Vec<String>,
}

/// Seals all passwords with the key that seals now; those that it has sealed already are left alone.
pub async fn seal_anew(conn: &mut PgConnection, key: &SealKey) -> Result<Resealed> {
    let mut done = Resealed::default();
    for (name, sealed) in table::passwords(conn).await? {
        if sealed.key_id == key.id() {
            continue;
        }
        if !key.knows(&sealed.key_id) {
            done.unreadable.push(name);
            continue;
        }
        let password = key.unseal(&sealed_as(&name), &sealed)?;
        table::save_password(conn, &name, &key.seal(&sealed_as(&name), &password)?).await?;
        done.sealed += 1;
    }
    Ok(done)
}
