//! Thrift values as they come: a struct is a list of field ids and values, known to us or not.
//!
//! A struct generated from one version's IDL forgets the fields that another version added, and a table that was read, widened
//! and sent back would have lost them. Here nothing is forgotten: what was read is sent back byte for byte, but for what was set.

use thrift::protocol::{
    TFieldIdentifier, TInputProtocol, TListIdentifier, TMapIdentifier, TOutputProtocol,
    TSetIdentifier, TStructIdentifier, TType,
};
use thrift::{ProtocolErrorKind, new_protocol_error};

/// A metastore's own structs are five levels deep; an answer nested deeper than this is not one.
const DEPTH_MAX: u32 = 32;

/// Room that is taken for a list before its elements have come.
const ROOM_MAX: i32 = 1024;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    Double(f64),
    /// Text too: Thrift does not tell them apart, and text that is no UTF-8 is sent back as it came.
    Bytes(Vec<u8>),
    Uuid([u8; 16]),
    Struct(Struct),
    List(TType, Vec<Value>),
    Set(TType, Vec<Value>),
    Map(TType, TType, Vec<(Value, Value)>),
}

/// Fields in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Struct(pub(super) Vec<(i16, Value)>);

impl Struct {
    pub(super) fn get(&self, id: i16) -> Option<&Value> {
        self.0
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, value)| value)
    }

    pub(super) fn set(&mut self, id: i16, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == id) {
            Some((_, old)) => *old = value,
            None => self.0.push((id, value)),
        }
    }

    pub(super) fn with(mut self, id: i16, value: Value) -> Self {
        self.set(id, value);
        self
    }

    /// Text; empty where there is none.
    pub(super) fn text(&self, id: i16) -> String {
        match self.get(id) {
            Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    pub(super) fn inner(&self, id: i16) -> Option<&Struct> {
        match self.get(id) {
            Some(Value::Struct(inner)) => Some(inner),
            _ => None,
        }
    }

    pub(super) fn inner_mut(&mut self, id: i16) -> Option<&mut Struct> {
        match self.0.iter_mut().find(|(known, _)| *known == id) {
            Some((_, Value::Struct(inner))) => Some(inner),
            _ => None,
        }
    }

    /// The structs of a list; none where there is no list.
    pub(super) fn structs(&self, id: i16) -> impl Iterator<Item = &Struct> {
        let elements = match self.get(id) {
            Some(Value::List(_, elements)) => elements.as_slice(),
            _ => &[],
        };
        elements.iter().filter_map(|element| match element {
            Value::Struct(inner) => Some(inner),
            _ => None,
        })
    }

    /// The texts of a list; none where there is no list.
    pub(super) fn texts(&self, id: i16) -> Vec<String> {
        match self.get(id) {
            Some(Value::List(_, elements)) => elements.iter().filter_map(Value::as_text).collect(),
            _ => Vec::new(),
        }
    }

    /// The value of a text in a map of texts.
    pub(super) fn entry(&self, id: i16, key: &str) -> Option<String> {
        let Some(Value::Map(_, _, entries)) = self.get(id) else {
            return None;
        };
        let found = entries
            .iter()
            .find(|(known, _)| known.as_text().is_some_and(|text| text == key));
        found.and_then(|(_, value)| value.as_text())
    }
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    pub(super) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self::List(TType::String, texts.into_iter().map(Self::text).collect())
    }

    pub(super) fn structs(structs: impl IntoIterator<Item = Struct>) -> Self {
        Self::List(
            TType::Struct,
            structs.into_iter().map(Self::Struct).collect(),
        )
    }

    pub(super) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::Map(
            TType::String,
            TType::String,
            entries
                .into_iter()
                .map(|(key, value)| (Self::text(key), Self::text(value)))
                .collect(),
        )
    }

    fn as_text(&self) -> Option<String> {
        match self {
            Self::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }

    fn kind(&self) -> TType {
        match self {
            Self::Bool(_) => TType::Bool,
            Self::I8(_) => TType::I08,
            Self::I16(_) => TType::I16,
            Self::I32(_) => TType::I32,
            Self::I64(_) => TType::I64,
            Self::Double(_) => TType::Double,
            Self::Bytes(_) => TType::String,
            Self::Uuid(_) => TType::Uuid,
            Self::Struct(_) => TType::Struct,
            Self::List(..) => TType::List,
            Self::Set(..) => TType::Set,
            Self::Map(..) => TType::Map,
        }
    }
}

