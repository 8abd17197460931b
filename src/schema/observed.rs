//! What was seen of the values under a key, and the type that follows from it.
//!
//! | seen | type |
//! | --- | --- |
//! | integers that fit | `bigint`; of up to 38 digits `decimal(38,0)`; beyond `string` |
//! | a fraction or an exponent anywhere | `double`, but `string` beside an integer beyond `bigint`, which never becomes a double |
//! | `true`, `false` | `boolean` |
//! | date-times throughout | `timestamp` |
//! | objects | `struct`; without any key `string` |
//! | arrays | `array` of what their elements are |
//! | a mixture, or only null | `string` |
//!
//! Types only ever widen an existing schema: fields are added, none changes. Nesting below [`TYPE_DEPTH_MAX`] is kept as JSON
//! text, so that no input makes a type that a reader's recursion cannot follow.

use std::collections::HashMap;

use super::{DataType, Field, Names, Schema, Taken, fold_name};
use crate::record::Expected;

/// How deep types nest.
pub const TYPE_DEPTH_MAX: usize = 16;

/// A set of kinds of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    pub const NONE: Self = Self(0);
    pub const BOOLEAN: Self = Self(1);
    /// Fits `bigint`.
    pub const INTEGER: Self = Self(1 << 1);
    /// Fits `decimal(38,0)`.
    pub const LARGE: Self = Self(1 << 2);
    /// Fits neither.
    pub const HUGE: Self = Self(1 << 3);
    /// Has a fraction or an exponent.
    pub const DOUBLE: Self = Self(1 << 4);
    pub const DATE_TIME: Self = Self(1 << 5);
    pub const TEXT: Self = Self(1 << 6);
    pub const OBJECT: Self = Self(1 << 7);
    pub const ARRAY: Self = Self(1 << 8);

    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// What was seen under one key, or at the top.
#[derive(Debug, Default)]
pub struct Observed {
    pub kinds: Kinds,
    /// Keys in the order in which they first appeared.
    fields: Vec<(String, Observed)>,
    /// These keys as texts have them.
    expected: Vec<Expected>,
    lookup: HashMap<String, usize>,
    element: Option<Box<Observed>>,
}

impl Observed {
    #[must_use]
    pub fn of(kinds: Kinds) -> Self {
        Self {
            kinds,
            ..Self::default()
        }
    }

    pub fn see(&mut self, kinds: Kinds) {
        self.kinds = self.kinds.with(kinds);
    }

    /// The field of this key, made if `left` allows another one; `near` guesses its place.
    pub fn field(
        &mut self,
        key: &str,
        near: usize,
        left: &mut usize,
    ) -> Option<(usize, &mut Self)> {
        let found = match self.fields.get(near) {
            Some((name, _)) if name == key => Some(near),
            _ => self.lookup.get(key).copied(),
        };
        let at = if let Some(at) = found {
            at
        } else {
            *left = left.checked_sub(1)?;
            self.lookup.insert(key.to_owned(), self.fields.len());
            self.fields.push((key.to_owned(), Self::default()));
            self.expected.push(Expected::new(key.as_bytes()));
            self.fields.len() - 1
        };
        Some((at, &mut self.fields[at].1))
    }

    /// The field at `place`, if its key in quotes and the colon stand at `at` of a JSON text, and what follows these.
    #[inline]
    pub fn expected_field(&self, place: usize, bytes: &[u8], at: usize) -> Option<(&Self, usize)> {
        let end = self.expected.get(place)?.end(bytes, at)?;
        Some((&self.fields[place].1, end))
    }

    /// The field of this key if it was seen; `near` guesses its place.
    #[inline]
    pub fn known_field(&self, key: &[u8], near: usize) -> Option<(usize, &Self)> {
        if let Some((name, field)) = self.fields.get(near)
            && name.as_bytes() == key
        {
            return Some((near, field));
        }
        let at = *self.lookup.get(std::str::from_utf8(key).ok()?)?;
        Some((at, &self.fields[at].1))
    }

    pub fn element(&mut self) -> &mut Self {
        self.element.get_or_insert_with(Box::default)
    }

    /// Takes in what was seen of later values; new keys follow, as far as `left` allows.
    pub fn merge(&mut self, later: Self, left: &mut usize) {
        self.see(later.kinds);
        for (near, (key, seen)) in later.fields.into_iter().enumerate() {
            if let Some((_, field)) = self.field(&key, near, left) {
                field.merge(seen, left);
            }
        }
        if let Some(element) = later.element {
            self.element().merge(*element, left);
        }
    }

