//! The API's routes, one file a resource, and its description: what has no documentation is no route.

pub mod account;
pub mod audit_log;
pub mod browse;
pub mod chat;
pub mod document;
mod event;
pub mod file;
mod graph;
pub mod incident;
pub mod job;
pub mod member;
pub mod message;
pub mod node;
pub mod proxy;
pub mod queue;
pub mod search;
pub mod session;
pub mod sign_in;
pub mod statistics;
pub mod token;
pub mod workflow;

use std::path::Path;

use axum::{Router, middleware};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;

use super::problem::{Problem, ProblemBody};
use super::{Http, access, layers};
use crate::workflow::Workflows;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Telekeep",
        description = "What `telekeep` does by commands, over HTTP. Send a token as `Authorization: Bearer tkp_…` (`telekeep token create`).\n\n\
            Lists come in pages: give `next` of one page as `cursor` of the next. Errors are `application/problem+json` with a remedy. \
            Each change is noted in the audit log.",
        license(name = "Apache-2.0")
    ),
    components(schemas(ProblemBody)),
    modifiers(&Described),
    tags(
        (name = "session", description = "Who asks"),
        (name = "accounts", description = "Telegram accounts, and signing in"),
        (name = "chats", description = "What is watched, what is covered, what was said"),
        (name = "jobs", description = "The queue"),
        (name = "workflows", description = "What happens when"),
        (name = "documents", description = "What was collected, and search"),
        (name = "files", description = "Files and the rules that fetch them"),
        (name = "system", description = "Nodes, proxies, figures, what needs attention, incidents, events, tokens, the audit log"),
    )
)]
struct Described;

impl Modify for Described {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token of `telekeep token create`")).build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        let cookie = ApiKeyValue::with_description(access::COOKIE, "A browser's session; changes need `X-CSRF-Token` besides");
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        let none: [&str; 0] = [];
        document.security = Some(vec![SecurityRequirement::new("token", none), SecurityRequirement::new("session", none)]);
    }
}

/// Each operation may fail, and does so in one form.
fn with_problems(mut document: OpenApi) -> OpenApi {
    let schema = RefOr::Ref(Ref::from_schema_name("ProblemBody"));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let problem = ResponseBuilder::new().description("It was not done").content("application/problem+json", content).build();
    for item in document.paths.paths.values_mut() {
        let all = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in all.into_iter().flatten() {
            operation.responses.responses.insert("default".into(), RefOr::T(problem.clone()));
        }
    }
    document
}

fn described(guard: impl FnOnce(OpenApiRouter<Http>) -> OpenApiRouter<Http>) -> OpenApiRouter<Http> {
    let v1 = OpenApiRouter::new()
        .merge(account::router())
        .merge(audit_log::router())
        .merge(chat::router())
        .merge(document::router())
        .merge(event::router())
        .merge(file::router())
        .merge(graph::router())
        .merge(incident::router())
        .merge(job::router())
        .merge(member::router())
        .merge(message::router())
        .merge(node::router())
        .merge(proxy::router())
        .merge(queue::router())
        .merge(search::router())
        .merge(session::router())
        .merge(sign_in::router())
        .merge(statistics::router())
        .merge(token::router())
        .merge(workflow::router());
    // no token is needed to ask for a session: the token is what is asked with
    OpenApiRouter::with_openapi(Described::openapi()).nest("/api/v1", guard(v1).merge(session::way_in()))
}

/// The API's description.
pub fn document() -> OpenApi {
    with_problems(described(|all| all).into_openapi())
}

/// The API, for those who are known, and the way in for the others; with its description.
pub fn router(http: &Http) -> (Router<Http>, OpenApi) {
    let known = middleware::from_fn_with_state(http.clone(), access::known);
    let (router, document) = described(|all| all.layer(middleware::from_fn(layers::tagged)).layer(known)).split_for_parts();
    (router, with_problems(document))
}

/// The workflows of the configured folder, as they stand there now.
fn workflows(folder: &Path) -> Result<Workflows, Problem> {
    crate::workflow::file::load(folder, crate::jobs::KINDS).map_err(|errors| {
        tracing::warn!("http: workflow files: {errors}");
        Problem::conflict("the workflow files on this node have faults")
            .remedy("`telekeep workflow validate` there names each with file and line")
    })
}
