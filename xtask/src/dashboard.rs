//! The picture of the packaged dashboard, docs/pictures/dashboard.png: `cargo xtask pictures --dashboard` has a Prometheus
//! scrape `tcptrace serve` next to the demo, in a network namespace of their own, and a browser draw what it has answered.

use crate::{
    browser, command,
    demo::{self, Part},
    demo_client::Role,
    netns, workspace,
};
use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

/// Grafana's components, their font, and what bundles them.
const PACKAGES: [&str; 6] = [
    "@grafana/ui@13.2.3",
    "@grafana/data@13.2.3",
    "@fontsource/inter@5.3.0",
    "react@19.3.1",
    "react-dom@19.3.1",
    "esbuild@0.28.2",
];

/// Width and height of the page, which is drawn at `SCALE`.
const SIZE: [u32; 2] = [1280, 1984];
const SCALE: &str = "1.25";

/// Seconds between scrapes.
const INTERVAL: u64 = 10;

/// A port at which nothing listens.
const CLOSED: u16 = 5432;

/// Runs the demo for this many seconds, and draws them.
pub(crate) fn draw(tcptrace: &Path, root: &Path, seconds: u64) -> Result<()> {
    browser::check()?;
    if command::find("prometheus").is_none() {
        bail!("prometheus is not installed: apt-get install prometheus");
    }
    let page = page(root, seconds)?;
    let data = tempfile::tempdir_in(workspace::target(root))?;
    netns::in_namespace(|| {
        // SYNs to these addresses (RFC 5737) are lost.
        command::run(Command::new("ip").args(["route", "add", "192.0.2.0/24", "dev", "lo"]))?;
        let _serve = start(tcptrace, &["serve", "-N", "/proc/self/ns/net"])?;
        let _prometheus = start_prometheus(data.path())?;
        let (_server, port) = demo::start_server(seconds)?;
        let _clients = [
            demo::start_client(Role::Short, port, seconds)?,
            demo::start_client(Role::Stuck, port, seconds)?,
        ];
        let calm = seconds / 3;
        thread::sleep(Duration::from_secs(calm));
        let _lost = demo::start_client(Role::Lost, CLOSED, seconds)?;
        thread::sleep(Duration::from_secs(seconds - calm));
        browser::draw(&page, SIZE, SCALE, &root.join("docs/pictures/dashboard.png"))
    })
}

/// Installs the packages below the target directory, and writes the page there.
fn page(root: &Path, seconds: u64) -> Result<PathBuf> {
    let folder = workspace::target(root).join("dashboard");
    fs::create_dir_all(&folder)?;
    let npm = [
        "install",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        "--save-exact",
        "--prefix",
    ];
    command::run(Command::new("npm").args(npm).arg(&folder).args(PACKAGES))
        .context("npm cannot install the packages: on Debian, `apt-get install npm` provides it")?;
    let modules = folder.join("node_modules");
    command::run(
        Command::new(modules.join(".bin/esbuild"))
            .arg(root.join("xtask/src/dashboard/page.tsx"))
            .args(["--bundle", "--jsx=automatic", "--log-level=warning"])
            .args([
                "--loader:.woff2=dataurl",
                "--loader:.woff=empty",
                "--loader:.ttf=empty",
            ])
            .arg(format!("--outdir={}", folder.display()))
            .arg("--define:process.env.NODE_ENV=\"production\"")
            .arg(format!("--define:WIDTH={}", SIZE[0]))
            .arg(format!("--define:SECONDS={seconds}"))
            .arg(format!("--define:INTERVAL={INTERVAL}"))
            .env("NODE_PATH", &modules),
    )?;
    let page = folder.join("page.html");
    fs::write(
        &page,
        r#"<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="page.css"><body><script src="page.js"></script>"#,
    )?;
    Ok(page)
}

/// Starts Prometheus at its default port, with its files in `folder`.
fn start_prometheus(folder: &Path) -> Result<Part> {
    let config = folder.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: {INTERVAL}s}}\nscrape_configs: [{{job_name: tcptrace, static_configs: [{{targets: ['127.0.0.1:9105']}}]}}]\n"
    );
    fs::write(&config, text)?;
    let config = format!("--config.file={}", config.display());
    let data = format!("--storage.tsdb.path={}", folder.join("data").display());
    start(Path::new("prometheus"), &[&config, &data, "--log.level=error"])
}

/// Starts a program that ends with this one, however that ends.
fn start(program: &Path, arguments: &[&str]) -> Result<Part> {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program)
        .args(arguments);
    let child = command.spawn();
    Ok(Part(child.with_context(|| {
        format!("cannot start {} by setpriv", program.display())
    })?))
}
