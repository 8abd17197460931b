//! The suite that every catalog passes: the contract of [`Catalog`] as checks that can be run.
//!
//! Each check works on a table of its own, leaves it behind, and panics with what it found where the contract is broken.

#![expect(
    clippy::unwrap_used,
    reason = "the suite is a test: a failed check is to panic"
)]

use std::time::{Duration, Instant};

use super::{
    Altered, Catalog, Column, ErrorClass, Partition, PartitionKey, Registered, Result, Table,
    TableFormat, TableSpec, difference, same_location,
};

/// Catalogs under test.
pub struct Suite<'a> {
    /// The catalog of a table of this name, in a database that is there; called again it is another client of the same table.
    pub open: &'a dyn Fn(&str) -> Box<dyn Catalog>,
    /// One whose database is not there.
    pub lost: &'a dyn Fn() -> Box<dyn Catalog>,
    /// A directory that the catalog's server may make directories in, as a location.
    pub location: String,
}

fn columns(given: &[(&str, &str)]) -> Vec<Column> {
    given.iter().map(|(n, t)| Column::new(n, t)).collect()
}

fn key(name: &str, data_type: &str) -> PartitionKey {
    PartitionKey {
        column: Column::new(name, data_type),
        made: data_type == "string",
    }
}

impl Suite<'_> {
    pub fn all(&self) {
        self.makes_a_table_once();
        self.makes_tables_of_every_type_and_format();
        self.adds_columns_and_keeps_the_others();
        self.says_when_fields_may_not_be_added();
        self.registers_partitions_again_and_again();
        self.leaves_a_partition_where_it_is();
        self.takes_any_value();
        self.columns_are_added_to_partitions_too();
        self.many_at_once_register_every_partition_once();
        self.many_at_once_make_one_table();
        self.a_database_or_table_that_is_not_there_is_said();
    }

    fn spec(&self, table: &str, given: &[(&str, &str)], keys: Vec<PartitionKey>) -> TableSpec {
        TableSpec {
            columns: Some(columns(given)),
            keys,
            location: format!("{}/{table}", self.location),
            format: TableFormat::Parquet,
        }
    }

    /// A table with keys `dt` and `region`, and the catalog of it.
    fn partitioned(&self, table: &str) -> (Box<dyn Catalog>, TableSpec) {
        let keys = vec![key("dt", "string"), key("region", "string")];
        let spec = self.spec(table, &[("id", "bigint"), ("note", "string")], keys);
        let catalog = (self.open)(table);
        catalog.create(&spec).unwrap();
        (catalog, spec)
    }

    pub fn makes_a_table_once(&self) {
        let (catalog, spec) = self.partitioned("made_once");
        let other = self.spec("elsewhere", &[("other", "int")], Vec::new());
        catalog.create(&other).unwrap();
        let table = catalog.table().unwrap().unwrap();
        assert_eq!(Some(&table.columns), spec.columns.as_ref());
        assert_eq!(
            table.keys,
            columns(&[("dt", "string"), ("region", "string")])
        );
        assert!(
            same_location(&table.location, &spec.location),
            "{}",
            table.location
        );
        assert_eq!(table.format, Some(TableFormat::Parquet));
        assert_eq!(table.unfit, None);
        assert!(difference(&spec, &table).unwrap().is_empty());
    }

    pub fn makes_tables_of_every_type_and_format(&self) {
        let given = [
            ("a", "boolean"),
            ("b", "tinyint"),
            ("c", "smallint"),
            ("d", "int"),
            ("e", "bigint"),
            ("f", "float"),
            ("g", "double"),
            ("h", "decimal(38,10)"),
            ("i", "string"),
            ("j", "varchar(20)"),
            ("k", "char(3)"),
            ("l", "binary"),
            ("m", "date"),
            ("n", "timestamp"),
            ("o", "struct<x:int,y:array<string>>"),
            ("p", "array<struct<x:decimal(5,2)>>"),
            ("q", "map<string,array<int>>"),
            ("_rescued", "string"),
        ];
        for (name, format) in [
            ("every_type_parquet", TableFormat::Parquet),
            ("every_type_ndjson", TableFormat::Ndjson),
        ] {
            let spec = TableSpec {
                format,
                ..self.spec(name, &given, vec![key("day", "int")])
            };
            let catalog = (self.open)(name);
            assert_eq!(catalog.table().unwrap(), None);
            catalog.create(&spec).unwrap();
            let table = catalog.table().unwrap().unwrap();
            assert_eq!(table.columns, columns(&given), "{name}");
            assert_eq!(table.format, Some(format), "{name}");
            assert!(difference(&spec, &table).unwrap().is_empty());
        }
    }

    pub fn adds_columns_and_keeps_the_others(&self) {
        let (catalog, _) = self.partitioned("widened");
        let added = columns(&[("Total", "decimal(10,2)"), ("tags", "array<string>")]);
        for _ in 0..2 {
            assert_eq!(catalog.alter(&added, &[]).unwrap(), Altered::Yes);
            let table = catalog.table().unwrap().unwrap();
            assert_eq!(
                table.columns,
                columns(&[
                    ("id", "bigint"),
                    ("note", "string"),
                    ("total", "decimal(10,2)"),
                    ("tags", "array<string>"),
                ])
            );
            assert_eq!(table.keys.len(), 2);
        }
    }

    /// A metastore refuses it by default; another catalog may do it.
    pub fn says_when_fields_may_not_be_added(&self) {
        let given = [("geo", "struct<lat:double>")];
        let catalog = (self.open)("structs");
        catalog
            .create(&self.spec("structs", &given, Vec::new()))
            .unwrap();
        let widened = columns(&[("geo", "struct<lat:double,lon:double>")]);
        let there = match catalog.alter(&[], &widened).unwrap() {
            Altered::Yes => widened,
            Altered::Refused(why) => {
                assert!(!why.is_empty());
                columns(&given)
            }
        };
        assert_eq!(catalog.table().unwrap().unwrap().columns, there);
    }

    pub fn registers_partitions_again_and_again(&self) {
        let (catalog, spec) = self.partitioned("again");
        assert_eq!(catalog.add_partitions(&[]).unwrap(), []);
        let partitions: Vec<Partition> = (0..250)
            .map(|n| partition(&spec, &[&format!("2026-11-{n}"), "eu"]))
            .collect();
        let first = catalog.add_partitions(&partitions[..3]).unwrap();
        assert_eq!(first, vec![Registered::Yes; 3]);
        // Some are there already; of these none is lost and none is twice.
        for _ in 0..2 {
            let all = catalog.add_partitions(&partitions).unwrap();
            assert_eq!(all, vec![Registered::Yes; 250]);
        }
        for partition in [&partitions[0], &partitions[249]] {
            let found = catalog.partition(&partition.values).unwrap().unwrap();
            assert!(same_location(&found, &partition.location), "{found}");
        }
        let absent = ["2026-11-250".to_owned(), "eu".to_owned()];
        assert_eq!(catalog.partition(&absent).unwrap(), None);
    }

    pub fn leaves_a_partition_where_it_is(&self) {
        let (catalog, spec) = self.partitioned("elsewhere_first");
        let first = Partition {
            location: format!("{}/moved", spec.location),
            ..partition(&spec, &["2026-11-01", "eu"])
        };
        catalog
            .add_partitions(std::slice::from_ref(&first))
            .unwrap();
        let ours = partition(&spec, &["2026-11-01", "eu"]);
        let next = partition(&spec, &["2026-11-02", "eu"]);
        match &catalog.add_partitions(&[ours.clone(), next]).unwrap()[..] {
            [Registered::Elsewhere(found), Registered::Yes] => {
                assert!(same_location(found, &first.location), "{found}");
            }
            other => panic!("{other:?}"),
        }
        let found = catalog.partition(&ours.values).unwrap().unwrap();
        assert!(same_location(&found, &first.location), "{found}");
    }

    /// Values that paths escape, and what a record may hold.
    pub fn takes_any_value(&self) {
        let (catalog, spec) = self.partitioned("values");
        let values = [
            "a b",
            "a:b/c=d%e",
            "100%",
            "ä\u{1f600}",
            "'\"\\`",
            "__HIVE_DEFAULT_PARTITION__",
            "[x]{y}^?*#",
            ".hidden",
            "A",
            "a",
        ];
        let partitions: Vec<Partition> = values
            .iter()
            .enumerate()
            .map(|(n, value)| Partition {
                values: vec![(*value).to_owned(), "eu".to_owned()],
                location: format!("{}/n={n}", spec.location),
            })
            .collect();
        let registered = catalog.add_partitions(&partitions).unwrap();
        assert_eq!(registered, vec![Registered::Yes; values.len()]);
        for partition in &partitions {
            let found = catalog.partition(&partition.values).unwrap();
            let found = found.unwrap_or_else(|| panic!("{:?} is gone", partition.values));
            assert!(same_location(&found, &partition.location), "{found}");
        }
    }

    /// Registered before a column was added, a partition shows it all the same: asked for by a partition's own columns where the
    /// catalog keeps such.
    pub fn columns_are_added_to_partitions_too(&self) {
        let (catalog, spec) = self.partitioned("cascade");
        let old = partition(&spec, &["2026-11-01", "eu"]);
        catalog.add_partitions(std::slice::from_ref(&old)).unwrap();
        catalog.alter(&columns(&[("more", "int")]), &[]).unwrap();
        let again = catalog.add_partitions(std::slice::from_ref(&old)).unwrap();
        assert_eq!(again, [Registered::Yes]);
        let found = catalog.partition(&old.values).unwrap().unwrap();
        assert!(same_location(&found, &old.location), "{found}");
    }

    pub fn many_at_once_register_every_partition_once(&self) {
        let (catalog, spec) = self.partitioned("together");
        let days: Vec<String> = (0..40).map(|n| format!("2026-{n}")).collect();
        let results = together(4, |n| {
            let catalog = (self.open)("together");
            let spec = &spec;
            // Each begins elsewhere, and all want all.
            let partitions: Vec<Partition> = (0..40)
                .map(|at| partition(spec, &[&days[(at + n * 10) % 40], "eu"]))
                .collect();
            move || catalog.add_partitions(&partitions)
        });
        for result in results {
            assert_eq!(result.unwrap(), vec![Registered::Yes; 40]);
        }
        for day in &days {
            let values = [day.clone(), "eu".to_owned()];
            assert!(catalog.partition(&values).unwrap().is_some(), "{day}");
        }
    }

    pub fn many_at_once_make_one_table(&self) {
        let spec = self.spec(
            "made_by_many",
            &[("id", "bigint")],
            vec![key("dt", "string")],
        );
        let results = together(4, |_| {
            let catalog = (self.open)("made_by_many");
            let spec = spec.clone();
            move || {
                catalog.create(&spec)?;
                catalog.table()
            }
        });
        for result in results {
            let table = result.unwrap().unwrap();
            assert!(difference(&spec, &table).unwrap().is_empty());
        }
    }

    pub fn a_database_or_table_that_is_not_there_is_said(&self) {
        let lost = (self.lost)();
        let spec = self.spec("nowhere", &[("id", "bigint")], Vec::new());
        for error in [lost.table().unwrap_err(), lost.create(&spec).unwrap_err()] {
            assert_eq!(error.class, ErrorClass::Permanent, "{error}");
        }
        let absent = (self.open)("absent");
        assert_eq!(absent.table().unwrap(), None);
        let wanted = [partition(&spec, &["2026-11-01"])];
        for error in [
            absent.add_partitions(&wanted).unwrap_err(),
            absent.alter(&columns(&[("a", "int")]), &[]).unwrap_err(),
        ] {
            assert_eq!(error.class, ErrorClass::Permanent, "{error}");
            assert!(error.to_string().contains("absent"), "{error}");
        }
    }
}

