//! Faults that a real metastore does not have on order, from a scripted one on loopback.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TInputProtocol, TMessageIdentifier, TMessageType,
    TOutputProtocol,
};

use super::value::{Struct, Value, read_struct, write_struct};
use super::*;
use crate::catalog::{PartitionKey, TableFormat};
use crate::config::MetastoreAddress;

/// What the server does with a call.
enum Answer {
    Result(Struct),
    /// Of `TApplicationException`.
    Failed(i32),
    /// The result, cut off after so many bytes.
    Cut(Struct, usize),
    /// Bytes instead of a message.
    Raw(&'static [u8]),
    /// A byte of the result every 20 ms.
    Drip(Struct),
}

fn done() -> Answer {
    Answer::Result(Struct::default())
}

fn found(value: Struct) -> Answer {
    Answer::Result(Struct::default().with(0, Value::Struct(value)))
}

/// An exception in the result's field `id`.
fn raised(id: i16, message: &str) -> Answer {
    let exception = Struct::default().with(1, Value::text(message));
    Answer::Result(Struct::default().with(id, Value::Struct(exception)))
}

struct Server {
    address: MetastoreAddress,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

type Script = dyn FnMut(&str, &Struct) -> Answer + Send;

/// Serves until the test's process ends; `set_ugi` is always answered.
fn serve(script: Box<Script>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&calls);
    let script = Arc::new(Mutex::new(script));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, seen, script) = (stream.unwrap(), Arc::clone(&seen), Arc::clone(&script));
            std::thread::spawn(move || talk(&stream, &seen, &script));
        }
    });
    Server {
        address: MetastoreAddress {
            host: "127.0.0.1".to_owned(),
            port,
        },
        calls,
    }
}

