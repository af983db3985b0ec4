//! Runs tests that need a real kernel and real privileges. A test states what it needs; where that is missing it
//! is reported as ignored, with the reason, and counted, or fails under `TCPTRACE_REQUIRE_LIVE=1`; under
//! `TCPTRACE_REQUIRE_LIVE=kernel`, for guests that nothing is installed in, unless a program or speed is missing.
//! `TCPTRACE_EMULATED` says that the processor is emulated. Prints in libtest's form.
//!
//! Some kernels protect a process by running no BPF program while it is current, and so none in a softirq that
//! interrupts it (docs/architecture.md). What such a kernel withholds no tracer can tell: there, and only there, a test
//! that traces and fails is tried once more, and both outcomes are printed.

use crate::{
    analysts, cgroup::Cgroup, failure, hdrhistogram, kernel_log::KernelLog, netns::Netns, small_disk,
};
use io_uring::IoUring;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::{errno::Errno, unistd::geteuid};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::BTreeMap,
    env,
    fs::{self, OpenOptions},
    io::ErrorKind,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    sync::LazyLock,
};

/// Something that a live test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requirement {
    /// Effective user 0.
    Root,
    /// The kernel's own type information.
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
    Analysts,
    /// Mounts of a thread's own.
    Mounts,
    /// A Java compiler and HdrHistogram's own library (Debian: `default-jdk-headless`, `libhdrhistogram-java`).
    HdrHistogram,
    /// cgroup v2, in which cgroups can be made.
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
    /// The PostgreSQL server and `pgbench` (Debian: `postgresql`), which is part of it there.
    Postgresql,
    /// The `ip` command.
    Ip,
    /// The tmux terminal multiplexer.
    Tmux,
    /// io_uring with slots for descriptors, which many kernels refuse.
    IoUring,
    /// Multipath TCP in the kernel, which many are built without.
    Mptcp,
    /// A processor that is not emulated: the test wants a rate.
    Speed,
}

/// What `TCPTRACE_REQUIRE_LIVE` is in guests.
const KERNEL_ONLY: &str = "kernel";

/// What nearly every live test needs.
pub const TRACING: &[Requirement] = &[
    Requirement::Root,
    Requirement::Btf,
    Requirement::Bpf,
    Requirement::NetworkNamespaces,
];

impl Requirement {
    /// Why the requirement is not met here, `None` where it is.
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
            // It has no way to say its version and succeed.
            Self::Wrk => unmet_command("sh", &["-c", "command -v wrk"]).map(|_| "no wrk command".to_owned()),
            Self::Postgresql => postgresql().is_none().then(|| "no PostgreSQL server".to_owned()),
            Self::Ip => unmet_command("ip", &["-V"]),
            Self::Tmux => unmet_command("tmux", &["-V"]),
            // Slots that are empty at first came with Linux 5.19.
            Self::IoUring => IoUring::new(1)
                .and_then(|ring| ring.submitter().register_files_sparse(1))
                .err()
                .map(|error| format!("the kernel refuses io_uring, or slots in it: {error}")),
            Self::Mptcp => {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
                socket
                    .err()
                    .map(|error| format!("the kernel has no multipath TCP: {error}"))
            }
            Self::Speed => env::var_os("TCPTRACE_EMULATED")
                .map(|_| "the speed of an emulated processor says nothing".to_owned()),
            Self::Analysts => analysts::unmet(),
            Self::Mounts => small_disk::probe()
                .err()
                .map(|error| format!("no mounts of its own: {error}")),
            Self::HdrHistogram => hdrhistogram::missing(),
            Self::Cgroups => Cgroup::probe()
                .err()
                .map(|error| format!("no cgroup of its own: {error}")),
        }
    }

    /// Whether a guest, which nothing is installed in and which is emulated, lacks it by its nature.
    const fn is_not_for_guests(self) -> bool {
        matches!(
            self,
            Self::Speed
                | Self::Ss
                | Self::Analysts
                | Self::HdrHistogram
                | Self::Java
                | Self::Go
                | Self::Node
                | Self::Python
                | Self::Nginx
                | Self::Wrk
                | Self::Postgresql
                | Self::Tmux
                | Self::Ip
        )
    }

    /// Whether it is the kernel that decides, which no package can change: such tests are skipped even where live
    /// tests are required.
    const fn is_the_kernel_s_choice(self) -> bool {
        matches!(self, Self::IoUring | Self::Mptcp)
    }
}

