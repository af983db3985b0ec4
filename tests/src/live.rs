//! Runs tests that need a real kernel and privileges. A test whose requirements are not met is reported as ignored,
//! with the reason, and counted. Under `TCPTRACE_REQUIRE_LIVE=1` it fails instead, and under
//! `TCPTRACE_REQUIRE_LIVE=kernel`, for guests in which nothing is installed, unless it needs a program or speed.
//! `TCPTRACE_EMULATED` marks an emulated processor. The output has libtest's format.
//!
//! A test that fails while the kernel withholds events from every tracer (`protected`) proves nothing: it is reported as
//! ignored, with its failure and with what was withheld.

use crate::{
    arrow_readers, browser, cgroup::Cgroup, clock::monotonic_ns, failure, hdrhistogram, host,
    kernel_log::KernelLog, kubernetes, netns::Netns, protected, rotel, small_disk,
};
use io_uring::IoUring;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::{errno::Errno, unistd::geteuid};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::BTreeMap,
    env,
    fs::{self, OpenOptions},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

/// A requirement of a live test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requirement {
    /// Effective user 0.
    Root,
    /// BTF of the kernel.
    Btf,
    /// The `bpf` system call.
    Bpf,
    /// Network namespaces, with sysctls that can be set.
    NetworkNamespaces,
    /// TUN devices.
    Tun,
    /// IPv6 in the kernel.
    Ipv6,
    /// The `ss` command.
    Ss,
    /// pyarrow, DuckDB and ClickHouse's engine.
    ArrowReaders,
    /// Mounts in a mount namespace of a thread.
    Mounts,
    /// User namespaces, which cannot be created in a chroot, and which kernel settings may forbid.
    UserNamespaces,
    /// A Java compiler and HdrHistogram's own library (Debian: `default-jdk-headless`, `libhdrhistogram-java`).
    HdrHistogram,
    /// cgroup v2, with permission to create cgroups.
    Cgroups,
    /// Java, with the compiler that runs a source file.
    Java,
    /// The Go compiler.
    Go,
    /// Node.js.
    Node,
    /// Python 3.
    Python,
    /// The nginx web server.
    Nginx,
    /// The `wrk` HTTP benchmark.
    Wrk,
    /// The PostgreSQL server and `pgbench` (Debian: `postgresql`).
    Postgresql,
    /// rotel, an OpenTelemetry collector.
    Collector,
    /// kubernetes-validate, which has the published schemas.
    KubernetesSchemas,
    /// Prometheus and promtool (Debian: `prometheus`).
    Prometheus,
    /// The `ip` command.
    Ip,
    /// The Chromium browser.
    Chromium,
    /// The tmux terminal multiplexer.
    Tmux,
    /// io_uring with sparse direct descriptors, which many kernels do not allow.
    IoUring,
    /// Multipath TCP in the kernel, which many are built without.
    Mptcp,
    /// `IP_LOCAL_PORT_RANGE`, Linux 6.3.
    LocalPortRange,
    /// `net.ipv4.tcp_rto_max_ms`, Linux 6.15.
    RtoMax,
    /// A processor that is not emulated: the test needs a rate.
    Speed,
}

/// The value of `TCPTRACE_REQUIRE_LIVE` in guests.
const KERNEL_ONLY: &str = "kernel";

/// The requirements of nearly every live test.
pub const TRACING: &[Requirement] = &[
    Requirement::Root,
    Requirement::Btf,
    Requirement::Bpf,
    Requirement::NetworkNamespaces,
];

