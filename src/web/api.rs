//! `/api/v1`: what the command line asks, over HTTP.
//!
//! An endpoint is a line in a table: from it come its route, its place in the OpenAPI document, and
//! the control socket's [`Request`] that it stands for. So what it needs, what the audit log says and
//! what comes back are the same as on the socket, and there is nothing else here to decide.

use std::collections::HashMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, RawPathParams, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::Web;
use super::doors::Who;
use super::error::Error;
use crate::control::{Request, answer};

/// Where a field of a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum In {
    Path,
    Query,
    Body,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Bool,
    List,
    Object,
}

/// A field of a request. One without a default has to be there.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: &'static str,
    is_in: In,
    kind: Kind,
    default: Option<&'static str>,
    what: &'static str,
}

/// Something that may be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endpoint {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Which request of the control socket it is.
    does: &'static str,
    what: &'static str,
    fields: &'static [Field],
}

const fn field(name: &'static str, is_in: In, kind: Kind, what: &'static str) -> Field {
    Field {
        name,
        is_in,
        kind,
        default: None,
        what,
    }
}

const fn or(field: Field, default: &'static str) -> Field {
    Field {
        default: Some(default),
        ..field
    }
}

const NAME: Field = field("name", In::Path, Kind::Text, "the app");
const APP: Field = field("app", In::Path, Kind::Text, "the app");
const ID: Field = field("id", In::Path, Kind::Number, "its number");
const WHO: Field = field("name", In::Path, Kind::Text, "the user");
const USER: Field = or(
    field("user", In::Query, Kind::Text, "only of this user"),
    "null",
);
const WHOSE: Field = or(
    field("user", In::Body, Kind::Text, "whose; your own by default"),
    "null",
);
const ROLE: Field = field("role", In::Body, Kind::Text, "viewer, deployer or admin");
const APPS: Field = or(field("apps", In::Body, Kind::List, "in which apps"), "[]");
const COMMIT: Field = or(
    field(
        "commit",
        In::Body,
        Kind::Text,
        "an id, the beginning of one, or a branch",
    ),
    "null",
);
const LIMIT: Field = or(
    field("limit", In::Query, Kind::Number, "how many at most"),
    "20",
);
const PASSWORD: Field = or(
    field(
        "password",
        In::Body,
        Kind::Text,
        "made up and given back by default",
    ),
    "null",
);

macro_rules! endpoints {
    ($($method:literal $path:literal => $does:literal, $what:literal, [$($field:expr),*];)*) => {
        &[$(Endpoint {
            method: $method,
            path: concat!("/api/v1", $path),
            does: $does,
            what: $what,
            fields: &[$($field),*],
        }),*]
    };
}

