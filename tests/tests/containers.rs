//! Processes in control groups with the names that container runtimes and systemd use: every output reports where each
//! runs, and each filter selects exactly the right ones, in `snapshot`, `trace` and `watch`.

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
};
use tcptrace_tests::{
    by_name,
    cgroup::Cgroup,
    command::{self, tcptrace},
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
};

/// Set in a process that is to run as the server.
const PART: &str = "TCPTRACE_TEST_PART";

const DOCKER: &str = "d0c8e40123456789d0c8e40123456789d0c8e40123456789d0c8e40123456789";
const CONTAINERD: &str = "c0de0123456789abc0de0123456789abc0de0123456789abc0de0123456789ab";
const CRIO: &str = "c7100123456789abc7100123456789abc7100123456789abc7100123456789ab";
const PODMAN: &str = "b0d0123456789abcb0d0123456789abcb0d0123456789abcb0d0123456789abc";
const POD: &str = "72f7f152-440c-66ac-9084-e0fc1d8a910c";
const POD_OF_SYSTEMD: &str = "72f7f152_440c_66ac_9084_e0fc1d8a910c";

fn main() -> ExitCode {
    if env::var_os(PART).is_some() {
        return serve();
    }
    let mut requirements = live::TRACING.to_vec();
    requirements.push(Requirement::Cgroups);
    let test = |name: &str, body: fn(Netns)| LiveTest::new(name, &requirements, move || Netns::run(body));
    let tests = by_name! {
        test =>
            every_process_is_reported_in_its_cgroup,
            each_filter_selects_exactly_what_it_names,
            a_change_names_the_container_and_the_namespace,
            histograms_by_cgroup_name_its_path,
            a_process_in_pid_and_network_namespaces_of_its_own_is_found;
    };
    live::run(tests, Parallelism::One, || Ok(()))
}

/// The cgroups of one host, below a folder of this test; the last two are not of a container.
fn paths(test: &str) -> [String; 6] {
    [
        format!("/tcptrace-{test}/docker/{DOCKER}"),
        format!(
            "/tcptrace-{test}/kubepods.slice/kubepods-burstable-pod{POD_OF_SYSTEMD}.slice/cri-containerd-{CONTAINERD}.scope"
        ),
        format!(
            "/tcptrace-{test}/kubepods.slice/kubepods-burstable-pod{POD_OF_SYSTEMD}.slice/crio-{CRIO}.scope"
        ),
        format!("/tcptrace-{test}/machine.slice/libpod-{PODMAN}.scope/container"),
        format!("/tcptrace-{test}/system.slice/leaky.service"),
        format!("/tcptrace-{test}/system.slice-not/other"),
    ]
}

/// Runtime and id, pod, and prefix of the unit.
type Told = (
    Option<(&'static str, &'static str)>,
    Option<&'static str>,
    Option<&'static str>,
);

fn every_process_is_reported_in_its_cgroup(netns: Netns) {
    let cgroups = paths("places").map(|path| Cgroup::make(&path).expect("a cgroup can be made"));
    let servers: Vec<Server> = cgroups
        .iter()
        .map(|cgroup| Server::start(Some(cgroup), false))
        .collect();
    let expected: [Told; 6] = [
        (Some(("docker", DOCKER)), None, None),
        (
            Some(("containerd", CONTAINERD)),
            Some(POD),
            Some("cri-containerd-"),
        ),
        (Some(("cri-o", CRIO)), Some(POD), Some("crio-")),
        (Some(("podman", PODMAN)), None, Some("libpod-")),
        (None, None, Some("leaky.service")),
        (None, None, None),
    ];
    let listed = snapshot(netns, &[]);
    for ((server, cgroup), (container, pod, unit)) in servers.iter().zip(&cgroups).zip(expected) {
        let holder = listed
            .iter()
            .flat_map(|socket| socket["holders"].as_array().into_iter().flatten())
            .find(|holder| holder["pid"] == server.pid())
            .unwrap_or_else(|| panic!("{} holds sockets", server.pid()));
        assert_eq!(holder["cgroup_path"], cgroup.path());
        let reported = &holder["container"];
        match container {
            Some((runtime, id)) => assert_eq!(
                (&reported["runtime"], &reported["id"]),
                (&runtime.into(), &id.into())
            ),
            None => assert!(reported.is_null(), "{holder}"),
        }
        assert_eq!(holder["pod"].as_str(), pod);
        let is_unit = match (holder["unit"].as_str(), unit) {
            (Some(reported), Some(unit)) => reported.starts_with(unit),
            (reported, unit) => reported == unit,
        };
        assert!(is_unit, "{holder}");
    }
}