    /// What was seen inside arrays, if anything was.
    pub fn known_element(&self) -> Option<&Self> {
        self.element.as_deref()
    }

    /// The fields, in the order in which they first appeared.
    #[must_use]
    pub fn fields(&self) -> &[(String, Self)] {
        &self.fields
    }
}

/// How a schema takes in what was observed.
#[derive(Clone, Copy, Debug)]
pub struct Widening<'a> {
    pub names: Names,
    /// [`super::SchemaSettings::partition_keys`].
    pub partition_keys: &'a [String],
    /// Leaves of the whole schema; 0 for no limit.
    pub columns_max: usize,
    /// Whether a key that only came with null (or nothing else inside objects and arrays) becomes a `string`, or waits.
    pub nulls: bool,
}

impl Schema {
    /// Adds what `top` saw at the top of records and this schema does not have. Columns and fields that are there keep
    /// their type.
    pub fn widen(&mut self, top: &Observed, how: Widening<'_>) {
        let max = if how.columns_max == 0 {
            usize::MAX
        } else {
            how.columns_max
        };
        let mut left = max.saturating_sub(self.leaves());
        let mut taken = Taken::reserved(&self.path_columns);
        for key in how.partition_keys {
            taken.take(key);
        }
        widen_fields(&mut self.columns, top, &mut taken, how, &mut left, 0);
    }
}

fn widen_fields(
    fields: &mut Vec<Field>,
    seen: &Observed,
    taken: &mut Taken,
    how: Widening<'_>,
    left: &mut usize,
    depth: usize,
) {
    let mut lookup = HashMap::new();
    let mut folded = HashMap::new();
    for (i, field) in fields.iter().enumerate() {
        taken.take(&field.name);
        lookup.insert(field.key.clone(), i);
        if field.folds {
            folded.insert(field.name.clone(), i);
        }
    }
    for (key, observed) in &seen.fields {
        let known = lookup.get(key).or_else(|| folded.get(&fold_name(key)));
        if let Some(&known) = known {
            widen_type(&mut fields[known].data_type, observed, how, left, depth);
        } else if *left > 0
            && let Some(data_type) = observed.data_type(how, left, depth)
        {
            fields.push(Field {
                name: taken.name(key, how.names),
                key: key.clone(),
                data_type,
                folds: false,
            });
        }
    }
}

fn widen_type(
    data_type: &mut DataType,
    seen: &Observed,
    how: Widening<'_>,
    left: &mut usize,
    depth: usize,
) {
    match data_type {
        DataType::Struct(fields) => {
            widen_fields(fields, seen, &mut Taken::default(), how, left, depth + 1);
        }
        DataType::Array(element) => {
            if let Some(seen) = &seen.element {
                widen_type(element, seen, how, left, depth + 1);
            }
        }
        DataType::Map(_, value) => {
            for (_, seen) in &seen.fields {
                widen_type(value, seen, how, left, depth + 1);
            }
        }
        _ => {}
    }
}

impl Observed {
    /// The type of a new column, its leaves taken off `left`; `None` for one that is not to be added (yet).
    fn data_type(&self, how: Widening<'_>, left: &mut usize, depth: usize) -> Option<DataType> {
        const NUMBERS: Kinds = Kinds::INTEGER.with(Kinds::LARGE).with(Kinds::HUGE);
        let kinds = self.kinds;
        if kinds == Kinds::NONE && !how.nulls {
            return None;
        }
        let nested = depth + 1 < TYPE_DEPTH_MAX && kinds != Kinds::NONE;
        let leaf = if kinds == Kinds::NONE {
            DataType::String
        } else if nested && kinds == Kinds::OBJECT && !self.fields.is_empty() {
            return self.struct_fields(how, left, depth).map(DataType::Struct);
        } else if nested && kinds == Kinds::OBJECT && !how.nulls {
            return None;
        } else if nested && kinds == Kinds::ARRAY {
            let element = match &self.element {
                Some(element) => element.data_type(how, left, depth + 1)?,
                None => Self::default().data_type(how, left, depth + 1)?,
            };
            return Some(DataType::Array(Box::new(element)));
        } else if kinds == Kinds::BOOLEAN {
            DataType::Boolean
        } else if kinds == Kinds::DATE_TIME {
            DataType::Timestamp
        } else if kinds == Kinds::INTEGER {
            DataType::BigInt
        } else if kinds.within(Kinds::INTEGER.with(Kinds::DOUBLE)) {
            DataType::Double
        } else if kinds.within(NUMBERS) && !kinds.has(Kinds::HUGE) {
            DataType::Decimal(38, 0)
        } else {
            DataType::String
        };
        *left = left.checked_sub(1)?;
        Some(leaf)
    }

