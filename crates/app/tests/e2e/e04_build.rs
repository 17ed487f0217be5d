//! Point 4: from source, by every way that a source comes, with the tools as users type them. The repositories are
//! on another machine of the network, behind git's own HTTP server. Needs root, and the package indexes of Python
//! and Node.

use crate::support::git::{commit, commit_on, head, python_application};
use crate::support::git_server::{CLOSED, GitServer, Https, plain};
use crate::support::neighbourhood::Neighbourhood;
use crate::support::{Options, Platform, eventually, http, repository};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

const BUILD_MAX: Duration = Duration::from_secs(240);

/// Answers what it finds around itself, on the port in its first argument, else in PORT.
const REPORTER: &str = r#"
import http.server, json, os, sys, signal
signal.signal(signal.SIGTERM, lambda *arguments: os._exit(0))
def look():
    import itsdangerous, pkg_resources, setuptools
    built = open('built.txt').read().split('\n') if os.path.exists('built.txt') else []
    return {
        'argv': sys.argv, 'parent': os.getppid(), 'pid': os.getpid(), 'directory': os.getcwd(),
        'python': sys.executable, 'version': '%d.%d' % sys.version_info[:2], 'built': built,
        'itsdangerous': itsdangerous.__name__, 'env': dict(os.environ),
        'app': sorted(os.path.relpath(os.path.join(d, f), '/app') for d, _, fs in os.walk('/app') for f in fs
                      if '/.git/' not in d + '/'),
        'ours': [p for p in ('/run', '/root', '/tmp') for p in [os.path.join(p, n) for n in os.listdir(p)]
                 if 'apron' in p],
    }
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(look()).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
port = int(sys.argv[1] if len(sys.argv) > 1 else os.environ['PORT'])
http.server.ThreadingHTTPServer(('', port), Handler).serve_forever()
"#;

/// Every name by which users call the tools.
const WITH_PYTHON311: &str = "\
version: 1.0
runtime: python311
build:
  commands:
    pre-build:
      - pip --version
      - python -V > built.txt
    build:
      - pip install -r requirements.txt
      - python3 -V >> built.txt
    post-build:
      - python -m pip --version
      - pip3 --version
run:
  runtime-version: 3.11
  pre-run:
    - python3 -c 'import itsdangerous'
  command: cd web && python3 *.py $PORT
  network:
    port: 8000
    env: APP_PORT
  env:
    - name: FROM_FILE
      value: \"yes\"
";

/// The original pipeline, and a program of the time when everything imported pkg_resources.
const WITH_PYTHON3: &str = "\
version: 1.0
runtime: python3
build:
  commands:
    build:
      - pip3 install -r requirements.txt
run:
  command: gunicorn --bind 0.0.0.0:$PORT app:app
  network:
    port: 8001
";

const WSGI: &str = "def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    import gunicorn
    return [('gunicorn ' + gunicorn.__version__).encode()]
";

/// A code source of the API.
fn code(url: &str, directory: Option<&str>, values: Option<Value>) -> String {
    let configuration = match values {
        Some(values) => json!({ "ConfigurationSource": "API", "CodeConfigurationValues": values }),
        None => json!({ "ConfigurationSource": "REPOSITORY" }),
    };
    let mut repository = json!({
        "RepositoryUrl": url,
        "SourceCodeVersion": { "Type": "BRANCH", "Value": "main" },
        "CodeConfiguration": configuration,
    });
    if let Some(directory) = directory {
        repository["SourceDirectory"] = directory.into();
    }
    json!({ "AutoDeploymentsEnabled": false, "CodeRepository": repository }).to_string()
}

fn create(platform: &Platform, name: &str, source: &str) -> String {
    let created = platform.aws(&["create-service", "--service-name", name, "--source-configuration", source]);
    created["Service"]["ServiceArn"].as_str().unwrap().to_owned()
}

/// Waits until it runs, else says what the build said.
fn running(platform: &Platform, name: &str, arn: &str) {
    let operation = platform.aws_operation(arn, BUILD_MAX);
    if operation["Status"] != "SUCCEEDED" {
        let log = platform.run(&["logs", name, "--deployment"]);
        panic!("{name}: {operation}\n{}\n{log}", platform.run(&["status", name]));
    }
    platform.aws_service(arn, "RUNNING", Duration::from_secs(10));
}

fn report(platform: &Platform, name: &str) -> Value {
    let answer = http::get(&platform.apps, &platform.alias(name), "/").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
}

/// A platform that trusts the git server's certificate beside those of this host.
fn trusting(certificate: &Path, bundle: &Path) -> Options {
    let host = fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").expect("the host's certificates");
    fs::write(bundle, host + &fs::read_to_string(certificate).unwrap()).unwrap();
    let mut options = Options::standard();
    options.env.push(("SSL_CERT_FILE".to_owned(), bundle.display().to_string()));
    options
}

