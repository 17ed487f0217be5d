//! Which PostgreSQL database a platform uses, and how it is spoken to.
//!
//! The connection is not encrypted, so only a server of this machine is taken: by unix socket or loopback.

use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// The port of a server that names none.
const PORT: u16 = 5432;
/// Where Debian's server has its socket.
const SOCKET_DIRECTORY: &str = "/var/run/postgresql";
/// What each session is told, whatever the server's configuration says: a commit is durable, a plan fits the values
/// (one for all values of a LIMIT would read too much), and no statement or lock is waited for without an end.
const SESSION: [(&str, &str); 4] = [
    ("synchronous_commit", "on"),
    ("plan_cache_mode", "force_custom_plan"),
    ("statement_timeout", "60s"),
    ("lock_timeout", "15s"),
];

/// A database of a PostgreSQL server on this machine.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresDatabase {
    host: Host,
    port: u16,
    user: String,
    database: String,
    password: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Host {
    /// The directory of the socket.
    Socket(PathBuf),
    Loopback(String),
}

/// Why a URL of a database cannot be used. It quotes no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    #[error(
        "a database is named as postgres://USER@HOST/DATABASE or postgres://USER@/DATABASE?host=/SOCKET/DIRECTORY"
    )]
    Form,
    #[error("the database's URL names no {0}")]
    Missing(&'static str),
    #[error(
        "the PostgreSQL server {0} is not on this machine: the connection is not encrypted, so that only a unix \
         socket or a loopback address can be used; a tunnel to the server gives it one"
    )]
    NotLocal(String),
    #[error("the database's URL has the parameter '{0}', which is not known; host and port are")]
    Parameter(String),
}

impl PostgresDatabase {
    /// Reads `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE`.
    ///
    /// Fails for a server that is not on this machine.
    pub fn parse(url: &str) -> Result<PostgresDatabase, DatabaseUrlError> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or(DatabaseUrlError::Form)?;
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, server) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match user.split_once(':') {
            Some((user, password)) => (user, Some(decoded(password)?)),
            None => (user, None),
        };
        let (mut host, mut port) = match server.rsplit_once(':') {
            // A colon within the brackets of an IPv6 address begins no port.
            Some((host, port)) if !port.ends_with(']') => (decoded(host)?, Some(port.to_owned())),
            _ => (decoded(server)?, None),
        };
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "host" => host = decoded(value)?,
                "port" => port = Some(decoded(value)?),
                other => return Err(DatabaseUrlError::Parameter(other.to_owned())),
            }
        }
        let (user, database) = (decoded(user)?, decoded(database)?);
        let missing =
            |text: &str, what| if text.is_empty() { Err(DatabaseUrlError::Missing(what)) } else { Ok(()) };
        missing(&user, "user")?;
        missing(&database, "database")?;
        Ok(PostgresDatabase {
            host: local(host)?,
            port: port.map_or(Ok(PORT), |port| port.parse().map_err(|_| DatabaseUrlError::Form))?,
            user,
            database,
            password,
        })
    }

    /// The same with this password, where its URL has none.
    pub fn or_password(mut self, password: Option<String>) -> PostgresDatabase {
        self.password = self.password.or(password);
        self
    }

    pub(crate) fn options(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .port(self.port)
            .username(&self.user)
            .database(&self.database)
            .ssl_mode(PgSslMode::Disable)
            .application_name("apron")
            .options(SESSION);
        let options = match &self.host {
            Host::Socket(directory) => options.socket(directory),
            Host::Loopback(host) => options.host(host),
        };
        match &self.password {
            Some(password) => options.password(password),
            None => options,
        }
    }
}

/// The URL without the password.
impl fmt::Display for PostgresDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PostgresDatabase { host, port, user, database, password: _ } = self;
        match host {
            Host::Socket(directory) => {
                write!(f, "postgres://{user}@/{database}?host={}&port={port}", directory.display())
            }
            Host::Loopback(host) if host.contains(':') => {
                write!(f, "postgres://{user}@[{host}]:{port}/{database}")
            }
            Host::Loopback(host) => write!(f, "postgres://{user}@{host}:{port}/{database}"),
        }
    }
}

impl fmt::Debug for PostgresDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn local(host: String) -> Result<Host, DatabaseUrlError> {
    if host.is_empty() {
        return Ok(Host::Socket(PathBuf::from(SOCKET_DIRECTORY)));
    }
    if host.starts_with('/') {
        return Ok(Host::Socket(PathBuf::from(host)));
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
        return Ok(Host::Loopback(bare.to_owned()));
    }
    Err(DatabaseUrlError::NotLocal(host))
}

/// Text with `%2F` and the like put in place.
fn decoded(text: &str) -> Result<String, DatabaseUrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(DatabaseUrlError::Form) };
        bytes.push((high * 16 + low) as u8);
    }
    let text = String::from_utf8(bytes).map_err(|_| DatabaseUrlError::Form)?;
    // The protocol ends its texts with one.
    if text.contains('\0') { Err(DatabaseUrlError::Form) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expect: &str) {
        let shown = PostgresDatabase::parse(url).map(|database| format!("{database:?}"));
        assert_eq!(shown.unwrap_or_else(|error| error.to_string()), expect, "{url}");
    }

    #[test]
    fn servers_of_this_machine_are_taken_and_no_others() {
        check("postgres://a@localhost/b", "postgres://a@localhost:5432/b");
        check("postgresql://a:geheim@127.0.0.1:99/b", "postgres://a@127.0.0.1:99/b");
        check("postgres://a@[::1]/b", "postgres://a@[::1]:5432/b");
        check("postgres://a@[::1]:7/b", "postgres://a@[::1]:7/b");
        check("postgres://a@/b", "postgres://a@/b?host=/var/run/postgresql&port=5432");
        check("postgres://a@/b?host=/run/x&port=6", "postgres://a@/b?host=/run/x&port=6");
        check("postgres://a@%2Frun%2Fx:6/b", "postgres://a@/b?host=/run/x&port=6");
        for host in ["db.example.com", "10.0.0.1", "localhost.example.com", "[::2]", "0.0.0.0"] {
            let refused = PostgresDatabase::parse(&format!("postgres://a:geheim@{host}/b"));
            assert_eq!(refused, Err(DatabaseUrlError::NotLocal(host.to_owned())));
        }
        check("postgres://localhost/b", "the database's URL names no user");
        check("postgres://a@localhost", "the database's URL names no database");
        check(
            "postgres://a@/b?sslmode=off",
            "the database's URL has the parameter 'sslmode', which is not known; host and port are",
        );
        for wrong in [
            "mysql://a@localhost/b",
            "",
            "postgres://a@localhost:x/b",
            "postgres://%0@/b",
            "postgres://%00@/b",
        ] {
            assert_eq!(PostgresDatabase::parse(wrong), Err(DatabaseUrlError::Form), "{wrong}");
        }
    }

    #[test]
    fn the_password_of_the_url_wins_and_none_is_shown() {
        let given = Some("other".to_owned());
        let parse = |url: &str| PostgresDatabase::parse(url).unwrap().or_password(given.clone());
        let (own, other) = (parse("postgres://a:ge%2Fheim@localhost/b"), parse("postgres://a@localhost/b"));
        assert_eq!((own.password.as_deref(), &other.password), (Some("ge/heim"), &given));
        assert!(
            !format!("{own:?} {own} {other:?} {other}").contains("heim")
                && !other.to_string().contains("other")
        );
        assert_eq!(parse(&other.to_string()), other);
    }
}
