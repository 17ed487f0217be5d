//! `apron trust`: the root of the local certificate authority, for whoever wants HTTPS on the apps domain without a
//! warning.
//!
//! The root lies where the proxy may write, and what stands in the system's store every program believes. So it is
//! read once, and nothing but what was read and found to be bounded to the apps domain is printed or installed.

use super::progress::print;
use super::settings::Flags;
use crate::config;
use crate::file;
use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::OFlag;
use nix::unistd::Uid;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Where the proxy keeps it, below the data directory.
const ROOT: &str = "proxy/tls/ca.pem";
/// A certificate has about a kilobyte.
const ROOT_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Put it among the roots that this machine trusts
    #[arg(long, conflicts_with = "remove")]
    install: bool,
    /// Take it from the roots that this machine trusts
    #[arg(long)]
    remove: bool,
    /// The TOML file that apron serve is given, if any
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The domain that apron serve is given, if any
    #[arg(long, value_name = "DOMAIN")]
    apps_domain: Option<String>,
}

pub(crate) fn run(flags: &Flags, arguments: &Arguments) -> Result<ExitCode> {
    let variable = std::env::var_os(config::DATA_DIR_VARIABLE);
    let data_dir = config::data_dir(flags.data_dir.as_deref(), variable);
    if arguments.remove {
        let store = Store::of_this_machine(&data_dir)?;
        let removed = store.remove()?;
        print(if removed { "the root is no longer trusted" } else { "the root was not installed" });
        return Ok(ExitCode::SUCCESS);
    }
    let domain = config::resolve_apps_domain(arguments.config.as_deref(), arguments.apps_domain.as_deref())?;
    let root = checked_root(&data_dir.join(ROOT), &domain)?;
    if arguments.install {
        let store = Store::of_this_machine(&data_dir)?;
        store.install(&root)?;
        print(&format!(
            "this machine trusts the root for names of {domain}; a browser with a store of its own has to import {}",
            store.place.display()
        ));
    } else {
        print(root.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

/// The certificate in this file, if it is that of an authority for this domain and no other.
fn checked_root(path: &Path, domain: &str) -> Result<String> {
    let root = read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow!(
            "there is no root at {}: it is made when 'apron serve' first listens for HTTPS; name its data directory \
             with --data-dir",
            path.display()
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow!("the root at {} may be read by root only; run this command as root", path.display())
        }
        _ => anyhow!("cannot read the root at {}: {error}", path.display()),
    })?;
    apron_proxy::check_authority(&root, domain).with_context(|| {
        format!(
            "the certificate at {} is not used; if the platform's domain is another one, name it with --apps-domain \
             or --config",
            path.display()
        )
    })?;
    String::from_utf8(root).context("the root is not text")
}

/// Follows no link and waits for nobody: the proxy's user may have put anything in the place.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut content = Vec::new();
    file.take(ROOT_BYTES_MAX + 1).read_to_end(&mut content)?;
    match content.len() as u64 > ROOT_BYTES_MAX {
        true => Err(io::Error::other(format!("it has more than {ROOT_BYTES_MAX} bytes"))),
        false => Ok(content),
    }
}

/// The roots that the programs of a machine trust, as Debian keeps them.
struct Store {
    /// The file of this platform's root.
    place: PathBuf,
    /// What makes the roots anew from the files.
    program: PathBuf,
}

