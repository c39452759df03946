//! The command line: one file a command group.

pub mod account;
pub mod alert;
pub mod audit;
pub mod audit_log;
pub mod changed;
pub mod chat;
pub mod collect;
pub mod coverage;
pub mod doctor;
pub mod exit;
pub mod export;
pub mod file;
pub mod import;
pub mod job;
pub mod key;
pub mod manual;
pub mod member;
pub mod node;
pub mod open;
pub mod output;
pub mod proxy;
pub mod raw;
pub mod run;
pub mod schema;
pub mod search;
pub mod serve;
pub mod token;
pub mod top;
pub mod workflow;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{config::Config, telemetry};

/// The Telegram collector that can prove it has everything.
///
/// Configuration: telekeep.toml in this folder (or TELEKEEP_CONFIG), with the environment over it: DATABASE_URL, ELASTICSEARCH_URL,
/// TELEKEEP_KEY_FILE, TELEKEEP_KEY, TELEKEEP_WORKFLOWS, TELEKEEP_FILES, TELEKEEP_API_ID, TELEKEEP_API_HASH. Exit codes: 0 done, 1 failed, 2 your mistake.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at everything that must be there, and say what to do about what is not
    Doctor(doctor::Doctor),
    /// The whole at a glance: jobs, accounts, nodes, coverage, what needs attention; live on a terminal
    Top(top::Top),
    /// Prepare tables, and indices where Elasticsearch is configured
    Migrate,
    /// Rebuild the index from the record
    Reindex,
    /// Work: jobs, triggers, projection
    Run(run::Run),
    /// Serve the HTTP API and its documentation; `telekeep run` does so too where [http] listen is set
    Serve(serve::Serve),
    /// Who may use the HTTP API: create, list, revoke, or print a one-time link
    #[command(subcommand)]
    Token(token::Token),
    /// Nodes: the processes that use accounts
    #[command(subcommand)]
    Node(node::Node),
    /// Accounts: sign in, import, list
    #[command(subcommand)]
    Account(account::Account),
    /// Proxies that accounts go through: add, check, list
    #[command(subcommand)]
    Proxy(proxy::Proxy),
    /// The key that seals sessions: rotate it
    #[command(subcommand)]
    Key(key::Key),
    /// Chats: list, show, watch, tag, join, leave, unwatch
    #[command(subcommand)]
    Chat(chat::Chat),
    /// Members of watched chats: who stands where, and the lists that were read
    #[command(subcommand)]
    Member(member::Member),
    /// Watch a chat, fetch all of it, and show progress
    Collect(collect::Collect),
    /// Jobs: enqueue, list, show, wait, and what an operator does with them
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Workflows: list, validate, run by hand, see runs
    #[command(subcommand)]
    Workflow(workflow::WorkflowCommand),
    /// What is collected, what is missing and why
    Coverage(coverage::Coverage),
    /// Compare index and record, and repair the index
    Audit(audit::Audit),
    /// The audit log: each change that somebody asked for, with who, when, what
    #[command(subcommand)]
    AuditLog(audit_log::AuditLog),
    /// Search messages: in the index, or in the record where there is none
    Search(search::Search),
    /// Documents that the index refused
    #[command(subcommand)]
    DeadLetter(audit::DeadLetter),
    /// Alerts: open incidents, and a test of who is told
    #[command(subcommand)]
    Alert(alert::Alert),
    /// Files: list, want, dry-run the rules, show
    #[command(subcommand)]
    File(file::File),
    /// Print a chat's message documents, one JSON object a line
    Export(export::Export),
    /// Merge an export of Telegram Desktop into the record
    Import(import::Import),
    /// Messages that were not understood in full: list them, try again
    #[command(subcommand)]
    Raw(raw::Raw),
    /// Print the script that lets your shell complete telekeep's commands
    Completion(manual::Completion),
    /// Print the manual, or write a page for each command
    Man(manual::Man),
}

/// Runs a command.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    // What is about the program alone needs no configuration.
    match &cli.command {
        Command::Completion(c) => return manual::completion(c),
        Command::Man(c) => return manual::man(c),
        _ => {}
    }
    // A write past the size that files may have (`ulimit -f`) is to fail, and to hold its job; unheard, this signal ends the process.
    let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    let config = Config::load()?;
    let _exporting = telemetry::start(&config.telemetry)?;
    match cli.command {
        Command::Doctor(c) => doctor::run(c, config).await,
        Command::Top(c) => top::run(c, config).await,
        Command::Migrate => schema::migrate(config).await,
        Command::Reindex => schema::reindex(config).await,
        Command::Run(c) => run::run(c, config).await,
        Command::Serve(c) => serve::run(c, config).await,
        Command::Token(c) => token::run(c, config).await,
        Command::Node(c) => node::run(c, config).await,
        Command::Account(c) => account::run(c, config).await,
        Command::Proxy(c) => proxy::run(c, config).await,
        Command::Key(c) => key::run(c, config).await,
        Command::Chat(c) => chat::run(c, config).await,
        Command::Member(c) => member::run(c, config).await,
        Command::Collect(c) => collect::run(c, config).await,
        Command::Job(c) => job::run(c, config).await,
        Command::Workflow(c) => workflow::run(c, config).await,
        Command::Coverage(c) => coverage::run(c, config).await,
        Command::Audit(c) => audit::run(c, config).await,
        Command::AuditLog(c) => audit_log::run(c, config).await,
        Command::Search(c) => search::run(c, config).await,
        Command::DeadLetter(c) => audit::dead_letters(c, config).await,
        Command::Alert(c) => alert::run(c, config).await,
        Command::File(c) => file::run(c, config).await,
        Command::Export(c) => export::run(c, config).await,
        Command::Import(c) => import::run(c, config).await,
        Command::Raw(c) => raw::run(c, config).await,
        Command::Completion(c) => manual::completion(&c),
        Command::Man(c) => manual::man(&c),
    }
}
