//! The Hive metastore, 2.3 to 4.
//!
//! | module | noun |
//! | --- | --- |
//! | `value` | Thrift structs that forget nothing |
//! | `client` | calls, servers, time limits |
//! | `model` | tables and partitions to such structs and back |
//!
//! A metastore knows no compare-and-set of a table before 4: two that alter one table at once may undo one another's columns. So
//! a table is looked at again after it was altered, and by the pipeline before each round of partitions.

mod client;
mod model;
#[cfg(test)]
mod tests;
mod value;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use self::client::{Client, Exception, Fault};
use self::value::{Struct, Value};
use super::{
    Altered, Catalog, CatalogError, Column, ErrorClass, Partition, Registered, Result, Table,
    TableSpec,
};
use crate::config::HiveSettings;

/// Somebody else's alter may undo ours so often before it is called a fault.
const ALTERS_MAX: u32 = 5;

/// Partitions in one call: each costs the metastore a look at the file system.
const PARTITIONS_PER_CALL: usize = 100;

pub struct HiveCatalog {
    client: Client,
    identity: String,
    database: String,
    table: String,
    owner: String,
    /// Names of the keys, in their order, once the table was seen.
    keys: Mutex<Vec<String>>,
}

impl HiveCatalog {
    #[must_use]
    pub fn new(settings: &HiveSettings) -> Self {
        let servers: Vec<String> = settings
            .metastores
            .iter()
            .map(ToString::to_string)
            .collect();
        Self {
            client: Client::new(
                settings.metastores.clone(),
                settings.user.clone(),
                settings.timeout,
            ),
            identity: format!(
                "{}.{} at {}",
                settings.database,
                settings.table,
                servers.join(",")
            ),
            database: settings.database.clone(),
            table: settings.table.clone(),
            owner: settings.user.clone(),
            keys: Mutex::default(),
        }
    }

    fn error(&self, operation: &'static str, fault: Fault) -> CatalogError {
        let (class, message) = match fault {
            Fault::Raised(exception, message) => (class_of(exception), message),
            Fault::Lost(message) => (ErrorClass::Transient, message),
            Fault::Foreign(message) => (ErrorClass::Permanent, message),
            Fault::UnknownMethod => (
                ErrorClass::Permanent,
                "the metastore does not know this call; versions 2.3 to 4 are known to work"
                    .to_owned(),
            ),
        };
        CatalogError {
            class,
            operation,
            subject: self.identity.clone(),
            message,
        }
    }

    /// Database and table, as most calls begin.
    fn named(&self) -> Struct {
        Struct::default()
            .with(1, Value::text(&self.database))
            .with(2, Value::text(&self.table))
    }

