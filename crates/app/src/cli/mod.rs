//! The command line: a client of the API like any other. Commands know nothing of how the platform works; what
//! they show they were answered, and each failure is one sentence on standard error.

mod client;
mod deploy;
mod follow;
mod images;
mod lifecycle;
mod logs;
mod pack;
mod progress;
mod settings;
mod show;
mod target;
mod upload;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use client::Client;
use settings::{Flags, Settings};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Apron: from source or image to a served URL, on your own machine.
#[derive(Parser)]
#[command(name = "apron", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the platform on this machine
    Serve(crate::serve::Arguments),
    /// Run the proxy alone, with fixed routes
    #[command(hide = true)]
    Proxy(crate::proxy::Arguments),
    /// Create or update a service from a directory, a git repository or an image
    Deploy(deploy::Arguments),
    /// List services
    Ls,
    /// Show a service, its revisions and instances
    Status { name: String },
    /// Print what a service's application wrote
    Logs(logs::Arguments),
    /// Stop a service's instances and keep all else
    Pause { name: String },
    /// Start a paused service again
    Resume { name: String },
    /// Delete a service
    Rm { name: String },
    /// Print the lines that point the AWS CLI and SDKs here: eval "$(apron env)"
    Env,
    /// Work with images of this platform
    #[command(subcommand)]
    Image(Image),
    /// Print the version
    Version,
}

#[derive(Subcommand)]
enum Image {
    /// Take in an OCI or docker archive; `apron deploy NAME` then runs it
    Import { file: PathBuf },
    /// List the images that this platform has by a name
    Ls,
    /// Forget an image's name; its content goes when nothing runs it any more
    Rm { name: String },
}

/// Runs the command that `arguments` (the program's name first) give, to its end. What clap prints by itself,
/// help and misuse, exits the process.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<ExitCode> {
    let Arguments { flags, command } = Arguments::parse_from(arguments);
    // What needs no platform to speak to.
    let command = match command {
        Command::Serve(arguments) => return crate::serve::run(arguments),
        Command::Proxy(arguments) => return crate::proxy::run(arguments),
        Command::Version => {
            progress::print(&format!("apron {}", env!("CARGO_PKG_VERSION")));
            return Ok(ExitCode::SUCCESS);
        }
        command => command,
    };
    let settings = Settings::read(&flags, |name| std::env::var(name).ok())?;
    let client = Client::new(settings);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime of this command")?;
    runtime.block_on(async {
        match command {
            Command::Serve(_) | Command::Proxy(_) | Command::Version => Ok(ExitCode::SUCCESS),
            Command::Deploy(arguments) => deploy::run(&client, arguments).await,
            Command::Ls => show::list(&client).await,
            Command::Status { name } => show::status(&client, &name).await,
            Command::Logs(arguments) => logs::run(&client, arguments).await,
            Command::Pause { name } => lifecycle::pause(&client, &name).await,
            Command::Resume { name } => lifecycle::resume(&client, &name).await,
            Command::Rm { name } => lifecycle::remove(&client, &name).await,
            Command::Env => show::environment(&client).await,
            Command::Image(Image::Import { file }) => images::import(&client, &file).await,
            Command::Image(Image::Ls) => images::list(&client).await,
            Command::Image(Image::Rm { name }) => images::remove(&client, &name).await,
        }
    })
}

/// Reports `error` as the command's one sentence and gives the exit code for it.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    // `{:#}` joins the chain of causes; each is a clause of the sentence.
    eprintln!("apron: {error:#}");
    if error.is::<follow::Interrupted>() { ExitCode::from(follow::INTERRUPTED) } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        let parsed =
            parse("apron deploy . --name web --env A=1 --env B=x=y --port 9000 --data-dir /d").unwrap();
        assert_eq!(parsed.flags.data_dir, Some(PathBuf::from("/d")));
        let Command::Deploy(arguments) = parsed.command else { panic!("deploy") };
        assert_eq!(arguments.env, [("A".into(), "1".into()), ("B".into(), "x=y".into())]);
        assert_eq!(arguments.port, Some(9000));
        assert!(matches!(parse("apron --region r ls").unwrap().command, Command::Ls));
        for line in ["apron image import f", "apron image ls", "apron image rm web:1"] {
            assert!(matches!(parse(line).unwrap().command, Command::Image(_)), "{line}");
        }
        let proxy = "apron proxy --static-route h=127.0.0.1:1,127.0.0.1:2 --http 127.0.0.1:0 --loops 1";
        assert!(matches!(parse(proxy).unwrap().command, Command::Proxy(_)));
        for wrong in
            ["apron", "apron deploy --env novalue", "apron deploy --port 0", "apron status", "apron logs"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