/// Everything that may be asked.
pub(super) const ENDPOINTS: &[Endpoint] = endpoints! {
    "GET" "/whoami" => "whoami", "Who you are, and what you may do", [];
    "GET" "/apps" => "app_list", "The apps that you may see", [];
    "POST" "/apps" => "app_create", "Creates an app",
        [field("name", In::Body, Kind::Text, "its name"), or(field("domains", In::Body, Kind::List, "its domains"), "[]")];
    "GET" "/apps/{name}" => "app_show", "An app", [NAME];
    "POST" "/apps/{name}/allow" => "app_allow", "Allows an app more than every app may", [
        NAME,
        field("more", In::Body, Kind::Object, "memory, pids, cpus, capabilities"),
        or(field("reset", In::Body, Kind::Bool, "takes back all that was allowed before"), "false")];
    "POST" "/apps/{name}/domains" => "app_domains", "An app's domains, after what is added and removed; it counts at once", [
        NAME,
        or(field("add", In::Body, Kind::List, "it answers to these too"), "[]"),
        or(field("remove", In::Body, Kind::List, "and to these no more"), "[]")];
    "POST" "/apps/{name}/public" => "app_public", "Makes an app's badge and status there for everybody, or for nobody",
        [NAME, field("public", In::Body, Kind::Bool, "whether they are")];
    "DELETE" "/apps/{name}" => "app_destroy", "Removes an app with everything of it", [NAME];
    "GET" "/apps/{app}/env" => "env_list", "Names of variables, and values where asked",
        [APP, or(field("reveal", In::Query, Kind::Bool, "the values too"), "false")];
    "POST" "/apps/{app}/env" => "env_set", "Sets variables; they count from the next deploy or restart on",
        [APP, field("vars", In::Body, Kind::Object, "names and values")];
    "POST" "/apps/{app}/env/unset" => "env_unset", "Removes variables",
        [APP, field("names", In::Body, Kind::List, "their names")];
    "GET" "/apps/{app}/deploys" => "deploys", "An app's deploys, newest first", [APP, LIMIT];
    "POST" "/apps/{app}/redeploy" => "redeploy", "Builds and deploys a commit again; the live one by default", [APP, COMMIT];
    "POST" "/apps/{app}/revert" => "revert", "Goes back to a release; the one before the live one by default", [APP, COMMIT];
    "GET" "/apps/{app}/revert" => "revert_outlook", "What going back to a release would do; the one before the live one by default",
        [APP, or(field("commit", In::Query, Kind::Text, "an id, the beginning of one, or a branch"), "null")];
    "POST" "/apps/{app}/restart" => "restart", "Brings the live image up again with today's environment", [APP];
    "POST" "/apps/{app}/reload" => "reload", "SIGHUP to the app's main process", [APP];
    "GET" "/apps/{app}/logs" => "app_logs", "The app's own output", [
        APP,
        or(field("follow", In::Query, Kind::Bool, "false: to follow, use the command line"), "false"),
        or(field("since_ms", In::Query, Kind::Number, "only what is younger, in milliseconds"), "null"),
        or(field("tail", In::Query, Kind::Number, "how many of the last lines"), "100")];
    "GET" "/deploys/{id}" => "deploy_show", "A deploy", [ID];
    "GET" "/deploys/{id}/log" => "deploy_follow", "A piece of a deploy's log, and where the next one begins", [
        ID,
        or(field("from", In::Query, Kind::Text, "where to go on, as `next` told"), "\"0.0\""),
        or(field("follow", In::Query, Kind::Bool, "false: to follow, ask again"), "false")];
    "POST" "/deploys/{id}/cancel" => "deploy_cancel", "Stops a deploy; what is live stays so", [ID];
    "GET" "/users" => "user_list", "Every user", [];
    "POST" "/users" => "user_add", "Adds a user",
        [field("name", In::Body, Kind::Text, "their name"), ROLE, APPS, PASSWORD];
    "POST" "/users/{name}/role" => "user_role", "Changes what a user may do", [WHO, ROLE, APPS];
    "POST" "/users/{name}/password" => "user_passwd", "Gives a user another password; their sessions end", [
        WHO,
        PASSWORD,
        or(field("without_second_factor", In::Body, Kind::Bool, "turns their second factor off"), "false")];
    "DELETE" "/users/{name}" => "user_remove", "Removes a user with keys, tokens and sessions", [WHO];
    "GET" "/keys" => "key_list", "Ssh keys: your own, or as an administrator everybody's", [USER];
    "POST" "/keys" => "key_add", "Lets an ssh key in", [
        WHOSE,
        field("key", In::Body, Kind::Text, "the line of a .pub file"),
        or(field("name", In::Body, Kind::Text, "what to call it"), "null")];
    "DELETE" "/keys/{id}" => "key_remove", "Lets an ssh key in no more", [ID];
    "GET" "/tokens" => "token_list", "Tokens: your own, or as an administrator everybody's", [USER];
    "POST" "/tokens" => "token_create", "Makes a token, which is shown this once", [
        WHOSE,
        field("name", In::Body, Kind::Text, "what to call it"),
        field("scope", In::Body, Kind::Text, "read, deploy or admin"),
        or(field("apps", In::Body, Kind::List, "in which apps; all by default"), "null"),
        or(field("lasts_ms", In::Body, Kind::Number, "how long it is good; until it is revoked by default"), "null")];
    "DELETE" "/tokens/{id}" => "token_revoke", "Lets a token in no more", [ID];
    "GET" "/audit" => "audit", "Who did what, newest first",
        [or(field("app", In::Query, Kind::Text, "only with this app"), "null"), LIMIT];
};