#[test]
fn every_runtime_from_repositories_over_http_and_https() {
    let outside = Neighbourhood::new();
    let dir = crate::support::platform::new_directory();
    let repositories = dir.join("repositories");
    let requirements = ("requirements.txt", "itsdangerous==2.2.0\n");
    let web =
        [("apprunner.yaml", WITH_PYTHON311), requirements, ("web/main.py", REPORTER), ("static/a.txt", "a")];
    commit(&repositories.join("webapp"), &web);
    let old =
        [("apprunner.yaml", WITH_PYTHON3), ("requirements.txt", "gunicorn==20.0.4\n"), ("app.py", WSGI)];
    commit(&repositories.join("oldapp"), &old);
    let example = repository().join("examples/node");
    let read = |name: &str| fs::read_to_string(example.join(name)).unwrap();
    let node =
        ["apprunner.yaml", "package.json", "package-lock.json", "server.js"].map(|name| (name, read(name)));
    let node: Vec<(&str, &str)> = node.iter().map(|(name, text)| (*name, text.as_str())).collect();
    commit(&repositories.join("nodeapp"), &node);
    let below = [
        ("README", "nothing to build here"),
        ("apps/api/requirements.txt", requirements.1),
        ("apps/api/main.py", REPORTER),
    ];
    commit(&repositories.join("closed/many"), &below);
    commit(
        &repositories.join("fails"),
        &[
            (
                "apprunner.yaml",
                "version: 1.0\nruntime: python311\nbuild:\n  commands:\n    build:\n      - echo before\n      - cat /no/such/file\n      - echo after\nrun:\n  command: python3 app.py\n",
            ),
            ("app.py", ""),
        ],
    );

    for (text, on) in [("of main", None), ("of a branch", Some("feature/other"))] {
        let files = python_application(text);
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, content)| (*name, content.as_str())).collect();
        let branches = repositories.join("branches");
        match on {
            None => drop(commit(&branches, &files)),
            Some(branch) => commit_on(&branches, branch, &files),
        }
    }

    let server = GitServer::start(outside.listen(plain(outside.public)), &repositories);
    let https = Https::start(&outside, &dir);
    let platform = Platform::with_bases_and(&["python311", "nodejs18"], |_| {
        trusting(&https.certificate, &dir.join("bundle.pem"))
    });
    let at = |scheme: &str, name: &str| format!("{scheme}://{}/{name}", outside.public);
    let values = json!({
        "Runtime": "PYTHON_311",
        "BuildCommand": "pip3 install -r requirements.txt && python -V > built.txt",
        "StartCommand": "python main.py",
        "Port": "8002",
        "RuntimeEnvironmentVariables": { "FROM_API": "yes" },
    });
    // The address that the build is given carries what the connection holds, so this is also a repository with a
    // password in its address.
    let token = dir.join("token");
    fs::write(&token, "tester:open-sesame\n").unwrap();
    platform.run(&["connection", "create", "closed"]);
    let connections = platform.aws(&["list-connections", "--connection-name", "closed"]);
    let connection = connections["ConnectionSummaryList"][0]["ConnectionArn"].clone();
    let closed = format!("http://{}{CLOSED}many/.git", outside.public);
    let mut many: Value = serde_json::from_str(&code(&closed, Some("apps/api"), Some(values))).unwrap();
    many["AuthenticationConfiguration"] = json!({ "ConnectionArn": connection });
    let refused = platform.aws_refused(&[
        "create-service",
        "--service-name",
        "many",
        "--source-configuration",
        &many.to_string(),
    ]);
    assert!(refused.contains("PENDING_HANDSHAKE"), "{refused}");
    let said = platform.run(&["connection", "complete", "closed", "--token-file", token.to_str().unwrap()]);
    assert_eq!(said, "closed is AVAILABLE\n");
    let all = [
        ("webapp", code(&at("http", "webapp/.git"), None, None)),
        ("oldapp", code(&at("https", "oldapp/.git"), None, None)),
        ("nodeapp", code(&at("https", "nodeapp/.git"), None, None)),
        ("many", many.to_string()),
    ];
    let created = all.map(|(name, source)| (name, create(&platform, name, &source)));
    let failing = create(&platform, "fails", &code(&at("http", "fails/.git"), None, None));
    for (name, arn) in &created {
        running(&platform, name, arn);
        println!("{name} runs");
    }
    println!("requests: {:#?}", server.requests());
    for path in ["/webapp/.git", "/oldapp/.git", "/nodeapp/.git", "/closed/many/.git"] {
        let asked = format!("POST {path}/git-upload-pack");
        assert!(server.requests().iter().any(|request| request.starts_with(&asked)), "{asked}");
    }

    // By hand, from the same server, what is on a branch.
    let url = at("http", "branches/.git");
    let said = platform.run(&["deploy", &url, "--branch", "feature/other", "--name", "branches"]);
    let body = || http::get(&platform.apps, &platform.alias("branches"), "/").unwrap().body;
    assert_eq!(body(), "of a branch", "{said}");
    let said = platform.refused(&["deploy", &url, "--branch", "nowhere", "--name", "branches"]);
    assert!(said.lines().last().is_some_and(|line| line.contains("nowhere")), "{said}");
    assert_eq!(body(), "of a branch");

    let web = report(&platform, "webapp");
    assert_eq!((&web["version"], &web["python"]), (&json!("3.11"), &json!("/opt/venv/bin/python3")));
    assert_eq!(web["directory"], "/app/web");
    assert_eq!(web["argv"], json!(["main.py", "8000"]), "the glob and the variable went through a shell");
    assert_eq!(
        web["app"],
        json!(["apprunner.yaml", "built.txt", "requirements.txt", "static/a.txt", "web/main.py"])
    );
    assert_eq!(web["ours"], json!([]), "something of the build was left in the image");
    for (name, value) in
        [("FROM_FILE", "yes"), ("APP_PORT", "8000"), ("PORT", "8000"), ("APRON_SERVICE", "webapp")]
    {
        assert_eq!(web["env"][name], value, "{name}");
    }
    assert_eq!(web["env"]["APRON_COMMIT"], head(&repositories.join("webapp")));

    let many = report(&platform, "many");
    assert_eq!(many["directory"], "/app/apps/api");
    assert_eq!(
        (&many["pid"], &many["argv"]),
        (&json!(1), &json!(["main.py"])),
        "plain words run without a shell"
    );
    assert_eq!((&many["env"]["FROM_API"], &many["env"]["PORT"]), (&json!("yes"), &json!("8002")));
    assert!(many["app"].as_array().unwrap().contains(&json!("README")), "the whole repository is at /app");
    assert!(many["built"][0].as_str().unwrap().starts_with("Python 3.11"), "{}", many["built"]);

    let old = http::get(&platform.apps, &platform.alias("oldapp"), "/").unwrap();
    assert_eq!(old.body, "gunicorn 20.0.4");
    let node = http::get(&platform.apps, &platform.alias("nodeapp"), "/about").unwrap();
    let node: Value =
        serde_json::from_str(&node.body).unwrap_or_else(|error| panic!("{error}: {}", node.body));
    assert!(node["node"].as_str().unwrap().starts_with("v18."), "{node}");
    assert_eq!((&node["port"], &node["greeting"]), (&json!(3000), &json!("from source to a URL")));

    platform.aws_service(&failing, "CREATE_FAILED", BUILD_MAX);
    let status = platform.run(&["status", "fails"]);
    let log = platform.run(&["logs", "fails", "--deployment"]);
    println!("{status}\n{log}");
    assert!(status.contains("/no/such/file") && status.contains("failure"), "{status}");
    assert!(log.contains("[Build] before") && log.contains("No such file"), "{log}");
    assert!(!log.lines().any(|line| line.ends_with("[Build] after")), "it went on: {log}");

    // The password stands in no log.
    for stream in [&["logs", "many", "--deployment"][..], &["logs", "many", "--events"]] {
        assert!(!platform.run(stream).contains("open-sesame"), "{stream:?}");
    }
    assert!(!platform.log().contains("open-sesame"));
    drop(platform);
    let _ = fs::remove_dir_all(dir);
}