fn talk(stream: &TcpStream, seen: &Mutex<Vec<String>>, script: &Mutex<Box<Script>>) {
    let mut input = TBinaryInputProtocol::new(BufReader::new(stream), true);
    loop {
        let Ok(head) = input.read_message_begin() else {
            return;
        };
        let arguments = read_struct(&mut input).unwrap();
        if head.name == "set_ugi" {
            send(stream, &head, TMessageType::Reply, &Struct::default());
            continue;
        }
        seen.lock().unwrap().push(head.name.clone());
        let answer = script.lock().unwrap()(&head.name, &arguments);
        match answer {
            Answer::Result(result) => send(stream, &head, TMessageType::Reply, &result),
            Answer::Failed(kind) => {
                let exception = Struct::default()
                    .with(1, Value::text("out of luck"))
                    .with(2, Value::I32(kind));
                send(stream, &head, TMessageType::Exception, &exception);
            }
            Answer::Cut(result, at) => {
                let bytes = message(&head, TMessageType::Reply, &result);
                let mut stream = stream;
                stream.write_all(&bytes[..at.min(bytes.len() - 1)]).unwrap();
                return;
            }
            Answer::Raw(bytes) => {
                let mut stream = stream;
                stream.write_all(bytes).unwrap();
                return;
            }
            Answer::Drip(result) => {
                let mut stream = stream;
                for byte in message(&head, TMessageType::Reply, &result) {
                    if stream.write_all(&[byte]).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

fn message(head: &TMessageIdentifier, kind: TMessageType, result: &Struct) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut output = TBinaryOutputProtocol::new(&mut bytes, true);
    let head = TMessageIdentifier::new(head.name.clone(), kind, head.sequence_number);
    output.write_message_begin(&head).unwrap();
    write_struct(&mut output, result).unwrap();
    bytes
}

fn send(mut stream: &TcpStream, head: &TMessageIdentifier, kind: TMessageType, result: &Struct) {
    stream.write_all(&message(head, kind, result)).unwrap();
}

fn catalog(servers: &[&Server]) -> HiveCatalog {
    HiveCatalog::new(&HiveSettings {
        metastores: servers.iter().map(|s| s.address.clone()).collect(),
        database: "d".into(),
        table: "t".into(),
        create: true,
        register: true,
        widen: true,
        location: "file:///lake/t".into(),
        user: "somebody".into(),
        timeout: Duration::from_secs(5),
    })
}

fn spec() -> TableSpec {
    TableSpec {
        columns: Some(vec![Column::new("id", "bigint")]),
        keys: vec![PartitionKey {
            column: Column::new("dt", "string"),
            made: true,
        }],
        location: "file:///lake/t".into(),
        format: TableFormat::Parquet,
    }
}

fn stored() -> Struct {
    model::table_struct("d", "t", "o", &spec())
}

fn partition(day: &str) -> Partition {
    Partition {
        values: vec![day.to_owned()],
        location: format!("file:///lake/t/dt={day}"),
    }
}

/// A metastore's partitions: `add_partitions_req` with `ifNotExists`, `get_partition`, `get_table`.
#[derive(Default)]
struct Store(Vec<Struct>);

impl Store {
    fn values(partition: &Struct) -> Vec<String> {
        partition.texts(1)
    }

    fn add(&mut self, arguments: &Struct) -> Struct {
        let request = arguments.inner(1).unwrap();
        assert_eq!(request.get(4), Some(&Value::Bool(true)), "ifNotExists");
        let mut added = Vec::new();
        for partition in request.structs(3) {
            let known = |p: &Struct| Self::values(p) == Self::values(partition);
            if !self.0.iter().any(known) {
                self.0.push(partition.clone());
                added.push(partition.clone());
            }
        }
        let result = Struct::default().with(1, Value::structs(added));
        Struct::default().with(0, Value::Struct(result))
    }

    fn serve(&mut self, method: &str, arguments: &Struct) -> Answer {
        match method {
            "get_table" => found(stored()),
            "add_partitions_req" => Answer::Result(self.add(arguments)),
            "get_partition" => {
                let wanted = arguments.texts(3);
                match self.0.iter().find(|p| Self::values(p) == wanted) {
                    Some(partition) => found(partition.clone()),
                    None => raised(2, "no such partition"),
                }
            }
            "get_partitions_by_names" => {
                let wanted = arguments.texts(3);
                let named = |p: &&Struct| {
                    wanted.contains(&model::partition_name(&["dt".to_owned()], &p.texts(1)))
                };
                let found: Vec<Struct> = self.0.iter().filter(named).cloned().collect();
                Answer::Result(Struct::default().with(0, Value::structs(found)))
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn an_answer_that_was_lost_is_asked_for_again_and_nothing_is_added_twice() {
    let store: Arc<Mutex<Store>> = Arc::default();
    let served = Arc::clone(&store);
    let mut adds = 0;
    let server = serve(Box::new(move |method, arguments| {
        let mut store = served.lock().unwrap();
        if method == "add_partitions_req" {
            adds += 1;
            if adds <= 2 {
                // Done, and nobody hears of it.
                return Answer::Cut(store.add(arguments), if adds == 1 { 0 } else { 30 });
            }
        }
        store.serve(method, arguments)
    }));
    let catalog = catalog(&[&server]);
    let wanted = [partition("1"), partition("2")];
    let error = catalog.add_partitions(&wanted).unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    assert!(error.to_string().contains("closed before"), "{error}");
    let registered = catalog.add_partitions(&wanted).unwrap();
    assert_eq!(registered, [Registered::Yes, Registered::Yes]);
    assert_eq!(store.lock().unwrap().0.len(), 2);
}

#[test]
fn one_partition_that_is_refused_keeps_no_other_out() {
    let mut store = Store::default();
    let server = serve(Box::new(move |method, arguments| {
        if method == "add_partitions_req" {
            let request = arguments.inner(1).unwrap();
            if request.structs(3).any(|p| p.texts(1) == ["bad"]) {
                return raised(1, "no such day");
            }
        }
        store.serve(method, arguments)
    }));
    let catalog = catalog(&[&server]);
    let registered = catalog
        .add_partitions(&[partition("1"), partition("bad"), partition("2")])
        .unwrap();
    assert_eq!(
        registered,
        [
            Registered::Yes,
            Registered::Refused("no such day".into()),
            Registered::Yes
        ]
    );
}

#[test]
fn a_partition_that_came_in_between_is_there() {
    let mut store = Store::default();
    store.add(
        &Struct::default().with(
            1,
            Value::Struct(
                Struct::default()
                    .with(
                        3,
                        Value::structs([model::partition_struct(
                            "d",
                            "t",
                            &stored(),
                            &partition("1"),
                        )]),
                    )
                    .with(4, Value::Bool(true)),
            ),
        ),
    );
    let server = serve(Box::new(move |method, arguments| match method {
        "add_partitions_req" => raised(2, "it exists"),
        _ => store.serve(method, arguments),
    }));
    let catalog = catalog(&[&server]);
    let registered = catalog.add_partitions(&[partition("1")]).unwrap();
    assert_eq!(registered, [Registered::Yes]);
}

#[test]
fn the_next_server_is_asked_when_one_is_gone() {
    let gone = Server {
        address: MetastoreAddress {
            host: "127.0.0.1".into(),
            port: 1,
        },
        calls: Arc::default(),
    };
    let broken = serve(Box::new(|_, _| Answer::Raw(b"")));
    let good = serve(Box::new(|_, _| found(stored())));
    let catalog = catalog(&[&gone, &broken, &good]);
    for _ in 0..3 {
        assert!(catalog.table().unwrap().is_some());
    }
    // The one that answered is stayed with.
    assert_eq!((broken.calls().len(), good.calls().len()), (1, 3));
}

#[test]
fn when_none_answers_each_is_named() {
    let broken = serve(Box::new(|_, _| Answer::Raw(b"")));
    let gone = Server {
        address: MetastoreAddress {
            host: "127.0.0.1".into(),
            port: 1,
        },
        calls: Arc::default(),
    };
    let error = catalog(&[&broken, &gone]).table().unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    let text = error.to_string();
    assert!(text.contains("thrift://127.0.0.1:1"), "{text}");
    assert!(text.contains("closed before"), "{text}");
}

#[test]
fn a_connection_that_grew_old_is_made_anew() {
    let mut calls = 0;
    let server = serve(Box::new(move |_, _| {
        calls += 1;
        match calls {
            // Closed while nobody used it, so that the next call finds it shut.
            2 => Answer::Raw(b""),
            _ => found(stored()),
        }
    }));
    let catalog = catalog(&[&server]);
    assert!(catalog.table().unwrap().is_some());
    assert!(catalog.table().unwrap().is_some());
    assert_eq!(server.calls().len(), 3);
}

#[test]
fn a_server_that_drips_is_not_waited_for_longer_than_the_limit() {
    let server = serve(Box::new(|_, _| {
        Answer::Drip(Struct::default().with(0, Value::Struct(stored())))
    }));
    let mut settings_catalog = catalog(&[&server]);
    settings_catalog.client = super::client::Client::new(
        vec![server.address.clone()],
        String::new(),
        Duration::from_millis(300),
    );
    let began = Instant::now();
    let error = settings_catalog.table().unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    assert!(error.to_string().contains("in time"), "{error}");
}

#[test]
fn what_speaks_no_plain_thrift_is_said_to_be_kerberos_perhaps() {
    // What a SASL server answers to something else: status 3 or 4, a length, a text.
    for answer in [
        &b"\x03\x00\x00\x00\x0ebad status -128"[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x50",
    ] {
        let server = serve(Box::new(move |_, _| Answer::Raw(answer)));
        let error = catalog(&[&server]).table().unwrap_err();
        assert_eq!(error.class, ErrorClass::Permanent, "{error}");
        assert!(error.to_string().contains("Kerberos (SASL)"), "{error}");
        assert!(error.to_string().contains("schema --ddl"), "{error}");
    }
}

#[test]
fn rubbish_is_a_passing_fault() {
    for answer in [
        &b"\x80\x01\x00\x02"[..],
        b"\x80\x01\x00\x02\x00\x00\x00\x09get_table\x00\x00\x00\x63\x00",
        b"\x80\x01\x00\x02\x7f\xff\xff\xff",
        b"\x80\x01\x00\x09\x00\x00\x00\x00",
    ] {
        let server = serve(Box::new(move |_, _| Answer::Raw(answer)));
        let error = catalog(&[&server]).table().unwrap_err();
        assert_eq!(error.class, ErrorClass::Transient, "{error}");
    }
}

#[test]
fn calls_that_newer_metastores_have_lost_are_made_by_their_requests() {
    let server = serve(Box::new(|method, arguments| match method {
        "get_table_req" => {
            let request = arguments.inner(1).unwrap();
            assert_eq!((request.text(1), request.text(2)), ("d".into(), "t".into()));
            found(Struct::default().with(1, Value::Struct(stored())))
        }
        "create_table_req" => {
            assert_eq!(arguments.inner(1).unwrap().inner(1).unwrap(), &stored());
            found(Struct::default())
        }
        "alter_table_req" => {
            let request = arguments.inner(1).unwrap();
            assert_eq!((request.text(2), request.text(3)), ("d".into(), "t".into()));
            raised(1, "not today")
        }
        "get_partition_req" => {
            let request = arguments.inner(1).unwrap();
            assert_eq!(request.texts(4), ["1"]);
            let partition = model::partition_struct("d", "t", &stored(), &partition("1"));
            found(Struct::default().with(1, Value::Struct(partition)))
        }
        _ => Answer::Failed(1),
    }));
    let catalog = catalog(&[&server]);
    let table = catalog.table().unwrap().unwrap();
    assert_eq!(table.columns, [Column::new("id", "bigint")]);
    // The owner is the one that was given; the stored one is compared.
    let mut own = spec();
    own.columns = Some(vec![Column::new("id", "bigint")]);
    let mut as_other = HiveCatalog::new(&HiveSettings {
        user: "o".into(),
        ..settings_of(&server)
    });
    as_other.owner = "o".into();
    as_other.create(&own).unwrap();
    assert_eq!(
        catalog.alter(&[Column::new("b", "int")], &[]).unwrap(),
        Altered::Refused("not today".into())
    );
    assert_eq!(
        catalog.partition(&["1".to_owned()]).unwrap().as_deref(),
        Some("file:///lake/t/dt=1")
    );
}

fn settings_of(server: &Server) -> HiveSettings {
    HiveSettings {
        metastores: vec![server.address.clone()],
        database: "d".into(),
        table: "t".into(),
        create: true,
        register: true,
        widen: true,
        location: "file:///lake/t".into(),
        user: "somebody".into(),
        timeout: Duration::from_secs(5),
    }
}

#[test]
fn exceptions_are_sorted_into_passing_and_lasting() {
    for (method, id, class) in [
        ("get_table", 1, Some(ErrorClass::Transient)),
        ("create_table", 1, None),
        ("create_table", 2, Some(ErrorClass::Permanent)),
        ("create_table", 3, Some(ErrorClass::Transient)),
        ("create_table", 4, Some(ErrorClass::Permanent)),
    ] {
        let server = serve(Box::new(move |called, _| {
            assert_eq!(called, method);
            raised(id, "because")
        }));
        let catalog = catalog(&[&server]);
        let error = match method {
            "get_table" => catalog.table().err(),
            _ => catalog.create(&spec()).err(),
        };
        assert_eq!(error.as_ref().map(|e| e.class), class, "{method} {id}");
        if let Some(error) = error {
            assert!(error.to_string().contains("because"), "{error}");
        }
    }
    let server = serve(Box::new(|_, _| Answer::Failed(6)));
    let error = catalog(&[&server]).table().unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    assert!(error.to_string().contains("out of luck"), "{error}");
}

#[test]
fn a_table_goes_back_with_every_field_that_it_came_with() {
    let mut table = stored()
        .with(77, Value::Struct(Struct::default().with(5, Value::I64(9))))
        .with(13, Value::Bool(true));
    let sd = table.inner_mut(7).unwrap();
    sd.set(55, Value::texts(["a"]));
    let columns = Value::structs([Struct::default()
        .with(1, Value::text("id"))
        .with(2, Value::text("bigint"))
        .with(3, Value::text("the key"))]);
    sd.set(1, columns);
    let before = table.clone();
    let store = Arc::new(Mutex::new(table));
    let served = Arc::clone(&store);
    let mut alters = 0;
    let server = serve(Box::new(move |method, arguments| {
        let mut table = served.lock().unwrap();
        if method == "get_table" {
            return found(table.clone());
        }
        assert_eq!(method, "alter_table_with_environment_context");
        let context = arguments.inner(4).unwrap();
        assert_eq!(context.entry(1, "CASCADE").as_deref(), Some("true"));
        alters += 1;
        // The first one is undone at once by somebody else who had read the table before.
        if alters > 1 {
            *table = arguments.inner(3).unwrap().clone();
        }
        done()
    }));
    let catalog = catalog(&[&server]);
    let added = [Column::new("New", "int")];
    assert_eq!(catalog.alter(&added, &[]).unwrap(), Altered::Yes);
    let mut wanted = before;
    let sd = wanted.inner_mut(7).unwrap();
    let mut columns: Vec<Struct> = sd.structs(1).cloned().collect();
    columns.push(
        Struct::default()
            .with(1, Value::text("new"))
            .with(2, Value::text("int")),
    );
    sd.set(1, Value::structs(columns));
    assert_eq!(*store.lock().unwrap(), wanted);
    let alters = server
        .calls()
        .iter()
        .filter(|call| call.starts_with("alter"))
        .count();
    assert_eq!(alters, 2);
}

#[test]
fn what_can_take_no_files_is_told() {
    let table = |change: &dyn Fn(&mut Struct)| {
        let mut table = stored();
        change(&mut table);
        model::table(&table)
    };
    let view = table(&|table| table.set(12, Value::text("VIRTUAL_VIEW")));
    assert!(view.unfit.unwrap().contains("view"));
    let acid = table(&|table| table.set(9, Value::map([("transactional", "TRUE")])));
    assert!(acid.unfit.unwrap().contains("transactional"));
    let orc = table(&|table| {
        let sd = table.inner_mut(7).unwrap();
        sd.set(
            3,
            Value::text("org.apache.hadoop.hive.ql.io.orc.OrcInputFormat"),
        );
    });
    assert_eq!(orc.format, None);
    assert!(orc.format_name.contains("OrcInputFormat"));
}