fn each_filter_selects_exactly_what_it_names(netns: Netns) {
    let cgroups = paths("filters").map(|path| Cgroup::make(&path).expect("a cgroup can be made"));
    let servers: Vec<Server> = cgroups
        .iter()
        .map(|cgroup| Server::start(Some(cgroup), false))
        .collect();
    let id = cgroups[3].id().expect("it exists").to_string();
    let pid = servers[5].pid().to_string();
    let unit = format!("crio-{CRIO}.scope");
    let [docker, containerd, _, podman, unit_path, other] = cgroups.each_ref().map(Cgroup::path);
    let above_podman = podman.trim_end_matches("/container");
    let system = unit_path.trim_end_matches("/leaky.service");
    let table: [(&[&str], &[usize]); 14] = [
        (&["--cgroup", docker], &[0]),
        (&["--cgroup", containerd], &[1]),
        (&["--cgroup", above_podman], &[3]),
        (&["--cgroup", &id], &[3]),
        (&["--cgroup", system], &[4]),
        (&["--cgroup", "/tcptrace-filters/kubepods.slice"], &[1, 2]),
        (&["--cgroup", "/tcptrace-filters/"], &[0, 1, 2, 3, 4, 5]),
        (&["--cgroup", other, "--cgroup", docker], &[0, 5]),
        (&["--container", &DOCKER[..4]], &[0]),
        (&["--container", POD], &[1, 2]),
        (&["--container", &unit], &[2]),
        (&["--container", "leaky"], &[4]),
        (&["--container", PODMAN, "--cgroup", system], &[]),
        (&["--pid", &pid], &[5]),
    ];
    for (filter, wanted) in table {
        let wanted: BTreeSet<u32> = wanted.iter().map(|index| servers[*index].pid()).collect();
        let listed = snapshot(netns, filter);
        let holders = listed
            .iter()
            .flat_map(|socket| socket["holders"].as_array().into_iter().flatten());
        let found: BTreeSet<u32> = holders.filter_map(pid_of).collect();
        assert_eq!(found, wanted, "snapshot {filter:?}");
        assert_eq!(watched(netns, filter), wanted, "watch {filter:?}");
    }
    let too_short = &DOCKER[..3];
    for arguments in [
        &["snapshot", "--cgroup", "/tcptrace-filters/none"][..],
        &["snapshot", "--container", too_short],
        &["leaks", "--once", "--container", "no-such-unit"],
        &["doctor", "--once", "--container", "no-such-unit"],
    ] {
        let refused = command::run(tcptrace(arguments));
        assert_eq!(refused.code, Some(2), "{arguments:?} {}", refused.err);
        assert!(
            refused.err.contains("what to do"),
            "{arguments:?} {}",
            refused.err
        );
    }
    // Commands that trace wait for a container to start, and report it.
    let waiting = command::run(tcptrace(&["watch", "-b", "-n", "1", "--container", too_short]));
    assert_eq!(waiting.code, Some(0), "{}", waiting.err);
    assert!(waiting.err.contains("no process runs in"), "{}", waiting.err);
}

