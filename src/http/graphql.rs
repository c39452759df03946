//! What GraphQL can be asked: the same types as the API's, by the same functions, reading only.
//!
//! A question is bounded before it is answered: in depth, and in the number of things that it asks for at most.

use std::sync::LazyLock;

use async_graphql::{
    Context, EmptyMutation, EmptySubscription, Error, ErrorExtensions, Object, Request, Response, Schema, SimpleObject, Variables,
};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use telekeep_queue as queue;

use super::api::incident::{self, IncidentState};
use super::api::job::{self, Attempt, Job, JobFilter, Relative};
use super::api::message::{self, Message};
use super::api::search::{self, SearchPage};
use super::api::statistics::{self, Statistics};
use super::api::workflow::{self, Listed};
use super::{
    Http,
    access::Caller,
    page::{self, Limit, Page},
    problem::Problem,
};
use crate::overview::attention::Attention;
use crate::record::ChatId;
use crate::record::alert::Incident;
use crate::record::coverage_bar::{self, Bar, Range};
use crate::record::file::listing::{self, Listed as File};
use crate::record::finding::Sort;
use crate::record::health::{self, Health};
use crate::record::member_list::{self, Member};
use crate::record::node::{self, Node};
use crate::record::report::{self, ChatCoverage};
use crate::record::watch::{self, Watch};
use crate::record::workflow::Runs;
use crate::workflow::view::RunView;

/// Deeper questions are refused. A tool's question for the schema itself has 13 levels.
const DEPTH: usize = 16;
/// Things that a question asks for, at most, when each list is as long as it may be.
const THINGS: usize = 20_000;

static SCHEMA: LazyLock<Schema<Query, EmptyMutation, EmptySubscription>> = LazyLock::new(|| {
    Schema::build(Query, EmptyMutation, EmptySubscription)
        .limit_depth(DEPTH)
        .limit_complexity(THINGS)
        .disable_suggestions()
        .finish()
});

/// Answers a question.
pub async fn answer(
    http: Http,
    caller: Caller,
    query: String,
    variables: Map<String, Value>,
    operation: Option<String>,
) -> Response {
    let mut request = Request::new(query).variables(Variables::from_json(Value::Object(variables))).data(http).data(caller);
    if let Some(operation) = operation {
        request = request.operation_name(operation);
    }
    SCHEMA.execute(request).await
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let text = if problem.detail.is_empty() { problem.title.to_owned() } else { problem.detail.clone() };
        Error::new(text).extend_with(|_, extensions| {
            extensions.set("type", format!("urn:telekeep:problem:{}", problem.kind));
            extensions.set("status", i32::from(problem.status.as_u16()));
        })
    }
}

fn http<'a>(cx: &'a Context<'_>) -> async_graphql::Result<&'a Http> {
    cx.data::<Http>()
}

fn limit(number: i32) -> async_graphql::Result<Limit> {
    Ok(Limit::of(number.into())?)
}

/// Things of a list, for the bound of a question.
fn things(limit: i32, each: usize) -> usize {
    usize::try_from(limit).unwrap_or(0).max(1) * (each + 1)
}

async fn conn(http: &Http) -> Result<sqlx::pool::PoolConnection<sqlx::Postgres>, Problem> {
    Ok(http.pool.acquire().await?)
}

macro_rules! pages {
    ($($name:ident of $item:ty),* $(,)?) => {$(
        #[doc = "One page."]
        #[derive(SimpleObject)]
        struct $name {
            items: Vec<$item>,
            /// Gives the next page as `cursor`.
            next: Option<String>,
        }

        impl From<Page<$item>> for $name {
            fn from(page: Page<$item>) -> Self {
                Self { items: page.items, next: page.next }
            }
        }
    )*};
}

pages!(JobPage of Job, ChatPage of Watch, RunPage of RunView, MemberPage of Member, FilePage of File, IncidentPage of Incident);

/// What can be asked.
struct Query;

#[Object]
impl Query {
    /// Telegram accounts, the oldest first.
    async fn accounts(&self, cx: &Context<'_>) -> async_graphql::Result<Vec<Health>> {
        let mut conn = conn(http(cx)?).await?;
        Ok(health::list(&mut conn, None).await.map_err(Problem::from)?)
    }