impl Store {
    fn of_this_machine(data_dir: &Path) -> Result<Store> {
        if !Uid::effective().is_root() {
            bail!("which roots this machine trusts is root's to say; run this command as root");
        }
        // Two platforms on one machine have a root each.
        let id_path = data_dir.join("id");
        let id = fs::read_to_string(&id_path)
            .with_context(|| format!("{} is not the data directory of a platform", data_dir.display()))?;
        let id = id.trim_end();
        if id.len() != 8 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            bail!("{} does not hold the id of a data directory", id_path.display());
        }
        Ok(Store {
            place: format!("/usr/local/share/ca-certificates/apron-{id}.crt").into(),
            program: "/usr/sbin/update-ca-certificates".into(),
        })
    }

    fn install(&self, root: &str) -> Result<()> {
        self.is_there()?;
        if let Some(directory) = self.place.parent() {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        file::replace(&self.place, root.as_bytes(), 0o644)
            .with_context(|| format!("cannot write {}", self.place.display()))?;
        self.update(&[]).inspect_err(|_| {
            // Not to be installed with the next package that updates the roots; the error that matters is the first.
            let _ = fs::remove_file(&self.place);
        })
    }

    /// Whether there was one.
    fn remove(&self) -> Result<bool> {
        self.is_there()?;
        match fs::remove_file(&self.place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            removed => removed.with_context(|| format!("cannot remove {}", self.place.display()))?,
        }
        // Otherwise the link to a file that is gone would stay.
        self.update(&["--fresh"])?;
        Ok(true)
    }

    fn is_there(&self) -> Result<()> {
        match self.program.is_file() {
            true => Ok(()),
            false => bail!(
                "this machine has no {}, which Debian and Ubuntu have in the package ca-certificates; elsewhere give \
                 what 'apron trust' prints to whatever keeps your system's roots",
                self.program.display()
            ),
        }
    }

    fn update(&self, arguments: &[&str]) -> Result<()> {
        let program = self.program.display();
        let output = Command::new(&self.program).args(arguments).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start {program}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{program} failed ({}): {}", output.status, said.trim());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::scratch::Scratch;
    use std::os::unix::fs::symlink;

    /// Made by OpenSSL with the bounds of an authority for apron.localhost, so that the two agree on what bounds are;
    /// nobody has its key.
    const ROOT: &str = "-----BEGIN CERTIFICATE-----
MIIB9TCCAZugAwIBAgIUfsjoYQUDMOWWWGeXe3m9Ttwb+IwwCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVQXByb24gbG9jYWwgYXV0aG9yaXR5MCAXDTI2MTEyMjExNTcw
NVoYDzIxMjYxMDI5MTE1NzA1WjAgMR4wHAYDVQQDDBVBcHJvbiBsb2NhbCBhdXRo
b3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAShCu/xdvKE2YLs1Mc+Hk77
VlpZWnwG4awtLpdJuAfGPktf5z67sUxdaOws0u2jbZTr5WD57yA53KmJ8gzNgAII
o4GwMIGtMA4GA1UdDwEB/wQEAwIBBjATBgNVHSUEDDAKBggrBgEFBQcDATBTBgNV
HR4BAf8ESTBHoBMwEYIPYXByb24ubG9jYWxob3N0oTAwCocIAAAAAAAAAAAwIocg
AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwHQYDVR0OBBYEFFFCkCIw
6kHp13xEfdTz3HWaP1O3MBIGA1UdEwEB/wQIMAYBAf8CAQAwCgYIKoZIzj0EAwID
SAAwRQIgVkT9m4eh/YZOtJrOUbzay28e44pvaaY+JjcszidPGuMCIQC9Gd8IYOMp
Tn27K1I4Pt4dAUnBi4LieYiH/tcl40cXnw==
-----END CERTIFICATE-----
";

    fn store(scratch: &Scratch, program: &str) -> Store {
        Store { place: scratch.path().join("roots/apron-0123abcd.crt"), program: program.into() }
    }

    #[test]
    fn only_an_authority_that_is_bounded_to_the_domain_is_used() {
        let scratch = Scratch::new();
        let path = scratch.path().join("ca.pem");
        let refused = |content: &str, domain: &str| {
            fs::write(&path, content).unwrap();
            format!("{:#}", checked_root(&path, domain).unwrap_err())
        };
        assert!(refused(ROOT, "example.com").contains("not bounded to names of example.com"));
        assert!(refused(ROOT, "localhost").contains("--apps-domain"));
        for more in [format!("{ROOT}{ROOT}"), format!("root\n{ROOT}"), format!("{ROOT}root\n"), String::new()]
        {
            assert!(refused(&more, "apron.localhost").contains("one certificate"), "{more}");
        }
        // A byte of the bounds: one letter of the domain.
        let other = ROOT.replace("YXByb24ubG9j", "YXByb25ubG9j");
        assert_ne!(other, ROOT);
        assert!(refused(&other, "apron.localhost").contains("not bounded"));
        fs::write(&path, ROOT).unwrap();
        assert_eq!(checked_root(&path, "apron.localhost").unwrap(), ROOT);
    }

    #[test]
    fn a_root_that_is_a_link_a_pipe_or_too_long_is_not_read() {
        let scratch = Scratch::new();
        let (file, link) = (scratch.path().join("file"), scratch.path().join("link"));
        fs::write(&file, ROOT).unwrap();
        symlink(&file, &link).unwrap();
        assert!(checked_root(&link, "apron.localhost").is_err());
        let pipe = scratch.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(checked_root(&pipe, "apron.localhost").unwrap_err().to_string().contains("not a file"));
        fs::write(&file, "x".repeat(ROOT_BYTES_MAX as usize + 1)).unwrap();
        assert!(checked_root(&file, "apron.localhost").unwrap_err().to_string().contains("more than"));
        let missing = checked_root(&scratch.path().join("none"), "apron.localhost").unwrap_err();
        assert!(missing.to_string().contains("there is no root at"), "{missing}");
    }

    #[test]
    fn a_root_is_installed_and_removed() {
        let scratch = Scratch::new();
        let store = store(&scratch, "/bin/true");
        assert!(!store.remove().unwrap());
        store.install(ROOT).unwrap();
        assert_eq!(fs::read_to_string(&store.place).unwrap(), ROOT);
        assert!(store.remove().unwrap() && !store.place.exists());
    }

    #[test]
    fn what_the_machine_does_not_take_does_not_stay() {
        let scratch = Scratch::new();
        let failing = store(&scratch, "/bin/false");
        let error = failing.install(ROOT).unwrap_err().to_string();
        assert!(error.contains("/bin/false failed (exit status: 1)"), "{error}");
        assert!(!failing.place.exists());
        let missing = store(&scratch, "/nonexistent/update");
        let error = missing.install(ROOT).unwrap_err().to_string();
        assert!(error.contains("ca-certificates"), "{error}");
        assert!(!missing.place.exists() && missing.remove().is_err());
    }
}
