//! The documented schema, and a message for each way in which people miss it.

use super::tree::{Key, Node, Value};
use super::{Build, Manifest, Position, Problem, Run, Severity, Spanned};
use crate::limits::PORT_DEFAULT;
use std::collections::BTreeMap;

/// Beyond this many a reader learns nothing more.
const PROBLEMS_MAX: usize = 50;

const TOP: [&str; 4] = ["version", "runtime", "build", "run"];
const BUILD: [&str; 2] = ["commands", "env"];
const PHASES: [&str; 3] = ["pre-build", "build", "post-build"];
const RUN: [&str; 6] = ["runtime-version", "pre-run", "command", "network", "env", "secrets"];
const NETWORK: [&str; 2] = ["port", "env"];

const ENV_SHAPE: &str =
    "a list of entries with `name` and `value`, e.g. `- name: LOG_LEVEL` and below it `  value: \"info\"`";

pub(super) fn manifest(root: &Node) -> (Option<Manifest>, Vec<Problem>) {
    let mut reader = Reader { problems: Vec::new() };
    let manifest = reader.top(root);
    (manifest, reader.problems)
}

struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn error(&mut self, at: Position, message: impl Into<String>) {
        self.report(Severity::Error, at, message.into());
    }

    fn warning(&mut self, at: Position, message: impl Into<String>) {
        self.report(Severity::Warning, at, message.into());
    }

    fn report(&mut self, severity: Severity, at: Position, message: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { severity, at, message });
        }
    }

    fn top(&mut self, root: &Node) -> Option<Manifest> {
        let entries = match &root.value {
            Value::Mapping(entries) => entries,
            Value::Null => {
                self.error(root.at, "the file is empty; expected version, runtime, build and run");
                return None;
            }
            Value::Scalar(text) if text.contains('=') => {
                let message = "expected a YAML mapping with version, runtime, build and run, found `KEY=value` text; \
                               variables belong under run.env";
                self.error(root.at, message);
                return None;
            }
            _ => {
                let message =
                    format!("expected a mapping with version, runtime, build and run, found {}", root.kind());
                self.error(root.at, message);
                return None;
            }
        };
        if let Some((key, format)) = entries.iter().find_map(|(k, _)| Some((k, other_format(&k.text)?))) {
            let message = format!(
                "the key {:?} belongs to {format}, not to apprunner.yaml; expected version, runtime, build and run",
                key.text
            );
            self.error(key.at, message);
            return None;
        }
        for (key, _) in entries {
            match key.text.as_str() {
                known if TOP.contains(&known) => {}
                "apron" => self.warning(key.at, "the apron section is not read by this version; it changes nothing"),
                "network" | "secrets" | "command" | "pre-run" | "runtime-version" => {
                    self.error(key.at, format!("{0} stands at the top level; it belongs under run, as run.{0}", key.text));
                }
                "env" => self.error(
                    key.at,
                    "env stands at the top level; it belongs under run (the application) or build (its commands)",
                ),
                "commands" => self.error(key.at, "commands stands at the top level; it belongs under build"),
                "port" => self.error(key.at, "port stands at the top level; it is run.network.port"),
                other => self.unknown_key(key, "", other, &TOP),
            }
        }
        match get(entries, "version") {
            None => self.missing(root.at, "version", "`version: 1.0`"),
            Some((key, node)) => match scalar(node) {
                Some("1" | "1.0") => {}
                Some(text) if text.starts_with("1.") => {
                    self.warning(node.at, format!("version {text} is read as 1.0, the only documented one"));
                }
                Some(text) => self.error(node.at, format!("version {text:?} is not known; expected 1.0")),
                None => self.wrong_kind(key, node, "version", "1.0"),
            },
        }
        let runtime = match get(entries, "runtime") {
            None => {
                self.missing(root.at, "runtime", "`runtime: python311`");
                None
            }
            Some((key, node)) => match scalar(node) {
                Some(text) => Some(Spanned { text: text.trim().to_owned(), at: node.at }),
                None => {
                    self.wrong_kind(key, node, "runtime", "a runtime's name, e.g. python311");
                    None
                }
            },
        };
        let nested_run = get(entries, "build")
            .and_then(|(_, node)| match &node.value {
                Value::Mapping(inner) => get(inner, "run"),
                _ => None,
            })
            .is_some();
        let build = match get(entries, "build") {
            None => {
                self.missing(
                    root.at,
                    "build",
                    "`build:`, below it `commands:`, below that `build:` and a list of commands",
                );
                None
            }
            Some((key, node)) => self.build(key, node),
        };
        let run = match get(entries, "run") {
            None if nested_run => None,
            None => {
                self.missing(root.at, "run", "`run:` and below it `command:` with the start command");
                None
            }
            Some((key, node)) => self.run(key, node),
        };
        Some(Manifest { runtime: runtime?, build: build?, run: run? })
    }

    fn build(&mut self, key: &Key, node: &Node) -> Option<Build> {
        let Value::Mapping(entries) = &node.value else {
            let hint = match node.value {
                Value::Scalar(_) => "put the commands, one per list item, under build.commands.build",
                Value::List(_) => "put this list under build.commands.build",
                _ => "expected a mapping with commands",
            };
            self.error(at(key, node), format!("build: expected a mapping, found {}; {hint}", node.kind()));
            return None;
        };
        for (inner, _) in entries {
            match inner.text.as_str() {
                known if BUILD.contains(&known) => {}
                "run" => self.error(
                    inner.at,
                    "run stands inside build; it belongs at the top level, beside build: remove its indentation",
                ),
                phase @ ("pre-build" | "build" | "post-build") => {
                    self.error(inner.at, format!("{phase} stands directly under build; it is build.commands.{phase}"));
                }
                docker @ ("dockerfile" | "Dockerfile" | "context" | "image" | "args" | "target") => self.warning(
                    inner.at,
                    format!("build.{docker} is not read: apprunner.yaml builds with a managed runtime and commands, not from a Dockerfile"),
                ),
                other => self.unknown_key(inner, "build.", other, &BUILD),
            }
        }
        let mut build = Build::default();
        match get(entries, "commands") {
            None => {
                self.missing(key.at, "build.commands", "`commands:`, below it `build:` and a list of commands");
            }
            Some((key, node)) => match &node.value {
                Value::Mapping(phases) => self.phases(key, phases, &mut build),
                Value::List(_) => self.error(
                    at(key, node),
                    "build.commands: expected a mapping of phases, found a list; put the list one level deeper, under build.commands.build",
                ),
                _ => self.wrong_kind(key, node, "build.commands", "a mapping with pre-build, build and post-build"),
            },
        }
        if let Some((key, node)) = get(entries, "env") {
            build.env = self.env(key, node, "build.env");
        }
        Some(build)
    }

    fn phases(&mut self, parent: &Key, phases: &[(Key, Node)], build: &mut Build) {
        for (key, node) in phases {
            let name = key.text.as_str();
            match name {
                "pre-build" => build.pre_build = self.commands(key, node, "build.commands.pre-build"),
                "build" => build.build = self.commands(key, node, "build.commands.build"),
                "post-build" => build.post_build = self.commands(key, node, "build.commands.post-build"),
                "pre-run" => self.error(
                    key.at,
                    "pre-run stands under build.commands; it belongs under run, as run.pre-run",
                ),
                other => match nearest(other, &PHASES) {
                    // Passing over a misspelt phase would drop its commands silently.
                    Some(near) => self.error(
                        key.at,
                        format!("build.commands.{other} is not a phase; did you mean {near}?"),
                    ),
                    None => self.unknown_key(key, "build.commands.", other, &PHASES),
                },
            }
        }
        if get(phases, "build").is_none() {
            self.missing(
                parent.at,
                "build.commands.build",
                "`build:` and a list of commands, e.g. `- pip install -r requirements.txt`",
            );
        }
    }

    fn commands(&mut self, key: &Key, node: &Node, name: &str) -> Vec<String> {
        let items = match &node.value {
            Value::List(items) => items,
            Value::Null => {
                self.error(key.at, format!("{name}: expected a list of commands, found nothing; write one per line as `- command`"));
                return Vec::new();
            }
            _ => {
                self.error(
                    at(key, node),
                    format!(
                        "{name}: expected a list of commands, found {}; write each command as `- command`",
                        node.kind()
                    ),
                );
                return Vec::new();
            }
        };
        let mut commands = Vec::new();
        for item in items {
            match &item.value {
                Value::Scalar(text) if !text.trim().is_empty() => commands.push(text.trim_end().to_owned()),
                Value::Mapping(_) => self.error(
                    item.at,
                    format!("{name}: this command is read as a mapping because it contains `: `; put the whole command in single quotes"),
                ),
                Value::Null | Value::Scalar(_) => self.error(item.at, format!("{name}: an empty list item; expected a command")),
                Value::List(_) => self.error(item.at, format!("{name}: expected a command as text, found a list")),
            }
        }
        commands
    }

    fn run(&mut self, key: &Key, node: &Node) -> Option<Run> {
        let Value::Mapping(entries) = &node.value else {
            let hint = "expected a mapping with command, e.g. `command: gunicorn app:app`";
            self.error(at(key, node), format!("run: found {}; {hint}", node.kind()));
            return None;
        };
        for (inner, _) in entries {
            match inner.text.as_str() {
                known if RUN.contains(&known) => {}
                "port" | "ports" => self
                    .error(inner.at, format!("run.{} is not read; the port is run.network.port", inner.text)),
                "commands" | "cmd" | "start-command" | "start_command" => self.error(
                    inner.at,
                    format!(
                        "run.{} is not read; the start command is run.command, a single text",
                        inner.text
                    ),
                ),
                name if is_health(name) => self.warning(inner.at, health_message("run.", name)),
                other => self.unknown_key(inner, "run.", other, &RUN),
            }
        }
        let mut run = Run::default();
        match get(entries, "command") {
            None => {
                self.missing(key.at, "run.command", "the start command, e.g. `command: gunicorn app:app`")
            }
            Some((key, node)) => match &node.value {
                Value::Scalar(text) if !text.trim().is_empty() => run.command = text.trim().to_owned(),
                Value::List(_) => self.error(
                    at(key, node),
                    "run.command: expected a single text, found a list; join commands with && in one text",
                ),
                _ => self.wrong_kind(key, node, "run.command", "the start command as text"),
            },
        }
        if let Some((key, node)) = get(entries, "runtime-version") {
            match scalar(node) {
                Some(text) => run.runtime_version = Some(Spanned { text: text.to_owned(), at: node.at }),
                None => self.wrong_kind(key, node, "run.runtime-version", "a version, e.g. 3.11"),
            }
        }
        if let Some((key, node)) = get(entries, "pre-run") {
            run.pre_run = Some((key.at, self.commands(key, node, "run.pre-run")));
        }
        if let Some((key, node)) = get(entries, "network") {
            self.network(key, node, &mut run);
        }
        if let Some((key, node)) = get(entries, "env") {
            run.env = self.env(key, node, "run.env");
            self.port_variable(node, &mut run);
        }
        if let Some((key, node)) = get(entries, "secrets") {
            self.secrets(key, node);
        }
        Some(run)
    }

    fn network(&mut self, key: &Key, node: &Node, run: &mut Run) {
        let entries = match &node.value {
            Value::Mapping(entries) => entries,
            Value::Null => {
                self.warning(key.at, format!("run.network is empty; the port is {PORT_DEFAULT}"));
                return;
            }
            _ => {
                self.wrong_kind(key, node, "run.network", "a mapping with port, e.g. `port: 8000`");
                return;
            }
        };
        for (inner, _) in entries {
            match inner.text.as_str() {
                known if NETWORK.contains(&known) => {}
                "ports" | "ingress" | "containerPort" | "container-port" => {
                    self.error(
                        inner.at,
                        format!(
                            "run.network.{} is not read; the port is run.network.port, one number",
                            inner.text
                        ),
                    );
                }
                name if is_health(name) => self.warning(inner.at, health_message("run.network.", name)),
                other => self.unknown_key(inner, "run.network.", other, &NETWORK),
            }
        }
        if let Some((key, node)) = get(entries, "port") {
            match scalar(node).map(|text| (text, text.trim().parse::<u16>())) {
                Some((_, Ok(port))) if port != 0 => run.port = Some(port),
                Some((text, _)) => self.error(
                    node.at,
                    format!("run.network.port: {text:?} is not a port; expected a number from 1 to 65535"),
                ),
                None => self.wrong_kind(key, node, "run.network.port", "a number from 1 to 65535"),
            }
        }
        if let Some((key, node)) = get(entries, "env") {
            match &node.value {
                Value::Scalar(text) if is_variable_name(text) => run.port_env = Some(text.clone()),
                Value::Scalar(text) => self.error(node.at, format!("run.network.env: {text:?} is not the name of a variable")),
                Value::List(_) | Value::Mapping(_) => self.error(
                    at(key, node),
                    "run.network.env: expected the name of one variable that carries the port; the list of variables belongs under run.env",
                ),
                Value::Null => self.warning(key.at, "run.network.env is empty; only PORT carries the port"),
            }
        }
    }

    fn env(&mut self, key: &Key, node: &Node, name: &str) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let items = match &node.value {
            Value::List(items) => items,
            Value::Null => return env,
            _ => {
                self.error(at(key, node), format!("{name}: expected {ENV_SHAPE}; found {}", node.kind()));
                return env;
            }
        };
        for item in items {
            let Value::Mapping(entries) = &item.value else {
                self.error(item.at, format!("{name}: expected {ENV_SHAPE}; found {}", item.kind()));
                continue;
            };
            for (inner, _) in entries {
                match inner.text.as_str() {
                    "name" | "value" => {}
                    "value-from" => self.error(
                        inner.at,
                        format!("{name}: value-from belongs to run.secrets; a variable has name and value"),
                    ),
                    other => self.unknown_key(inner, &format!("{name}[]."), other, &["name", "value"]),
                }
            }
            let Some(variable) = get(entries, "name").and_then(|(_, n)| scalar(n)) else {
                self.error(item.at, format!("{name}: an entry without a name; expected {ENV_SHAPE}"));
                continue;
            };
            let value = match get(entries, "value") {
                None => {
                    self.error(
                        item.at,
                        format!("{name}: {variable} has no value; expected `value: \"text\"` below its name"),
                    );
                    continue;
                }
                Some((_, Node { value: Value::Null, .. })) => String::new(),
                Some((_, Node { value: Value::Scalar(text), .. })) => text.clone(),
                Some((key, node)) => {
                    self.error(
                        at(key, node),
                        format!("{name}: the value of {variable} must be text, found {}", node.kind()),
                    );
                    continue;
                }
            };
            if variable.is_empty() || variable.contains(['=', '\0']) {
                self.error(item.at, format!("{name}: {variable:?} cannot be the name of a variable"));
            } else if variable.starts_with("AWSAPPRUNNER") {
                self.error(
                    item.at,
                    format!(
                        "{name}: {variable} is reserved; names that start with AWSAPPRUNNER cannot be set"
                    ),
                );
            } else if value.contains('\0') {
                self.error(item.at, format!("{name}: the value of {variable} holds a NUL byte"));
            } else {
                if value.contains("${") {
                    self.warning(
                        item.at,
                        format!(
                            "{name}: {variable} is kept as written; `${{…}}` is not replaced in this file"
                        ),
                    );
                }
                if env.insert(variable.to_owned(), value).is_some() {
                    self.warning(
                        item.at,
                        format!("{name}: {variable} stands more than once; the last value counts"),
                    );
                }
            }
        }
        env
    }

    /// PORT is set by the platform; repeating the configured port loses nothing.
    fn port_variable(&mut self, node: &Node, run: &mut Run) {
        let Some(value) = run.env.remove("PORT") else { return };
        let port = run.port.unwrap_or(PORT_DEFAULT);
        let at = match &node.value {
            Value::List(items) => items
                .iter()
                .find(|item| matches!(&item.value, Value::Mapping(e) if get(e, "name").and_then(|(_, n)| scalar(n)) == Some("PORT")))
                .map_or(node.at, |item| item.at),
            _ => node.at,
        };
        if value.trim() == port.to_string() {
            self.warning(
                at,
                format!("run.env: PORT is set by the platform; leave it out (it is {port} already)"),
            );
        } else {
            self.error(
                at,
                format!("run.env: PORT is reserved and is {port} here; to listen on {value}, set run.network.port: {value}"),
            );
        }
    }

    fn secrets(&mut self, key: &Key, node: &Node) {
        let items = match &node.value {
            Value::Null => return,
            Value::List(items) if items.is_empty() => return,
            Value::List(items) => items,
            _ => {
                self.wrong_kind(key, node, "run.secrets", "a list of entries with `name` and `value-from`");
                return;
            }
        };
        for item in items {
            match &item.value {
                Value::Mapping(entries)
                    if get(entries, "value-from").is_none() && get(entries, "value").is_some() =>
                {
                    self.error(item.at, "run.secrets: found value; a secret has name and value-from, which holds an ARN or a parameter's name");
                }
                Value::Mapping(entries)
                    if get(entries, "name").is_some() && get(entries, "value-from").is_some() => {}
                _ => self.error(item.at, "run.secrets: expected an entry with name and value-from"),
            }
        }
        self.error(
            key.at,
            "run.secrets: references to Secrets Manager and Parameter Store cannot be resolved by this version, and a service without its secrets must not start; pass the values as environment variables of the service instead",
        );
    }

    fn missing(&mut self, at: Position, name: &str, right: &str) {
        self.error(at, format!("{name} is missing; add {right}"));
    }

    fn wrong_kind(&mut self, key: &Key, node: &Node, name: &str, expected: &str) {
        self.error(at(key, node), format!("{name}: expected {expected}, found {}", node.kind()));
    }

    fn unknown_key(&mut self, key: &Key, prefix: &str, name: &str, known: &[&str]) {
        let message = if is_health(name) {
            health_message(prefix, name)
        } else {
            match nearest(name, known) {
                Some(near) => {
                    format!("{prefix}{name} is not a known key and is passed over; did you mean {near}?")
                }
                None => format!(
                    "{prefix}{name} is not a known key and is passed over; known here: {}",
                    known.join(", ")
                ),
            }
        };
        self.warning(key.at, message);
    }
}

