//! `telekeep top`: the whole at a glance, live on a terminal, else once and plain.

mod plain;
mod view;

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use super::{open, output};
use crate::{
    config::Config,
    overview::{Overview, Reader},
};
use view::{Tab, View};

#[derive(Debug, Args)]
pub struct Top {
    /// Print once and end; so it does where standard output is no terminal
    #[arg(long)]
    pub once: bool,
    /// Seconds from one look to the next
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
    /// Print once as JSON
    #[arg(long)]
    pub json: bool,
}

pub async fn run(command: Top, config: Config) -> anyhow::Result<ExitCode> {
    let pool = open::record(&config).await?;
    let mut reader = Reader::new(config.alerts.clone());
    let first = reader.read(&pool).await?;
    if command.json {
        output::json(&first)?;
        return Ok(ExitCode::SUCCESS);
    }
    if command.once || !std::io::stdout().is_terminal() {
        plain::print(&first);
        return Ok(ExitCode::SUCCESS);
    }
    let keys = keys();
    let mut terminal = ratatui::try_init()?;
    // Logs would be written over the picture.
    let ended = watch(&mut terminal, keys, first, async || reader.read(&pool).await, Duration::from_secs(command.every)).await;
    ratatui::restore();
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// What an operator pressed, from a thread of its own: waiting for it blocks.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}

/// Draws until `q`. What cannot be read is said, and the last picture stays.
async fn watch<E: std::error::Error>(
    terminal: &mut ratatui::DefaultTerminal,
    mut keys: mpsc::Receiver<Event>,
    first: Overview,
    mut read: impl AsyncFnMut() -> Result<Overview, E>,
    every: Duration,
) -> anyhow::Result<()> {
    let mut view = View::new(first);
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.reset();
    loop {
        terminal.draw(|frame| view.draw(frame))?;
        tokio::select! {
            _ = tick.tick() => match read().await {
                Ok(overview) => view.show(overview),
                Err(error) => view.fails(crate::error::chain(&error)),
            },
            event = keys.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    let ends = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                    if ends || !press(&mut view, key.code) {
                        return Ok(());
                    }
                }
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}

/// Answers false where it is to end.
fn press(view: &mut View, key: KeyCode) -> bool {
    match key {
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Tab | KeyCode::Right => view.turn(1),
        KeyCode::BackTab | KeyCode::Left => view.turn(Tab::ALL.len() - 1),
        KeyCode::Down => view.scroll(1),
        KeyCode::Up => view.scroll(-1),
        KeyCode::PageDown => view.scroll(10),
        KeyCode::PageUp => view.scroll(-10),
        _ => {}
    }
    true
}
