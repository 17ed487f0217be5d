//! Where the API is and with which key to sign: from flags, from the environment, else from the data directory
//! of a platform on this machine.

use crate::config;
use anyhow::{Context, Result, anyhow, bail};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where `apron serve` listens unless told otherwise.
const ENDPOINT: &str = "http://127.0.0.1:7070";
/// Signs the first call, which asks the platform for its own region.
pub(super) const REGION: &str = "us-east-1";
/// A credentials file has a few lines; anything much longer is another file.
const CREDENTIALS_BYTES_MAX: u64 = 64 * 1024;

/// Flags that every command takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Flags {
    /// Data directory of the platform on this machine [default: $APRON_DATA_DIR, else /var/lib/apron]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// URL of the API [default: $AWS_ENDPOINT_URL_APPRUNNER, $AWS_ENDPOINT_URL, else the one of the data directory]
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Region, a name space of services [default: $AWS_REGION, $AWS_DEFAULT_REGION, else the platform's]
    #[arg(long, global = true)]
    pub region: Option<String>,
}

/// An access key. The secret does not show in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub id: String,
    pub secret: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `http://host:port`, without a path.
    pub endpoint: String,
    pub key: Key,
    /// None: the platform's own.
    pub region: Option<String>,
}

impl Settings {
    /// `variable` reads the environment; an empty variable counts as absent.
    pub(crate) fn read(flags: &Flags, variable: impl Fn(&str) -> Option<String>) -> Result<Settings> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let named = flags
            .endpoint
            .clone()
            .or_else(|| variable("AWS_ENDPOINT_URL_APPRUNNER"))
            .or_else(|| variable("AWS_ENDPOINT_URL"))
            .filter(|_| flags.data_dir.is_none() || flags.endpoint.is_some());
        let data_dir =
            config::data_dir(flags.data_dir.as_deref(), variable(config::DATA_DIR_VARIABLE).map(Into::into));
        // A key in the environment belongs to an endpoint in the environment or on the command line. Without
        // one it is more likely a key of AWS, which the local platform does not know.
        let from_environment = variable("AWS_ACCESS_KEY_ID")
            .zip(variable("AWS_SECRET_ACCESS_KEY"))
            .filter(|_| named.is_some() && flags.data_dir.is_none())
            .map(|(id, secret)| Key { id, secret });
        let key = match from_environment {
            Some(key) => key,
            None => read_credentials(&data_dir)?,
        };
        let endpoint = match named {
            Some(endpoint) => endpoint,
            None => listening(&data_dir).unwrap_or_else(|| ENDPOINT.to_owned()),
        };
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        match endpoint.strip_prefix("http://") {
            Some(host) if !host.is_empty() && !host.contains(['/', '@', ' ']) => {}
            _ if endpoint.starts_with("https://") => bail!(
                "the endpoint {endpoint} is https, which this command does not speak; give the http:// URL that \
                 'apron serve' printed as api="
            ),
            _ => bail!("the endpoint '{endpoint}' is not of the form http://HOST:PORT"),
        }
        let region = flags
            .region
            .clone()
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"));
        Ok(Settings { endpoint, key, region })
    }
}

fn read_credentials(data_dir: &Path) -> Result<Key> {
    let path = data_dir.join("credentials");
    let advice = "is 'apron serve' running here? Name its data directory with --data-dir, or set \
                  AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
    let metadata = fs::metadata(&path);
    let text = match metadata {
        Ok(metadata) if metadata.len() > CREDENTIALS_BYTES_MAX => {
            bail!("{} is not a credentials file: it has {} bytes", path.display(), metadata.len())
        }
        Ok(_) => fs::read_to_string(&path),
        Err(error) => Err(error),
    };
    let text = text.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow!("there is no access key at {}: {advice}", path.display()),
        io::ErrorKind::PermissionDenied => {
            anyhow!("the access key at {} may be read by root only; run this command as root", path.display())
        }
        _ => anyhow!("cannot read the access key at {}: {error}", path.display()),
    })?;
    parse_credentials(&text).with_context(|| format!("no access key in {}", path.display()))
}

