//! What strangers write and the model reads, with changes by dice. Part of the long list.

#[path = "support/mutate.rs"]
mod mutate;

use apron_model::command;
use apron_model::instance::Command;
use apron_model::manifest::{self, Severity};

const WHOLE: &str = r#"version: 1.0
runtime: python311
build:
  commands:
    pre-build:
      - apt-get install -y git
    build:
      - pip install -r requirements.txt
      - "echo 'a: b' && true"
    post-build:
      - python manage.py collectstatic
  env:
    - name: A
      value: "1"
run:
  runtime-version: 3.11.4
  pre-run:
    - pip install gunicorn
  command: gunicorn --bind 0.0.0.0:$PORT app:app
  network:
    port: 8000
    env: APP_PORT
  env:
    - name: B
      value: 2
  secrets:
    - name: C
      value-from: "arn:aws:secretsmanager:us-east-1:123456789012:secret:x"
"#;

#[test]
#[ignore = "long: the long list runs it"]
fn manifests() {
    let corpus: [&[u8]; 4] = [
        WHOLE.as_bytes(),
        b"{version: 1.0, runtime: nodejs18}",
        b"a: &a [*a, *a]\n<<: *a\n",
        b"--- |\n x\n...\n---\n",
    ];
    let words = [
        "version: ",
        "runtime: ",
        "build:\n",
        "  commands:\n",
        "- ",
        ": ",
        "\n",
        "\t",
        "  ",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "!!binary ",
        "|",
        ">-",
        "'",
        "\"",
        "#",
        "---\n",
        "~",
        "1e999",
        "0x10",
        "\u{feff}",
        "\u{85}",
        "\0",
        "ä",
        "? ",
        "%YAML 1.1\n",
    ];
    mutate::fuzz(&corpus, &words, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (value, problems) = manifest::parse(&text);
        let refused = problems.iter().any(|problem| problem.severity == Severity::Error);
        assert_eq!(value.is_none(), refused, "{problems:?}");
        assert!(problems.is_sorted_by_key(|problem| problem.at));
        for problem in &problems {
            assert!(problem.at.line > 0 && problem.at.column > 0 && !problem.message.is_empty(), "{problem}");
        }
    });
}

#[test]
#[ignore = "long: the long list runs it"]
fn start_commands() {
    let corpus: [&[u8]; 4] = [
        b"python app.py",
        b"cd a && ./run \"$PORT\" > /dev/null",
        b"sh -c 'a b'",
        b"node --x=\"a b\" 'c'\\''d'",
    ];
    let words = ["'", "\"", "\\", "$", "&&", "|", "*", " ", "\n", "\0", "cd ", "`", "(", "~", "ä", "#"];
    mutate::fuzz(&corpus, &words, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Command::Argv(words) = command::decide(Some(&text)) {
            assert!(!command::needs_shell(text.trim()) && !words.is_empty(), "{words:?}");
        }
    });
}