#[test]
fn a_directory_without_what_it_ignores_and_a_repository_on_this_machine() {
    let platform = Platform::with_bases(&["python311"]);
    let dir = platform.scratch("project");
    let write = |name: &str, text: &str| {
        fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        fs::write(dir.join(name), text).unwrap();
    };
    let manifest = "version: 1.0\nruntime: python311\nbuild:\n  commands:\n    build:\n      - pip install itsdangerous\n\
                    run:\n  command: python3 app.py 8080\n";
    for (name, text) in [
        ("apprunner.yaml", manifest),
        ("app.py", REPORTER),
        (".gitignore", "*.secret\n/private/\n!kept.secret\n"),
        (".dockerignore", "notes\n**/*.log\n"),
        ("kept.secret", "kept"),
        ("key.secret", "no"),
        ("private/key", "no"),
        ("notes/today.md", "no"),
        ("deep/down/out.log", "no"),
        ("deep/down/data.txt", "yes"),
    ] {
        write(name, text);
    }
    let said = platform.run(&["deploy", dir.to_str().unwrap(), "--name", "local", "--env", "BY=hand"]);
    assert!(said.contains("Successfully built your application source code in "), "{said}");
    let local = report(&platform, "local");
    let expected =
        [".dockerignore", ".gitignore", "app.py", "apprunner.yaml", "deep/down/data.txt", "kept.secret"];
    assert_eq!(local["app"], json!(expected));
    assert_eq!(local["env"]["BY"], "hand");

    let url = commit(&platform.scratch("repository"), &[("apprunner.yaml", manifest), ("app.py", REPORTER)]);
    let arn = create(&platform, "file", &code(&url, None, None));
    running(&platform, "file", &arn);
    assert_eq!(report(&platform, "file")["directory"], "/app");

    // A branch that is not there, told with its name.
    let source = code(&url, None, None).replace("\"main\"", "\"absent\"");
    let arn = create(&platform, "absent", &source);
    platform.aws_service(&arn, "CREATE_FAILED", BUILD_MAX);
    let status = eventually(Duration::from_secs(5), "the reason", || {
        let status = platform.run(&["status", "absent"]);
        if status.contains("failure") { Ok(status) } else { Err(status) }
    });
    println!("{status}");
    assert!(status.contains("absent") && status.contains("branch"), "{status}");
}
