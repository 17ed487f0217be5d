//! What a platform's proxy tells its operator: metrics by its admin socket, lines of the access log.

use super::{Platform, eventually};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// A proxy that was just started has to make its socket; lines are gathered before they are written.
const WITHIN: Duration = Duration::from_secs(10);

impl Platform {
    /// All metrics, as somebody reads them who does not have Prometheus.
    pub fn metrics(&self) -> String {
        let socket = self.data.join("run/proxy/admin.sock");
        eventually(WITHIN, "metrics", || {
            let asked = Command::new("curl")
                .args(["--silent", "--show-error", "--fail", "--max-time", "5", "--unix-socket"])
                .arg(&socket)
                .arg("http://proxy/metrics")
                .output()
                .expect("curl is installed: run scripts/test, which installs it");
            let (out, err) = (String::from_utf8_lossy(&asked.stdout), String::from_utf8_lossy(&asked.stderr));
            if asked.status.success() { Ok(out.into_owned()) } else { Err(err.into_owned()) }
        })
    }

    /// The generation of the proxy's route table: epoch and counter.
    pub fn generation(&self) -> (u64, u64) {
        let metrics = self.metrics();
        let value = |name: &str| {
            sample(&metrics, name, "").unwrap_or_else(|| panic!("no {name} in\n{metrics}")) as u64
        };
        (value("apron_proxy_table_epoch"), value("apron_proxy_table_counter"))
    }

    /// The line of the access log for this path, which is asked for once.
    pub fn logged(&self, path: &str) -> Value {
        let file = self.data.join("proxy/access.log");
        eventually(WITHIN, &format!("a line for {path}"), || {
            let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let found: Vec<Value> = lines.filter(|line| line["path"] == path).collect();
            match &found[..] {
                [] => Err(format!("not in\n{text}")),
                [line] => Ok(line.clone()),
                _ => panic!("several lines for one request:\n{text}"),
            }
        })
    }
}

/// The value of a metric of this name of which one line has these labels.
pub fn sample(metrics: &str, name: &str, labels: &str) -> Option<f64> {
    let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(name));
    lines.find_map(|rest| {
        let (of, value) = rest.rsplit_once(' ')?;
        // Otherwise it is the beginning of another name.
        let fits = (of.is_empty() || of.starts_with('{')) && of.contains(labels);
        if fits { value.parse().ok() } else { None }
    })
}
