//! The OpenAPI document, from the types of the verbs and of their answers.

use std::collections::BTreeMap;

use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AdditionalProperties, Object};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr,
    Required, ResponseBuilder, Schema,
};
use utoipa::{PartialSchema, ToSchema};

use super::routes::Reply;
use super::wire::PREFIX;
use super::{Endpoint, Event, Place, Problem, routes};

/// The schemas that others refer to, as far as they are collected.
#[derive(Default)]
pub struct Components(BTreeMap<String, RefOr<Schema>>);

/// What an answer is.
pub struct Content {
    /// Its content type.
    pub kind: &'static str,
    /// What it looks like.
    pub schema: RefOr<Schema>,
}

impl Components {
    /// The schema of a type; what it refers to is collected.
    pub fn schema<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let mut found = Vec::new();
        T::schemas(&mut found);
        self.0.extend(found);
        T::schema()
    }

    fn named<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let schema = self.schema::<T>();
        let name = T::name().into_owned();
        let reference = RefOr::Ref(Ref::from_schema_name(name.as_str()));
        self.0.insert(name, schema);
        reference
    }
}

/// What a stream of events is.
pub(super) fn events(components: &mut Components) -> Content {
    components.named::<Event>();
    let text = utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::Type::String)
        .description(Some(
            "Server-sent events. The data of each is one line of JSON, an Event; its name is that of \
             the event's kind, and its id, where it has one, is where to go on after it. A stream that \
             is whole ends with `end` or `error`.",
        ));
    Content {
        kind: "text/event-stream",
        schema: text.into(),
    }
}

/// The document of what is asked there.
pub fn document(place: Place) -> OpenApi {
    let mut components = Components::default();
    let mut paths = PathsBuilder::new();
    for route in routes() {
        if route.only_socket && place != Place::Socket {
            continue;
        }
        let item = PathItem::new(method(route.method), route.describe(&mut components));
        paths = paths.path(format!("{PREFIX}{}", route.path), item);
    }
    components.named::<Problem>();
    let info = InfoBuilder::new()
        .title("Windlass")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "What the command line asks, over HTTP. Answers have the shape of its --json.",
        ));
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = utoipa::openapi::ComponentsBuilder::new()
        .schemas_from_iter(components.0)
        .security_scheme("token", SecurityScheme::Http(token));
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components.build()))
        .security(Some([SecurityRequirement::new("token", [] as [&str; 0])]))
        .build()
}

