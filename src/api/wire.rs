//! A verb as an HTTP request, and back.
//!
//! Fields that stand in braces in the path are taken from there. The others are the query of a `GET` or
//! `DELETE`, and a JSON object in the body of a `POST`. Texts of path and query become what their field
//! holds; a field that there is not, or that is missing, is named.

use serde::de::value::MapDeserializer;
use serde::de::{self, IntoDeserializer, Visitor};
use serde_json::{Map, Value};

use super::{Endpoint, Error};

/// Below this all verbs lie.
pub const PREFIX: &str = "/api/v1";

/// A request as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// A JSON object, or nothing.
    pub body: Option<Vec<u8>>,
}

/// How `verb` is sent.
///
/// # Errors
/// When it cannot be written as JSON: a defect.
pub fn write<V: Endpoint>(verb: &V) -> Result<Sent, Error> {
    let Value::Object(mut fields) = serde_json::to_value(verb).map_err(Error::defect)? else {
        return Err(Error::defect("a verb that is no object"));
    };
    let mut target = PREFIX.to_owned();
    for (n, part) in V::PATH.split(['{', '}']).enumerate() {
        match n % 2 {
            0 => target.push_str(part),
            _ => target.push_str(&plain(fields.remove(part).unwrap_or_default())),
        }
    }
    fields.retain(|_, value| !value.is_null());
    if V::METHOD == "POST" {
        let body = serde_json::to_vec(&fields).map_err(Error::defect)?;
        let (method, body) = (V::METHOD, Some(body));
        return Ok(Sent {
            method,
            target,
            body,
        });
    }
    let pairs = fields.into_iter().map(|(name, value)| (name, plain(value)));
    let pairs: Vec<_> = pairs.collect();
    let query = serde_urlencoded::to_string(pairs).map_err(Error::defect)?;
    if !query.is_empty() {
        target = format!("{target}?{query}");
    }
    Ok(Sent {
        method: V::METHOD,
        target,
        body: None,
    })
}

/// A value as it stands in a path or query.
fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// What is asked for: the words of the path, the query, and the body.
///
/// # Errors
/// [`Error::Bad`], which says what is wrong.
pub fn read<V: Endpoint>(
    path: impl Iterator<Item = (String, String)>,
    query: &str,
    body: Option<&[u8]>,
) -> Result<V, Error> {
    let mut fields: Vec<(String, Field)> = path
        .map(|(name, text)| (name.clone(), Field::Text { name, text }))
        .collect();
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(query).map_err(|_| Error::bad("the query cannot be read"))?;
    if V::METHOD == "POST" && !pairs.is_empty() {
        let first = crate::domain::printable(&pairs[0].0, 40);
        return Err(Error::bad(format!(
            "unknown field `{first}` in the query: fields go into the body"
        )));
    }
    for (name, text) in pairs {
        only_once(&fields, &name)?;
        fields.push((name.clone(), Field::Text { name, text }));
    }
    for (name, value) in object(body)? {
        only_once(&fields, &name)?;
        fields.push((name, Field::Json(value)));
    }
    let fields = MapDeserializer::<_, serde_json::Error>::new(fields.into_iter());
    V::deserialize(fields).map_err(|error| Error::bad(error.to_string()))
}

/// The path's fields stand nowhere else, and nothing stands twice.
fn only_once(fields: &[(String, Field)], name: &str) -> Result<(), Error> {
    match fields.iter().any(|(known, _)| known == name) {
        true => Err(Error::bad(format!("the field `{name}` is given twice"))),
        false => Ok(()),
    }
}

fn object(body: Option<&[u8]>) -> Result<Map<String, Value>, Error> {
    let Some(body) = body.filter(|body| !body.is_empty()) else {
        return Ok(Map::new());
    };
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::bad("the body is to be a JSON object")),
        Err(error) => Err(Error::bad(format!("the body is no JSON: {error}"))),
    }
}

