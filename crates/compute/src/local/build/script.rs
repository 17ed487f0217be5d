//! Commands as one shell script that says which of them runs.
//!
//! All commands of a phase share a shell, so that `cd` and `export` last. Each goes through `eval`: an open
//! quote or a trailing backslash then spoils one command and not those that follow. A line with a mark that
//! the user cannot guess comes before each, which the log shows as `$ command` and which tells at the end where
//! the script stopped.

/// A script and how to read what it says.
pub(super) struct Script {
    pub(super) text: String,
    mark: String,
}

/// A line of the output.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The command with this index begins.
    Command(usize),
    /// Everything went well; the shell's last directory.
    Ended(String),
    Output(String),
}

impl Script {
    pub(super) fn new(mark: &str, directory: &str, commands: &[String]) -> Script {
        let mark = format!("apron-{mark}");
        let mut text = format!("set -e\ncd {}\n", quoted(directory));
        for (index, command) in commands.iter().enumerate() {
            text.push_str(&format!("echo '{mark} {index}'\n"));
            // A list such as `a && b` that fails does not end every shell under -e, so its status is looked at.
            text.push_str(&format!("eval {}\n", quoted(command)));
            text.push_str("__apron_status=$?; [ $__apron_status = 0 ] || exit $__apron_status\n");
        }
        text.push_str(&format!("echo \"{mark} end $PWD\"\n"));
        Script { text, mark }
    }

    /// What a line says, in order: output without a line end may stand before a mark.
    pub(super) fn read(&self, line: &str) -> Vec<Said> {
        let output = |text: &str| Said::Output(text.to_owned());
        let Some((before, after)) = line.split_once(&self.mark) else { return vec![output(line)] };
        let said = match (after.strip_prefix(" end "), after.trim().parse()) {
            (Some(directory), _) => Said::Ended(directory.to_owned()),
            (None, Ok(index)) => Said::Command(index),
            (None, Err(_)) => return vec![output(line)],
        };
        if before.is_empty() { vec![said] } else { vec![output(before), said] }
    }
}

/// For a shell, as one word.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Runs the commands in a real shell; answers with the status and what was said.
    fn check(commands: &[&str]) -> (i32, Vec<Said>) {
        let commands: Vec<String> = commands.iter().map(|c| (*c).to_owned()).collect();
        let script = Script::new("x", "/", &commands);
        let output = Command::new("bash").args(["-c", &script.text]).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).lines().flat_map(|line| script.read(line)).collect();
        (output.status.code().unwrap(), said)
    }

    #[test]
    fn commands_share_a_shell() {
        let (status, said) = check(&["cd /usr", "export A=it\\'s", "echo \"$A\" $PWD"]);
        assert_eq!(status, 0);
        assert_eq!(said[3], Said::Output("it's /usr".to_owned()));
        assert_eq!(said[4], Said::Ended("/usr".to_owned()));
    }

    #[test]
    fn the_first_failure_ends_it() {
        for (command, code) in [("exit 3", 3), ("false", 1), ("true && false", 1), ("no-such", 127)] {
            let (status, said) = check(&["true", command, "echo never"]);
            assert_eq!((status, said.last()), (code, Some(&Said::Command(1))), "{command}");
        }
        // Shells give a wrong text different codes.
        let (status, said) = check(&["echo 'open", "echo never"]);
        assert_eq!((status != 0, said), (true, vec![Said::Command(0)]));
        let (status, said) = check(&["false\necho never"]);
        assert_eq!((status, said), (1, vec![Said::Command(0)]), "lines of one command stop too");
    }

    #[test]
    fn one_odd_command_leaves_the_next_alone() {
        let (status, said) = check(&["printf 'no line end'"]);
        assert_eq!((status, &said[1]), (0, &Said::Output("no line end".to_owned())));
        assert_eq!(said[2], Said::Ended("/".to_owned()));
        let (status, said) = check(&["echo a \\", "echo b # comment", "if false; then true; fi"]);
        assert_eq!(status, 0);
        let output: Vec<&Said> = said.iter().filter(|s| matches!(s, Said::Output(_))).collect();
        assert_eq!(output.len(), 2);
    }
}
