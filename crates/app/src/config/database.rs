//! Which database rows are kept in: one of PostgreSQL, or the file in the data directory.

use super::{ConfigError, file};
use apron_control::PostgresDatabase;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The password of PostgreSQL's own programs.
const PASSWORD_VARIABLE: &str = "PGPASSWORD";
/// One line; anything much longer is another file.
const PASSWORD_BYTES_MAX: u64 = 4 * 1024;

/// Flags of the commands that open the database. A URL may hold a password, so none is shown.
#[derive(Clone, Default, clap::Args)]
pub(crate) struct DatabaseFlags {
    /// Keep rows in a PostgreSQL database of this machine: postgres://USER@HOST/NAME [default: a file in the data
    /// directory]
    #[arg(long, value_name = "URL")]
    pub(crate) database: Option<String>,
    /// A file with the database's password [default: $PGPASSWORD]
    #[arg(long, value_name = "FILE")]
    pub(crate) database_password_file: Option<PathBuf>,
}

impl fmt::Debug for DatabaseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseFlags").finish_non_exhaustive()
    }
}

/// What the file says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DatabaseSettings {
    pub(super) database: Option<PostgresDatabase>,
    pub(super) password_file: Option<PathBuf>,
}

/// Puts flags, file and environment together. None: the file in the data directory.
pub(super) fn combine(
    flags: &DatabaseFlags,
    file: DatabaseSettings,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<PostgresDatabase>, ConfigError> {
    let given = match &flags.database {
        Some(url) => {
            Some(PostgresDatabase::parse(url).map_err(|e| ConfigError::Flag(format!("--database: {e}")))?)
        }
        None => file.database,
    };
    let Some(database) = given else { return Ok(None) };
    let password = match flags.database_password_file.as_ref().or(file.password_file.as_ref()) {
        Some(path) => Some(password(path)?),
        None => variable(PASSWORD_VARIABLE).filter(|password| !password.is_empty()),
    };
    Ok(Some(database.or_password(password)))
}

/// The first line of a file.
fn password(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    let opened = File::open(path).map_err(unreadable)?;
    opened.take(PASSWORD_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The database that a command beside `apron serve` opens: the file of `--config` counts as it does there.
pub(crate) fn resolve(
    config: Option<&Path>,
    flags: &DatabaseFlags,
) -> Result<Option<PostgresDatabase>, ConfigError> {
    let file = config.map(file::read).transpose()?.unwrap_or_default();
    combine(flags, file.database, |name| std::env::var(name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::scratch::Scratch;

    #[test]
    fn flags_win_and_passwords_come_from_where_they_are_kept() {
        let scratch = Scratch::new();
        let path = scratch.path().join("password");
        std::fs::write(&path, "of the file\n").unwrap();
        let parse = |url: &str| PostgresDatabase::parse(url).unwrap();
        let with =
            |password: &str| Some(parse("postgres://a@localhost/b").or_password(Some(password.to_owned())));
        let file =
            DatabaseSettings { database: Some(parse("postgres://a@localhost/b")), password_file: None };
        let variable = |_: &str| Some("of the environment".to_owned());
        let none = DatabaseFlags::default();
        assert_eq!(combine(&none, DatabaseSettings::default(), variable).unwrap(), None);
        assert_eq!(combine(&none, file.clone(), variable).unwrap(), with("of the environment"));
        let flags = DatabaseFlags { database_password_file: Some(path.clone()), ..none.clone() };
        assert_eq!(combine(&flags, file.clone(), variable).unwrap(), with("of the file"));
        let own = DatabaseSettings { password_file: Some(path), ..file.clone() };
        assert_eq!(combine(&none, own, variable).unwrap(), with("of the file"));
        let flags = DatabaseFlags { database: Some("postgres://c:d@/e".to_owned()), ..none };
        assert_eq!(combine(&flags, file.clone(), variable).unwrap(), Some(parse("postgres://c:d@/e")));
        assert!(!format!("{flags:?}").contains("c:d"));
        let flags = DatabaseFlags { database: Some("postgres://c:d@db.lan/e".to_owned()), ..flags };
        let refused = combine(&flags, file, variable).unwrap_err().to_string();
        assert!(
            refused.contains("--database: the PostgreSQL server db.lan is not on this machine"),
            "{refused}"
        );
    }
}
