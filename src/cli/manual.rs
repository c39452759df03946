//! `telekeep completion` and `telekeep man`: made from the command line itself, so that they never lag behind.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};

use super::{Cli, output};

#[derive(Debug, Args)]
pub struct Completion {
    /// The shell that is to complete
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Write one page for each command into this folder; one page to standard output when not given
    pub folder: Option<PathBuf>,
}

/// Prints the script that lets a shell complete.
pub fn completion(command: &Completion) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut Cli::command(), "telekeep", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Prints or writes the manual.
pub fn man(command: &Man) -> anyhow::Result<ExitCode> {
    let Some(folder) = &command.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        output::line(String::from_utf8_lossy(&page).trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.with_context(|| format!("{} cannot be written: name another folder", folder.display()))?;
    output::line(&format!("the manual is in {}; `man -l {}` shows it", folder.display(), folder.join("telekeep.1").display()));
    Ok(ExitCode::SUCCESS)
}
