//! What request bodies say: read strictly, and refused in the contract's words. `bodies` receives them.
//!
//! Duplicate keys are refused at every level, also of unknown fields, because two readers of one body must never see
//! two different values. Unknown fields are ignored: older official clients send some.

use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData};

use http::{HeaderMap, header};
use serde::{
    Deserialize,
    de::{
        DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
    },
};

use super::errors::{ApiError, Place, Problem};

/// Largest JSON body.
pub const JSON_MAX: usize = 1 << 20;

/// A JSON object read into a strict type.
///
/// # Errors
/// 422 with the place of the problem.
pub fn parse<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, ApiError> {
    if !is_json(headers) {
        return Err(ApiError::validation(vec![Problem::field(
            "header",
            "Content-Type",
            "value_error.media_type",
            "the body must be application/json",
        )]));
    }
    refuse_duplicates(bytes)?;
    // Keeping the path to a possible error costs several times what reading does, so it is kept where there is one.
    if let Ok(read) = serde_json::from_slice(bytes) {
        return Ok(read);
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let mut location = vec![Place::Key("body".to_owned())];
        location.extend(error.path().iter().filter_map(|step| match step {
            serde_path_to_error::Segment::Map { key } => Some(Place::Key(key.clone())),
            serde_path_to_error::Segment::Seq { index } => Some(Place::Index(*index)),
            _ => None,
        }));
        ApiError::validation(vec![Problem { location, message: without_values(error.inner()), kind: "type_error" }])
    })
}

/// serde's text quotes the offending value, which may be a secret; only what was expected is kept.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    match text.split_once(", expected ") {
        // The names of our types are nobody's business.
        Some((found, expected)) if found.starts_with("invalid ") && expected.starts_with("struct ") => {
            "expected an object".to_owned()
        }
        Some((found, expected)) if found.starts_with("invalid ") => format!("expected {expected}"),
        _ if text.starts_with("unknown variant ") => text
            .split_once(", expected ")
            .map_or("unknown value".to_owned(), |(_, expected)| format!("expected {expected}")),
        _ => text.to_owned(),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5 && essence.to_ascii_lowercase().ends_with("+json"))
}

fn refuse_duplicates(bytes: &[u8]) -> Result<(), ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let kind = Unique(&mut Vec::new()).deserialize(&mut json).and_then(|kind| json.end().map(|()| kind));
    match kind {
        Ok(Kind::Object) => Ok(()),
        Ok(Kind::Other) => Err(invalid("", "the body must be a JSON object")),
        Err(error) if error.to_string().starts_with(DUPLICATE) => Err(invalid("", "an object has a key twice")),
        Err(error) => {
            Err(invalid("", &format!("the body is not valid JSON (line {}, column {})", error.line(), error.column())))
        }
    }
}

/// A problem with the body, or one field of it.
pub fn invalid(field: &str, message: &str) -> ApiError {
    ApiError::validation(vec![Problem::field("body", field, "value_error.json", message)])
}

const DUPLICATE: &str = "duplicate key";

#[derive(Clone, Copy)]
enum Kind {
    Object,
    Other,
}

/// Keys up to this many in an object are compared with each other; more than that are hashed.
const FEW: usize = 16;

/// A key as it stands in the body, unless it has escapes.
#[derive(Deserialize, PartialEq, Eq, Hash)]
struct Key<'body>(#[serde(borrow)] Cow<'body, str>);

/// Walks any JSON value and fails on the first duplicate key. Holds the keys of all objects around the value, so that a
/// body of very many small objects needs no memory for each.
struct Unique<'a, 'de>(&'a mut Vec<Key<'de>>);

impl<'de> DeserializeSeed<'de> for Unique<'_, 'de> {
    type Value = Kind;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_, 'de> {
    type Value = Kind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        while items.next_element_seed(Unique(self.0))?.is_some() {}
        Ok(Kind::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Kind, A::Error> {
        let (first, mut many) = (self.0.len(), HashSet::new());
        while let Some(key) = entries.next_key::<Key>()? {
            let few = self.0.get(first..).unwrap_or_default();
            if few.contains(&key) || many.contains(&key) {
                return Err(serde::de::Error::custom(DUPLICATE));
            }
            if few.len() < FEW {
                self.0.push(key);
            } else {
                many.insert(key);
            }
            entries.next_value_seed(Unique(self.0))?;
        }
        self.0.truncate(first);
        Ok(Kind::Object)
    }
}

/// Collects the problems of a body that parsed but breaks rules.
#[derive(Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a problem with a field (dotted path) unless `ok`.
    pub fn require(&mut self, ok: bool, field: &str, message: &str) {
        if !ok {
            self.0.push(Problem::field("body", field, "value_error", message));
        }
    }

    /// A text of `min` to `max` characters.
    pub fn length(&mut self, text: &str, field: &str, min: usize, max: usize) {
        let length = text.chars().take(max + 1).count();
        self.require((min..=max).contains(&length), field, &format!("must have {min} to {max} characters"));
    }

