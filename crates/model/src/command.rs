//! Does a start command need a shell? Plain words run without one, as on App Runner, so that signals reach the
//! program; text that only a shell understands goes through `/bin/sh -c`, so that it works at all.

use crate::instance::Command;

/// The command that a start command's text means. Blank text is the image's own command.
pub fn decide(text: Option<&str>) -> Command {
    match text.map(str::trim) {
        None | Some("") => Command::Image,
        Some(text) if needs_shell(text) => Command::Shell(text.to_owned()),
        Some(text) => Command::Argv(text.split_ascii_whitespace().map(str::to_owned).collect()),
    }
}

/// Characters that mean something to a shell and would reach a program as they are otherwise. Square brackets
/// and braces are left out: programs are given them more often than shells are.
const SHELL_CHARACTERS: &[char] =
    &['&', '|', ';', '$', '`', '*', '?', '~', '>', '<', '(', ')', '\'', '"', '\\', '\n'];

/// First words that are no programs.
const SHELL_WORDS: &[&str] = &["cd", "exec", "export", "set", "source", ".", "ulimit", "umask", "unset"];

/// True when the text does not mean the same without a shell.
pub fn needs_shell(text: &str) -> bool {
    let first = text.split_ascii_whitespace().next().unwrap_or_default();
    text.contains(SHELL_CHARACTERS) || SHELL_WORDS.contains(&first) || is_assignment(first)
}

/// `NAME=value` before a program.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        let words = expect.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(decide(Some(text)), Command::Argv(words), "{text}");
    }

    fn check_shell(text: &str) {
        assert_eq!(decide(Some(text)), Command::Shell(text.trim().to_owned()), "{text}");
    }

    #[test]
    fn plain_words_run_without_a_shell() {
        check("python app.py", &["python", "app.py"]);
        check(
            "  gunicorn   -w 4\t-b 0.0.0.0:8080 app:app ",
            &["gunicorn", "-w", "4", "-b", "0.0.0.0:8080", "app:app"],
        );
        check("node --max-old-space-size=512 server.js", &["node", "--max-old-space-size=512", "server.js"]);
        check("java -Dserver.port=8080 -jar app.jar", &["java", "-Dserver.port=8080", "-jar", "app.jar"]);
        check("./cdn", &["./cdn"]);
        check("/opt/a=b/run", &["/opt/a=b/run"]);
    }

    #[test]
    fn what_only_a_shell_understands_goes_to_one() {
        check_shell("cd web && npm start");
        check_shell("cd web");
        check_shell("gunicorn -b 0.0.0.0:$PORT app:app");
        check_shell("java -jar target/*.jar");
        check_shell("sh -c \"python manage.py migrate; gunicorn app\"");
        check_shell("PORT=3000 node server.js");
        check_shell("node a.js | tee log");
        check_shell("exec node a.js");
        check_shell("echo `date`");
        check_shell("python app.py > /tmp/log 2>&1");
        check_shell("~/bin/run");
    }

    #[test]
    fn nothing_is_the_images_own() {
        assert_eq!(decide(None), Command::Image);
        assert_eq!(decide(Some("  ")), Command::Image);
    }
}
