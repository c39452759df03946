//! `telekeep serve`: the HTTP side alone.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use clap::Args;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{open, output, run as working};
use crate::{
    config::{self, Config},
    http::{
        Http,
        access::link,
        api,
        probe::Probe,
        server::{self, Listening},
    },
    record::{self, token},
    telemetry::{metrics, sampler},
};

#[derive(Debug, Args)]
pub struct Serve {
    /// Address and port, in place of the configured ones [default: 127.0.0.1:8420]
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Print the OpenAPI document, and serve nothing; needs no database
    #[arg(long)]
    pub openapi: bool,
}

pub async fn run(serve: Serve, mut config: Config) -> anyhow::Result<ExitCode> {
    if serve.openapi {
        output::line(&api::document().to_pretty_json()?);
        return Ok(ExitCode::SUCCESS);
    }
    let address = serve.listen.or(config.http.listen).unwrap_or(config::http::DEFAULT);
    config.http.listen = Some(address);
    metrics::keep();
    let shutdown = CancellationToken::new();
    let (http, listening) = self::open(&config, address, shutdown.clone()).await?;
    let pool = http.pool.clone();
    tokio::spawn(sampler::run(pool.clone(), shutdown.clone()));
    tokio::spawn(async move {
        working::signal().await;
        tracing::info!("ending; requests under way have a few seconds");
        shutdown.cancel();
    });
    server::serve(http, Probe { pool, accounts: None }, listening).await?;
    Ok(ExitCode::SUCCESS)
}

/// The HTTP side of this configuration, listening; where no token is there yet, a one-time link is printed.
pub async fn open(config: &Config, address: SocketAddr, shutdown: CancellationToken) -> anyhow::Result<(Http, Listening)> {
    // That the database answers and has this version's schema is looked at once; later it may come and go.
    let checked = open::record(config).await?;
    let listening = server::listen(&config.http, address)?;
    let mut config = config.clone();
    config.http.listen = Some(listening.address);
    tell(&checked, &config).await?;
    checked.close().await;
    let pool = record::for_requests(config.database_url()?)?;
    let projector = open::projector(&config, &pool)?;
    let config = Arc::new(config);
    let opener = {
        let (config, pool) = (config.clone(), pool.clone());
        Box::new(move || open::accounts(&config, &pool))
    };
    Ok((Http::new(pool, config, projector, opener, shutdown), listening))
}

async fn tell(pool: &PgPool, config: &Config) -> anyhow::Result<()> {
    let base = link::base(&config.http);
    tracing::info!(http.address = %base, "serving; {base}/api shows what there is");
    let mut tx = pool.begin().await?;
    if !token::has_admin(&mut tx).await? {
        let link = link::make(&mut tx, config).await?;
        tx.commit().await?;
        // Not into the log: whoever reads it may do everything.
        output::line(&format!("no token lets an admin in yet; this link does once, within 15 minutes: {link}"));
        output::line("then make a token: `telekeep token create NAME --role admin`");
    }
    Ok(())
}