fn method(name: &str) -> HttpMethod {
    match name {
        "POST" => HttpMethod::Post,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

/// A verb's place in the document.
pub(super) fn operation<V: Endpoint<Answer: Reply>>(components: &mut Components) -> Operation {
    let fields = fields(components.schema::<V>());
    let mut operation = OperationBuilder::new()
        .operation_id(Some(V::ID))
        .summary(fields.description.clone());
    let (mut body, mut wanted) = (Object::new(), Vec::new());
    for (name, schema) in fields.properties {
        let required = fields.required.contains(&name);
        let in_path = V::PATH.contains(&format!("{{{name}}}"));
        if V::METHOD == "POST" && !in_path {
            if required {
                wanted.push(name.clone());
            }
            body.properties.insert(name, schema);
            continue;
        }
        let place = match in_path {
            true => ParameterIn::Path,
            false => ParameterIn::Query,
        };
        operation = operation.parameter(parameter(&name, place, required || in_path, schema));
    }
    if V::METHOD == "POST" && !body.properties.is_empty() {
        body.required = wanted.clone();
        body.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        let content = ContentBuilder::new()
            .schema(Some(RefOr::T(Schema::Object(body))))
            .build();
        let required = match wanted.is_empty() {
            true => Required::False,
            false => Required::True,
        };
        let body = RequestBodyBuilder::new()
            .content("application/json", content)
            .required(Some(required));
        operation = operation.request_body(Some(body.build()));
    }
    answers::<V>(operation, components).build()
}

fn parameter(name: &str, place: ParameterIn, required: bool, schema: RefOr<Schema>) -> Parameter {
    let (schema, description) = without_null(schema);
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(if required {
            Required::True
        } else {
            Required::False
        })
        .description(description)
        .schema(Some(schema))
        .build()
}

fn answers<V: Endpoint<Answer: Reply>>(
    operation: OperationBuilder,
    components: &mut Components,
) -> OperationBuilder {
    let Content { kind, schema } = V::Answer::describe(components);
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let done = ResponseBuilder::new()
        .description("Done")
        .content(kind, content);
    let mut operation = operation.response("200", done);
    let problem = components.named::<Problem>();
    for (status, what) in [
        ("400", "The request makes no sense"),
        ("401", "Nobody is known by this token"),
        ("403", "Whoever asks may not do this"),
        (
            "404",
            "There is no such thing, or whoever asks may not see it",
        ),
        ("409", "It cannot be done as things stand"),
        ("429", "Too many at once"),
        ("500", "The server failed, and its log says why"),
    ] {
        let content = ContentBuilder::new().schema(Some(problem.clone())).build();
        let response = ResponseBuilder::new()
            .description(what)
            .content("application/problem+json", content);
        operation = operation.response(status, response);
    }
    operation
}

/// The fields of a verb.
fn fields(schema: RefOr<Schema>) -> Object {
    match schema {
        RefOr::T(Schema::Object(object)) => object,
        _ => Object::new(),
    }
}

/// A text in a path or query is never `null`: a field that may be is left out.
fn without_null(schema: RefOr<Schema>) -> (RefOr<Schema>, Option<String>) {
    use utoipa::openapi::schema::SchemaType;
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            if let SchemaType::Array(kinds) = &object.schema_type {
                let kind = kinds
                    .iter()
                    .find(|kind| **kind != utoipa::openapi::Type::Null);
                if let Some(kind) = kind.cloned() {
                    object.schema_type = SchemaType::Type(kind);
                }
            }
            let description = object.description.take();
            (RefOr::T(Schema::Object(object)), description)
        }
        RefOr::T(Schema::OneOf(one)) => {
            let description = one.description.clone();
            let is_null = |schema: &RefOr<Schema>| {
                let null = SchemaType::Type(utoipa::openapi::Type::Null);
                matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == null)
            };
            let kept = one.items.into_iter().find(|schema| !is_null(schema));
            (kept.unwrap_or_else(String::schema), description)
        }
        RefOr::Ref(reference) => {
            let description = Some(reference.description.clone()).filter(|text| !text.is_empty());
            (RefOr::Ref(Ref::new(reference.ref_location)), description)
        }
        other => (other, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Every reference in a document leads to something in it, and every answer has a schema.
    #[test]
    fn the_document_is_whole() {
        for (place, pushed) in [(Place::Dashboard, false), (Place::Socket, true)] {
            let document = serde_json::to_value(document(place)).unwrap();
            let text = document.to_string();
            for reference in text.split("\"$ref\":\"").skip(1) {
                let reference = reference.split('"').next().unwrap();
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            assert_eq!(text.contains("/pushed"), pushed);
            for route in routes().iter().filter(|route| pushed || !route.only_socket) {
                let operation = &document["paths"][route.full_path()][route.method.to_lowercase()];
                assert_eq!(operation["operationId"], route.id);
                assert!(operation["summary"].is_string(), "{}", route.id);
                let answers = operation["responses"].as_object().unwrap();
                for (status, answer) in answers {
                    let contents = answer["content"].as_object().unwrap();
                    let (_, content) = contents.iter().next().unwrap();
                    let schema = content["schema"].as_object().unwrap();
                    let says = ["type", "$ref", "oneOf", "allOf", "items", "properties"];
                    assert!(
                        says.iter().any(|key| schema.contains_key(*key)),
                        "{} {status}: {schema:?}",
                        route.id
                    );
                }
            }
        }
    }

    #[test]
    fn fields_stand_where_they_are_read() {
        let document = serde_json::to_value(document(Place::Dashboard)).unwrap();
        let deploys = &document["paths"]["/api/v1/apps/{app}/deploys"]["get"];
        let found = deploys["parameters"].as_array().unwrap().iter();
        let found: Vec<(&Value, &Value, &Value)> = found
            .map(|field| (&field["name"], &field["in"], &field["required"]))
            .collect();
        assert_eq!(
            found,
            [
                (&"app".into(), &"path".into(), &true.into()),
                (&"limit".into(), &"query".into(), &false.into())
            ]
        );
        let token = &document["paths"]["/api/v1/tokens"]["post"]["requestBody"];
        let schema = &token["content"]["application/json"]["schema"];
        assert_eq!(schema["required"], serde_json::json!(["name", "scope"]));
        assert_eq!(schema["additionalProperties"], false);
    }
}
