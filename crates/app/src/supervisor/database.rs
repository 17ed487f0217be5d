//! Which database a data directory's rows are in, remembered in the directory: a platform that is started with another
//! one, for want of a flag, would find no services and take them all out of the routes.

use super::record;
use apron_control::PostgresDatabase;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "database";
const EMBEDDED: &str = "control/apron.db";

#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error(
        "the rows of {} are in {kept}, and {given} was named. They do not move by themselves: apron backup and apron \
         restore bring them there. If both are the same database, remove {}/{FILE}",
        data_dir.display(), data_dir.display()
    )]
    Another { data_dir: PathBuf, kept: String, given: String },
    #[error("cannot use {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Refuses another database than the one that the directory's rows are in.
pub(crate) fn check(data_dir: &Path, database: Option<&PostgresDatabase>) -> Result<(), DatabaseError> {
    let path = data_dir.join(FILE);
    let kept = match fs::read_to_string(&path) {
        Ok(text) => text.trim_end().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Before there was a choice nothing was written.
            if !data_dir.join(EMBEDDED).exists() {
                return Ok(());
            }
            EMBEDDED.to_owned()
        }
        Err(source) => return Err(DatabaseError::Io { path, source }),
    };
    let given = name(database);
    match kept == given {
        true => Ok(()),
        false => Err(DatabaseError::Another { data_dir: data_dir.to_owned(), kept, given }),
    }
}

/// Remembers the database, without its password.
pub(crate) fn remember(data_dir: &Path, database: Option<&PostgresDatabase>) -> Result<(), DatabaseError> {
    let path = data_dir.join(FILE);
    crate::file::replace(&path, format!("{}\n", name(database)).as_bytes(), record::RECORD_MODE)
        .map_err(|source| DatabaseError::Io { path, source })
}

fn name(database: Option<&PostgresDatabase>) -> String {
    database.map_or(EMBEDDED.to_owned(), PostgresDatabase::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::scratch::Scratch;

    #[test]
    fn rows_are_not_left_behind_by_accident() {
        let scratch = Scratch::new();
        let path = scratch.path();
        let other = PostgresDatabase::parse("postgres://a:geheim@localhost/b").unwrap();
        // A new directory may have either.
        check(path, None).unwrap();
        check(path, Some(&other)).unwrap();
        remember(path, Some(&other)).unwrap();
        check(path, Some(&other)).unwrap();
        let refused = check(path, None).unwrap_err().to_string();
        assert!(
            refused.contains("are in postgres://a@localhost:5432/b, and control/apron.db was named"),
            "{refused}"
        );
        assert!(!fs::read_to_string(path.join(FILE)).unwrap().contains("geheim"));
        // One from before there was a choice has its file.
        fs::remove_file(path.join(FILE)).unwrap();
        fs::create_dir(path.join("control")).unwrap();
        fs::write(path.join(EMBEDDED), "").unwrap();
        check(path, None).unwrap();
        check(path, Some(&other)).unwrap_err();
    }
}