impl Requirement {
    /// The reason why the requirement is not met, `None` if it is.
    #[must_use]
    pub fn unmet(self) -> Option<String> {
        match self {
            Self::Root => (!geteuid().is_root()).then(|| "not root".to_owned()),
            Self::Btf => (!fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false))
                .then(|| "no BTF in /sys/kernel/btf".to_owned()),
            Self::Bpf => bpf_refusal().map(|error| format!("the kernel refuses bpf(): {error}")),
            Self::NetworkNamespaces => Netns::probe()
                .err()
                .map(|error| format!("no network namespace of its own: {error}")),
            Self::Tun => {
                let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
                device.err().map(|error| format!("no TUN device: {error}"))
            }
            Self::Ipv6 => (!fs::exists("/proc/net/if_inet6").unwrap_or(false))
                .then(|| "no IPv6 in this kernel".to_owned()),
            Self::Ss => unmet_command("ss", &["-V"]),
            Self::Java => unmet_command("java", &["--describe-module", "jdk.compiler"]),
            Self::Go => unmet_command("go", &["version"]),
            Self::Node => unmet_command("node", &["--version"]),
            Self::Python => unmet_command("python3", &["--version"]),
            Self::Nginx => unmet_command("nginx", &["-v"]),
            // wrk has no option that prints its version and succeeds.
            Self::Wrk => unmet_command("sh", &["-c", "command -v wrk"]).map(|_| "no wrk command".to_owned()),
            Self::Postgresql => postgresql().is_none().then(|| "no PostgreSQL server".to_owned()),
            Self::Prometheus => unmet_command("prometheus", &["--version"])
                .or_else(|| unmet_command("promtool", &["--version"])),
            Self::Ip => unmet_command("ip", &["-V"]),
            Self::Tmux => unmet_command("tmux", &["-V"]),
            Self::Chromium => unmet_command(browser::PROGRAM, &["--version"]),
            // Sparse tables: Linux 5.19.
            Self::IoUring => IoUring::new(1)
                .and_then(|ring| ring.submitter().register_files_sparse(1))
                .err()
                .map(|error| format!("the kernel refuses io_uring, or slots in it: {error}")),
            Self::LocalPortRange => {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None);
                socket
                    .and_then(|socket| host::set_local_port_range(&socket, 0, 0))
                    .err()
                    .map(|error| format!("the kernel has no IP_LOCAL_PORT_RANGE: {error}"))
            }
            Self::RtoMax => fs::read("/proc/sys/net/ipv4/tcp_rto_max_ms")
                .err()
                .map(|error| format!("the kernel has no tcp_rto_max_ms: {error}")),
            Self::Mptcp => {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
                socket
                    .err()
                    .map(|error| format!("the kernel has no multipath TCP: {error}"))
            }
            Self::Speed => env::var_os("TCPTRACE_EMULATED")
                .map(|_| "measurements on an emulated processor are meaningless".to_owned()),
            Self::ArrowReaders => arrow_readers::unmet(),
            Self::Collector => rotel::unmet(),
            Self::KubernetesSchemas => kubernetes::unmet(),
            Self::Mounts => small_disk::probe()
                .err()
                .map(|error| format!("no mounts of its own: {error}")),
            Self::UserNamespaces => unmet_command("unshare", &["--user", "--map-root-user", "true"])
                .map(|error| format!("no user namespace of its own: {error}")),
            Self::HdrHistogram => hdrhistogram::missing(),
            Self::Cgroups => Cgroup::probe()
                .err()
                .map(|error| format!("no cgroup of its own: {error}")),
        }
    }

    /// Whether a guest never meets it, since it is emulated and nothing is installed in it.
    const fn is_not_for_guests(self) -> bool {
        matches!(
            self,
            Self::Speed
                | Self::ArrowReaders
                | Self::Chromium
                | Self::Collector
                | Self::KubernetesSchemas
                | Self::HdrHistogram
                | Self::Java
                | Self::Go
                | Self::Node
                | Self::Python
                | Self::Nginx
                | Self::Wrk
                | Self::Postgresql
                | Self::Prometheus
                | Self::Tmux
                | Self::Ip
        )
    }

    /// Whether it depends on the kernel alone, and not on packages: such tests are skipped even where live tests are
    /// required.
    const fn is_the_kernel_s_choice(self) -> bool {
        matches!(
            self,
            Self::IoUring | Self::LocalPortRange | Self::RtoMax | Self::Mptcp
        )
    }
}

/// The live tests that must not be skipped.
fn wanted() -> String {
    env::var("TCPTRACE_REQUIRE_LIVE").unwrap_or_default()
}

/// The folder of PostgreSQL's programs in Debian, of the highest version.
#[must_use]
pub fn postgresql() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.retain(|folder| folder.join("postgres").exists() && folder.join("pgbench").exists());
    folders.sort();
    folders.pop()
}

/// The reason why a command cannot be used; it must succeed with these arguments.
fn unmet_command(name: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(name).args(arguments).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("{name} {}: {}", arguments.join(" "), output.status)),
        Err(error) => Some(format!("no {name} command: {error}")),
    }
}

/// A test and its requirements.
pub struct LiveTest {
    name: String,
    requirements: Vec<Requirement>,
    body: Box<dyn Fn() + Send>,
}

impl LiveTest {
    /// A test that fails by panicking.
    pub fn new(
        name: impl Into<String>,
        requirements: &[Requirement],
        body: impl Fn() + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            requirements: requirements.to_vec(),
            body: Box::new(body),
        }
    }
}

/// Live tests that are named after their functions: `new => first, second;` is `new("first", first)` and so on.
#[macro_export]
macro_rules! by_name {
    ($($new:expr => $($body:path),+;)+) => {
        vec![$($(($new)($crate::live::last_segment(stringify!($body)), $body)),+),+]
    };
}

/// The name of the function that `path` leads to.
#[must_use]
pub fn last_segment(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

/// The number of tests that run at the same time, unless the command line sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parallelism {
    /// One: they load the machine.
    One,
    /// One for each processor.
    Processors,
    /// All: they mostly wait.
    All,
}