/// What must not be skipped.
fn wanted() -> String {
    env::var("TCPTRACE_REQUIRE_LIVE").unwrap_or_default()
}

/// The folder of PostgreSQL's programs, as Debian lays them out: a version each.
#[must_use]
pub fn postgresql() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.retain(|folder| folder.join("postgres").exists() && folder.join("pgbench").exists());
    folders.sort();
    folders.pop()
}

/// Why a command cannot be used; it must succeed with these arguments.
fn unmet_command(name: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(name).args(arguments).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("{name} {}: {}", arguments.join(" "), output.status)),
        Err(error) => Some(format!("no {name} command: {error}")),
    }
}

/// A test and what it needs.
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

/// How many tests run side by side where the command line does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parallelism {
    /// One at a time: they load the machine.
    One,
    /// As many as there are processors.
    Processors,
    /// All: they mostly wait.
    All,
}

/// Runs the tests as the command line says, then `finish`, which may still fail the run, as does a fault that the kernel
/// has logged meanwhile.
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
    // Without the right to read it there is none to trace either.
    let mut log = KernelLog::open().ok();
    let conclusion = libtest_mimic::run(&arguments, trials);
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

/// Every requirement of these tests that is not met, and why.
fn missing(tests: &[LiveTest]) -> BTreeMap<Requirement, String> {
    let mut asked: Vec<Requirement> = tests.iter().flat_map(|test| test.requirements.clone()).collect();
    asked.sort_unstable();
    asked.dedup();
    asked
        .into_iter()
        .filter_map(|requirement| Some((requirement, requirement.unmet()?)))
        .collect()
}

/// Says how many tests cannot run, by reason, before libtest's own lines, which stay the last ones.
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
    let name = test.name.clone();
    let traces = test.requirements.contains(&Requirement::Bpf);
    Trial::ignorable_test(test.name, move || match reason {
        Some(reason) if required => Err(Failed::from(format!(
            "TCPTRACE_REQUIRE_LIVE={wanted}, but {reason}"
        ))),
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => {
            let attempt = || panic::catch_unwind(AssertUnwindSafe(&test.body));
            let mut outcome = attempt();
            if let (Err(_), Some(process)) = (&outcome, PROTECTED.as_ref().filter(|_| traces)) {
                println!(
                    "{name} has failed and is tried once more: this kernel protects process {process}, and may have withheld what it was about"
                );
                outcome = attempt();
            }
            outcome
                .map(|()| Completion::Completed)
                .map_err(|panic| Failed::from(failure::message(panic.as_ref())))
        }
    })
}

/// A process that even root may not look into, if there is one.
static PROTECTED: LazyLock<Option<String>> = LazyLock::new(|| {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut names = processes.filter_map(|process| process.file_name().into_string().ok());
    names.find(|name| {
        name.bytes().all(|byte| byte.is_ascii_digit())
            && fs::read_link(format!("/proc/{name}/exe"))
                .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    })
});

/// Whether this kernel protects a process, and so may withhold what happens while it is current.
#[must_use]
pub fn may_withhold() -> bool {
    PROTECTED.is_some()
}

/// The kernel's answer to a `bpf` call that asks for nothing but the right to call it.
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
        // There is simply no program yet.
        Ok(_) | Err(Errno::ENOENT) => None,
        Err(error) => Some(error),
    }
}