    /// The 422 answer if anything was found.
    ///
    /// # Errors
    /// All problems at once.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::validation(self.0)) }
    }
}

/// Reads `null` like an absent field.
pub fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A JSON object. What serde derives for a struct also reads an array of its fields in order, and names the struct when
/// it refuses; through this an array is refused like any other wrong type.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries)).map(Object)
    }
}

/// Reads a field whose value must be an object.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|object| object.0)
}

/// Reads a field whose value must be an object or null.
pub fn optional_object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

/// Reads a field whose value must be an array of objects.
pub fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Vec::<Object<T>>::deserialize(deserializer)?.into_iter().map(|object| object.0).collect())
}

/// Reads a field whose value must be an array of objects or null.
pub fn optional_objects<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let objects = Option::<Vec<Object<T>>>::deserialize(deserializer)?;
    Ok(objects.map(|objects| objects.into_iter().map(|object| object.0).collect()))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use http_body_util::BodyExt;

    use super::*;

    fn json_headers() -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json; charset=utf-8".parse().unwrap())])
    }

    #[derive(Debug, Deserialize)]
    struct Sample {
        #[expect(dead_code, reason = "only parsed")]
        name: String,
    }

    #[test]
    fn strange_bodies_are_refused_without_a_panic() {
        let deep = "[".repeat(10_000);
        for body in [
            "",
            "{",
            "[]",
            "null",
            "\"x\"",
            "{\"name\":1}",
            "{\"name\":null}",
            "{\"name\":\"a\",\"name\":\"b\"}",
            "{\"name\":\"a\",\"x\":{\"y\":1,\"y\":2}}",
            "{\"name\":\"a\"} trailing",
            "{\"name\":\"a\",\"n\":1e400}",
            &deep,
            "{\"name\":\"\\ud800\"}",
            "\u{feff}{}",
            "{\"name\":NaN}",
        ] {
            assert!(parse::<Sample>(&json_headers(), body.as_bytes()).is_err(), "{body:.40}");
        }
        assert!(parse::<Sample>(&json_headers(), b"{\"name\":\"\xff\"}").is_err());
        assert!(parse::<Sample>(&json_headers(), b"{\"name\":\"a\",\"unknown\":[1,{}]}").is_ok());
        assert!(parse::<Sample>(&HeaderMap::new(), b"{\"name\":\"a\"}").is_err());
    }

    #[test]
    fn a_key_twice_is_found_at_every_place_and_however_it_is_written() {
        let object = |keys: &[String]| {
            let entries: Vec<_> =
                keys.iter().map(|key| format!(r#""{key}":{{"key1":[{{"a":1}},{{"a":1}}]}}"#)).collect();
            format!(r#"{{"name":"a","inner":{{{}}}}}"#, entries.join(","))
        };
        let keys: Vec<_> = (0..3 * FEW).map(|n| format!("key{n}")).collect();
        assert!(parse::<Sample>(&json_headers(), object(&keys).as_bytes()).is_ok());
        for again in [0, 1, FEW - 1, FEW, FEW + 1, 3 * FEW - 2] {
            for written in [keys[again].clone(), keys[again].replace('k', "\\u006b")] {
                let twice = object(&[keys.as_slice(), &[written]].concat());
                assert!(parse::<Sample>(&json_headers(), twice.as_bytes()).is_err(), "{again}");
            }
        }
    }

    #[tokio::test]
    async fn an_array_is_no_object_and_the_place_inside_one_is_kept() {
        #[derive(Debug, Deserialize)]
        struct Outer {
            #[expect(dead_code, reason = "only parsed")]
            #[serde(deserialize_with = "object")]
            one: Sample,
            #[expect(dead_code, reason = "only parsed")]
            #[serde(default, deserialize_with = "optional_objects")]
            many: Option<Vec<Sample>>,
        }
        for (body, place) in [
            (r#"{"one":["a"]}"#, r#"["body","one"]"#),
            (r#"{"one":{"name":1}}"#, r#"["body","one","name"]"#),
            (r#"{"one":{"name":"a"},"many":[{"name":"b"},["c"]]}"#, r#"["body","many",1]"#),
        ] {
            let refusal = parse::<Outer>(&json_headers(), body.as_bytes()).unwrap_err().into_response();
            let answer = refusal.into_body().collect().await.unwrap().to_bytes();
            let answer = std::str::from_utf8(&answer).unwrap();
            assert!(answer.contains(place) && !answer.contains("Sample"), "{body}: {answer}");
        }
        assert!(parse::<Outer>(&json_headers(), br#"{"one":{"name":"a"},"many":null}"#).is_ok());
    }

    #[test]
    fn a_type_error_does_not_quote_the_value() {
        #[derive(Debug, Deserialize)]
        struct Number {
            #[expect(dead_code, reason = "only parsed")]
            n: u8,
        }
        let error = parse::<Number>(&json_headers(), br#"{"n":"4111111111111111"}"#).unwrap_err();
        assert!(!format!("{error:?}").contains("4111"));
    }
}
