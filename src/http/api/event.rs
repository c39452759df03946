//! The stream of events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{StreamExt, stream};
use tokio_stream::wrappers::BroadcastStream;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::{
    Http,
    access::Viewer,
    events::{self, News, Watching},
    problem::Problem,
};

/// A stream ends after so long: a browser opens the next by itself, and whose token was revoked gets none.
const LASTS: Duration = Duration::from_secs(5 * 60);
/// Between two heartbeats of a stream in which nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub fn router() -> OpenApiRouter<Http> {
    OpenApiRouter::new().routes(routes!(watch))
}

/// What moves, as server-sent events, at most twice a second: `jobs` (those that moved), `counts`, `accounts`, `runs`, `database` (away
/// or back), and `reload` for who was too slow: everything is to be looked at again. A stream ends after five minutes; begin the next.
#[utoipa::path(get, path = "/events", tag = "system", responses((status = 200, content_type = "text/event-stream", body = String)))]
async fn watch(State(http): State<Http>, _: Viewer) -> Result<impl IntoResponse, Problem> {
    let Watching { news, first, place } = events::watch(&http)?;
    let begin = stream::iter(first.into_iter().map(told));
    let news = BroadcastStream::new(news).map(move |news| {
        // The place is taken for as long as this lives.
        let _ = &place;
        match news {
            Ok(news) => told(news),
            Err(_) => Event::default().event("reload").data("{}"),
        }
    });
    let shutdown = http.shutdown.clone();
    let end = async move {
        tokio::select! {
            () = tokio::time::sleep(LASTS) => {}
            () = shutdown.cancelled_owned() => {}
        }
    };
    let all = begin.chain(news).map(Ok::<_, Infallible>).take_until(Box::pin(end));
    Ok(Sse::new(all).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

fn told(news: News) -> Event {
    Event::default().event(news.event).data(&*news.data)
}
