//! Hadoop's own configuration: `core-site.xml` and `hdfs-site.xml` of a directory, and properties set over them.
//!
//! Read here and not by the client library, so that `${…}` is replaced as Hadoop does, white space around names does no
//! harm, and what is used (name service, umask, block size) is known for certain.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::fault::Fault;
use crate::config::HdfsSettings;
use crate::config::quantity::parse_size;

/// How often a value may name another one, as in Hadoop.
const REPLACED_MAX: usize = 20;
const PORT: &str = "8020";

#[derive(Debug, Default)]
pub(super) struct Site(HashMap<String, String>);

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    property: Vec<Property>,
}

#[derive(Deserialize)]
struct Property {
    #[serde(default)]
    name: String,
    #[serde(default)]
    value: String,
}

/// Where the NameNodes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameNodes {
    /// The name service; `None` for hosts that were given as they are.
    pub service: Option<String>,
    /// `host:port`, in the order in which they are asked.
    pub hosts: Vec<String>,
}

impl Site {
    /// Of the directory and the properties that `settings` name, or of `HADOOP_CONF_DIR`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of(settings: &HdfsSettings) -> Result<Self, Fault> {
        let given = settings.hadoop_conf_dir.clone();
        let dir = given.or_else(|| std::env::var_os("HADOOP_CONF_DIR").map(PathBuf::from));
        Self::read(dir.as_deref(), &settings.properties)
    }

    /// # Errors
    /// A file is there and cannot be read.
    pub fn read(dir: Option<&Path>, properties: &[(String, String)]) -> Result<Self, Fault> {
        let mut map = HashMap::new();
        for name in ["core-site.xml", "hdfs-site.xml"] {
            let Some(path) = dir.map(|dir| dir.join(name)) else {
                continue;
            };
            match std::fs::read_to_string(&path) {
                Ok(text) => map.extend(parse(&text).map_err(|e| {
                    Fault::permanent(format!("Hadoop's configuration `{}`: {e}", path.display()))
                })?),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => {
                    return Err(Fault::permanent(format!(
                        "Hadoop's configuration `{}`: {e}",
                        path.display()
                    )));
                }
            }
        }
        map.extend(properties.iter().cloned());
        let names: Vec<String> = map.keys().cloned().collect();
        let mut site = Self(map);
        for name in names {
            let value = site.replaced(&site.0[&name]);
            site.0.insert(name, value);
        }
        Ok(site)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    pub fn set_default(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.0.insert(name.to_owned(), value.to_owned());
        }
    }

    pub fn all(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    fn replaced(&self, value: &str) -> String {
        let mut value = value.to_owned();
        for _ in 0..REPLACED_MAX {
            let Some((before, name, after)) = variable(&value) else {
                break;
            };
            let found = match name.strip_prefix("env.") {
                Some(name) => std::env::var(name).ok(),
                None if name == "user.name" => std::env::var("USER").ok(),
                None => self.0.get(name).cloned(),
            };
            let Some(found) = found else {
                break;
            };
            value = format!("{before}{found}{after}");
        }
        value
    }

    /// The NameNodes that `given` names, or `fs.defaultFS` where it is empty.
    ///
    /// # Errors
    /// There are none.
    pub fn name_nodes(&self, given: &[String]) -> Result<NameNodes, Fault> {
        let default = match self.get("fs.defaultFS").or(self.get("fs.default.name")) {
            Some(default) if given.is_empty() => vec![default.to_owned()],
            None if given.is_empty() => {
                return Err(Fault::permanent(
                    "no NameNode is named: give `name_node` or `name_nodes`, or `hadoop_conf_dir` (or HADOOP_CONF_DIR) with `fs.defaultFS` in its core-site.xml",
                ));
            }
            _ => given.to_vec(),
        };
        let mut hosts = Vec::new();
        for name in &default {
            let host = authority(name)?;
            if default.len() == 1
                && let Some(ids) = self.get(&format!("dfs.ha.namenodes.{host}"))
            {
                return self.service(host, ids);
            }
            hosts.push(if has_port(host) {
                host.to_owned()
            } else {
                format!("{host}:{PORT}")
            });
        }
        Ok(NameNodes {
            service: None,
            hosts,
        })
    }

    fn service(&self, service: &str, ids: &str) -> Result<NameNodes, Fault> {
        let mut hosts = Vec::new();
        for id in ids.split(',').map(str::trim).filter(|id| !id.is_empty()) {
            let name = format!("dfs.namenode.rpc-address.{service}.{id}");
            match self.get(&name) {
                Some(host) if has_port(host) => hosts.push(host.to_owned()),
                Some(host) => hosts.push(format!("{host}:{PORT}")),
                None => {
                    return Err(Fault::permanent(format!(
                        "the name service `{service}` has a NameNode `{id}`, and `{name}` is not set"
                    )));
                }
            }
        }
        if hosts.is_empty() {
            return Err(Fault::permanent(format!(
                "the name service `{service}` has no NameNodes: `dfs.ha.namenodes.{service}` is empty"
            )));
        }
        Ok(NameNodes {
            service: Some(service.to_owned()),
            hosts,
        })
    }

    /// What stands between `hdfs://` and the path for every client of the cluster: the name service, even if `given` are its
    /// NameNodes, or the only NameNode.
    pub fn authority(&self, given: &[String]) -> Option<String> {
        let found = self.name_nodes(given).ok()?;
        let service = found.service.or_else(|| self.service_of(&found.hosts));
        match &found.hosts[..] {
            [only] => service.or_else(|| Some(only.clone())),
            _ => service,
        }
    }

    fn service_of(&self, hosts: &[String]) -> Option<String> {
        let services = self.all().filter_map(|(name, ids)| {
            let service = name.strip_prefix("dfs.ha.namenodes.")?;
            let known = self.service(service, ids).ok()?;
            let all = hosts.iter().all(|host| known.hosts.contains(host));
            all.then(|| service.to_owned())
        });
        services.min()
    }

    /// # Errors
    /// The mask is not octal.
    pub fn umask(&self, given: Option<u32>) -> Result<u32, Fault> {
        if let Some(umask) = given {
            return Ok(umask);
        }
        let Some(text) = self.get("fs.permissions.umask-mode") else {
            return Ok(0o022);
        };
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|umask| *umask <= 0o777)
            .ok_or_else(|| {
                Fault::permanent(format!(
                    "`fs.permissions.umask-mode` is `{text}`; three octal digits such as `022` are understood here: set `umask`"
                ))
            })
    }

    /// # Errors
    /// `dfs.blocksize` is no size.
    pub fn block_size(&self, given: Option<u64>) -> Result<Option<u64>, Fault> {
        if given.is_some() {
            return Ok(given);
        }
        let Some(text) = self.get("dfs.blocksize").or(self.get("dfs.block.size")) else {
            return Ok(None);
        };
        hadoop_size(text).map(Some).ok_or_else(|| {
            Fault::permanent(format!(
                "`dfs.blocksize` is `{text}`, which is no size: set `block_size`"
            ))
        })
    }

    pub fn replication(&self, given: Option<u32>) -> Option<u32> {
        given.or_else(|| self.get("dfs.replication")?.parse().ok())
    }
}