/// Where the values lead below the table's own location.
fn partition(spec: &TableSpec, values: &[&str]) -> Partition {
    let path: Vec<String> = spec
        .keys
        .iter()
        .zip(values)
        .map(|(key, value)| format!("{}={value}", key.column.name))
        .collect();
    Partition {
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        location: format!("{}/{}", spec.location, path.join("/")),
    }
}

/// A catalog that is asked again after passing faults, as the contract lets its callers do: a server on a busy machine may answer
/// late, and whether it then did what was asked must not matter.
pub struct Patient<C>(pub C);

impl<C: Catalog> Patient<C> {
    const PATIENCE: Duration = Duration::from_mins(8);

    fn again<T>(&self, ask: impl Fn(&C) -> Result<T>) -> Result<T> {
        let end = Instant::now() + Self::PATIENCE;
        loop {
            match ask(&self.0) {
                Err(error) if error.class == ErrorClass::Transient && Instant::now() < end => {
                    std::thread::sleep(Duration::from_secs(1));
                }
                answer => return answer,
            }
        }
    }
}

impl<C: Catalog> Catalog for Patient<C> {
    fn identity(&self) -> &str {
        self.0.identity()
    }

    fn table(&self) -> Result<Option<Table>> {
        self.again(Catalog::table)
    }

    fn create(&self, spec: &TableSpec) -> Result<()> {
        self.again(|catalog| catalog.create(spec))
    }

    fn alter(&self, added: &[Column], widened: &[Column]) -> Result<Altered> {
        self.again(|catalog| catalog.alter(added, widened))
    }

    fn add_partitions(&self, partitions: &[Partition]) -> Result<Vec<Registered>> {
        self.again(|catalog| catalog.add_partitions(partitions))
    }

    fn partition(&self, values: &[String]) -> Result<Option<String>> {
        self.again(|catalog| catalog.partition(values))
    }
}

/// Lets `count` threads do at once what `make` gives each.
fn together<T: Send, F: FnOnce() -> T + Send>(count: usize, make: impl Fn(usize) -> F) -> Vec<T> {
    let ready = std::sync::Barrier::new(count);
    let works: Vec<F> = (0..count).map(make).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = works
            .into_iter()
            .map(|work| {
                let ready = &ready;
                scope.spawn(move || {
                    ready.wait();
                    work()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}