fn a_change_names_the_container_and_the_namespace(netns: Netns) {
    let name = NamedNetns::make().expect("a namespace can be named");
    let [docker, .., unit, _] =
        paths("changes").map(|path| Cgroup::make(&path).expect("a cgroup can be made"));
    let [wanted, other] = [&docker, &unit].map(|cgroup| Server::start(Some(cgroup), false));
    let inode = netns.inode.to_string();
    let mut tracer = tcptrace(&[
        "trace",
        "--json",
        "-N",
        &name.0,
        "--container",
        &DOCKER[..12],
        "-s",
        "close-wait",
        "-n",
        "1",
    ]);
    tracer.args(["--duration", "20"]);
    let mut running = command::Running::start(tracer);
    let mut stdout = running.stdout();
    let header = command::first_line(&mut stdout);
    assert!(header.starts_with("{\"header\""), "{header}");
    // The other one first, so that a filter that passes it is detected.
    other.hang_up();
    wanted.hang_up();
    let lines = command::rest_of(stdout);
    let change: Value = serde_json::from_str(&lines[0]).expect("a change");
    assert_eq!(change["netns_name"], *name.0);
    assert_eq!(change["netns"].to_string(), inode);
    let owner = &change["owner"];
    assert_eq!(owner["pid"], wanted.pid(), "{change}");
    assert_eq!(owner["container"]["id"], DOCKER);
    assert_eq!(owner["cgroup_path"], docker.path());
    assert!(running.status().success());
}

fn histograms_by_cgroup_name_its_path(netns: Netns) {
    let [docker, .., unit, _] =
        paths("histograms").map(|path| Cgroup::make(&path).expect("a cgroup can be made"));
    let servers = [&docker, &unit].map(|cgroup| Server::start(Some(cgroup), false));
    let inode = netns.inode.to_string();
    let measured = |open: &str, meanwhile: &dyn Fn()| -> BTreeSet<(String, String)> {
        let mut hist = tcptrace(&["hist", "--json", "--by", "cgroup", "-N", &inode]);
        hist.args(["--state", "close-wait", "--duration", "2"]);
        let mut running = command::Running::start(hist);
        let mut stdout = running.stdout();
        let header = command::first_line(&mut stdout);
        assert!(header.starts_with("{\"header\""), "{header}");
        meanwhile();
        let lines = command::rest_of(stdout);
        assert!(running.status().success());
        lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .filter(|row| row["group"] == "key")
            .map(|row| {
                assert_eq!(row[open]["count"], 1, "{row}");
                let key = &row["key"];
                (key["cgroup"].to_string(), key["cgroup_path"].to_string())
            })
            .collect()
    };
    let expected = BTreeSet::from([&docker, &unit].map(|cgroup| {
        let id = cgroup.id().expect("it exists");
        (id.to_string(), format!("\"{}\"", cgroup.path()))
    }));
    assert_eq!(
        measured("open", &|| servers.iter().for_each(Server::hang_up)),
        expected
    );
    // From here on nothing changes.
    assert_eq!(measured("open_lower_bounds", &|| ()), expected);
}

fn a_process_in_pid_and_network_namespaces_of_its_own_is_found(_: Netns) {
    let [docker, ..] = paths("namespaces").map(|path| Cgroup::make(&path).expect("a cgroup can be made"));
    let server = Server::start(Some(&docker), true);
    let output = command::run(tcptrace(&["snapshot", "--json", "--cgroup", docker.path()]));
    let sockets: Vec<Value> = lines_of(&output);
    assert_eq!(sockets.len(), 3, "a listener and both ends: {}", output.out);
    let own = fs::metadata("/proc/thread-self/ns/net").expect("a namespace");
    for socket in &sockets {
        assert_ne!(socket["netns"], std::os::unix::fs::MetadataExt::ino(&own));
        let holder = &socket["holders"][0];
        // Its id in this namespace, not the 1 in its own.
        assert_ne!(holder["pid"], 1);
        assert_eq!(holder["container"]["id"], DOCKER, "{socket}");
    }
    drop(server);
}

