//! Traces: a receiver of OTLP hears one chain from the trigger to the sink, over two processes.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use sqlx::PgPool;
use telekeep_simulator::World;
use telekeep_simulator::world::{ChatKind, GeneratedChat};

use crate::installation::{DATACENTRE, Telekeep, Worker, datacentre, until};

type Heard = Arc<Mutex<Vec<Span>>>;

async fn receive(State(heard): State<Heard>, body: Bytes) -> &'static [u8] {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let spans = request.resource_spans.into_iter().flat_map(|of| of.scope_spans).flat_map(|of| of.spans);
    heard.lock().unwrap().extend(spans);
    // An empty answer in protobuf: all was taken.
    b""
}

/// The address of a receiver, and what it hears.
async fn receiver() -> (String, Heard) {
    let heard = Heard::default();
    let router = Router::new().route("/v1/traces", post(receive)).with_state(heard.clone());
    let listener = DATACENTRE.spawn(tokio::net::TcpListener::bind("127.0.0.1:0")).await.unwrap().unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    DATACENTRE.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, heard)
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let value = span.attributes.iter().find(|it| it.key == name)?.value.clone()?;
    Some(format!("{value:?}"))
}

/// A job's span with what hangs on it: the trigger above it, a call and a commit below it, and the bulk of what it wrote.
fn chain(spans: &[Span]) -> Option<[Span; 5]> {
    for job in spans.iter().filter(|span| span.name == "history_fetch") {
        let same = |span: &&Span| span.trace_id == job.trace_id;
        let trigger = spans.iter().filter(same).find(|span| span.span_id == job.parent_span_id);
        let mut below = spans.iter().filter(same).filter(|span| span.parent_span_id == job.span_id);
        let call = below.clone().find(|span| span.name == "messages.getHistory");
        let commit = below.find(|span| span.name == "commit");
        let links_here = |span: &&Span| span.links.iter().any(|link| link.trace_id == job.trace_id && link.span_id == job.span_id);
        let is_below = |span: &&Span| span.trace_id == job.trace_id && span.parent_span_id == job.span_id;
        let bulk = spans.iter().filter(|span| span.name == "bulk").find(|span| links_here(span) || is_below(span));
        if let (Some(trigger), Some(call), Some(commit), Some(bulk)) = (trigger, call, commit, bulk) {
            return Some([trigger, job, call, commit, bulk].map(Clone::clone));
        }
    }
    None
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn a_trace_leads_from_the_trigger_to_the_sink_over_two_processes(pool: PgPool) {
    let (address, heard) = receiver().await;
    let world = World::generated(5, [GeneratedChat::new(ChatKind::Channel, "Harbour Bulletin", 300).named("harbour")]);
    let datacentre = datacentre(world).await;
    let chat = datacentre.world().chats()[0].id;
    let telekeep = Telekeep::at(&datacentre, &pool);
    telekeep.configures(&format!("[telemetry]\notlp = \"{address}\"\n"));
    telekeep.has_workflow("new-chat");
    telekeep.does(&["chat", "watch", &chat.to_string()]);
    // Triggers in one process, all else in another.
    let run = |roles: &str| Worker(telekeep.command(&["run", "--roles", roles]).spawn().unwrap());
    let workers = [run("trigger"), run("worker,listener,projector")];
    until("a chain", || async { chain(&heard.lock().unwrap()).is_some() }).await;
    let [trigger, job, call, commit, bulk] = chain(&heard.lock().unwrap()).unwrap();
    assert!(trigger.parent_span_id.is_empty(), "the trigger is the root");
    assert!(attribute(&trigger, "workflow.name").unwrap().contains("new-chat"));
    assert!(attribute(&job, "job.run").is_some() && attribute(&job, "job.id").is_some() && attribute(&job, "account.id").is_some());
    assert!(attribute(&bulk, "document.kind").is_some() && attribute(&bulk, "job.ids").is_some());
    assert!(trigger.start_time_unix_nano <= job.start_time_unix_nano && job.start_time_unix_nano <= call.start_time_unix_nano);
    assert!(call.end_time_unix_nano <= commit.start_time_unix_nano && commit.end_time_unix_nano <= job.end_time_unix_nano);
    // Neither what was written nor what anything is called.
    let told = format!("{:?}", heard.lock().unwrap());
    assert!(!told.contains("Harbour") && !told.contains("harbour"));
    drop(workers);
}