    /// Watched chats, in the order of their ids.
    #[graphql(complexity = "things(limit, child_complexity)")]
    async fn chats(
        &self,
        cx: &Context<'_>,
        tag: Option<String>,
        text: Option<String>,
        cursor: Option<String>,
        #[graphql(default = 50)] limit: i32,
    ) -> async_graphql::Result<ChatPage> {
        let limit = self::limit(limit)?;
        let filter = watch::Filter { chat: None, after: page::key(cursor.as_deref())?, tag, text, limit: Some(limit.and_one()) };
        let chats = watch::page(&mut *conn(http(cx)?).await?, &filter).await.map_err(Problem::from)?;
        Ok(Page::of(chats, limit, |chat| chat.chat_id).into())
    }

    /// One chat; none where it is not watched.
    async fn chat(&self, cx: &Context<'_>, id: i64) -> async_graphql::Result<Option<Chat>> {
        let watch = watch::show(&mut *conn(http(cx)?).await?, ChatId(id)).await.map_err(Problem::from)?;
        Ok(watch.map(|watch| Chat { watch }))
    }

    /// Jobs, the newest first.
    #[graphql(complexity = "things(limit, child_complexity)")]
    async fn jobs(
        &self,
        cx: &Context<'_>,
        filter: Option<JobFilter>,
        cursor: Option<String>,
        #[graphql(default = 50)] limit: i32,
    ) -> async_graphql::Result<JobPage> {
        let limit = self::limit(limit)?;
        Ok(job::page_of(http(cx)?, filter.unwrap_or_default(), cursor.as_deref(), limit).await?.into())
    }

    /// One job.
    async fn job(&self, cx: &Context<'_>, id: i64) -> async_graphql::Result<Option<JobInFull>> {
        let job = queue::show(&http(cx)?.pool, id).await.map_err(Problem::from)?;
        Ok(job.map(|job| JobInFull { job: job.into() }))
    }

    /// The workflows of the configured folder.
    async fn workflows(&self, cx: &Context<'_>) -> async_graphql::Result<Vec<Listed>> {
        Ok(workflow::all(http(cx)?).await?)
    }

    /// Runs, the newest first.
    #[graphql(complexity = "things(limit, child_complexity)")]
    async fn runs(
        &self,
        cx: &Context<'_>,
        workflow: Option<String>,
        chat: Option<i64>,
        cursor: Option<String>,
        #[graphql(default = 50)] limit: i32,
    ) -> async_graphql::Result<RunPage> {
        let limit = self::limit(limit)?;
        let which = Runs { ids: None, workflow, chat, state: None, before: page::key(cursor.as_deref())? };
        Ok(workflow::page_of(http(cx)?, &which, limit).await?.into())
    }

    /// Messages that match.
    #[graphql(complexity = "things(limit, child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn search(
        &self,
        cx: &Context<'_>,
        text: String,
        chat: Option<i64>,
        sender: Option<i64>,
        since: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
        media_type: Option<String>,
        language: Option<String>,
        #[graphql(default_with = "Sort::default()")] sort: Sort,
        cursor: Option<String>,
        #[graphql(default = 50)] limit: i32,
    ) -> async_graphql::Result<SearchPage> {
        let limit = self::limit(limit)?;
        let wanted = search::Wanted { text, chat, sender, since, until, media_type, language, sort, cursor, limit };
        Ok(search::page_of(http(cx)?, wanted).await?)
    }

    /// Files, the newest first.
    #[graphql(complexity = "things(limit, child_complexity)")]
    async fn files(
        &self,
        cx: &Context<'_>,
        chat: Option<i64>,
        cursor: Option<String>,
        #[graphql(default = 50)] limit: i32,
    ) -> async_graphql::Result<FilePage> {
        let limit = self::limit(limit)?;
        let before = page::key(cursor.as_deref())?;
        let mut conn = conn(http(cx)?).await?;
        let files = listing::list(&mut conn, None, chat.map(ChatId), before, limit.and_one()).await.map_err(Problem::from)?;
        Ok(Page::of(files, limit, |file| file.id).into())
    }

    /// Nodes.
    async fn nodes(&self, cx: &Context<'_>) -> async_graphql::Result<Vec<Node>> {
        Ok(node::list(&http(cx)?.pool).await.map_err(Problem::from)?)
    }

    /// Rates, and jobs by kind and state.
    async fn statistics(&self, cx: &Context<'_>) -> async_graphql::Result<Statistics> {
        Ok(statistics::of(http(cx)?).await?)
    }

    /// What needs attention, the worst first.
    async fn attention(&self, cx: &Context<'_>) -> async_graphql::Result<Vec<Attention>> {
        Ok(statistics::all(http(cx)?).await?)
    }

    /// Incidents, the newest first.
    #[graphql(complexity = "things(limit, child_complexity)")]
    async fn incidents(
        &self,
        cx: &Context<'_>,
        state: Option<IncidentState>,
        rule: Option<String>,
        cursor: Option<String>,
        #[graphql(default = 50)] limit: i32,
    ) -> async_graphql::Result<IncidentPage> {
        let limit = self::limit(limit)?;
        Ok(incident::page_of(http(cx)?, state, rule, cursor.as_deref(), limit).await?.into())
    }
}