/// The `[default]` profile of an AWS credentials file.
fn parse_credentials(text: &str) -> Result<Key> {
    let (mut in_default, mut id, mut secret) = (false, None, None);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_default = line == "[default]";
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| in_default && !line.starts_with('#'))
        else {
            continue;
        };
        match name.trim() {
            "aws_access_key_id" => id = Some(value.trim().to_owned()),
            "aws_secret_access_key" => secret = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    match (id, secret) {
        (Some(id), Some(secret)) if !id.is_empty() && !secret.is_empty() => Ok(Key { id, secret }),
        _ => bail!("it wants aws_access_key_id and aws_secret_access_key under [default]"),
    }
}

/// The address that the running supervisor wrote down for its API.
fn listening(data_dir: &Path) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Record {
        listeners: Vec<Listener>,
    }
    #[derive(serde::Deserialize)]
    struct Listener {
        name: String,
        addr: String,
    }
    let text = fs::read_to_string(data_dir.join("run/supervisor.json")).ok()?;
    let record: Record = serde_json::from_str(&text).ok()?;
    let api = record.listeners.into_iter().find(|listener| listener.name == "api")?;
    // A wildcard is where it listens, not where one can connect to.
    let addr = api.addr.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    Some(format!("http://{addr}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings of a data directory with a credentials file and a running supervisor's record.
    fn check(flags: &[&str], variables: &[(&str, &str)], expect: Result<(&str, &str, Option<&str>), &str>) {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("apron-settings-{}-{number}", std::process::id()));
        fs::create_dir_all(directory.join("run")).unwrap();
        fs::write(
            directory.join("credentials"),
            "[other]\naws_access_key_id=no\n[default]\n# c\naws_access_key_id = FILE\naws_secret_access_key= s=1\n",
        )
        .unwrap();
        fs::write(
            directory.join("run/supervisor.json"),
            r#"{"pid":1,"listeners":[{"name":"api","addr":"0.0.0.0:7171","fd":5}]}"#,
        )
        .unwrap();
        let data_dir = directory.to_str().unwrap().to_owned();
        let value = |text: &str| text.replace("DATA", &data_dir);
        let mut parsed = Flags::default();
        for flag in flags {
            match flag.split_once('=').unwrap() {
                ("data-dir", text) => parsed.data_dir = Some(value(text).into()),
                ("endpoint", text) => parsed.endpoint = Some(text.into()),
                (_, text) => parsed.region = Some(text.into()),
            }
        }
        let read = Settings::read(&parsed, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, text)| value(text))
        });
        fs::remove_dir_all(&directory).unwrap();
        match (read, expect) {
            (Ok(settings), Ok((endpoint, key, region))) => {
                assert_eq!(settings.endpoint, endpoint);
                assert_eq!(settings.key.id, key);
                assert_eq!(settings.region.as_deref(), region);
                assert!(!format!("{settings:?}").contains("s=1"));
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (result, expect) => panic!("{result:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn where_endpoint_and_key_come_from() {
        let environment = [
            ("AWS_ENDPOINT_URL", "http://host:1/"),
            ("AWS_ACCESS_KEY_ID", "ENV"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("AWS_REGION", "eu-west-1"),
        ];
        check(&["data-dir=DATA"], &[], Ok(("http://127.0.0.1:7171", "FILE", None)));
        check(&[], &[("APRON_DATA_DIR", "DATA")], Ok(("http://127.0.0.1:7171", "FILE", None)));
        check(&[], &environment, Ok(("http://host:1", "ENV", Some("eu-west-1"))));
        check(&["data-dir=DATA", "region=r"], &environment, Ok(("http://127.0.0.1:7171", "FILE", Some("r"))));
        check(&["endpoint=http://e:2"], &environment, Ok(("http://e:2", "ENV", Some("eu-west-1"))));
        check(
            &[],
            &[("APRON_DATA_DIR", "DATA"), ("AWS_ACCESS_KEY_ID", "AWS"), ("AWS_SECRET_ACCESS_KEY", "x")],
            Ok(("http://127.0.0.1:7171", "FILE", None)),
        );
        check(&["data-dir=DATA/missing"], &[], Err("there is no access key at"));
        check(&["data-dir=DATA", "endpoint=https://e"], &[], Err("is https"));
        check(&["data-dir=DATA", "endpoint=e:1"], &[], Err("not of the form"));
    }
}
