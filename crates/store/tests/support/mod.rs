//! A PostgreSQL server of the tests' own: the Debian package's program, as the user that the package makes, in a
//! directory of its own, reached by its socket alone. One for each process of tests; it ends with that process,
//! however that ends, and its directory is removed. Needs root.

// Tests of several programs share it, and none needs all of it.
#![allow(dead_code, unreachable_pub)]

use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The owner of every database of the tests, who has to give a password like any user.
pub const USER: &str = "apron";
pub const PASSWORD: &str = "only for tests: '%/";

/// An installation of some hundred files on a busy disk.
const START_MAX: Duration = Duration::from_secs(120);

/// Runs the server until the standard input ends, which the kernel closes when the tests are gone.
const KEEPER: &str = r#"
set -eu
directory=$1 programs=$2
trap 'rm -rf "$directory"' EXIT
trap : INT TERM HUP
user="--reuid=postgres --regid=postgres --clear-groups"
cd "$directory"
setpriv $user "$programs/initdb" --pgdata=data --username=apron --pwfile=password --auth=scram-sha-256 \
    --locale=C --encoding=UTF8 --no-sync >log 2>&1
setpriv $user "$programs/postgres" -D data -c listen_addresses= -c unix_socket_directories="$directory" -c fsync=off \
    -c full_page_writes=off -c shared_buffers=16MB -c max_connections=400 >>log 2>&1 </dev/null &
server=$!
cat >/dev/null || :
kill -QUIT $server 2>/dev/null || :
wait $server || :
"#;

struct Server {
    directory: PathBuf,
    programs: PathBuf,
    /// Its standard input is what keeps the server.
    _keeper: Child,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let programs = programs();
        let directory = std::env::temp_dir().join(format!("apron-postgres-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o755).create(&directory).expect("a directory for PostgreSQL");
        std::fs::write(directory.join("password"), PASSWORD).unwrap();
        let (user, group) = account("postgres");
        chown(&directory, Some(user), Some(group)).expect("root, to give the directory to PostgreSQL's user");
        chown(directory.join("password"), Some(user), Some(group)).unwrap();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .args([&directory, &programs])
            .stdin(Stdio::piped())
            // Whoever reads what the tests say is not to wait for the server's end.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let mut server = Server { directory, programs, _keeper: keeper };
        let give_up = Instant::now() + START_MAX;
        while !server.answers() {
            let ended = server._keeper.try_wait().unwrap();
            if ended.is_some() || Instant::now() > give_up {
                let log = std::fs::read_to_string(server.directory.join("log")).unwrap_or_default();
                panic!("PostgreSQL does not start ({ended:?}):\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    })
}

impl Server {
    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let output = Command::new(self.programs.join(program))
            .arg("--host")
            .arg(&self.directory)
            .args(["--username", USER])
            .args(arguments)
            .env("PGPASSWORD", PASSWORD)
            .current_dir("/")
            .output()
            .expect("PostgreSQL's programs");
        output.status.success()
    }

    fn answers(&self) -> bool {
        self.directory.join(".s.PGSQL.5432").exists() && self.run("pg_isready", &["--quiet"])
    }
}

/// The newest that is installed.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found =
        versions.map(|version| version.path().join("bin")).filter(|path| path.join("initdb").exists()).max();
    found.expect("PostgreSQL is not installed, and the store is tested on it: apt-get install postgresql")
}

fn account(name: &str) -> (u32, u32) {
    let text = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|line| line[0] == name);
    let line = line.unwrap_or_else(|| panic!("there is no user '{name}', which Debian's package makes"));
    (line[2].parse().unwrap(), line[3].parse().unwrap())
}

/// An empty database of the server; it goes when this is dropped.
pub struct Database {
    name: String,
}

impl Database {
    pub fn new() -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
        assert!(server().run("createdb", &[&name]), "the database {name} cannot be made");
        Database { name }
    }

    /// Without the password.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@localhost/{}?host={}", self.name, server().directory.display())
    }

    /// Ends every session that a store has with this database, in the middle of whatever it does.
    pub fn kill_sessions(&self) {
        let sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'apron'";
        assert!(server().run("psql", &["--quiet", "--command", sql, &self.name]), "sessions cannot be ended");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server, which goes with the process, has it otherwise.
        server().run("dropdb", &["--force", "--if-exists", &self.name]);
    }
}