/// A watched chat in full.
struct Chat {
    watch: Watch,
}

#[Object]
impl Chat {
    /// What somebody wanted.
    async fn watch(&self) -> &Watch {
        &self.watch
    }

    /// What the ledger says, in numbers; each message is looked at.
    #[graphql(complexity = "500 + child_complexity")]
    async fn coverage(&self, cx: &Context<'_>) -> async_graphql::Result<Vec<ChatCoverage>> {
        let mut conn = conn(http(cx)?).await?;
        Ok(report::coverage_report(&mut conn, Some(ChatId(self.watch.chat_id))).await.map_err(Problem::from)?)
    }

    /// What the ledger says, in parts of a range of ids.
    #[graphql(complexity = "things(parts, child_complexity)")]
    async fn bars(
        &self,
        cx: &Context<'_>,
        from: Option<i64>,
        to: Option<i64>,
        #[graphql(default = 100)] parts: i32,
    ) -> async_graphql::Result<Vec<Bar>> {
        let mut conn = conn(http(cx)?).await?;
        let chat = ChatId(self.watch.chat_id);
        Ok(coverage_bar::of(&mut conn, chat, Range { from, to }, parts.into()).await.map_err(Problem::from)?)
    }

    /// The newest messages, or those before one; the oldest of them first.
    #[graphql(complexity = "things(limit, child_complexity)")]
    async fn messages(
        &self,
        cx: &Context<'_>,
        before: Option<i64>,
        #[graphql(default = 50)] limit: i32,
    ) -> async_graphql::Result<Vec<Message>> {
        let limit = self::limit(limit)?;
        Ok(message::before(http(cx)?, self.watch.chat_id, before, limit.get()).await?)
    }

    /// Members, in the order of their ids.
    #[graphql(complexity = "things(limit, child_complexity)")]
    async fn members(
        &self,
        cx: &Context<'_>,
        cursor: Option<String>,
        #[graphql(default = 50)] limit: i32,
    ) -> async_graphql::Result<MemberPage> {
        let limit = self::limit(limit)?;
        let after = page::key(cursor.as_deref())?.unwrap_or(i64::MIN);
        let mut conn = conn(http(cx)?).await?;
        let members =
            member_list::list(&mut conn, ChatId(self.watch.chat_id), None, after, limit.and_one()).await.map_err(Problem::from)?;
        Ok(Page::of(members, limit, |member| member.user_id).into())
    }
}

/// A job in full.
struct JobInFull {
    job: Job,
}

#[Object]
impl JobInFull {
    /// The job.
    async fn job(&self) -> &Job {
        &self.job
    }

    /// Its starts, the oldest first.
    #[graphql(complexity = "20 * (child_complexity + 1)")]
    async fn attempts(&self, cx: &Context<'_>) -> async_graphql::Result<Vec<Attempt>> {
        Ok(job::attempts(http(cx)?, self.job.id).await?)
    }

    /// Those that led to it and those that it led to.
    #[graphql(complexity = "20 * (child_complexity + 1)")]
    async fn lineage(&self, cx: &Context<'_>) -> async_graphql::Result<Vec<Relative>> {
        Ok(job::lineage(http(cx)?, self.job.id).await?)
    }
}