/// What is asked of `endpoint`, as a request of the control socket.
fn request(
    endpoint: &Endpoint,
    params: &HashMap<String, String>,
    query: &HashMap<String, String>,
    body: Value,
) -> Result<Request, Error> {
    let Value::Object(mut body) = body else {
        return Err(Error::bad("the body is to be a JSON object"));
    };
    let known = |name: &str, is_in: In| {
        endpoint
            .fields
            .iter()
            .any(|f| f.name == name && f.is_in == is_in)
    };
    let unknown = query.keys().find(|name| !known(name, In::Query));
    if let Some(name) = unknown.or_else(|| body.keys().find(|name| !known(name, In::Body))) {
        return Err(Error::bad(format!(
            "there is no field {:?} here",
            crate::domain::printable(name, 40)
        )));
    }
    let mut asked = Map::from_iter([("do".to_owned(), json!(endpoint.does))]);
    for field in endpoint.fields {
        let given = match field.is_in {
            In::Path => params
                .get(field.name)
                .map(|text| field.read(text))
                .transpose()?,
            In::Query => query
                .get(field.name)
                .map(|text| field.read(text))
                .transpose()?,
            In::Body => body.remove(field.name),
        };
        let default = || {
            field
                .default
                .and_then(|text| serde_json::from_str(text).ok())
        };
        let value = given
            .or_else(default)
            .ok_or_else(|| Error::bad(format!("{} is missing", field.name)))?;
        asked.insert(field.name.to_owned(), value);
    }
    serde_json::from_value(Value::Object(asked)).map_err(|error| Error::bad(error.to_string()))
}

impl Field {
    /// What stands in a path or a query.
    fn read(&self, text: &str) -> Result<Value, Error> {
        let value = match self.kind {
            Kind::Text => Some(json!(text)),
            Kind::Number => text.parse::<i64>().ok().map(|number| json!(number)),
            Kind::Bool => text.parse::<bool>().ok().map(|is| json!(is)),
            Kind::List | Kind::Object => None,
        };
        value.ok_or_else(|| Error::bad(format!("{} takes {}", self.name, self.kind.as_str())))
    }
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Text => "string",
            Kind::Number => "integer",
            Kind::Bool => "boolean",
            Kind::List => "array",
            Kind::Object => "object",
        }
    }

    fn schema(self) -> Value {
        match self {
            Kind::List => json!({ "type": "array", "items": { "type": "string" } }),
            other => json!({ "type": other.as_str() }),
        }
    }
}

/// Asks what an endpoint stands for.
pub(super) async fn ask(
    endpoint: Endpoint,
    State(web): State<Web>,
    Who(who): Who,
    params: RawPathParams,
    query: Result<Query<HashMap<String, String>>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = params
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let asked = async {
        let Query(query) = query.map_err(|_| Error::bad("the query cannot be read"))?;
        let request = request(&endpoint, &params, &query, read(&headers, &body)?)?;
        answer::allow(&web.services, &who, &request).await?;
        Ok::<_, Error>(answer::value(&web.services, &who, request).await?)
    };
    match asked.await {
        Ok(value) => Json(value).into_response(),
        Err(error) => error.problem(),
    }
}

fn read(headers: &HeaderMap, body: &Bytes) -> Result<Value, Error> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if kind
        .split(';')
        .next()
        .is_none_or(|kind| kind.trim() != "application/json")
    {
        return Err(Error::bad(
            "a body is to be JSON, with content-type: application/json",
        ));
    }
    serde_json::from_slice(body)
        .map_err(|error| Error::bad(format!("the body is no JSON: {error}")))
}

/// The OpenAPI document of all of it.
pub(super) async fn openapi() -> Json<Value> {
    Json(document())
}

fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in ENDPOINTS {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.to_lowercase()] = operation(endpoint);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Windlass",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the command line asks, over HTTP. Answers have the shape of its --json."
        },
        "security": [{ "token": [] }],
        "components": { "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } },
        "paths": paths
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let parameters = endpoint.fields.iter().filter(|f| f.is_in != In::Body).map(|field| {
        let place = if field.is_in == In::Path { "path" } else { "query" };
        let required = field.default.is_none();
        json!({ "name": field.name, "in": place, "required": required, "description": field.what, "schema": field.kind.schema() })
    });
    let problem = json!({
        "description": "It was not done; why",
        "content": { "application/problem+json": { "schema": { "type": "object" } } }
    });
    let mut operation = json!({
        "operationId": endpoint.does,
        "summary": endpoint.what,
        "parameters": parameters.collect::<Vec<_>>(),
        "responses": {
            "200": { "description": "Done", "content": { "application/json": { "schema": {} } } },
            "default": problem
        }
    });
    let body: Vec<_> = endpoint
        .fields
        .iter()
        .filter(|field| field.is_in == In::Body)
        .collect();
    if !body.is_empty() {
        let properties: Map<String, Value> = body
            .iter()
            .map(|field| {
                let mut schema = field.kind.schema();
                schema["description"] = json!(field.what);
                (field.name.to_owned(), schema)
            })
            .collect();
        let required: Vec<_> = body
            .iter()
            .filter(|field| field.default.is_none())
            .map(|f| f.name)
            .collect();
        let schema = json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
        operation["requestBody"] = json!({ "required": !required.is_empty(), "content": { "application/json": { "schema": schema } } });
    }
    operation
}

