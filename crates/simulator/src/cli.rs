//! The command line: serve, account, compare.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use serde_json::json;

use crate::account::SessionFile;
use crate::compare::{self, Difference};
use crate::http::Control;
use crate::script::{self, Pace};
use crate::simulator::{Options, Simulator};
use crate::world::World;

/// A Telegram datacentre on loopback that speaks real MTProto.
#[derive(Debug, Parser)]
#[command(name = "telekeep-simulator", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves a world until stopped; prints one JSON line with its addresses when ready.
    Serve {
        /// The world file (TOML).
        #[arg(long)]
        world: PathBuf,
        /// Where MTProto is spoken; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// The HTTP control port; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        control: SocketAddr,
        /// Keeps keys, accounts and deletions in this directory.
        #[arg(long)]
        state: Option<PathBuf>,
        /// How many datacentres there are, 1 to 5.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
        datacentres: u8,
        /// Events that happen once the server runs (NDJSON, or TOML with `[[event]]`).
        #[arg(long)]
        script: Option<PathBuf>,
        /// Whether the script's offsets are waited for.
        #[arg(long, value_enum, default_value = "real", requires = "script")]
        pace: Pace,
    },
    /// Makes an account (or finds it) and writes its session file.
    Account {
        name: String,
        /// The control port, such as http://127.0.0.1:4000.
        #[arg(long)]
        control: String,
        /// Where to write the session file.
        #[arg(long)]
        output: PathBuf,
        /// The account is not signed in yet: it signs in by code.
        #[arg(long)]
        signed_out: bool,
        #[arg(long)]
        phone: Option<String>,
        /// The 2FA password.
        #[arg(long)]
        password: Option<String>,
    },
    /// Compares message documents (NDJSON) with the truth, id by id and by content hash.
    Compare {
        /// The control port, such as http://127.0.0.1:4000.
        #[arg(long)]
        control: String,
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Runs a command; the exit code is 1 where a comparison found a difference.
///
/// # Errors
/// With a message that names the place and the remedy.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve { world, listen, control, state, datacentres, script, pace } => {
            let world = World::from_toml(&world)?;
            let steps = script.as_deref().map(script::read).transpose()?.unwrap_or_default();
            serve(world, Options { listen, control, state, datacentres }, steps, pace).await
        }
        Command::Account { name, control, output, signed_out, phone, password } => {
            let request = json!({ "name": name, "signed_in": !signed_out, "phone": phone, "password": password });
            let answer = Control::new(&control)?.post("/account", &request).await?;
            let session: SessionFile =
                serde_json::from_str(&answer).with_context(|| format!("{control}: no session file was answered"))?;
            write_session(&output, &session)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Compare { control, files } => compare(&Control::new(&control)?, &files).await,
    }
}

async fn serve(world: World, options: Options, steps: Vec<script::Step>, pace: Pace) -> anyhow::Result<ExitCode> {
    let mut simulator = Simulator::start(world, options).await?;
    let ready = json!({
        "mtproto": simulator.addr().to_string(),
        "control": simulator.control_url(),
        "datacentres": simulator.addresses(),
    });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{ready}").and_then(|()| stdout.flush()).context("standard output cannot be written")?;
    simulator.run_script(steps, pace);
    stopped().await?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for SIGINT or SIGTERM.
async fn stopped() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be awaited")?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("signals cannot be awaited")?,
    }
    Ok(())
}

/// The file holds a key: only its owner reads it.
fn write_session(path: &Path, session: &SessionFile) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).with_context(|| format!("{}: cannot be written; check the folder", path.display()))?;
    writeln!(file, "{}", serde_json::to_string(session)?).with_context(|| format!("{}: cannot be written", path.display()))
}

async fn compare(control: &Control, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut same = true;
    for path in files {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{name}: cannot be read; check the path, and that it is UTF-8"))?;
        let chats = compare::documents(&text).with_context(|| format!("{name}"))?;
        if chats.is_empty() {
            println!("{name}: no message documents");
            same = false;
        }
        for (chat, documents) in chats {
            let answer = control.get(&format!("/truth/{chat}")).await.with_context(|| format!("{name}: chat {chat}"))?;
            let truth = compare::truth(&answer).context("the truth of the control port")?;
            let difference = Difference::between(&documents, &truth);
            if difference.is_empty() {
                println!(
                    "{name}: chat {chat}: {} messages, ids and content equal the truth (sha256 {})",
                    documents.len(),
                    compare::digest(&documents),
                );
            } else {
                println!("{name}: chat {chat}: {} of {} messages: {difference}", documents.len(), truth.len());
                same = false;
            }
        }
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
