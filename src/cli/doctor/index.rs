//! Elasticsearch, the sink, the indices and their fields.

use sqlx::PgPool;

use super::{Findings, Said, open};
use crate::{
    config::Config,
    error::chain,
    projection::{Projector, SINK},
    record::outbox,
};

pub(super) async fn look(findings: &mut Findings, config: &Config, pool: &PgPool, ready: bool) {
    let projector = match open::projector(config, pool) {
        Ok(Some(projector)) => projector,
        Ok(None) => return findings.add("elasticsearch", Ok("not configured; search runs on the record".into())),
        Err(e) => return findings.add("elasticsearch", Err(chain(e.as_ref()))),
    };
    let answers = server(&projector).await;
    let away = answers.is_err();
    findings.add("elasticsearch", answers);
    if !ready {
        return;
    }
    let prepared = sink(pool).await;
    let is_prepared = prepared.is_ok();
    findings.add("projection", prepared);
    if away || !is_prepared {
        return;
    }
    // An index of a kind that a newer telekeep brought is made by the same command as the tables.
    findings.add(
        "indices",
        match projector.missing_aliases().await {
            Ok(missing) if missing.is_empty() => fields(&projector).await,
            Ok(missing) => Err(format!("there is no index behind {}: run `telekeep migrate`", missing.join(", "))),
            Err(e) => Err(chain(&e)),
        },
    );
}

async fn server(projector: &Projector) -> Said {
    let version = projector.client().version().await.map_err(|e| e.to_string())?;
    match projector.client().health().await.map_err(|e| e.to_string())?.as_str() {
        "red" => Err(format!(
            "version {version} answers, but its health is red: some shards are not there; `GET /_cluster/allocation/explain` says why"
        )),
        health => Ok(format!("version {version} answers, health {health}")),
    }
}

async fn sink(pool: &PgPool) -> Said {
    let asked = async { Ok::<_, sqlx::Error>((outbox::backlog(pool, SINK).await?, outbox::sink(pool, SINK).await?)) };
    let (left, sink) = asked.await.map_err(|e| chain(&e))?;
    match sink {
        None => Err("no index is prepared: run `telekeep migrate`".into()),
        Some(s) if s.state == "active" => Ok(format!("active, {left} documents in the outbox")),
        Some(s) => Err(format!("{}: {}; {left} documents wait in the outbox", s.state, s.detail.unwrap_or_default())),
    }
}

async fn fields(projector: &Projector) -> Said {
    let differences = projector.mapping_differences().await.map_err(|e| chain(&e))?;
    let (changed, missing): (Vec<_>, Vec<_>) = differences.into_iter().partition(|it| it.changed);
    let names = |all: &[crate::projection::FieldDifference]| {
        all.iter().map(|it| format!("{} {}", it.alias, it.field)).take(5).collect::<Vec<_>>().join(", ")
    };
    match (changed.is_empty(), missing.is_empty()) {
        (true, true) => Ok("every field is as this version wants it".into()),
        (false, _) => Err(format!("fields of another type: {}; run `telekeep reindex`", names(&changed))),
        (true, false) => Err(format!("fields that lack: {}; run `telekeep migrate`", names(&missing))),
    }
}