/// # Errors
/// Whatever is no Thrift, or nested too deep; the connection cannot be used any more.
pub(super) fn read_struct(input: &mut dyn TInputProtocol) -> thrift::Result<Struct> {
    read_fields(input, 0)
}

fn read_fields(input: &mut dyn TInputProtocol, depth: u32) -> thrift::Result<Struct> {
    let mut fields = Vec::new();
    input.read_struct_begin()?;
    loop {
        let field = input.read_field_begin()?;
        if field.field_type == TType::Stop {
            break;
        }
        let id = field.id.unwrap_or(0);
        fields.push((id, read_value(input, field.field_type, depth + 1)?));
        input.read_field_end()?;
    }
    input.read_struct_end()?;
    Ok(Struct(fields))
}

fn read_value(input: &mut dyn TInputProtocol, kind: TType, depth: u32) -> thrift::Result<Value> {
    if depth > DEPTH_MAX {
        return Err(new_protocol_error(
            ProtocolErrorKind::DepthLimit,
            format!("nested deeper than {DEPTH_MAX}"),
        ));
    }
    Ok(match kind {
        TType::Bool => Value::Bool(input.read_bool()?),
        TType::I08 => Value::I8(input.read_i8()?),
        TType::I16 => Value::I16(input.read_i16()?),
        TType::I32 => Value::I32(input.read_i32()?),
        TType::I64 => Value::I64(input.read_i64()?),
        TType::Double => Value::Double(input.read_double()?),
        TType::String | TType::Utf7 => Value::Bytes(input.read_bytes()?),
        TType::Uuid => Value::Uuid(input.read_uuid()?.into_bytes()),
        TType::Struct => Value::Struct(read_fields(input, depth)?),
        TType::List => {
            let list = input.read_list_begin()?;
            let elements = read_elements(input, list.element_type, list.size, depth)?;
            input.read_list_end()?;
            Value::List(list.element_type, elements)
        }
        TType::Set => {
            let set = input.read_set_begin()?;
            let elements = read_elements(input, set.element_type, set.size, depth)?;
            input.read_set_end()?;
            Value::Set(set.element_type, elements)
        }
        TType::Map => read_map(input, depth)?,
        TType::Stop | TType::Void => {
            return Err(new_protocol_error(
                ProtocolErrorKind::InvalidData,
                format!("a value of type {kind:?}"),
            ));
        }
    })
}

fn read_elements(
    input: &mut dyn TInputProtocol,
    kind: TType,
    size: i32,
    depth: u32,
) -> thrift::Result<Vec<Value>> {
    let mut elements = Vec::with_capacity(size.clamp(0, ROOM_MAX) as usize);
    for _ in 0..size {
        elements.push(read_value(input, kind, depth + 1)?);
    }
    Ok(elements)
}

fn read_map(input: &mut dyn TInputProtocol, depth: u32) -> thrift::Result<Value> {
    let map = input.read_map_begin()?;
    let key_type = map.key_type.unwrap_or(TType::Stop);
    let value_type = map.value_type.unwrap_or(TType::Stop);
    let mut entries = Vec::with_capacity(map.size.clamp(0, ROOM_MAX) as usize);
    for _ in 0..map.size {
        let key = read_value(input, key_type, depth + 1)?;
        entries.push((key, read_value(input, value_type, depth + 1)?));
    }
    input.read_map_end()?;
    Ok(Value::Map(key_type, value_type, entries))
}

/// # Errors
/// A transport that fails.
pub(super) fn write_struct(
    output: &mut dyn TOutputProtocol,
    fields: &Struct,
) -> thrift::Result<()> {
    output.write_struct_begin(&TStructIdentifier::new(""))?;
    for (id, value) in &fields.0 {
        output.write_field_begin(&TFieldIdentifier::new("", value.kind(), *id))?;
        write_value(output, value)?;
        output.write_field_end()?;
    }
    output.write_field_stop()?;
    output.write_struct_end()
}

