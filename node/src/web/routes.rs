//! Every route: the table, the router and the description for programs.

mod agents;
mod ask;
mod audit;
mod config;
mod contacts;
mod events;
mod find;
mod grants;
mod node;
mod pairing;
mod queue;
mod receipts;
mod secrets;
mod vaults;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use host::Stop;
use klp::Refusal;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response, Schema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::ErrorBody;
use crate::node::Node;
use crate::view;

/// Every route as method and path. A test holds this, the router and [`openapi`] to the same list.
pub const ROUTES: &[(&str, &str)] = &[
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/status"),
    ("GET", "/v1/whoami"),
    ("POST", "/v1/down"),
    ("GET", "/v1/doctor"),
    ("GET", "/v1/netcheck"),
    ("GET", "/v1/ping/{who}"),
    ("GET", "/v1/path/{who}"),
    ("POST", "/v1/contacts/ticket"),
    ("GET", "/v1/contacts"),
    ("POST", "/v1/contacts"),
    ("GET", "/v1/contacts/{name}"),
    ("PATCH", "/v1/contacts/{name}"),
    ("DELETE", "/v1/contacts/{name}"),
    ("GET", "/v1/pair"),
    ("POST", "/v1/pair"),
    ("POST", "/v1/pair/join"),
    ("GET", "/v1/pair/{mailbox}"),
    ("DELETE", "/v1/pair/{mailbox}"),
    ("POST", "/v1/pair/{mailbox}/decide"),
    ("POST", "/v1/agents/serve"),
    ("GET", "/v1/agents"),
    ("POST", "/v1/agents"),
    ("GET", "/v1/agents/{name}"),
    ("DELETE", "/v1/agents/{name}"),
    ("POST", "/v1/agents/{name}/pause"),
    ("POST", "/v1/agents/{name}/resume"),
    ("GET", "/v1/find"),
    ("POST", "/v1/ask"),
    ("GET", "/v1/queue"),
    ("GET", "/v1/queue/{id}"),
    ("DELETE", "/v1/queue/{id}"),
    ("GET", "/v1/grants"),
    ("POST", "/v1/grants"),
    ("GET", "/v1/grants/{id}"),
    ("POST", "/v1/grants/{id}/delegate"),
    ("POST", "/v1/grants/{id}/revoke"),
    ("GET", "/v1/receipts"),
    ("GET", "/v1/receipts/{id}"),
    ("GET", "/v1/receipts/{id}/export"),
    ("POST", "/v1/receipts/verify"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/audit/verify"),
    ("GET", "/v1/audit/export"),
    ("POST", "/v1/audit/confirm"),
    ("GET", "/v1/vaults"),
    ("GET", "/v1/vaults/{vault}"),
    ("POST", "/v1/vaults/{vault}"),
    ("POST", "/v1/vaults/{vault}/unlock"),
    ("POST", "/v1/vaults/{vault}/lock"),
    ("POST", "/v1/vaults/{vault}/passwd"),
    ("POST", "/v1/vaults/{vault}/export"),
    ("POST", "/v1/vaults/{vault}/import"),
    ("GET", "/v1/vaults/{vault}/secrets"),
    ("GET", "/v1/vaults/{vault}/secrets/{name}"),
    ("PUT", "/v1/vaults/{vault}/secrets/{name}"),
    ("DELETE", "/v1/vaults/{vault}/secrets/{name}"),
    ("GET", "/v1/events"),
    ("GET", "/v1/config"),
    ("GET", "/v1/config/schema"),
    ("GET", "/v1/config/{key}"),
    ("PUT", "/v1/config/{key}"),
];

/// What the routes work with.
#[derive(Clone)]
struct Face {
    node: Node,
    /// Address of the TCP port as a link.
    url: Arc<str>,
    stop: Stop,
    openapi: Arc<str>,
}

impl FromRef<Face> for Node {
    fn from_ref(face: &Face) -> Self {
        face.node.clone()
    }
}

fn table() -> OpenApiRouter<Face> {
    let info = InfoBuilder::new().title("kOS local API").version(env!("CARGO_PKG_VERSION"));
    let info = info.description(Some(
        "One person's node. Every answer that is no success is the error object. What is no HTTP/1.1 at all, or has a head of more than \
         32 KiB or 100 fields, gets a bare 400 or 431, and the connection is closed.",
    ));
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info.build()).build())
        .routes(routes!(node::healthz))
        .routes(routes!(node::readyz))
        .routes(routes!(described))
        .routes(routes!(node::status))
        .routes(routes!(node::whoami))
        .routes(routes!(node::down))
        .routes(routes!(node::doctor))
        .routes(routes!(node::netcheck))
        .routes(routes!(node::ping))
        .routes(routes!(node::path))
        .routes(routes!(contacts::ticket))
        .routes(routes!(contacts::list, contacts::add))
        .routes(routes!(contacts::show, contacts::rename, contacts::remove))
        .routes(routes!(pairing::list, pairing::issue))
        .routes(routes!(pairing::join))
        .routes(routes!(pairing::show, pairing::cancel))
        .routes(routes!(pairing::decide))
        .routes(routes!(agents::serve))
        .routes(routes!(agents::list, agents::add))
        .routes(routes!(agents::show, agents::remove))
        .routes(routes!(agents::pause))
        .routes(routes!(agents::resume))
        .routes(routes!(find::find))
        .routes(routes!(ask::ask))
        .routes(routes!(queue::list))
        .routes(routes!(queue::show, queue::drop))
        .routes(routes!(grants::list, grants::add))
        .routes(routes!(grants::show))
        .routes(routes!(grants::delegate))
        .routes(routes!(grants::revoke))
        .routes(routes!(receipts::list))
        .routes(routes!(receipts::show))
        .routes(routes!(receipts::export))
        .routes(routes!(receipts::verify))
        .routes(routes!(audit::list))
        .routes(routes!(audit::verify))
        .routes(routes!(audit::export))
        .routes(routes!(audit::confirm))
        .routes(routes!(vaults::list))
        .routes(routes!(vaults::show, vaults::create))
        .routes(routes!(vaults::unlock))
        .routes(routes!(vaults::lock))
        .routes(routes!(vaults::passwd))
        .routes(routes!(vaults::export))
        .routes(routes!(vaults::import))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::show, secrets::set, secrets::remove))
        .routes(routes!(events::events))
        .routes(routes!(config::list))
        .routes(routes!(config::schema))
        .routes(routes!(config::show, config::set))
}

