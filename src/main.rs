//! Parse, telemetry, dispatch; nothing else.

use std::process::ExitCode;

use clap::Parser;
use telekeep::cli;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: the async runtime does not start: {e}");
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(cli::run(cli)) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {}", cli::exit::told(&e));
            cli::exit::code(&e)
        }
    }
}