    /// `None` if no field of it is to be added.
    fn struct_fields(
        &self,
        how: Widening<'_>,
        left: &mut usize,
        depth: usize,
    ) -> Option<Vec<Field>> {
        let mut fields = Vec::new();
        widen_fields(
            &mut fields,
            self,
            &mut Taken::default(),
            how,
            left,
            depth + 1,
        );
        (!fields.is_empty()).then_some(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::parse_type;

    fn typed(kinds: &[Kinds]) -> String {
        let all = kinds.iter().fold(Kinds::NONE, |all, k| all.with(*k));
        let how = Widening {
            names: Names::Hive,
            partition_keys: &[],
            columns_max: 0,
            nulls: true,
        };
        let mut left = 1;
        Observed::of(all)
            .data_type(how, &mut left, 0)
            .unwrap()
            .to_string()
    }

    #[test]
    fn the_type_follows_from_all_that_was_seen() {
        use Kinds as K;
        for (kinds, expected) in [
            (&[K::INTEGER][..], "bigint"),
            (&[K::INTEGER, K::LARGE], "decimal(38,0)"),
            (&[K::INTEGER, K::HUGE], "string"),
            (&[K::INTEGER, K::DOUBLE], "double"),
            (&[K::DOUBLE], "double"),
            (&[K::LARGE, K::DOUBLE], "string"),
            (&[K::HUGE, K::DOUBLE], "string"),
            (&[K::BOOLEAN], "boolean"),
            (&[K::BOOLEAN, K::INTEGER], "string"),
            (&[K::DATE_TIME], "timestamp"),
            (&[K::DATE_TIME, K::TEXT], "string"),
            (&[K::DATE_TIME, K::INTEGER], "string"),
            (&[K::OBJECT], "string"),
            (&[K::OBJECT, K::ARRAY], "string"),
            (&[K::ARRAY], "array<string>"),
            (&[], "string"),
        ] {
            assert_eq!(typed(kinds), expected, "{kinds:?}");
        }
    }

    #[test]
    fn a_known_column_keeps_its_type_and_only_gains_fields() {
        let mut schema = Schema {
            columns: vec![
                Field {
                    name: "a".into(),
                    key: "a".into(),
                    data_type: parse_type("struct<x:int>").unwrap(),
                    folds: false,
                },
                Field {
                    name: "b".into(),
                    key: "b".into(),
                    data_type: DataType::Int,
                    folds: false,
                },
            ],
            path_columns: vec!["p".into()],
            metadata: Vec::new(),
            raw: false,
        };
        let mut top = Observed::default();
        let mut left = 100;
        for (key, field) in [("a", Some("y")), ("b", None), ("p", None), ("n", Some("N"))] {
            let (_, seen) = top.field(key, 0, &mut left).unwrap();
            seen.see(if field.is_some() {
                Kinds::OBJECT
            } else {
                Kinds::TEXT
            });
            if let Some(field) = field {
                let (_, seen) = seen.field(field, 0, &mut left).unwrap();
                seen.see(Kinds::BOOLEAN);
            }
        }
        let (_, only_null) = top.field("z", 0, &mut left).unwrap();
        only_null.see(Kinds::NONE);
        let how = Widening {
            names: Names::Hive,
            partition_keys: &["n".to_owned()],
            columns_max: 5,
            nulls: false,
        };
        schema.widen(&top, how);
        let columns: Vec<_> = schema
            .columns
            .iter()
            .map(|c| format!("{} {}", c.name, c.data_type))
            .collect();
        let expected = [
            "a struct<x:int,y:boolean>",
            "b int",
            "p_2 string",
            "n_2 struct<n:boolean>",
        ];
        assert_eq!(columns, expected);
        schema.widen(&top, Widening { nulls: true, ..how });
        assert_eq!(schema.columns.len(), 4, "columns_max is reached");
    }
}
