//! GraphQL, for reading: one route, and its description in words.

use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::{Http, access::Viewer, extract::Json, graphql, problem::Problem};

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(ask))
}

/// A question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = GraphQuestion)]
struct Question {
    #[schema(max_length = 20000)]
    query: String,
    /// Values of the question's variables, by name.
    #[schema(value_type = Option<Object>)]
    variables: Option<serde_json::Map<String, Value>>,
    /// Which of several operations is meant.
    operation_name: Option<String>,
}

/// Answers a GraphQL question, of the same things as the other routes; introspection tells which. What cannot be answered stands in
/// `errors`, as GraphQL has it.
#[utoipa::path(post, path = "/graphql", tag = "documents", request_body = Question,
    responses((status = 200, body = Object, description = "data, errors, extensions")))]
async fn ask(State(http): State<Http>, Viewer(caller): Viewer, Json(question): Json<Question>) -> Result<Json<Value>, Problem> {
    if question.query.chars().count() > 20_000 {
        return Err(Problem::invalid("query", "at most 20,000 characters"));
    }
    let Question { query, variables, operation_name } = question;
    let answer = graphql::answer(http, caller, query, variables.unwrap_or_default(), operation_name).await;
    serde_json::to_value(answer).map(Json).map_err(|error| crate::http::problem::failed(&error))
}