fn write_value(output: &mut dyn TOutputProtocol, value: &Value) -> thrift::Result<()> {
    match value {
        Value::Bool(value) => output.write_bool(*value),
        Value::I8(value) => output.write_i8(*value),
        Value::I16(value) => output.write_i16(*value),
        Value::I32(value) => output.write_i32(*value),
        Value::I64(value) => output.write_i64(*value),
        Value::Double(value) => output.write_double(*value),
        Value::Bytes(bytes) => output.write_bytes(bytes),
        // The protocol has a call of its own for it; its bytes are just these.
        Value::Uuid(bytes) => bytes.iter().try_for_each(|byte| output.write_byte(*byte)),
        Value::Struct(fields) => write_struct(output, fields),
        Value::List(kind, elements) => {
            output.write_list_begin(&TListIdentifier::new(*kind, elements.len() as i32))?;
            elements
                .iter()
                .try_for_each(|element| write_value(output, element))?;
            output.write_list_end()
        }
        Value::Set(kind, elements) => {
            output.write_set_begin(&TSetIdentifier::new(*kind, elements.len() as i32))?;
            elements
                .iter()
                .try_for_each(|element| write_value(output, element))?;
            output.write_set_end()
        }
        Value::Map(key_type, value_type, entries) => {
            output.write_map_begin(&TMapIdentifier::new(
                *key_type,
                *value_type,
                entries.len() as i32,
            ))?;
            for (key, value) in entries {
                write_value(output, key)?;
                write_value(output, value)?;
            }
            output.write_map_end()
        }
    }
}

#[cfg(test)]
mod tests {
    use thrift::protocol::{TBinaryInputProtocol, TBinaryOutputProtocol};

    use super::*;

    fn bytes(fields: &Struct) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_struct(&mut TBinaryOutputProtocol::new(&mut bytes, true), fields).unwrap();
        bytes
    }

    fn parse(bytes: &[u8]) -> thrift::Result<Struct> {
        read_struct(&mut TBinaryInputProtocol::new(bytes, true))
    }

    #[test]
    fn every_kind_of_value_is_sent_back_as_it_came() {
        let fields = Struct::default()
            .with(1, Value::Bool(true))
            .with(2, Value::I8(-1))
            .with(3, Value::I16(-300))
            .with(4, Value::I32(1 << 30))
            .with(5, Value::I64(i64::MIN))
            .with(6, Value::Double(-0.5))
            .with(7, Value::Bytes(vec![0xff, 0, 0x80]))
            .with(8, Value::Uuid([7; 16]))
            .with(
                9,
                Value::structs([Struct::default().with(1, Value::text("ä"))]),
            )
            .with(10, Value::Set(TType::I32, vec![Value::I32(3)]))
            .with(11, Value::map([("EXTERNAL", "TRUE")]))
            .with(12, Value::Map(TType::Stop, TType::Stop, Vec::new()))
            .with(
                32_000,
                Value::List(TType::List, vec![Value::texts(["a", "b"])]),
            );
        let sent = bytes(&fields);
        let read = parse(&sent).unwrap();
        assert_eq!(read, fields);
        assert_eq!(bytes(&read), sent);
        assert_eq!(read.entry(11, "EXTERNAL").as_deref(), Some("TRUE"));
        assert_eq!(read.entry(11, "external"), None);
    }

    #[test]
    fn what_is_no_thrift_is_an_error_and_takes_no_room() {
        // A list of 2^31-1 structs of which none comes.
        let long = [15, 0, 1, 12, 0x7f, 0xff, 0xff, 0xff];
        assert!(parse(&long).is_err());
        // A text of 2 GiB.
        let wide = [11, 0, 1, 0x7f, 0xff, 0xff, 0xff];
        assert!(parse(&wide).is_err());
        // Lists in lists in lists.
        let mut deep = vec![15, 0, 1];
        for _ in 0..1000 {
            deep.extend([15, 0, 0, 0, 1]);
        }
        match parse(&deep).unwrap_err() {
            thrift::Error::Protocol(error) => {
                assert_eq!(error.kind, ProtocolErrorKind::DepthLimit);
            }
            other => panic!("{other}"),
        }
        assert!(parse(&[77, 0, 1]).is_err());
        assert!(parse(&[]).is_err());
    }
}