fn get<'n>(entries: &'n [(Key, Node)], name: &str) -> Option<(&'n Key, &'n Node)> {
    entries.iter().find(|(key, _)| key.text == name).map(|(key, node)| (key, node))
}

fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(text) => Some(text),
        _ => None,
    }
}

/// Where to point for a node of the wrong kind: an absent value has no place of its own.
fn at(key: &Key, node: &Node) -> Position {
    match node.value {
        Value::Null => key.at,
        _ => node.at,
    }
}

fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_health(name: &str) -> bool {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    plain.starts_with("healthcheck")
}

fn health_message(prefix: &str, name: &str) -> String {
    format!(
        "{prefix}{name} is not read: health checks are part of the service (HealthCheckConfiguration), not of this file"
    )
}

/// Whose file this is, by a key that only that format has.
fn other_format(key: &str) -> Option<&'static str> {
    match key {
        "AWSTemplateFormatVersion" | "Resources" => Some("CloudFormation"),
        "services" => Some("Docker Compose"),
        "apiVersion" | "kind" => Some("Kubernetes"),
        "phases" => Some("CodeBuild (buildspec.yml)"),
        "jobs" => Some("a CI workflow"),
        _ => None,
    }
}

/// The known name that was probably meant, if one is near.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-', ' ', '.'], "");
    let wanted = plain(name);
    known
        .iter()
        .map(|k| (distance(&wanted, &plain(k)), *k))
        .filter(|(d, k)| *d <= 2.min(k.len() / 3))
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// Edits between two short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
