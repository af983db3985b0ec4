//! `docs/fleet.md` is followed: its section on Prometheus, from the server to alerts that fire, and to their end. Only what takes
//! minutes is made to take seconds.

use super::scraped::hasty_rules;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tcptrace_tests::{
    clock::poll_until,
    command::{self, tcptrace},
    netns::Netns,
    serving::Serving,
};

const TIMEOUT: Duration = Duration::from_mins(2);

/// What differs from the page: in the configuration of Prometheus, whose rules are without `for:`, and in the leak.
const CHANGES: [(&str, &str); 4] = [
    (
        "/usr/share/doc/tcptrace-ebpf/prometheus/tcptrace.rules.yml",
        "rules.yml",
    ),
    ("_interval: 15s", "_interval: 1s"),
    ("time.sleep(1)", "time.sleep(0.1)"),
    // The limit that the page expects.
    ("python3 leak.py", "ulimit -Sn 1024; python3 leak.py"),
];

/// A script of the page that runs until it is dropped.
struct Script(Child);

impl Script {
    fn start(text: &str, folder: &Path, output: &str) -> Self {
        let output = File::create(folder.join(output)).expect("our own folder");
        let child = Command::new("sh")
            .args(["-ec", &changed(text)])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .process_group(0)
            .spawn();
        Self(child.expect("there is a shell"))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.id()).expect("process ids fit i32");
        // Best effort: it may have exited.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

fn changed(text: &str) -> String {
    CHANGES
        .iter()
        .fold(text.to_owned(), |text, (page, test)| text.replace(page, test))
}

/// The code of a section of the page, block by block.
fn blocks<const COUNT: usize>(section: &str) -> [String; COUNT] {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fleet.md");
    let page = fs::read_to_string(page).expect("there is the page");
    let start = format!("\n## {section}\n");
    let (_, rest) = page.split_once(&start).expect("there is the section");
    let section = rest.split("\n## ").next().unwrap_or_default();
    let blocks: Vec<String> = section
        .split("```")
        .skip(1)
        .step_by(2)
        .map(|block| block.split_once('\n').unwrap_or_default().1.to_owned())
        .collect();
    for (of_page, _) in CHANGES {
        assert!(section.contains(of_page), "the page has no {of_page}");
    }
    let count = blocks.len();
    blocks
        .try_into()
        .unwrap_or_else(|_| panic!("{count} blocks, not {COUNT}"))
}

/// The commands of a block, and what the page prints after each.
fn session(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("# ").or(line.strip_prefix("$ ")) {
            commands.push((command.to_owned(), String::new()));
        } else if let Some((_, printed)) = commands.last_mut() {
            printed.push_str(line);
            printed.push('\n');
        }
    }
    commands
}

fn output(command: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .output();
    String::from_utf8(output.expect("there is a shell").stdout).expect("text")
}

pub(super) fn the_page_is_followed_to_an_alert(netns: Netns) {
    let [install, serve, scrape, leak, alerts, leaks] = blocks("Prometheus");
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("rules.yml"), hasty_rules()).expect("our own folder");
    let inode = netns.inode.to_string();
    // Of this namespace alone, and leaks after two seconds instead of a minute.
    let here = ["-N", &inode, "--older-than", "2"];
    let with_here = |command: &str| -> Vec<String> {
        let words = command.split(' ').skip_while(|word| *word != "tcptrace").skip(1);
        words.chain(here).map(str::to_owned).collect()
    };
    let [(command, printed)] = &session(&serve)[..] else {
        panic!("one command: {serve}");
    };
    let serving = Serving::run(&with_here(command));
    assert_eq!(*printed, serving.messages());
    let (command, printed) = session(&install).pop().expect("it ends with a check");
    assert_eq!(output(&command), printed);
    let prometheus = Script::start(&scrape, folder.path(), "prometheus.log");
    let is_scraped = || {
        let up = output("curl -sf 'http://127.0.0.1:9090/api/v1/query?query=up'");
        up.contains("\"1\"]").then_some(())
    };
    poll_until(TIMEOUT, is_scraped).expect("the first scrape succeeds");
    let leaking = Script::start(&leak, folder.path(), "leak.log");
    let [(metrics, leaked), (active, listed)] = &session(&alerts)[..] else {
        panic!("two commands: {alerts}");
    };
    // Without `for:`, all of them fire.
    let expected = listed.replace("pending", "firing");
    let have_fired = poll_until(TIMEOUT, || (output(active) == expected).then_some(()));
    let log = || fs::read_to_string(folder.path().join("prometheus.log")).unwrap_or_default();
    assert!(
        have_fired.is_some(),
        "{}\nnot\n{expected}\n{}",
        output(active),
        log()
    );
    assert!(log().contains("tcptrace.yml is valid"), "{}", log());
    let names = |text: &str| -> Vec<String> {
        let names = text.lines().filter_map(|line| line.rsplit_once(' '));
        names.map(|(name, _)| name.to_owned()).collect()
    };
    // Whether any port was chosen again is up to the kernel.
    let (found, documented) = (names(&output(metrics)), names(leaked));
    assert_eq!(found[0], documented[0]);
    assert!(found.iter().all(|name| documented.contains(name)), "{found:?}");
    let arguments = with_here(leaks.trim());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let found = command::run(tcptrace(&arguments));
    assert_eq!(found.code, Some(3), "{}", found.err);
    assert!(found.out.contains("127.0.0.1:18080"), "{}", found.out);
    drop(leaking);
    let are_cleared = poll_until(TIMEOUT, || {
        let answer = output("curl -sf http://127.0.0.1:9090/api/v1/alerts");
        answer.contains("\"alerts\":[]").then_some(())
    });
    assert!(are_cleared.is_some(), "{}", output(active));
    drop(prometheus);
    serving.stop();
}
