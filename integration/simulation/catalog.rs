//! A metastore in memory, honest, and sometimes away: one table and its partitions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lakeward::catalog::{
    Altered, Catalog, CatalogError, Column, ErrorClass, Partition, Registered, Result, Table,
    TableSpec, same_location,
};

use super::world::{Part, Shape, World};

/// What outlives processes.
#[derive(Default)]
pub struct Metastore(Mutex<State>);

#[derive(Default)]
struct State {
    table: Option<Table>,
    partitions: BTreeMap<Vec<String>, String>,
    /// Nobody answers.
    is_away: bool,
}

impl Metastore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn go(&self, away: bool) {
        self.state().is_away = away;
    }

    /// Locations of all partitions.
    pub fn registered(&self) -> Vec<String> {
        self.state().partitions.values().cloned().collect()
    }
}

impl State {
    fn create(&mut self, spec: &TableSpec) {
        let keys = spec.keys.iter().map(|key| key.column.clone());
        self.table.get_or_insert_with(|| Table {
            columns: spec.columns.clone().unwrap_or_default(),
            keys: keys.collect(),
            location: spec.location.clone(),
            format: Some(spec.format),
            format_name: format!("{:?}", spec.format),
            unfit: None,
        });
    }

    fn alter(&mut self, added: &[Column], widened: &[Column]) -> Altered {
        let Some(table) = &mut self.table else {
            return Altered::Refused("there is no table".into());
        };
        for column in added {
            if !table.columns.iter().any(|own| own.name == column.name) {
                table.columns.push(column.clone());
            }
        }
        for column in widened {
            for own in table
                .columns
                .iter_mut()
                .filter(|own| own.name == column.name)
            {
                own.data_type.clone_from(&column.data_type);
            }
        }
        Altered::Yes
    }

    fn add(&mut self, partition: &Partition) -> Registered {
        let place = self
            .partitions
            .entry(partition.values.clone())
            .or_insert_with(|| partition.location.clone());
        if same_location(place, &partition.location) {
            Registered::Yes
        } else {
            Registered::Elsewhere(place.clone())
        }
    }
}

/// One process's client.
pub struct SimCatalog {
    pub world: World,
    pub store: Arc<Metastore>,
}

impl SimCatalog {
    fn call<T>(
        &self,
        operation: &'static str,
        shape: Shape,
        act: impl FnOnce(&mut State, Part) -> T,
    ) -> Result<T> {
        let lost = || CatalogError {
            class: ErrorClass::Transient,
            operation,
            subject: "simulated".to_owned(),
            message: "nobody answered".to_owned(),
        };
        let turn = self.world.call(&format!("catalog: {operation}"), "", shape);
        let answer = {
            let mut state = self.store.state();
            let heard = !state.is_away && turn.part() != Part::None;
            heard.then(|| act(&mut state, turn.part()))
        };
        turn.end().map_err(|_| lost())?;
        answer.ok_or_else(lost)
    }
}

impl Catalog for SimCatalog {
    fn identity(&self) -> &'static str {
        "simulated"
    }

    fn table(&self) -> Result<Option<Table>> {
        self.call("look at table", Shape::Look, |state, _| state.table.clone())
    }

    fn create(&self, spec: &TableSpec) -> Result<()> {
        self.call("create table", Shape::Atomic, |state, _| state.create(spec))
    }

    fn alter(&self, added: &[Column], widened: &[Column]) -> Result<Altered> {
        self.call("alter", Shape::Atomic, |state, _| {
            state.alter(added, widened)
        })
    }

    fn add_partitions(&self, partitions: &[Partition]) -> Result<Vec<Registered>> {
        self.call("add partitions", Shape::Parts, |state, part| {
            let many = match part {
                Part::Half => partitions.len() / 2,
                _ => partitions.len(),
            };
            partitions[..many].iter().map(|p| state.add(p)).collect()
        })
    }

    fn partition(&self, values: &[String]) -> Result<Option<String>> {
        self.call("look at partition", Shape::Look, |state, _| {
            state.partitions.get(values).cloned()
        })
    }
}
