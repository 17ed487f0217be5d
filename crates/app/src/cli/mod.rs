//! The command line: a client of the API like any other. Commands know nothing of how the platform works; what
//! they show they were answered, and each failure is one sentence on standard error.

mod audit;
mod backup;
mod client;
mod connection;
mod cost;
mod deploy;
mod follow;
mod idle;
mod images;
mod key;
mod lifecycle;
mod logs;
mod operations;
mod pack;
mod progress;
mod revisions;
mod settings;
mod show;
mod tags;
mod target;
mod trust;
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
    /// Set a service's tags, which say what AWS has no field for, or list them
    Tag(tags::Arguments),
    /// Say what services used, and what App Runner would have charged for it
    Cost(cost::Arguments),
    /// Say how far a service's instances are asleep, and what keeps them awake
    WhyAwake { name: String },
    /// Stop a service's instances and keep all else
    Pause { name: String },
    /// Start a paused service again
    Resume { name: String },
    /// Cancel what is under way on a service; what was before it goes on
    Cancel { name: String },
    /// Go back to an earlier revision of a service, without a build
    Rollback {
        name: String,
        /// The revision's number; by default the newest other one that has served
        #[arg(value_parser = clap::value_parser!(i32).range(1..))]
        revision: Option<i32>,
    },
    /// Repeat a service's last operation, which failed or was cancelled
    Retry { name: String },
    /// List a service's revisions, or show one of them
    Revisions {
        name: String,
        #[arg(value_parser = clap::value_parser!(i32).range(1..))]
        number: Option<i32>,
    },
    /// Delete a service
    Rm { name: String },
    /// Print the lines that point the AWS CLI and SDKs here: eval "$(apron env)"
    Env,
    /// Work with connections: what private repositories are fetched with
    #[command(subcommand)]
    Connection(connection::Command),
    /// Work with images of this platform
    #[command(subcommand)]
    Image(Image),
    /// Give others access to this platform, and take it back
    #[command(subcommand)]
    Key(Key),
    /// Print who called the API, with what, and what came of it
    Audit {
        /// Go on as calls come
        #[arg(short, long)]
        follow: bool,
    },
    /// Write everything that the platform of this machine needs to begin again into a file
    Backup(backup::Arguments),
    /// Put the data directory of a platform that does not run, or an empty one, into the state of a backup
    Restore(backup::Arguments),
    /// Print the root of the platform's own certificates, or have this machine trust it
    Trust(trust::Arguments),
    /// Print the version
    Version,
}

#[derive(Subcommand)]
enum Key {
    /// Make an access key and print it as a profile of the AWS CLI; its secret is shown this once
    Create {
        name: String,
        /// The key may see everything but other keys and the audit log, and change nothing
        #[arg(long)]
        read_only: bool,
    },
    /// List access keys
    Ls,
    /// Delete an access key, by its id or its name; it is refused from then on
    Rm {
        #[arg(value_name = "ID|NAME")]
        key: String,
    },
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
        Command::Backup(arguments) => return backup::backup(&flags, &arguments),
        Command::Restore(arguments) => return backup::restore(&flags, &arguments),
        Command::Trust(arguments) => return trust::run(&flags, &arguments),
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
            Command::Serve(_)
            | Command::Proxy(_)
            | Command::Backup(_)
            | Command::Restore(_)
            | Command::Trust(_)
            | Command::Version => Ok(ExitCode::SUCCESS),
            Command::Deploy(arguments) => deploy::run(&client, arguments).await,
            Command::Ls => show::list(&client).await,
            Command::Status { name } => show::status(&client, &name).await,
            Command::Logs(arguments) => logs::run(&client, arguments).await,
            Command::Tag(arguments) => tags::run(&client, arguments).await,
            Command::Cost(arguments) => cost::run(&client, arguments).await,
            Command::WhyAwake { name } => idle::why_awake(&client, &name).await,
            Command::Pause { name } => lifecycle::pause(&client, &name).await,
            Command::Resume { name } => lifecycle::resume(&client, &name).await,
            Command::Cancel { name } => operations::cancel(&client, &name).await,
            Command::Rollback { name, revision } => operations::roll_back(&client, &name, revision).await,
            Command::Retry { name } => operations::retry(&client, &name).await,
            Command::Revisions { name, number: None } => revisions::list(&client, &name).await,
            Command::Revisions { name, number: Some(number) } => {
                revisions::show(&client, &name, number).await
            }
            Command::Rm { name } => lifecycle::remove(&client, &name).await,
            Command::Env => show::environment(&client).await,
            Command::Connection(command) => connection::run(&client, command).await,
            Command::Key(Key::Create { name, read_only }) => key::create(&client, name, read_only).await,
            Command::Key(Key::Ls) => key::list(&client).await,
            Command::Key(Key::Rm { key }) => key::remove(&client, &key).await,
            Command::Audit { follow } => audit::run(&client, follow).await,
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
        for line in ["apron key create ci --read-only", "apron key ls", "apron key rm ci"] {
            assert!(matches!(parse(line).unwrap().command, Command::Key(_)), "{line}");
        }
        assert!(matches!(parse("apron audit -f").unwrap().command, Command::Audit { follow: true }));
        let rollback = parse("apron rollback web 3").unwrap().command;
        assert!(matches!(rollback, Command::Rollback { revision: Some(3), .. }));
        for line in ["apron cancel web", "apron rollback web", "apron retry web", "apron revisions web 3"] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in ["apron tag web", "apron tag web apron:idle=zero team=a=b", "apron tag web --remove team"]
        {
            assert!(matches!(parse(line).unwrap().command, Command::Tag(_)), "{line}");
        }
        assert!(matches!(parse("apron cost web --since 7d").unwrap().command, Command::Cost(_)));
        let said = parse("apron cost --since -1d").err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("'-1d' is no day: expected a date"), "{said}");
        for line in ["apron image import f", "apron image ls", "apron image rm web:1"] {
            assert!(matches!(parse(line).unwrap().command, Command::Image(_)), "{line}");
        }
        let proxy = "apron proxy --static-route h=127.0.0.1:1,127.0.0.1:2 --http 127.0.0.1:0 --loops 1";
        assert!(matches!(parse(proxy).unwrap().command, Command::Proxy(_)));
        let https = format!("{proxy} --https 127.0.0.1:0 --cert a.pem --key a.key");
        assert!(matches!(parse(&https).unwrap().command, Command::Proxy(_)));
        for part in ["--https 127.0.0.1:0", "--cert a.pem --key a.key", "--https 127.0.0.1:0 --cert a.pem"] {
            assert!(parse(&format!("{proxy} {part}")).is_err(), "{part}");
        }
        for line in ["apron trust", "apron trust --install --apps-domain a.test", "apron trust --remove"] {
            assert!(matches!(parse(line).unwrap().command, Command::Trust(_)), "{line}");
        }
        assert!(parse("apron trust --install --remove").is_err());
        for wrong in [
            "apron",
            "apron deploy --env novalue",
            "apron deploy --port 0",
            "apron status",
            "apron logs",
            "apron rollback web 0",
            "apron tag",
            "apron tag web apron:idle",
            "apron tag web =zero",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
