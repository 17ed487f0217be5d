//! Of which commit, when and where a page's figures are. Taken before the first of them: what is measured or tested
//! is the tree as it was then, and the tasks write pages of it themselves.

use crate::program::output;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Pages that the tasks write. A change of them is no change of what they are about.
const PAGES: [&str; 2] = ["docs/benchmarks.md", "docs/nightly.md"];

pub(crate) struct Facts {
    /// The hash in full, and `with changes` after it if the tree differs from that commit.
    pub(crate) commit: String,
    /// With hour and minute, UTC.
    pub(crate) date: String,
    pub(crate) machine: String,
}

/// The facts of the repository and this machine, now.
pub(crate) fn take(root: &Path) -> Result<Facts> {
    let others = PAGES.map(|page| format!(":(exclude){page}"));
    let git = |arguments: &[&str]| output(Command::new("git").args(arguments).current_dir(root));
    let commit = git(&["rev-parse", "HEAD"])?;
    let changed = !git(&["status", "--porcelain", "--", ".", &others[0], &others[1]])?.is_empty();
    let system = output(Command::new("uname").arg("-srm"))?;
    Ok(Facts {
        commit: if changed { format!("{commit} with changes") } else { commit },
        date: output(Command::new("date").args(["--utc", "+%Y-%m-%d %H:%M UTC"]))?,
        machine: format!("{}, {system}", processor()),
    })
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} × {}", model.map_or("processor without a name", |(_, name)| name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Repository(PathBuf);

    impl Drop for Repository {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_pages_that_tasks_write_are_no_changes() {
        let root = std::env::temp_dir().join(format!("xtask-facts-{}", std::process::id()));
        let repository = Repository(root.clone());
        std::fs::create_dir_all(root.join("docs")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(repository.0.join(name), text).unwrap();
        let git = |arguments: &[&str]| {
            let who = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
            output(Command::new("git").args(who).args(arguments).current_dir(&root)).unwrap()
        };
        write("docs/benchmarks.md", "one");
        write("source", "one");
        git(&["init", "--quiet"]);
        git(&["add", "."]);
        git(&["commit", "--quiet", "--message", "one"]);
        let commit = git(&["rev-parse", "HEAD"]);
        write("docs/benchmarks.md", "two");
        write("docs/nightly.md", "new");
        assert_eq!(take(&root).unwrap().commit, commit);
        write("source", "two");
        assert_eq!(take(&root).unwrap().commit, format!("{commit} with changes"));
    }
}
