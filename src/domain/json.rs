//! Parameters of operations, and the JSON they are read from, in which no name stands twice in one
//! object: nobody can tell which of the two is meant, and a reader that takes the last one does
//! something else than was read.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

/// The parameters of an operation: one JSON value per field of its catalogue entry.
pub type Params = serde_json::Map<String, Json>;

/// Reads a value.
///
/// # Errors
/// When it is no JSON, or a name stands twice in an object of it.
pub fn from_text(text: &str) -> serde_json::Result<Json> {
    serde_json::from_str(text).map(|Unambiguous(value)| value)
}

/// Reads parameters, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// As [`from_text`], and when it is no object.
pub fn params<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Params, D::Error> {
    match Unambiguous::deserialize(deserializer)?.0 {
        Json::Object(params) => Ok(params),
        _ => Err(de::Error::custom("parameters must be an object")),
    }
}

struct Unambiguous(Json);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueNames).map(Self)
    }
}

struct UniqueNames;

impl<'de> Visitor<'de> for UniqueNames {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut given: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(Unambiguous(item)) = given.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut given: A) -> Result<Json, A::Error> {
        let mut fields = Params::new();
        while let Some(name) = given.next_key::<String>()? {
            if fields.contains_key(&name) {
                return Err(de::Error::custom(format_args!("'{name}' stands twice in one object")));
            }
            let Unambiguous(value) = given.next_value()?;
            fields.insert(name, value);
        }
        Ok(Json::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_serde_reads_it_and_no_name_stands_twice() {
        let text = r#"{"a":[1,-2,3.5,1e300,18446744073709551615,null,true,"\u00e9"],"b":{"a":{}}}"#;
        assert_eq!(from_text(text).unwrap(), serde_json::from_str::<Json>(text).unwrap());
        for twice in [r#"{"a":1,"a":1}"#, r#"[{"b":[{"a":1,"c":2,"a":3}]}]"#] {
            let error = from_text(twice).unwrap_err().to_string();
            assert!(error.starts_with("'a' stands twice"), "{error}");
        }
        assert!(from_text("{} {}").is_err() && from_text("{").is_err());
        assert!(from_text(&"[".repeat(1000)).is_err(), "as deep as serde_json goes");
    }
}
