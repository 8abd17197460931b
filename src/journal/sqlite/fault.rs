//! What can go wrong in a statement, and what the port says of it.
//!
//! | found | said | the journal afterwards |
//! | --- | --- | --- |
//! | a contradiction (I5, an unknown row, a constraint) | `Refused` | as before the call |
//! | a row that cannot be what we wrote | `Unusable` | as before the call |
//! | I/O error, full disk, damaged page, failed commit | `Fatal` | every later call answers `Fatal` too |
//!
//! A failed fsync may leave pages that look written and are not, so nothing is ever tried again in place.

use rusqlite::ErrorCode;

use super::place::Place;
use crate::journal::JournalError;

/// Inside a transaction; becomes a [`JournalError`] at its edge, where the path and the operation are known.
#[derive(Debug)]
pub(super) enum Trouble {
    Sql(rusqlite::Error),
    /// What was asked contradicts what is journaled.
    Refused(String),
    /// Table, row and what is wrong with it.
    BadRow(String),
}

pub(super) type Done<T> = Result<T, Trouble>;

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

pub(super) fn refuse<T>(text: impl Into<String>) -> Done<T> {
    Err(Trouble::Refused(text.into()))
}

pub(super) fn bad_row<T>(text: impl Into<String>) -> Done<T> {
    Err(Trouble::BadRow(text.into()))
}

/// Whether the database handle serves the agent or somebody who only looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Agent,
    Onlooker,
}

pub(super) const REBUILD: &str =
    "run `lakeward rebuild`, which makes it again from the lake's manifests";

impl Trouble {
    pub(super) fn at(self, place: &Place, role: Role, operation: &'static str) -> JournalError {
        match self {
            Self::Refused(text) => JournalError::Refused(format!("{operation}: {text}")),
            Self::BadRow(text) => place.unusable(format!("{text}; {REBUILD}")),
            Self::Sql(error) => of_sqlite(&error, place, role, operation),
        }
    }
}

fn of_sqlite(
    error: &rusqlite::Error,
    place: &Place,
    role: Role,
    operation: &'static str,
) -> JournalError {
    use rusqlite::Error as E;
    match error {
        E::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => {
                JournalError::Refused(format!("{operation}: {error}"))
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase if role == Role::Onlooker => {
                place.damaged(error)
            }
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly
                if role == Role::Onlooker =>
            {
                place.unusable(format!(
                    "{operation}: {error}; it must be readable, and its directory writable for SQLite's side files"
                ))
            }
            code => place.fatal(operation, error.to_string(), code == ErrorCode::DiskFull),
        },
        E::ToSqlConversionFailure(_) => JournalError::Refused(format!(
            "{operation}: a number is beyond 9223372036854775807"
        )),
        E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::InvalidColumnType(..)
        | E::Utf8Error(..)
        | E::QueryReturnedNoRows => {
            place.unusable(format!("{operation}: a row cannot be read: {error}; {REBUILD}"))
        }
        _ => place.fatal(operation, error.to_string(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> Trouble {
        Trouble::Sql(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(code),
            None,
        ))
    }

    #[test]
    fn an_io_error_a_full_disk_and_a_damaged_page_are_fatal_and_a_constraint_is_not() {
        let place = Place::new(std::env::temp_dir(), "journal.db");
        let said = |code| failure(code).at(&place, Role::Agent, "commit");
        for code in [
            rusqlite::ffi::SQLITE_IOERR_FSYNC,
            rusqlite::ffi::SQLITE_CORRUPT,
            rusqlite::ffi::SQLITE_BUSY,
            rusqlite::ffi::SQLITE_NOMEM,
        ] {
            assert!(matches!(said(code), JournalError::Fatal { .. }), "{code}");
        }
        assert!(matches!(
            said(rusqlite::ffi::SQLITE_FULL),
            JournalError::Fatal { full: true, .. }
        ));
        assert!(matches!(
            said(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE),
            JournalError::Refused(_)
        ));
    }

    #[test]
    fn an_onlooker_is_told_of_damage_and_what_to_do() {
        let place = Place::new(std::env::temp_dir(), "journal.db");
        let error = failure(rusqlite::ffi::SQLITE_CORRUPT).at(&place, Role::Onlooker, "read");
        assert!(
            matches!(&error, JournalError::Unusable { message, .. } if message.contains("rebuild"))
        );
    }
}