/// Every route there is; nothing is added later.
fn router() -> Router<Face> {
    table().split_for_parts().0
}

/// The routes over a node, before any gate.
pub(super) fn app(node: Node, url: String, stop: Stop) -> Router {
    // It holds only texts of ours; a failure would leave the description empty and nothing else.
    let openapi = openapi().to_json().unwrap_or_default();
    router().with_state(Face { node, url: url.into(), stop, openapi: openapi.into() })
}

/// What every route may say before its own work begins: the request cannot be read, comes from a foreign site, came too slowly or is too
/// large. Without a token there is 401 besides.
const EVERYWHERE: [&str; 4] = ["400", "403", "408", "413"];

/// Routes that ask other nodes: one may break off (502), be out of reach (503) or say nothing in time (504).
const FAR: [(&str, &str); 6] = [
    ("GET", "/v1/ping/{who}"),
    ("POST", "/v1/pair/join"),
    ("GET", "/v1/path/{who}"),
    ("GET", "/v1/contacts/{name}"),
    ("POST", "/v1/ask"),
    ("POST", "/v1/grants/{id}/delegate"),
];

/// The description of every route, OpenAPI 3.1.
pub fn openapi() -> OpenApi {
    let (_, mut api) = table().split_for_parts();
    let components = api.components.get_or_insert_with(Components::default);
    schema::<ErrorBody>(components, "ErrorBody");
    schema::<view::Event>(components, "Event");
    schema::<events::Gap>(components, "Gap");
    schema::<ask::Piece>(components, "Piece");
    if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut("ErrorObject")
        && let Some(RefOr::T(Schema::Object(code))) = object.properties.get_mut("code")
    {
        code.enum_values = Some(Refusal::ALL.iter().map(|refusal| refusal.code().into()).collect());
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let bearer = bearer.description(Some("The text of HOME/api-token; on HOME/kos.sock none is needed"));
    components.security_schemes.insert("token".into(), RefOr::T(SecurityScheme::Http(bearer.build())));
    for (path, item) in &mut api.paths.paths {
        let operations = [
            ("GET", &mut item.get),
            ("PUT", &mut item.put),
            ("POST", &mut item.post),
            ("PATCH", &mut item.patch),
            ("DELETE", &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            let mut may_say = vec!["default"];
            may_say.extend(EVERYWHERE);
            if path != "/healthz" && path != "/readyz" {
                operation.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
                may_say.push("401");
            }
            if FAR.contains(&(method, path.as_str())) {
                may_say.extend(["502", "503", "504"]);
            }
            for status in may_say {
                operation.responses.responses.entry(status.into()).or_insert_with(|| refused().into());
            }
        }
    }
    api
}

fn refused() -> Response {
    let mut refused = Response::new("The error object, with the status of its code");
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
    refused.content.insert("application/json".into(), RefOr::T(body));
    refused
}

/// Describes a type, and what it is made of, under its name.
fn schema<T: utoipa::ToSchema>(components: &mut Components, name: &str) {
    let mut parts = Vec::new();
    T::schemas(&mut parts);
    components.schemas.extend(parts);
    components.schemas.insert(name.into(), T::schema());
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "node", responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
async fn described(State(face): State<Face>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], face.openapi.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn p11_the_table_of_routes_and_the_description_are_the_same() {
        let api = serde_json::to_value(openapi()).expect("json");
        let described: BTreeSet<(String, String)> = api["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().expect("item").keys().map(|method| method.to_uppercase());
                methods.map(|method| (method, path.clone())).collect::<Vec<_>>()
            })
            .collect();
        let table = ROUTES.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
        assert_eq!(described, table);
        assert_eq!(ROUTES.len(), table.len(), "a route is listed twice");
        // The router itself tells its paths only in its debug form.
        let router = format!("{:?}", router());
        // What is not found is a path of its own there, and its root.
        let fallback = |path: &&str| *path == "/" || path.contains("__private__axum_fallback");
        let paths = router.split('"').filter(|part| part.starts_with('/'));
        let served: BTreeSet<&str> = paths.filter(|path| !fallback(path)).collect();
        assert_eq!(served, ROUTES.iter().map(|(_, path)| *path).collect(), "a path that nobody has described");
    }

    #[test]
    fn every_route_is_described_with_its_errors_and_all_references_resolve() {
        let api = serde_json::to_value(openapi()).expect("json");
        for (method, path) in ROUTES {
            let operation = &api["paths"][path][method.to_lowercase()];
            assert!(operation["summary"].is_string(), "{method} {path} says nothing");
            let refused = &operation["responses"]["default"]["content"]["application/json"]["schema"]["$ref"];
            assert_eq!(refused, "#/components/schemas/ErrorBody", "{method} {path}");
            let named = path.split('{').skip(1).filter_map(|part| part.split('}').next()).count();
            let parameters = operation["parameters"]
                .as_array()
                .map_or(0, |parameters| parameters.iter().filter(|parameter| parameter["in"] == "path").count());
            assert_eq!(parameters, named, "{method} {path}");
        }
        let text = api.to_string();
        for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap_or_default();
            assert!(api["components"]["schemas"][name].is_object(), "{name} is described nowhere");
        }
    }
}