    /// The table with all its fields; `None` if there is none.
    fn read(&self) -> std::result::Result<Option<Struct>, Fault> {
        let raises = [(1, Exception::Meta), (2, Exception::NoSuchObject)];
        let answer = match self.client.call("get_table", &self.named(), &raises) {
            // Gone from Hive 4.1 on.
            Err(Fault::UnknownMethod) => self
                .client
                .call(
                    "get_table_req",
                    &Struct::default().with(1, Value::Struct(self.named())),
                    &raises,
                )
                .map(|answer| match answer {
                    Some(Value::Struct(result)) => result.get(1).cloned(),
                    _ => None,
                }),
            other => other,
        };
        match answer {
            Ok(Some(Value::Struct(table))) => Ok(Some(table)),
            Ok(_) => Err(Fault::Lost("the answer holds no table".to_owned())),
            Err(Fault::Raised(Exception::NoSuchObject, _)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn has_database(&self) -> std::result::Result<bool, Fault> {
        let raises = [(1, Exception::NoSuchObject), (2, Exception::Meta)];
        let name = Struct::default().with(1, Value::text(&self.database));
        let answer = match self.client.call("get_database", &name, &raises) {
            Err(Fault::UnknownMethod) => self.client.call(
                "get_database_req",
                &Struct::default().with(1, Value::Struct(name)),
                &raises,
            ),
            other => other,
        };
        match answer {
            Ok(_) => Ok(true),
            Err(Fault::Raised(Exception::NoSuchObject, _)) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    fn needed(&self, operation: &'static str) -> Result<Struct> {
        let found = self.read().map_err(|fault| self.error(operation, fault))?;
        found.ok_or_else(|| CatalogError {
            class: ErrorClass::Permanent,
            operation,
            subject: self.identity.clone(),
            message: "there is no such table".to_owned(),
        })
    }

    /// Sends the whole table as it was read, changed.
    fn write(&self, table: Struct) -> std::result::Result<(), Fault> {
        // CASCADE: a partition that gets more files must know the columns of these, or Hive reads NULL for them.
        // DO_NOT_UPDATE_STATS: else the metastore walks through the files of the whole table.
        let context = Struct::default().with(
            1,
            Value::map([("CASCADE", "true"), ("DO_NOT_UPDATE_STATS", "true")]),
        );
        let raises = [(1, Exception::InvalidOperation), (2, Exception::Meta)];
        let arguments = self
            .named()
            .with(3, Value::Struct(table.clone()))
            .with(4, Value::Struct(context.clone()));
        let answer =
            match self
                .client
                .call("alter_table_with_environment_context", &arguments, &raises)
            {
                Err(Fault::UnknownMethod) => {
                    let request = Struct::default()
                        .with(2, Value::text(&self.database))
                        .with(3, Value::text(&self.table))
                        .with(4, Value::Struct(table))
                        .with(5, Value::Struct(context));
                    let request = Struct::default().with(1, Value::Struct(request));
                    self.client.call("alter_table_req", &request, &raises)
                }
                other => other,
            };
        answer.map(drop)
    }

    fn keys(&self, operation: &'static str) -> Result<Vec<String>> {
        let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.is_empty() {
            return Ok(known.clone());
        }
        drop(known);
        let table = model::table(&self.needed(operation)?);
        Ok(self.remember(&table))
    }

    fn remember(&self, table: &Table) -> Vec<String> {
        let keys: Vec<String> = table.keys.iter().map(|key| key.name.clone()).collect();
        keys.clone_into(&mut self.keys.lock().unwrap_or_else(PoisonError::into_inner));
        keys
    }

    /// `needResult` brings back those that were added, so the others were there before.
    fn add(
        &self,
        partitions: &[Partition],
        template: &Struct,
    ) -> std::result::Result<Vec<Vec<String>>, Fault> {
        let structs = partitions.iter().map(|partition| {
            model::partition_struct(&self.database, &self.table, template, partition)
        });
        let request = self
            .named()
            .with(3, Value::structs(structs))
            .with(4, Value::Bool(true))
            .with(5, Value::Bool(true));
        let arguments = Struct::default().with(1, Value::Struct(request));
        let raises = [
            (1, Exception::InvalidObject),
            (2, Exception::AlreadyExists),
            (3, Exception::Meta),
        ];
        match self
            .client
            .call("add_partitions_req", &arguments, &raises)?
        {
            Some(Value::Struct(result)) => {
                Ok(result.structs(1).map(|added| added.texts(1)).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// One call for all; where the metastore refuses it, one for each, so that one that it will not have keeps no other out.
    fn add_some(&self, partitions: &[Partition], template: &Struct) -> Result<Vec<Registered>> {
        const OPERATION: &str = "add partitions to";
        match self.add(partitions, template) {
            Ok(added) => self.look_at_the_rest(partitions, &added),
            // Somebody was faster, between the metastore's own look and its insert.
            Err(Fault::Raised(Exception::AlreadyExists, _)) if partitions.len() == 1 => {
                self.look_at_the_rest(partitions, &[])
            }
            Err(Fault::Raised(exception, message)) if partitions.len() == 1 => {
                if class_of(exception) == ErrorClass::Permanent {
                    return Ok(vec![Registered::Refused(message)]);
                }
                Err(self.error(OPERATION, Fault::Raised(exception, message)))
            }
            Err(Fault::Raised(..)) => {
                let mut registered = Vec::with_capacity(partitions.len());
                let mut failed = None;
                for partition in partitions {
                    match self.add_some(std::slice::from_ref(partition), template) {
                        Ok(one) => registered.extend(one),
                        Err(error) => failed = Some(error),
                    }
                }
                failed.map_or(Ok(registered), Err)
            }
            Err(fault) => Err(self.error(OPERATION, fault)),
        }
    }

    /// Those that were not added were there before: where?
    fn look_at_the_rest(
        &self,
        partitions: &[Partition],
        added: &[Vec<String>],
    ) -> Result<Vec<Registered>> {
        const OPERATION: &str = "add partitions to";
        let rest: Vec<&Partition> = partitions
            .iter()
            .filter(|partition| !added.contains(&partition.values))
            .collect();
        let known = self.locations(&rest)?;
        let mut registered = Vec::with_capacity(partitions.len());
        for partition in partitions {
            if added.contains(&partition.values) {
                registered.push(Registered::Yes);
                continue;
            }
            let found = match known.get(&partition.values) {
                Some(found) => Some(found.clone()),
                None => self.partition(&partition.values)?,
            };
            registered.push(match found {
                Some(found) if super::same_location(&found, &partition.location) => Registered::Yes,
                Some(found) => Registered::Elsewhere(found),
                None => {
                    let gone = "a partition that was there is gone again".to_owned();
                    return Err(self.error(OPERATION, Fault::Lost(gone)));
                }
            });
        }
        Ok(registered)
    }

    /// By values, in one call. Those that the metastore calls otherwise than we think are missing, and asked for one by one.
    fn locations(&self, partitions: &[&Partition]) -> Result<HashMap<Vec<String>, String>> {
        const OPERATION: &str = "look at partitions of";
        if partitions.len() < 2 {
            return Ok(HashMap::new());
        }
        let keys = self.keys(OPERATION)?;
        let names: Vec<String> = partitions
            .iter()
            .map(|partition| model::partition_name(&keys, &partition.values))
            .collect();
        let arguments = self
            .named()
            .with(3, Value::texts(names.iter().map(String::as_str)));
        let raises = [(1, Exception::Meta), (2, Exception::NoSuchObject)];
        let answer = self
            .client
            .call("get_partitions_by_names", &arguments, &raises);
        match answer {
            Ok(Some(Value::List(_, found))) => Ok(found
                .iter()
                .filter_map(|partition| match partition {
                    Value::Struct(partition) => Some((
                        model::partition_values(partition),
                        model::partition_location(partition),
                    )),
                    _ => None,
                })
                .collect()),
            Ok(_) | Err(Fault::UnknownMethod | Fault::Raised(Exception::NoSuchObject, _)) => {
                Ok(HashMap::new())
            }
            Err(fault) => Err(self.error(OPERATION, fault)),
        }
    }
}

/// A metastore raises `MetaException` for whatever went wrong inside it, mostly for a database or file system that is away.
fn class_of(exception: Exception) -> ErrorClass {
    match exception {
        Exception::Meta | Exception::AlreadyExists => ErrorClass::Transient,
        Exception::InvalidObject | Exception::InvalidOperation | Exception::NoSuchObject => {
            ErrorClass::Permanent
        }
    }
}

impl Catalog for HiveCatalog {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn table(&self) -> Result<Option<Table>> {
        const OPERATION: &str = "look at table";
        let failed = |fault| self.error(OPERATION, fault);
        if let Some(table) = self.read().map_err(failed)? {
            let table = model::table(&table);
            self.remember(&table);
            return Ok(Some(table));
        }
        if self.has_database().map_err(failed)? {
            return Ok(None);
        }
        Err(CatalogError {
            class: ErrorClass::Permanent,
            operation: OPERATION,
            subject: self.identity.clone(),
            message: format!(
                "there is no database `{}`: create it, or set `hive.database`",
                self.database
            ),
        })
    }

    fn create(&self, spec: &TableSpec) -> Result<()> {
        let table = model::table_struct(&self.database, &self.table, &self.owner, spec);
        let raises = [
            (1, Exception::AlreadyExists),
            (2, Exception::InvalidObject),
            (3, Exception::Meta),
            (4, Exception::NoSuchObject),
        ];
        let arguments = Struct::default().with(1, Value::Struct(table));
        let answer = match self.client.call("create_table", &arguments, &raises) {
            Err(Fault::UnknownMethod) => self.client.call(
                "create_table_req",
                &Struct::default().with(1, Value::Struct(arguments)),
                &raises,
            ),
            other => other,
        };
        match answer {
            Ok(_) | Err(Fault::Raised(Exception::AlreadyExists, _)) => Ok(()),
            // Hive 4 has no name for somebody who was faster than us by little: a failed insert.
            Err(Fault::Raised(Exception::Meta, _)) if matches!(self.read(), Ok(Some(_))) => Ok(()),
            Err(fault) => Err(self.error("create table", fault)),
        }
    }

    fn alter(&self, added: &[Column], widened: &[Column]) -> Result<Altered> {
        const OPERATION: &str = "add columns to";
        for _ in 0..ALTERS_MAX {
            let mut table = self.needed(OPERATION)?;
            if !model::alter(&mut table, added, widened) {
                return Ok(Altered::Yes);
            }
            match self.write(table) {
                Ok(()) => {}
                Err(Fault::Raised(Exception::InvalidOperation, message)) => {
                    return Ok(Altered::Refused(message));
                }
                Err(fault) => return Err(self.error(OPERATION, fault)),
            }
        }
        Err(self.error(
            OPERATION,
            Fault::Lost(format!(
                "after {ALTERS_MAX} attempts the table still lacks columns: somebody else alters it all the time"
            )),
        ))
    }

    fn add_partitions(&self, partitions: &[Partition]) -> Result<Vec<Registered>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let table = self.needed("add partitions to")?;
        let mut registered = Vec::with_capacity(partitions.len());
        for some in partitions.chunks(PARTITIONS_PER_CALL) {
            registered.extend(self.add_some(some, &table)?);
        }
        Ok(registered)
    }

    fn partition(&self, values: &[String]) -> Result<Option<String>> {
        const OPERATION: &str = "look at a partition of";
        let keys = self.keys(OPERATION)?;
        if keys.len() != values.len() {
            return Err(self.error(
                OPERATION,
                Fault::Raised(
                    Exception::InvalidObject,
                    format!("{} values for {} keys", values.len(), keys.len()),
                ),
            ));
        }
        let raises = [(1, Exception::Meta), (2, Exception::NoSuchObject)];
        let values = Value::texts(values.iter().map(String::as_str));
        let arguments = self.named().with(3, values.clone());
        let answer = match self.client.call("get_partition", &arguments, &raises) {
            Err(Fault::UnknownMethod) => {
                let request = Struct::default()
                    .with(2, Value::text(&self.database))
                    .with(3, Value::text(&self.table))
                    .with(4, values);
                let request = Struct::default().with(1, Value::Struct(request));
                self.client
                    .call("get_partition_req", &request, &raises)
                    .map(|answer| match answer {
                        Some(Value::Struct(result)) => result.get(1).cloned(),
                        _ => None,
                    })
            }
            other => other,
        };
        match answer {
            Ok(Some(Value::Struct(partition))) => Ok(Some(model::partition_location(&partition))),
            Ok(_) => Err(self.error(
                OPERATION,
                Fault::Lost("the answer holds no partition".to_owned()),
            )),
            Err(Fault::Raised(Exception::NoSuchObject, _)) => Ok(None),
            Err(fault) => Err(self.error(OPERATION, fault)),
        }
    }
}
