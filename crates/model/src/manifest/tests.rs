use super::*;

const GOOD: &str = "version: 1.0
runtime: python311
build:
  commands:
    pre-build:
      - echo one
    build:
      - pip install -r requirements.txt
      - 'echo \"a: b\"'
    post-build:
      - echo done
  env:
    - name: STAGE
      value: 1.10
run:
  runtime-version: 3.10
  pre-run:
    - pip3 install -r requirements.txt
  command: gunicorn app:app
  network:
    port: 8000
    env: APP_PORT
  env:
    - name: LOG
      value: debug
    - name: EMPTY
      value:
";

fn parse_good(text: &str) -> Manifest {
    let (manifest, problems) = parse(text);
    manifest.unwrap_or_else(|| panic!("refused: {problems:?}"))
}

/// The text is refused, and one of the errors says this, there.
fn check_error(text: &str, line: u32, part: &str) {
    let (manifest, problems) = parse(text);
    assert!(manifest.is_none(), "accepted: {text}");
    let found = problems
        .iter()
        .any(|p| p.severity == Severity::Error && p.at.line == line && p.message.contains(part));
    assert!(found, "no error on line {line} with {part:?} in {problems:#?}");
}

fn check_warning(text: &str, line: u32, part: &str) {
    let (manifest, problems) = parse(text);
    assert!(manifest.is_some(), "refused: {problems:#?}");
    let found = problems
        .iter()
        .any(|p| p.severity == Severity::Warning && p.at.line == line && p.message.contains(part));
    assert!(found, "no warning on line {line} with {part:?} in {problems:#?}");
}

fn around(build: &str, run: &str) -> String {
    format!("version: 1.0\nruntime: python311\n{build}\n{run}\n")
}

const BUILD: &str = "build: {commands: {build: [make]}}";
const RUN: &str = "run: {command: serve}";

#[test]
fn the_whole_schema() {
    let (manifest, problems) = parse(GOOD);
    assert_eq!(problems, vec![]);
    let manifest = manifest.unwrap();
    assert_eq!(manifest.runtime.text, "python311");
    assert_eq!(manifest.build.pre_build, ["echo one"]);
    assert_eq!(manifest.build.build, ["pip install -r requirements.txt", "echo \"a: b\""]);
    assert_eq!(manifest.build.post_build, ["echo done"]);
    assert_eq!(manifest.build.env["STAGE"], "1.10");
    assert_eq!(manifest.run.runtime_version.unwrap().text, "3.10");
    assert_eq!(manifest.run.pre_run.unwrap().1, ["pip3 install -r requirements.txt"]);
    assert_eq!(manifest.run.command, "gunicorn app:app");
    assert_eq!((manifest.run.port, manifest.run.port_env.as_deref()), (Some(8000), Some("APP_PORT")));
    assert_eq!(manifest.run.env["EMPTY"], "");
}

#[test]
fn editors_marks_and_line_ends() {
    let crlf = format!("\u{feff}---\n{GOOD}").replace('\n', "\r\n");
    assert_eq!(parse_good(&crlf).build, parse_good(GOOD).build);
    assert_eq!(parse_good(&crlf).run.command, "gunicorn app:app");
}

#[test]
fn numbers_and_texts_alike() {
    for version in ["1.0", "1", "'1.0'"] {
        let text = format!("version: {version}\nruntime: python311\n{BUILD}\n{RUN}\n");
        assert_eq!(parse(&text).1, vec![], "version {version}");
    }
    check_warning(&format!("version: 1.10\nruntime: a\n{BUILD}\n{RUN}"), 1, "1.10");
    check_error(&format!("version: 2\nruntime: a\n{BUILD}\n{RUN}"), 1, "expected 1.0");
    let text = around(BUILD, "run: {command: a, network: {port: '3000'}}");
    assert_eq!(parse_good(&text).run.port, Some(3000));
}

#[test]
fn sections_missing_or_of_another_kind() {
    check_error("", 1, "empty");
    check_error("EOF\n", 1, "found a single value");
    check_error("A=b\n", 1, "KEY=value");
    check_error("services:\n  web: {}\n", 1, "Docker Compose");
    check_error("AWSTemplateFormatVersion: x\n", 1, "CloudFormation");
    check_error(&format!("runtime: a\n{BUILD}\n{RUN}"), 1, "version is missing");
    check_error(&format!("version: 1.0\n{BUILD}\n{RUN}"), 1, "runtime is missing");
    check_error(&around("", RUN), 1, "build is missing");
    check_error(&around(BUILD, ""), 1, "run is missing");
    check_error(&around("build: {}", RUN), 3, "build.commands is missing");
    check_error(&around("build: {commands: {}}", RUN), 3, "build.commands.build is missing");
    check_error(&around(BUILD, "run: {network: {port: 1}}"), 4, "run.command is missing");
    check_error(&around("build: |\n  make", RUN), 4, "build.commands.build");
    check_error(&around("build:\n  commands:\n    - make", RUN), 5, "one level deeper");
    check_error(&around("build:\n  commands:\n    build: make", RUN), 5, "expected a list of commands");
    check_error(
        &around("build:\n  commands:\n    build:\n      - make\n  run:\n    command: a", ""),
        7,
        "remove its indentation",
    );
}