#[cfg(test)]
impl Endpoint {
    /// A body with all that it takes.
    pub(super) fn example(&self) -> String {
        let body = self.fields.iter().filter(|field| field.is_in == In::Body);
        Value::Object(
            body.map(|field| (field.name.to_owned(), tests::example(field)))
                .collect(),
        )
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    /// Something that fits a field.
    pub(super) fn example(field: &Field) -> Value {
        match (field.kind, field.name) {
            (Kind::Text, "password") => json!("correct horse battery"),
            (Kind::Text, "user") => json!("viewer"),
            (Kind::Text, "name") if field.is_in == In::Body => json!("fresh"),
            (Kind::Text, "from") => json!("0.0"),
            (Kind::Text, "role") => json!("viewer"),
            (Kind::Text, "scope") => json!("read"),
            (Kind::Text, _) => json!("shop"),
            (Kind::Number, _) => json!(7),
            (Kind::Bool, _) => json!(true),
            (Kind::List, "domains") => json!(["shop.example.com"]),
            (Kind::List, _) => json!(["shop"]),
            (Kind::Object, "more") => json!({ "memory": "1g", "capabilities": ["NET_RAW"] }),
            (Kind::Object, _) => json!({ "TOKEN": "x" }),
        }
    }

    #[test]
    fn every_endpoint_is_a_request_with_all_its_fields_and_with_none_but_what_has_to_be() {
        for endpoint in ENDPOINTS {
            for all in [true, false] {
                let (mut params, mut query, mut body) =
                    (HashMap::new(), HashMap::new(), Map::new());
                for field in endpoint
                    .fields
                    .iter()
                    .filter(|field| all || field.default.is_none())
                {
                    let value = example(field);
                    let plain = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    match field.is_in {
                        In::Path => drop(params.insert(field.name.to_owned(), plain)),
                        In::Query => drop(query.insert(field.name.to_owned(), plain)),
                        In::Body => drop(body.insert(field.name.to_owned(), value)),
                    }
                }
                let read = request(endpoint, &params, &query, Value::Object(body));
                let read =
                    serde_json::to_value(read.unwrap_or_else(|e| panic!("{endpoint:?}: {e:?}")))
                        .unwrap();
                assert_eq!(read["do"], endpoint.does);
            }
            let placed = endpoint.path.matches('{').count();
            assert_eq!(
                endpoint
                    .fields
                    .iter()
                    .filter(|f| f.is_in == In::Path)
                    .count(),
                placed,
                "{endpoint:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let of = |does: &str| ENDPOINTS.iter().find(|e| e.does == does).unwrap();
        let says = |does: &str, query: &[(&str, &str)], body: Value| {
            let params = text(&[("app", "shop"), ("name", "shop"), ("id", "7")]);
            match request(of(does), &params, &text(query), body) {
                Err(Error::Bad(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        assert!(says("deploys", &[("limit", "many")], json!({})).contains("limit takes integer"));
        assert!(says("revert", &[], json!({ "comit": "1a2b" })).contains("\"comit\""));
        assert!(says("token_create", &[], json!({ "name": "ci" })).contains("scope is missing"));
        assert!(says("user_role", &[], json!({ "role": "root" })).contains("root"));
        assert!(says("revert", &[], json!([1])).contains("object"));
    }

    #[test]
    fn the_document_has_every_endpoint() {
        let document = document();
        for endpoint in ENDPOINTS {
            assert_eq!(
                document["paths"][endpoint.path][endpoint.method.to_lowercase()]["operationId"],
                endpoint.does
            );
        }
    }

    proptest! {
        #[test]
        fn no_body_brings_it_down(bytes in prop::collection::vec(any::<u8>(), 0..200), n in 0..ENDPOINTS.len()) {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
            if let Ok(body) = read(&headers, &Bytes::from(bytes)) {
                let _ = request(&ENDPOINTS[n], &text(&[("app", "shop")]), &HashMap::new(), body);
            }
        }
    }
}
