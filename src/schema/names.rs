//! Names of columns and struct fields as they land.

use std::collections::HashSet;

use super::{Metadata, Names, RAW, RESCUED};

/// A key in Hive's form: lower case, and what is not an ASCII letter, digit or `_` becomes `_`. An empty key is `_`.
///
/// Letters outside ASCII are folded too, since not every metastore's database keeps them apart.
#[must_use]
pub fn fold_name(key: &str) -> String {
    if key.is_empty() {
        return "_".to_owned();
    }
    key.chars()
        .map(|c| match c {
            'a'..='z' | '0'..='9' | '_' => c,
            'A'..='Z' => c.to_ascii_lowercase(),
            _ => '_',
        })
        .collect()
}

/// What the path of a file brings for the path column `name`: values go by the names of the pattern's groups, which land
/// folded with `names = "hive"`.
#[must_use]
pub fn group_value<'a>(values: &'a [(String, Option<String>)], name: &str) -> Option<&'a str> {
    let exact = values.iter().find(|(group, _)| group == name);
    let found = exact.or_else(|| values.iter().find(|(group, _)| fold_name(group) == name));
    found.and_then(|(_, value)| value.as_deref())
}

/// The names in use beside each other, which a new one must not repeat.
#[derive(Clone, Debug, Default)]
pub struct Taken(HashSet<String>);

impl Taken {
    /// The names that no data column may have: Lakeward's own and these.
    #[must_use]
    pub fn reserved(names: &[String]) -> Self {
        let own = Metadata::ALL.map(Metadata::name);
        let own = own.into_iter().chain([RESCUED, RAW]).map(str::to_owned);
        Self(own.chain(names.iter().cloned()).collect())
    }

    pub fn take(&mut self, name: &str) {
        self.0.insert(name.to_owned());
    }

    /// Takes a free name for this key: its folded form (or the key as it is), with `_2`, `_3`, … where that is taken.
    pub fn name(&mut self, key: &str, names: Names) -> String {
        let wanted = match names {
            Names::Hive => fold_name(key),
            Names::AsIs => key.to_owned(),
        };
        let mut name = wanted.clone();
        let mut n = 2_u32;
        while self.0.contains(&name) {
            name = format!("{wanted}_{n}");
            n += 1;
        }
        self.0.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_folded_to_hives_form() {
        for (key, name) in [
            ("Cost Total $", "cost_total__"),
            ("createdAt", "createdat"),
            ("1xx", "1xx"),
            ("hg.nginx.org", "hg_nginx_org"),
            ("Größe", "gr__e"),
            ("", "_"),
        ] {
            assert_eq!(fold_name(key), name);
        }
    }

    #[test]
    fn a_collision_gets_a_number_that_is_free() {
        let mut taken = Taken::reserved(&["region".to_owned()]);
        let names: Vec<_> = ["a", "A", "a_2", "A", "_rescued", "region", "_FILE"]
            .iter()
            .map(|key| taken.name(key, Names::Hive))
            .collect();
        assert_eq!(
            names,
            [
                "a",
                "a_2",
                "a_2_2",
                "a_3",
                "_rescued_2",
                "region_2",
                "_file_2"
            ]
        );
        assert_eq!(taken.name("Region", Names::AsIs), "Region");
    }

    #[test]
    fn a_groups_value_is_found_under_its_own_name_first_and_then_under_its_folded_one() {
        let values = [
            ("Shop".to_owned(), Some("n".to_owned())),
            ("shop".to_owned(), Some("s".to_owned())),
            ("DAY".to_owned(), None),
        ];
        for (name, value) in [
            ("Shop", Some("n")),
            ("shop", Some("s")),
            ("day", None),
            ("x", None),
        ] {
            assert_eq!(group_value(&values, name), value, "{name}");
        }
        assert_eq!(group_value(&values[..1], "shop"), Some("n"));
    }
}
