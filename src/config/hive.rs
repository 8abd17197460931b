//! `[pipeline.hive]`.

use std::time::Duration;

use crate::schema::{Names, SchemaMode, SchemaSettings};
use crate::sink::{PathTemplate, SinkSettings};

use super::document::{Value, shown};
use super::load::belongs_in;
use super::section::Section;
use super::{HiveSettings, LakeSettings, MetastoreAddress};

/// Of a metastore, where none is given.
const PORT: u16 = 9083;

/// Enough for a table of many partitions, whose columns are changed in each.
const TIMEOUT: Duration = Duration::from_mins(5);

/// `None` if the section is not there, or after a complaint that leaves nothing to go on with.
pub(super) fn read(
    mut section: Section,
    pipeline: &str,
    schema: &SchemaSettings,
    sink: &SinkSettings,
    lake: &LakeSettings,
) -> Option<HiveSettings> {
    if !section.is_given() {
        if schema.mode == SchemaMode::Hive {
            section.problem(
                "metastore",
                "missing; `schema.mode = \"hive\"` takes the columns from a table and needs to know where it is",
            );
        }
        return None;
    }
    let metastores = metastores(&mut section);
    let database = section.converted("database", "default".to_owned(), name);
    let table = section.converted("table", pipeline.replace('-', "_"), name);
    let create = section.boolean("create", false);
    let register = section.boolean("register", true);
    let widen = section.boolean("widen", true);
    let location = section.converted("location", None, location);
    let user = section.string("user", "").trim().to_owned();
    let timeout = section
        .duration("timeout", Some(TIMEOUT))
        .filter(|timeout| !timeout.is_zero())
        .unwrap_or(super::quantity::LONGEST);
    for key in ["principal", "keytab", "ticket_cache", "sasl"] {
        if section.has(key) {
            section.refused(key);
            section.problem(
                key,
                "a metastore that wants Kerberos (SASL) cannot be talked to; leave `[pipeline.hive]` out and let a scheduled job run what `lakeward schema --ddl --partitions` prints through Hive's own client",
            );
        }
    }
    check_template(&section, sink);
    if schema.mode == SchemaMode::None && create {
        section.problem(
            "create",
            "`true`, but `schema.mode = \"none\"` knows no columns; make the table yourself and leave `create` out",
        );
    }
    if schema.mode == SchemaMode::Hive && create {
        section.problem(
            "create",
            "`true`, but `schema.mode = \"hive\"` takes its columns from a table that is there",
        );
    }
    if schema.names == Names::AsIs && schema.mode != SchemaMode::None {
        section.problem(
            "table",
            "`schema.names = \"as-is\"` lands names that differ only in case, which a table cannot hold; use `names = \"hive\"`",
        );
    }
    section.finish(belongs_in);
    let location = match location {
        Some(location) => location,
        None => table_location(&lake.location(), sink),
    };
    (!metastores.is_empty()).then_some(HiveSettings {
        metastores,
        database,
        table,
        create,
        register,
        widen,
        location,
        user: if user.is_empty() {
            process_user()
        } else {
            user
        },
        timeout,
    })
}

/// The lake's root and the directories of the path before the first value.
fn table_location(root: &str, sink: &SinkSettings) -> String {
    let below = PathTemplate::parse(&sink.path, &sink.timezone)
        .map(|template| template.root())
        .unwrap_or_default();
    format!("{}/{below}", root.trim_end_matches('/'))
        .trim_end_matches('/')
        .to_owned()
}

/// Each directory below the table must say which key it is a value of.
fn check_template(section: &Section, sink: &SinkSettings) {
    let Ok(template) = PathTemplate::parse(&sink.path, &sink.timezone) else {
        // Complained of where it stands.
        return;
    };
    if let Err(message) = template.table_keys() {
        section.problem("table", message);
    }
}

fn metastores(section: &mut Section) -> Vec<MetastoreAddress> {
    const ALLOWED: &str = "`thrift://host:9083`, or a list of such (tried in turn), is allowed";
    let Some(entry) = section.get("metastore") else {
        if !section.is_broken("metastore") {
            section.problem("metastore", format!("missing; {ALLOWED}"));
        }
        return Vec::new();
    };
    let texts: Vec<String> = match &entry.node.value {
        Value::Text(text) => text.value.split(',').map(str::to_owned).collect(),
        Value::Array(_) => section
            .texts("metastore")
            .unwrap_or_default()
            .iter()
            .map(|text| text.value.clone())
            .collect(),
        other => {
            section.problem("metastore", format!("found {}; {ALLOWED}", other.found()));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for text in &texts {
        match address(text.trim()) {
            Some(address) => found.push(address),
            None => section.problem(
                "metastore",
                format!(
                    "found `{}`; {ALLOWED}",
                    shown(&super::redact::mask_userinfo(text))
                ),
            ),
        }
    }
    if texts.is_empty() {
        section.problem("metastore", format!("found an empty list; {ALLOWED}"));
    }
    found
}

fn address(text: &str) -> Option<MetastoreAddress> {
    let rest = text.strip_prefix("thrift://")?.trim_end_matches('/');
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/?#@[]".contains(c);
    if host.is_empty() || host.contains(odd) {
        return None;
    }
    let port = match port {
        None => PORT,
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
    };
    Some(MetastoreAddress {
        host: host.to_owned(),
        port,
    })
}

/// Hive's names of databases and tables have no case.
fn name(text: &str) -> Result<String, String> {
    let good = !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if good {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("1 to 128 letters, digits and `_` are allowed".to_owned())
    }
}

fn location(text: &str) -> Result<Option<String>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let scheme = text.split_once(":/").map(|(scheme, _)| scheme);
    let known = scheme.is_some_and(|scheme| {
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'+')
    });
    if !known || text.contains(char::is_control) || text.contains('@') {
        return Err(
            "a location as Hive's readers name it, such as `hdfs://nameservice/lake/orders` or `s3a://bucket/orders`, is allowed, or `\"\"` for the lake's own"
                .to_owned(),
        );
    }
    Ok(Some(text.trim_end_matches('/').to_owned()))
}

/// As Hadoop's own clients without Kerberos call themselves.
fn process_user() -> String {
    ["HADOOP_USER_NAME", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| "lakeward".to_owned())
}