/// Runs the tests as the command line requires, then `finish`, which may still fail the run, as does a fault in the
/// kernel's log.
pub fn run(
    tests: Vec<LiveTest>,
    parallelism: Parallelism,
    finish: impl FnOnce() -> Result<(), String>,
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.test_threads.is_none() {
        arguments.test_threads = match parallelism {
            Parallelism::One => Some(1),
            Parallelism::Processors => None,
            Parallelism::All => Some(tests.len().max(1)),
        };
    }
    let missing = missing(&tests);
    if !arguments.list {
        announce(&tests, &missing);
    }
    failure::shorten_panics();
    let trials = tests.into_iter().map(|test| trial(test, &missing)).collect();
    // A user who may not read the log may not trace either.
    let mut log = KernelLog::open().ok();
    // Where tracefs cannot be mounted, every failure counts.
    let watch = protected::watch();
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(watch);
    let finished = finish().and_then(|()| log.as_mut().map_or(Ok(()), require_no_alarm));
    if let Err(failure) = finished {
        eprintln!("{}", failure::message(&failure));
        return ExitCode::from(101);
    }
    conclusion.exit_code()
}

fn require_no_alarm(log: &mut KernelLog) -> Result<(), String> {
    let alarms = log
        .alarms()
        .map_err(|error| format!("cannot read the kernel's log: {error}"))?;
    if alarms.is_empty() {
        return Ok(());
    }
    Err(format!("the kernel has logged faults:\n{}", alarms.join("\n")))
}

/// The requirements of these tests that are not met, and the reasons.
fn missing(tests: &[LiveTest]) -> BTreeMap<Requirement, String> {
    let mut asked: Vec<Requirement> = tests.iter().flat_map(|test| test.requirements.clone()).collect();
    asked.sort_unstable();
    asked.dedup();
    asked
        .into_iter()
        .filter_map(|requirement| Some((requirement, requirement.unmet()?)))
        .collect()
}

/// Prints the number of tests that cannot run, by reason, before libtest's output, whose last lines stay the last.
fn announce(tests: &[LiveTest], missing: &BTreeMap<Requirement, String>) {
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in tests.iter().filter_map(|test| reason_to_skip(test, missing)) {
        *skipped.entry(reason).or_default() += 1;
    }
    for (reason, count) in skipped {
        println!("\nlive tests that cannot run here: {count} ({reason})");
    }
}

fn reason_to_skip<'a>(test: &LiveTest, missing: &'a BTreeMap<Requirement, String>) -> Option<&'a str> {
    first_missing(test, missing).map(|(_, reason)| reason)
}

fn first_missing<'a>(
    test: &LiveTest,
    missing: &'a BTreeMap<Requirement, String>,
) -> Option<(Requirement, &'a str)> {
    test.requirements
        .iter()
        .find_map(|requirement| Some((*requirement, missing.get(requirement)?.as_str())))
}

fn trial(test: LiveTest, missing: &BTreeMap<Requirement, String>) -> Trial {
    let first = first_missing(&test, missing);
    let wanted = wanted();
    let required = first.is_some_and(|(requirement, _)| match wanted.as_str() {
        "1" => !requirement.is_the_kernel_s_choice(),
        KERNEL_ONLY => !requirement.is_the_kernel_s_choice() && !requirement.is_not_for_guests(),
        _ => false,
    });
    let reason = first.map(|(_, reason)| reason.to_owned());
    let traces = test.requirements.contains(&Requirement::Bpf);
    Trial::ignorable_test(test.name, move || match reason {
        Some(reason) if required => Err(Failed::from(format!(
            "TCPTRACE_REQUIRE_LIVE={wanted}, but {reason}"
        ))),
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => {
            let begun_ns = monotonic_ns();
            let Err(panic) = panic::catch_unwind(AssertUnwindSafe(&test.body)) else {
                return Ok(Completion::Completed);
            };
            let failure = failure::message(panic.as_ref());
            let withheld = protected::withheld_since(begun_ns);
            if !traces || withheld.is_empty() {
                return Err(Failed::from(failure));
            }
            let withheld = format!(
                "the kernel withheld {} events from BPF programs meanwhile:\n{}",
                withheld.len(),
                withheld.join("\n")
            );
            if wanted.is_empty() {
                println!("{failure}\n{withheld}");
                return Ok(Completion::ignored_with("failed while events were withheld"));
            }
            Err(Failed::from(format!("{failure}\n{withheld}")))
        }
    })
}

/// The kernel's result for a `bpf` call that only checks permission.
fn bpf_refusal() -> Option<Errno> {
    /// `BPF_PROG_GET_NEXT_ID` of `enum bpf_cmd`: needs `CAP_SYS_ADMIN` and changes nothing.
    const PROG_GET_NEXT_ID: libc::c_long = 11;
    let mut attributes = [0_u32; 3];
    // SAFETY: the kernel reads and writes at most the given size of the attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_GET_NEXT_ID,
            attributes.as_mut_ptr(),
            size_of_val(&attributes),
        )
    };
    match Errno::result(result) {
        // There is no program yet.
        Ok(_) | Err(Errno::ENOENT) => None,
        Err(error) => Some(error),
    }
}
