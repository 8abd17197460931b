//! A lake on HDFS, by the NameNode's own protocol or by WebHDFS.

use std::path::Path;

use super::super::document::{Text, Value};
use super::super::load::{belongs_in, resolve};
use super::super::section::Section;
use super::super::{HdfsSettings, WebHdfsSettings};
use super::{ca_file, check_endpoint, refuse, secret};

const KEYS: [&str; 15] = [
    "name_node",
    "name_nodes",
    "hadoop_conf_dir",
    "properties",
    "principal",
    "keytab",
    "ticket_cache",
    "user",
    "umask",
    "block_size",
    "replication",
    "endpoint",
    "endpoints",
    "delegation_token",
    "ca_file",
];

const REFUSED: &[(&str, &str)] = &[
    (
        "atomic_write_dir",
        "files are written beside their final names, under hidden ones",
    ),
    ("append", "a landed file is never written to again"),
    ("enable_append", "a landed file is never written to again"),
];

pub(super) fn is_key(key: &str) -> bool {
    KEYS.contains(&key)
}

pub(super) fn read_native(mut section: Section, directory: &Path) -> HdfsSettings {
    let name_nodes = name_nodes(&mut section);
    let hadoop_conf_dir = section.converted("hadoop_conf_dir", None, |text| {
        if text.is_empty() {
            return Ok(None);
        }
        let path = resolve(text, directory)?;
        if path.join("core-site.xml").is_file() || path.join("hdfs-site.xml").is_file() {
            return Ok(Some(path));
        }
        Err("a directory with Hadoop's `core-site.xml` and `hdfs-site.xml` is allowed; neither is there".to_owned())
    });
    let root = root(&mut section);
    let user = optional(&mut section, "user");
    let principal = principal(&mut section);
    let keytab = section.converted("keytab", None, |text| {
        if text.is_empty() {
            return Ok(None);
        }
        let path = resolve(text, directory)?;
        std::fs::File::open(&path)
            .map(|_| Some(path))
            .map_err(|error| {
                format!(
                    "a keytab that this user may read is allowed; this one cannot be read: {error}"
                )
            })
    });
    let ticket_cache = optional(&mut section, "ticket_cache");
    for (key, given) in [
        ("keytab", keytab.is_some()),
        ("ticket_cache", ticket_cache.is_some()),
    ] {
        if given && principal.is_none() && !section.has("principal") {
            section.problem(
                key,
                "given without `principal`; both are needed (without either, the ticket of `kinit` is used)",
            );
        }
    }
    let (block_size, replication, umask) = shapes(&mut section);
    let properties = properties(&mut section);
    // Renaming without replacing is what a lake on HDFS does in any case.
    section.boolean("conditional_writes", true);
    refuse(&mut section, REFUSED);
    section.finish(|key| {
        elsewhere(
            key,
            &["endpoint", "endpoints", "delegation_token", "ca_file"],
            "webhdfs",
        )
    });
    HdfsSettings {
        name_nodes,
        hadoop_conf_dir,
        root,
        user,
        principal,
        keytab,
        ticket_cache,
        block_size,
        replication,
        umask,
        properties,
    }
}

pub(super) fn read_web(mut section: Section, directory: &Path) -> WebHdfsSettings {
    let endpoints = endpoints(&mut section);
    let root = root(&mut section);
    let user = optional(&mut section, "user");
    let delegation_token = secret(&mut section, "delegation_token", 0);
    if user.is_some() && delegation_token.is_some() {
        section.problem(
            "user",
            "given beside `delegation_token`, which says itself whose it is; leave one of them out",
        );
    }
    let ca_file = ca_file(&mut section, directory);
    let (block_size, replication, umask) = shapes(&mut section);
    section.boolean("conditional_writes", true);
    refuse(&mut section, REFUSED);
    for key in ["principal", "keytab", "ticket_cache"] {
        if section.has(key) {
            section.refused(key);
            section.problem(key, "Kerberos over HTTP (SPNEGO) is not in this version; use `type = \"hdfs\"`, or give a `delegation_token`");
        }
    }
    section.finish(|key| {
        let native = ["name_node", "name_nodes", "hadoop_conf_dir", "properties"];
        elsewhere(key, &native, "hdfs")
    });
    WebHdfsSettings {
        endpoints,
        root,
        user,
        delegation_token,
        ca_file,
        block_size,
        replication,
        umask,
    }
}

fn elsewhere(key: &str, of_the_other: &[&str], other: &str) -> Option<String> {
    if of_the_other.contains(&key) {
        return Some(format!("a lake of `type = \"{other}\"`"));
    }
    if ["hadoop", "dfs", "fs", "ipc"].contains(&key) {
        return Some("`[lake.properties]`, the property's whole name in quotes".to_owned());
    }
    belongs_in(key)
}

fn optional(section: &mut Section, key: &'static str) -> Option<String> {
    Some(section.string(key, "")).filter(|text| !text.is_empty())
}

/// `hdfs://HOST:PORT`, `HOST:PORT` or a name service; empty: `fs.defaultFS`.
fn name_nodes(section: &mut Section) -> Vec<String> {
    let one = optional(section, "name_node");
    let several = section.texts("name_nodes").unwrap_or_default();
    if one.is_some() && !several.is_empty() {
        section.problem(
            "name_nodes",
            "given beside `name_node`; one of them is allowed",
        );
    }
    let mut names: Vec<String> = several.iter().map(|text| text.value.clone()).collect();
    names.extend(one);
    for name in &names {
        if let Err(message) = check_name_node(name) {
            let key = if several.is_empty() {
                "name_node"
            } else {
                "name_nodes"
            };
            section.problem(key, format!("found `{name}`; {message}"));
        }
    }
    names
}

