//! Requests that a command leaves for the agent, and words for `status`.

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::{Done, refuse};
use super::rows::{self, At};
use crate::journal::{Request, RequestRow};

/// Answered requests are kept for whoever asked and went to sleep; more of them serve nobody.
const ANSWERED_MAX: i64 = 1000;

pub(super) fn ask(conn: &Connection, request: &Request) -> Done<i64> {
    let text = match serde_json::to_string(request) {
        Ok(text) => text,
        Err(error) => return refuse(format!("the request has no JSON form: {error}")),
    };
    let id = conn
        .prepare_cached("INSERT INTO request (text) VALUES (?1)")?
        .insert([text])?;
    conn.prepare_cached("DELETE FROM request WHERE id <= ?1 AND answered IS NOT NULL")?
        .execute([id - ANSWERED_MAX])?;
    Ok(id)
}

pub(super) fn all(conn: &Connection) -> Done<Vec<RequestRow>> {
    let mut statement =
        conn.prepare_cached("SELECT id, text, answered, answer FROM request ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let at = At {
            table: "request",
            row: id,
        };
        let text: String = at.get(row, "text")?;
        let words: String = at.get::<Option<String>>(row, "answer")?.unwrap_or_default();
        let answer = at.get::<Option<i64>>(row, "answered")?.map(|done| {
            if done == 1 {
                Ok(words.clone())
            } else {
                Err(words.clone())
            }
        });
        found.push(RequestRow {
            id,
            request: serde_json::from_str(&text).or_else(|error| at.bad("text", error))?,
            answer,
        });
    }
    Ok(found)
}

/// The first answer stays.
pub(super) fn answer(conn: &Connection, id: i64, answer: &Result<String, String>) -> Done<()> {
    let (answered, words) = match answer {
        Ok(words) => (1, words),
        Err(words) => (0, words),
    };
    let known = conn
        .prepare_cached("SELECT answered FROM request WHERE id = ?1")?
        .query_row([id], |row| row.get::<_, Option<i64>>(0))
        .optional()?;
    match known {
        None => refuse(format!("request {id} is not known")),
        Some(Some(_)) => Ok(()),
        Some(None) => {
            conn.prepare_cached("UPDATE request SET answered = ?2, answer = ?3 WHERE id = ?1")?
                .execute(params![id, answered, words])?;
            Ok(())
        }
    }
}

pub(super) fn said(conn: &Connection, pipeline: &str) -> Done<Option<serde_json::Value>> {
    let text: Option<String> = conn
        .prepare_cached("SELECT text FROM said WHERE pipeline = ?1")?
        .query_row([pipeline], |row| row.get(0))
        .optional()?;
    let at = At {
        table: "said",
        row: 0,
    };
    text.map(|text| at.json("text", &text)).transpose()
}

/// The newest version.
pub(super) fn schema(conn: &Connection, pipeline: &str) -> Done<Option<(u32, serde_json::Value)>> {
    let Some(pipeline) = rows::find_pipeline(conn, pipeline)? else {
        return Ok(None);
    };
    let found: Option<(u32, String)> = conn
        .prepare_cached(
            "SELECT version, text FROM schema WHERE pipeline = ?1 ORDER BY version DESC LIMIT 1",
        )?
        .query_row([pipeline.id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((version, text)) = found else {
        return Ok(None);
    };
    let at = At {
        table: "schema",
        row: i64::from(version),
    };
    Ok(Some((version, at.json("text", &text)?)))
}

pub(super) fn schema_version(
    conn: &Connection,
    pipeline: &str,
    version: u32,
) -> Done<Option<serde_json::Value>> {
    let Some(pipeline) = rows::find_pipeline(conn, pipeline)? else {
        return Ok(None);
    };
    let text: Option<String> = conn
        .prepare_cached("SELECT text FROM schema WHERE pipeline = ?1 AND version = ?2")?
        .query_row(params![pipeline.id, version], |row| row.get(0))
        .optional()?;
    let at = At {
        table: "schema",
        row: i64::from(version),
    };
    text.map(|text| at.json("text", &text)).transpose()
}