/// `134217728`, `128m`, `1g`: Hadoop's letters are powers of 1024.
fn hadoop_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => "B",
        "k" => "KiB",
        "m" => "MiB",
        "g" => "GiB",
        "t" => "TiB",
        _ => return None,
    };
    parse_size(&format!("{digits}{unit}")).ok()
}

/// The first `${NAME}`.
fn variable(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("${")?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

/// `host:port` or a name service, of `hdfs://NAME/…` or `NAME`.
fn authority(name: &str) -> Result<&str, Fault> {
    let rest = match name.split_once("://") {
        Some(("hdfs", rest)) => rest,
        Some((scheme, _)) => {
            return Err(Fault::permanent(format!(
                "`{name}` is no HDFS: `{scheme}` is not understood here, give the NameNodes or the name service as `hdfs://NAME`"
            )));
        }
        None => name,
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() {
        return Err(Fault::permanent(format!("`{name}` names no NameNode")));
    }
    Ok(host)
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

fn parse(text: &str) -> Result<HashMap<String, String>, String> {
    let document: Document = quick_xml::de::from_str(text).map_err(|e| e.to_string())?;
    if text.contains("<xi:include") {
        return Err(
            "it includes other files (`xi:include`), which is not understood here: give what they set in `[lake.properties]`, and a directory without includes".to_owned(),
        );
    }
    let pairs = document.property.into_iter();
    Ok(pairs
        .map(|property| (property.name.trim().to_owned(), property.value))
        .filter(|(name, _)| !name.is_empty())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(core: &str, hdfs: &str) -> Site {
        let dir = tempfile::tempdir().unwrap();
        for (name, properties) in [("core-site.xml", core), ("hdfs-site.xml", hdfs)] {
            let mut text = "<?xml version=\"1.0\"?>\n<!-- by hand -->\n<configuration>".to_owned();
            for pair in properties.split(';').filter(|pair| !pair.is_empty()) {
                let (key, value) = pair.split_once('=').unwrap();
                text.push_str(&format!(
                    "\n<property><name> {key} </name><value>{value}</value><final>true</final></property>"
                ));
            }
            std::fs::write(dir.path().join(name), text + "</configuration>").unwrap();
        }
        Site::read(Some(dir.path()), &[]).unwrap()
    }

    #[test]
    fn a_name_service_is_found_by_the_default_file_system() {
        let site = site(
            "fs.defaultFS=hdfs://${dfs.nameservices}",
            "dfs.nameservices=lake;dfs.ha.namenodes.lake=nn1, nn2;dfs.namenode.rpc-address.lake.nn1=a:8020;dfs.namenode.rpc-address.lake.nn2=b",
        );
        let found = site.name_nodes(&[]).unwrap();
        assert_eq!(found.service.as_deref(), Some("lake"));
        assert_eq!(found.hosts, ["a:8020", "b:8020"]);
        assert_eq!(site.name_nodes(&["hdfs://lake/".into()]).unwrap(), found);
        // Hive's readers know the service, and not which of its NameNodes is active.
        for given in [vec![], vec!["b".to_owned(), "hdfs://a:8020".to_owned()]] {
            assert_eq!(site.authority(&given).as_deref(), Some("lake"), "{given:?}");
        }
        assert_eq!(site.authority(&["a".into(), "c".into()]), None);
    }

    #[test]
    fn without_a_name_service_the_only_name_node_is_named() {
        let of_default = site("fs.defaultFS=hdfs://nn:9000/", "");
        assert_eq!(of_default.authority(&[]).as_deref(), Some("nn:9000"));
        let two = ["a".to_owned(), "b".to_owned()];
        assert_eq!(of_default.authority(&two), None);
        assert_eq!(Site::default().authority(&[]), None);
    }

    #[test]
    fn hosts_are_taken_as_they_are_given() {
        let found = Site::default()
            .name_nodes(&["hdfs://a:9000".into(), "b".into()])
            .unwrap();
        assert_eq!(found.service, None);
        assert_eq!(found.hosts, ["a:9000", "b:8020"]);
        assert!(Site::default().name_nodes(&[]).is_err());
        assert!(Site::default().name_nodes(&["viewfs://a".into()]).is_err());
    }

    #[test]
    fn umask_and_block_size_are_read_as_hadoop_writes_them() {
        let site = site(
            "fs.permissions.umask-mode=027",
            "dfs.blocksize=64m;dfs.replication=2",
        );
        assert_eq!(site.umask(None).unwrap(), 0o027);
        assert_eq!(site.umask(Some(0)).unwrap(), 0);
        assert_eq!(site.block_size(None).unwrap(), Some(64 << 20));
        assert_eq!(site.replication(None), Some(2));
        assert_eq!(Site::default().umask(None).unwrap(), 0o022);
        assert_eq!(Site::default().block_size(None).unwrap(), None);
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_refused() {
        assert!(parse("<configuration><property>").is_err());
        assert!(parse("<configuration><xi:include href=\"more.xml\"/></configuration>").is_err());
        assert_eq!(parse("<configuration/>").unwrap().len(), 0);
    }
}