/// What a field is given.
enum Field {
    /// A text of a path or query, which becomes what is wanted.
    Text { name: String, text: String },
    /// A value of a body, which is what it is.
    Json(Value),
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for Field {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $what:literal,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            match self {
                Field::Json(value) => value.$method(visitor),
                Field::Text { name, text } => match text.parse() {
                    Ok(value) => visitor.$visit(value),
                    Err(_) => Err(de::Error::custom(format!("{name} takes {}", $what))),
                },
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Field {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self {
            Field::Json(value) => value.deserialize_any(visitor),
            Field::Text { text, .. } => visitor.visit_string(text),
        }
    }

    parsed! {
        deserialize_bool visit_bool "true or false",
        deserialize_i64 visit_i64 "a whole number",
        deserialize_u64 visit_u64 "a whole number from 0 on",
        deserialize_u32 visit_u32 "a whole number from 0 on",
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self {
            Field::Json(value) => value.deserialize_option(visitor),
            text => visitor.visit_some(text),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self {
            Field::Json(value) => value.deserialize_newtype_struct(name, visitor),
            text => visitor.visit_newtype_struct(text),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let value = match self {
            Field::Json(value) => value,
            Field::Text { text, .. } => Value::String(text),
        };
        value.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use crate::logs::Cursor;
    use proptest::prelude::*;

    /// What comes out of a request that was sent.
    fn there_and_back<V: Endpoint>(verb: &V) -> (String, V) {
        let sent = write(verb).unwrap();
        let (path, query) = sent.target.split_once('?').unwrap_or((&sent.target, ""));
        let path = path.strip_prefix(PREFIX).unwrap();
        let given = V::PATH.split('/').zip(path.split('/'));
        let fields = given.filter_map(|(name, value)| {
            let name = name.strip_prefix('{')?.strip_suffix('}')?;
            Some((name.to_owned(), value.to_owned()))
        });
        let read = read(fields, query, sent.body.as_deref()).unwrap();
        (sent.target.clone(), read)
    }

    #[test]
    fn a_verb_arrives_as_it_was_sent() {
        let follow = DeployFollow {
            id: crate::domain::DeployId(7),
            from: Cursor {
                ordinal: 2,
                offset: 81,
            },
            follow: false,
            until_live: false,
        };
        let (target, read) = there_and_back(&follow);
        assert_eq!(
            target,
            "/api/v1/deploys/7/events?follow=false&from=2.81&until_live=false"
        );
        assert_eq!(
            (read.id, read.from, read.follow),
            (follow.id, follow.from, false)
        );

        let revert = Revert {
            app: "shop".parse().unwrap(),
            commit: Some("a b&c=d%/\u{e9}".into()),
            to: None,
        };
        let (target, read) = there_and_back(&revert);
        assert_eq!(target, "/api/v1/apps/shop/revert");
        assert_eq!(read.commit, revert.commit);
        let outlook = RevertOutlook {
            app: revert.app,
            commit: revert.commit,
        };
        assert_eq!(there_and_back(&outlook).1.commit, outlook.commit);

        let logs = AppLogs {
            app: "shop".parse().unwrap(),
            since_ms: None,
            tail: 3,
            process: Some(crate::domain::ProcessName::web()),
        };
        let (target, read) = there_and_back(&logs);
        assert_eq!(
            (target.as_str(), read.tail),
            ("/api/v1/apps/shop/logs?process=web&tail=3", 3)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        fn says<V: Endpoint>(query: &str, body: &str) -> String {
            let path = [("app", "shop"), ("name", "shop"), ("id", "7")];
            let path = path
                .into_iter()
                .filter(|(name, _)| V::PATH.contains(&format!("{{{name}}}")));
            let path = path.map(|(name, value)| (name.to_owned(), value.to_owned()));
            match read::<V>(path, query, Some(body.as_bytes())) {
                Err(Error::Bad(why)) => why,
                _ => panic!("{query} {body} was read"),
            }
        }
        assert!(says::<Deploys>("limit=many", "").contains("limit takes a whole number"));
        assert!(says::<Deploys>("limit=-1", "").contains("limit takes a whole number from 0"));
        assert!(says::<Deploys>("limits=1", "").contains("limits"));
        assert!(says::<Deploys>("limit=1&limit=2", "").contains("given twice"));
        assert!(says::<EnvList>("reveal=1", "").contains("true or false"));
        assert!(says::<Revert>("", r#"{"comit":"1a2b"}"#).contains("`comit`"));
        assert!(says::<Revert>("commit=1a2b", "").contains("into the body"));
        assert!(says::<Revert>("", r#"{"app":"blog"}"#).contains("given twice"));
        assert!(says::<Revert>("", "[1]").contains("object"));
        assert!(says::<Revert>("", "{").contains("no JSON"));
        assert!(says::<TokenCreate>("", r#"{"name":"ci"}"#).contains("`scope`"));
        assert!(says::<UserRole>("", r#"{"role":"root"}"#).contains("root"));
        assert!(says::<AppDomains>("", r#"{"add":["https://x"]}"#).contains("without scheme"));
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(query in "([a-z]{0,6}=?[^#]{0,8}&?){0,4}", body in prop::collection::vec(any::<u8>(), 0..200)) {
            let path = || [("app".to_owned(), "shop".to_owned())].into_iter();
            let _ = read::<Revert>(path(), "", Some(&body));
            let _ = read::<Pushed>(path(), "", Some(&body));
            let _ = read::<EnvSet>(path(), "", Some(&body));
            let _ = read::<AppLogs>(path(), &query, None);
            let _ = read::<Deploys>(path(), &query, Some(&body));
        }

        #[test]
        fn any_text_of_a_query_arrives(commit in "\\PC{0,40}") {
            let outlook = RevertOutlook { app: "shop".parse().unwrap(), commit: Some(commit.clone()) };
            prop_assert_eq!(there_and_back(&outlook).1.commit, Some(commit));
        }
    }
}
