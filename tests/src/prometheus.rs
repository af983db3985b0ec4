//! A Prometheus server (Debian: `prometheus`) that scrapes every second, and its answers.

use crate::{clock::poll_until, http};
use serde_json::Value;
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Maximum time to start.
const START: Duration = Duration::from_mins(1);

/// The server, which is killed on drop.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
}

/// An active alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub name: String,
    pub is_firing: bool,
    pub labels: Value,
    pub annotations: Value,
}

impl Prometheus {
    /// Starts it with its files in `folder`, and these lines of `scrape_configs` and additional flags; with the rules of
    /// `rules.yml` there, if there is one.
    #[must_use]
    pub fn start(folder: &Path, scrape_configs: &str, flags: &[&str]) -> Self {
        let rules = folder.join("rules.yml");
        let rules = if rules.exists() {
            "rule_files: [rules.yml]\n"
        } else {
            ""
        };
        let config = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\n{rules}scrape_configs:\n{scrape_configs}"
        );
        fs::write(folder.join("prometheus.yml"), config).expect("our own folder");
        let free = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = free.local_addr().expect("bound");
        drop(free);
        let log = fs::File::create(folder.join("prometheus.log")).expect("our own folder");
        let child = Command::new("prometheus")
            .arg(format!(
                "--config.file={}",
                folder.join("prometheus.yml").display()
            ))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus is installed");
        let server = Self { child, address };
        let is_ready = || {
            let answer = http::get(server.address, "/-/ready", &["Connection: close"]).ok()?;
            (answer.status == 200).then_some(())
        };
        poll_until(START, is_ready).unwrap_or_else(|| {
            let log = fs::read_to_string(folder.join("prometheus.log")).unwrap_or_default();
            panic!("prometheus is not ready: {log}");
        });
        server
    }

    /// The result of an instant query; fails with Prometheus's message.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let answer = self.api(&format!("query?query={}", http::escaped(expression)));
        if answer["status"] != "success" {
            return Err(format!("{expression}: {answer}"));
        }
        match &answer["data"]["result"] {
            Value::Array(rows) => Ok(rows.clone()),
            other => Err(format!("{expression}: {other}")),
        }
    }

    /// The value of a query with one row.
    #[must_use]
    pub fn number(&self, expression: &str) -> Option<f64> {
        let rows = self.query(expression).expect("the query is valid");
        let [row] = rows.as_slice() else { return None };
        row["value"][1].as_str()?.parse().ok()
    }

    /// The alerts that are pending or fire.
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        let answer = self.api("alerts");
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let alert = |alert: Value| Alert {
            name: alert["labels"]["alertname"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            is_firing: alert["state"] == "firing",
            labels: alert["labels"].clone(),
            annotations: alert["annotations"].clone(),
        };
        alerts.into_iter().map(alert).collect()
    }

    /// The name and health of each rule: `ok`, `unknown` before the first evaluation, or `err`.
    #[must_use]
    pub fn rules(&self) -> Vec<(String, String)> {
        let answer = self.api("rules");
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rules
            .map(|rule| (text(&rule["name"]), text(&rule["health"])))
            .collect()
    }

    fn api(&self, path: &str) -> Value {
        let path = format!("/api/v1/{path}");
        let answer = http::get(
            self.address,
            &path,
            &["Connection: close", "Accept-Encoding: identity"],
        );
        let answer = answer.expect("prometheus answers");
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{path}: {}", answer.text()))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Best effort: it may have exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