#[test]
fn misplaced_keys() {
    check_error(&around(BUILD, "run:\n  command: a\n  port: 80"), 6, "run.network.port");
    check_error(&around(BUILD, "run:\n  command: a\n  ports: [80]"), 6, "run.network.port");
    check_error(&around(BUILD, "run:\n  command: a\nnetwork:\n  port: 80"), 6, "run.network");
    check_error(&around(BUILD, "run:\n  command: a\nenv: []"), 6, "belongs under run");
    check_error(&around(BUILD, "run:\n  command: a\n  network:\n    ports: 80"), 7, "one number");
    check_error(
        &around(BUILD, "run:\n  command: a\n  network:\n    env:\n      - name: A\n        value: b"),
        8,
        "run.env",
    );
    check_error(
        &around("build:\n  commands:\n    pre_build: [a]\n    build: [b]", RUN),
        5,
        "did you mean pre-build?",
    );
    check_error(
        &around("build:\n  commands:\n    prebuild: [a]\n    build: [b]", RUN),
        5,
        "did you mean pre-build?",
    );
    check_warning(
        &around("build:\n  dockerfile: Dockerfile\n  commands: {build: [a]}", RUN),
        4,
        "Dockerfile",
    );
    check_warning(
        &around(BUILD, "run:\n  command: a\n  health-check: {path: /}"),
        6,
        "HealthCheckConfiguration",
    );
    check_warning(
        &around(BUILD, "run:\n  command: a\nhealth_check: {path: /}"),
        6,
        "HealthCheckConfiguration",
    );
    check_warning(&around(BUILD, "run:\n  command: a\n  netwrok: {port: 1}"), 6, "did you mean network?");
    check_warning(&around(BUILD, "run:\n  command: a\n  network:"), 6, "8080");
}

#[test]
fn commands_that_yaml_reads_otherwise() {
    check_error(&around("build:\n  commands:\n    build:\n      - echo \"x\": y", RUN), 6, "single quotes");
    check_error(&around("build:\n  commands:\n    build:\n      -", RUN), 6, "empty list item");
    check_error(&around(BUILD, "run:\n  command:\n    - a"), 6, "found a list");
    check_error(&around(BUILD, "run:\n  command: a\n  command: b"), 6, "line 5");
    check_error("a: &x 1\n", 1, "anchor");
    check_error("version: 1.0\n\truntime: x\n", 2, "a tab in the indentation");
    check_error("version: \"1.0\n", 1, "not valid YAML");
}

#[test]
fn variables() {
    let env = |entries: &str| around(BUILD, &format!("run:\n  command: a\n  env:\n{entries}"));
    check_error(&env("    A: b"), 7, "a list of entries");
    check_error(&env("    - A: b"), 7, "without a name");
    check_error(&env("    - name: A"), 7, "has no value");
    check_error(&env("    - name: AWSAPPRUNNER_X\n      value: b"), 7, "reserved");
    check_error(&env("    - name: PORT\n      value: 8000"), 7, "run.network.port: 8000");
    check_warning(&env("    - name: PORT\n      value: 8080"), 7, "set by the platform");
    check_warning(&env("    - name: A\n      value: ${B}"), 7, "not replaced");
    assert!(!parse_good(&env("    - name: PORT\n      value: 8080")).run.env.contains_key("PORT"));
}

#[test]
fn ports() {
    for port in ["0", "65536", "http", "-1"] {
        check_error(
            &around(BUILD, &format!("run:\n  command: a\n  network:\n    port: {port}")),
            7,
            "1 to 65535",
        );
    }
}

#[test]
fn secrets_are_refused_with_the_reason() {
    let secrets =
        |entry: &str| around(BUILD, &format!("run:\n  command: a\n  secrets:\n    - name: A\n      {entry}"));
    check_error(&secrets("value-from: some-parameter"), 6, "cannot be resolved");
    check_error(&secrets("value: x"), 7, "value-from");
    assert!(parse(&around(BUILD, "run:\n  command: a\n  secrets: []")).0.is_some());
}

#[test]
fn runtime_names() {
    let known = ["nodejs18", "python3", "python311"];
    assert!(unknown_runtime("python3.11", &known).contains("did you mean python311?"));
    assert!(unknown_runtime("nodejs20", &known).contains("nodejs18, python3, python311"));
    assert!(!unknown_runtime("docker", &known).contains("did you mean"));
}

/// No text may make it panic: cut the good file anywhere, and put each odd character anywhere.
#[test]
fn any_text_is_survived() {
    for end in 0..GOOD.len() {
        let _ = parse(&GOOD[..end]);
        for odd in ["\0", "\t", "*a", "&a", "{", "[", "- ", ": ", "\u{feff}", "%", "!!"] {
            let _ = parse(&format!("{}{odd}{}", &GOOD[..end], &GOOD[end..]));
        }
    }
    let _ = parse(&"[".repeat(100_000));
    let _ = parse(&"a: ".repeat(50_000));
}