/// The lines of `snapshot --json` in this namespace.
fn snapshot(netns: Netns, filter: &[&str]) -> Vec<Value> {
    let inode = netns.inode.to_string();
    let mut arguments = vec!["snapshot", "--json", "-N", &inode];
    arguments.extend(filter);
    lines_of(&command::run(tcptrace(&arguments)))
}

fn lines_of(output: &command::Output) -> Vec<Value> {
    assert_eq!(output.code, Some(0), "{}", output.err);
    output
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn pid_of(holder: &Value) -> Option<u32> {
    u32::try_from(holder["pid"].as_u64()?).ok()
}

/// The processes of the first frame.
fn watched(netns: Netns, filter: &[&str]) -> BTreeSet<u32> {
    let inode = netns.inode.to_string();
    let mut arguments = vec!["watch", "-b", "-n", "1", "-N", &inode];
    arguments.extend(filter);
    let output = command::run(tcptrace(&arguments));
    assert_eq!(output.code, Some(0), "{}", output.err);
    let lines = output.out.lines().skip_while(|line| !line.contains("PID"));
    lines
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect()
}

/// A process that listens, connects to itself, accepts, and on request closes the client: three sockets, one of which
/// it leaks.
struct Server(Child);

impl Server {
    /// Starts in the cgroup; in namespaces of its own if `is_apart`.
    fn start(cgroup: Option<&Cgroup>, is_apart: bool) -> Self {
        let door: Option<PathBuf> = cgroup.map(Cgroup::door);
        let mut command = Command::new(env::current_exe().expect("a process has a program"));
        command
            .env(PART, if is_apart { "apart" } else { "here" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let enter = move || enter(door.as_deref());
        // SAFETY: between fork and exec only system calls are made: a file is opened and written.
        unsafe { command.pre_exec(enter) };
        let mut child = command.spawn().expect("a process can be started");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Closes its client; its server's socket stays in CLOSE_WAIT.
    fn hang_up(&self) {
        let mut stdin = self.0.stdin.as_ref().expect("stdin is piped");
        stdin.write_all(b"\n").expect("it reads");
    }
}

fn enter(door: Option<&Path>) -> io::Result<()> {
    match door {
        Some(door) => File::options().write(true).open(door)?.write_all(b"0"),
        None => Ok(()),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Best effort: the end of its input ends it.
        let _ = self.0.wait();
    }
}

/// The server process. Only its children can be in a pid namespace of its own: it starts itself again.
fn serve() -> ExitCode {
    if env::var(PART).as_deref() == Ok("apart") {
        let status = Netns::run(|_| {
            // Last, since a thread whose children are in another pid namespace cannot create threads.
            unshare(CloneFlags::CLONE_NEWPID).expect("a pid namespace can be made");
            Command::new(env::current_exe().expect("a process has a program"))
                .env(PART, "here")
                .status()
        });
        return if status.expect("it is started").success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (server, _) = listener.accept().expect("it waits");
    println!("ready");
    let mut line = String::new();
    if io::stdin().read_line(&mut line).expect("text") > 0 {
        drop(client);
        io::stdin().read_line(&mut line).expect("text");
    }
    drop(server);
    ExitCode::SUCCESS
}

/// A name for this thread's network namespace, as of `ip netns`: mounted on a file of `/run/netns`.
struct NamedNetns(String);

impl NamedNetns {
    fn make() -> io::Result<Self> {
        let name = format!("tcptrace-test-{}", std::process::id());
        let named = Self(name);
        fs::create_dir_all("/run/netns")?;
        File::create(named.file())?;
        mount(
            Some("/proc/thread-self/ns/net"),
            &named.file(),
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )?;
        Ok(named)
    }

    fn file(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.0)
    }
}

impl Drop for NamedNetns {
    fn drop(&mut self) {
        // Best effort: it may not have been mounted.
        let _ = umount2(&self.file(), MntFlags::MNT_DETACH);
        let _ = fs::remove_file(self.file());
    }
}