fn check_name_node(name: &str) -> Result<(), &'static str> {
    let form = "a NameNode such as `hdfs://HOST:8020` or `HOST:8020`, or a name service such as `hdfs://NAME`, is allowed";
    let host = match name.split_once("://") {
        Some(("hdfs", host)) => host.trim_end_matches('/'),
        Some(("http" | "https", _)) => {
            return Err(
                "an HTTP address belongs to `type = \"webhdfs\"` as its `endpoint`; a NameNode such as `hdfs://HOST:8020` is allowed",
            );
        }
        Some(_) => return Err(form),
        None => name,
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/?#@\\".contains(c);
    let port = host.rsplit_once(':').map(|(_, port)| port);
    if host.is_empty()
        || host.contains(odd)
        || port.is_some_and(|port| port.parse::<u16>().is_err())
    {
        return Err(form);
    }
    Ok(())
}

fn endpoints(section: &mut Section) -> Vec<String> {
    let one = section.text("endpoint");
    let several = section.texts("endpoints").unwrap_or_default();
    let mut found: Vec<(&'static str, &Text)> = several
        .into_iter()
        .map(|text| ("endpoints", text))
        .collect();
    if let Some(one) = one.filter(|text| !text.value.is_empty()) {
        if !found.is_empty() {
            section.problem(
                "endpoints",
                "given beside `endpoint`; one of them is allowed",
            );
        }
        found.push(("endpoint", one));
    }
    if found.is_empty() && !section.is_broken("endpoint") {
        section.problem(
            "endpoint",
            "missing; the NameNode's HTTP address such as `http://HOST:9870` is needed (`endpoints` for several)",
        );
    }
    let mut endpoints = Vec::new();
    for (key, text) in found {
        match check_endpoint(&text.value, "`user` or `delegation_token`") {
            Ok(()) => endpoints.push(text.value.trim_end_matches('/').to_owned()),
            Err((message, show)) => {
                let found = if show {
                    format!("found {}; ", text.shown())
                } else {
                    String::new()
                };
                section.problem(key, format!("{found}{message}"));
            }
        }
    }
    endpoints
}

/// Absolute, since a relative one would depend on who asks.
fn root(section: &mut Section) -> String {
    let what = "an absolute directory of HDFS such as `/warehouse/raw` is needed";
    if !section.has("root") {
        section.problem("root", format!("missing; {what}"));
    }
    section.converted("root", String::new(), |text| {
        let odd = text.contains(':') || text.contains('\0');
        let parts = text.trim_matches('/');
        let bad = parts
            .split('/')
            .any(|part| matches!(part, "." | "..") || (part.is_empty() && !parts.is_empty()));
        if !text.starts_with('/') || odd || bad {
            return Err(format!("{what}, without `//`, `.`, `..` or `:`"));
        }
        Ok(format!("/{parts}"))
    })
}

fn principal(section: &mut Section) -> Option<String> {
    section.converted("principal", None, |text| {
        if text.is_empty() {
            return Ok(None);
        }
        if text.contains("_HOST") {
            return Err(
                "the principal itself is allowed, with its host's name and not `_HOST`".to_owned(),
            );
        }
        if text.contains(char::is_whitespace) || text.starts_with('@') {
            return Err("a Kerberos principal such as `ingest@EXAMPLE.COM` is allowed".to_owned());
        }
        Ok(Some(text.to_owned()))
    })
}

type Shapes = (Option<u64>, Option<u32>, Option<u32>);

/// How files are made.
fn shapes(section: &mut Section) -> Shapes {
    let block_size = Some(section.size("block_size", 0)).filter(|size| *size > 0);
    if block_size.is_some_and(|size| size % 512 != 0) {
        section.problem(
            "block_size",
            format!(
                "found {}; a multiple of 512 bytes is allowed, such as `128MiB`",
                section.found("block_size")
            ),
        );
    }
    let replication = section.number("replication", 0, 0..=512) as u32;
    let umask = section.converted("umask", None, |text| {
        if text.is_empty() {
            return Ok(None);
        }
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|umask| *umask <= 0o777)
            .map(Some)
            .ok_or_else(|| "three octal digits such as `022` are allowed".to_owned())
    });
    (block_size, Some(replication).filter(|n| *n > 0), umask)
}

/// Hadoop's own, over those of its files.
fn properties(section: &mut Section) -> Vec<(String, String)> {
    let table = section.get("properties").map(|entry| &entry.node.value);
    let mut properties = Vec::new();
    match table {
        None => {}
        Some(Value::Table(table)) => {
            for entry in &table.0 {
                let value = match &entry.node.value {
                    Value::Text(text) => text.value.clone(),
                    Value::Integer(Some(number)) => number.to_string(),
                    Value::Boolean(value) => value.to_string(),
                    Value::Broken => continue,
                    Value::Table(_) => {
                        section.problem_at(
                            entry.line,
                            &format!("properties.{}", entry.key),
                            "found a table; a property's whole name in quotes is allowed, such as `\"hadoop.rpc.protection\" = \"privacy\"`",
                        );
                        continue;
                    }
                    other => {
                        section.problem_at(
                            entry.line,
                            &format!("properties.{}", entry.key),
                            format!(
                                "found {}; a string, a whole number, `true` or `false` is allowed",
                                other.found()
                            ),
                        );
                        continue;
                    }
                };
                properties.push((entry.key.clone(), value));
            }
        }
        Some(other) => {
            let found = other.found();
            section.problem(
                "properties",
                format!("found {found}; a table `[lake.properties]` of Hadoop's own properties is allowed"),
            );
        }
    }
    properties
}
