//! Processes that the kernel protects by running no BPF program while one of them is current, and so none in a softirq that
//! interrupts it (docs/architecture.md). tracefs is no BPF program: an instance of it records what such a kernel withholds
//! from every tracer. A kernel thread that runs after a protected process borrows its memory (`active_mm`), and counts as
//! protected until another process has run.

use crate::small_disk;
use nix::mount::{MsFlags, mount};
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, ErrorKind},
    os::fd::AsRawFd as _,
    path::PathBuf,
    process,
    sync::{Mutex, PoisonError},
    thread,
};

/// The tracepoints of a connection's life, and what tells which process runs. Of the timers, those of timewait and request
/// socks count.
const EVENTS: [&str; 6] = [
    "sched/sched_switch",
    "sock/inet_sock_set_state",
    "tcp/tcp_receive_reset",
    "tcp/tcp_send_reset",
    "timer/timer_start",
    "timer/timer_expire_entry",
];
/// Buffer of each CPU. A flood makes about 2 MB in softirqs of kernel threads.
const BUFFER_KIB: u32 = 16 << 10;
const TIMERS: [&str; 2] = ["function=tw_timer_handler", "function=reqsk_timer_handler"];

static WITNESS: Mutex<Option<Witness>> = Mutex::new(None);

/// Records until it is dropped.
#[must_use]
pub struct Watch(());

/// Starts to record, if the kernel protects any process.
pub fn watch() -> io::Result<Watch> {
    let protected = protected_threads();
    if !protected.is_empty() {
        let witness = Witness::start(protected)?;
        *WITNESS.lock().unwrap_or_else(PoisonError::into_inner) = Some(witness);
    }
    Ok(Watch(()))
}

impl Drop for Watch {
    fn drop(&mut self) {
        *WITNESS.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What was withheld since a time of `CLOCK_MONOTONIC`, a line each. Empty if the kernel protects no process.
#[must_use]
pub fn withheld_since(begun_ns: u64) -> Vec<String> {
    let witness = WITNESS.lock().unwrap_or_else(PoisonError::into_inner);
    witness
        .as_ref()
        .map(|witness| witness.lines_since(begun_ns))
        .unwrap_or_default()
}

/// The ports of the transition in a line of [`withheld_since`]; `None` for other lines.
#[must_use]
pub fn ports(line: &str) -> Option<[u16; 2]> {
    Some([field(line, "sport=")?, field(line, "dport=")?])
}

fn field<T: std::str::FromStr>(line: &str, name: &str) -> Option<T> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(name))?
        .parse()
        .ok()
}

/// The threads of the processes into which even root may not look.
fn protected_threads() -> HashSet<u32> {
    numbers("/proc")
        .filter(|process| {
            fs::read_link(format!("/proc/{process}/exe"))
                .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
        })
        .flat_map(|process| numbers(&format!("/proc/{process}/task")))
        .collect()
}

/// The kernel's threads, which have no program; the idle ones are 0.
fn kernel_threads() -> HashSet<u32> {
    numbers("/proc")
        .filter(|process| {
            fs::read_link(format!("/proc/{process}/exe"))
                .is_err_and(|error| error.kind() == ErrorKind::NotFound)
        })
        .chain([0])
        .collect()
}

/// The names in a folder that are numbers.
fn numbers(folder: &str) -> impl Iterator<Item = u32> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// An instance of tracefs, which is mounted nowhere: only the descriptor refers to it.
struct Witness {
    protected: HashSet<u32>,
    kernel_threads: HashSet<u32>,
    instances: File,
    name: String,
}

impl Witness {
    fn start(protected: HashSet<u32>) -> io::Result<Self> {
        let witness = Self {
            protected,
            kernel_threads: kernel_threads(),
            instances: thread::spawn(open_instances)
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked")))?,
            name: format!("tcptrace-tests-{}", process::id()),
        };
        fs::create_dir(witness.path(""))?;
        fs::write(witness.path("trace_clock"), "mono")?;
        fs::write(witness.path("buffer_size_kb"), BUFFER_KIB.to_string())?;
        let threads = witness.protected.union(&witness.kernel_threads);
        let threads: Vec<String> = threads.map(u32::to_string).collect();
        fs::write(witness.path("set_event_pid"), threads.join(" "))?;
        fs::write(witness.path("options/event-fork"), "1")?;
        for event in EVENTS {
            match fs::write(witness.path(&format!("events/{event}/enable")), "1") {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                written => written?,
            }
        }
        Ok(witness)
    }

    fn path(&self, file: &str) -> PathBuf {
        let instances = format!("/proc/self/fd/{}", self.instances.as_raw_fd());
        [&instances, &self.name, file].iter().collect()
    }

    fn lines_since(&self, begun_ns: u64) -> Vec<String> {
        let trace = fs::read_to_string(self.path("trace")).expect("an instance of tracefs can be read");
        withheld(&trace, &self.protected, &self.kernel_threads)
            .filter(|line| microseconds(line).is_some_and(|at| at >= begun_ns / 1_000))
            .map(str::to_owned)
            .collect()
    }
}

/// The lines of a trace from while a protected thread, or a kernel thread after it, ran; without those of other timers
/// and of the scheduler.
fn withheld<'a>(
    trace: &'a str,
    protected: &HashSet<u32>,
    kernel_threads: &HashSet<u32>,
) -> impl Iterator<Item = &'a str> {
    // A thread that a protected one started later is recorded too, and is no kernel thread.
    let is_protected = |pid: &u32| protected.contains(pid) || !kernel_threads.contains(pid);
    let mut borrowing = HashSet::new();
    trace
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter(move |line| {
            let Some((pid, cpu)) = origin(line) else {
                return false;
            };
            if line.contains(": sched_switch: ") {
                let next = field(line, "next_pid=");
                let keeps = next.is_some_and(|next: u32| kernel_threads.contains(&next))
                    && (protected.contains(&pid) || kernel_threads.contains(&pid) && borrowing.contains(cpu));
                if keeps {
                    borrowing.insert(cpu);
                } else {
                    borrowing.remove(cpu);
                }
                return false;
            }
            let is_other_timer =
                line.contains(": timer_") && !TIMERS.iter().any(|timer| line.contains(timer));
            !is_other_timer && (is_protected(&pid) || borrowing.contains(cpu))
        })
}

/// The thread and the CPU of a line such as `tokio-rt-worker-123 [001] ..s1. 12.345678: …`.
fn origin(line: &str) -> Option<(u32, &str)> {
    let (thread, rest) = line.split_once(" [")?;
    let (_, pid) = thread.trim_end().rsplit_once('-')?;
    let (cpu, _) = rest.split_once(']')?;
    Some((pid.parse().ok()?, cpu))
}

impl Drop for Witness {
    fn drop(&mut self) {
        // An instance that stays records nothing but these threads.
        let _ = fs::remove_dir(self.path(""));
    }
}

/// Mounts tracefs in a mount namespace of this thread, which ends with it.
fn open_instances() -> io::Result<File> {
    small_disk::leave_the_mounts_of_others()?;
    let folder = tempfile::tempdir()?;
    let none: Option<&str> = None;
    mount(
        Some("tracefs"),
        folder.path(),
        Some("tracefs"),
        MsFlags::empty(),
        none,
    )?;
    let instances = File::open(folder.path().join("instances"));
    nix::mount::umount2(folder.path(), nix::mount::MntFlags::MNT_DETACH)?;
    instances
}

/// The time in a line such as `curl-123 [001] ..s1. 12.345678: tcp_send_reset: …`.
fn microseconds(line: &str) -> Option<u64> {
    line.split_whitespace().find_map(|word| {
        let (seconds, fraction) = word.strip_suffix(':')?.split_once('.')?;
        Some(seconds.parse::<u64>().ok()? * 1_000_000 + fraction.parse::<u64>().ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "  server: 1-59 [001] ..s2.  1948.605142: inet_sock_set_state: family=AF_INET protocol=IPPROTO_TCP \
                        sport=80 dport=5000 oldstate=TCP_FIN_WAIT1 newstate=TCP_CLOSE ";

    #[test]
    fn a_line_has_its_time_and_its_ports() {
        assert_eq!(microseconds(LINE), Some(1_948_605_142));
        assert_eq!(ports(LINE), Some([80, 5000]));
    }

    #[test]
    fn a_kernel_thread_borrows_until_another_process_runs() {
        const TRACE: &str = "\
# tracer: nop
 api worker-7     [000] d..2. 1.000001: sched_switch: prev_comm=api worker prev_pid=7 prev_prio=120 prev_state=S ==> next_comm=ksoftirqd/0 next_pid=14 next_prio=120
     ksoftirqd/0-14    [000] ..s1. 1.000002: inet_sock_set_state: withheld
     ksoftirqd/1-22    [001] ..s1. 1.000003: inet_sock_set_state: on another CPU
     ksoftirqd/0-14    [000] d..2. 1.000004: sched_switch: prev_comm=ksoftirqd/0 prev_pid=14 prev_prio=120 prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120
          <idle>-0     [000] ..s2. 1.000005: inet_sock_set_state: withheld
          <idle>-0     [000] d..2. 1.000006: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=curl next_pid=99 next_prio=120
            curl-99    [000] d..2. 1.000007: sched_switch: prev_comm=curl prev_pid=99 prev_prio=120 prev_state=S ==> next_comm=ksoftirqd/0 next_pid=14 next_prio=120
     ksoftirqd/0-14    [000] ..s1. 1.000008: inet_sock_set_state: after another process
 api worker-7     [001] ..s1. 1.000009: inet_sock_set_state: withheld
";
        let withheld: Vec<&str> = withheld(TRACE, &HashSet::from([7]), &HashSet::from([0, 14, 22])).collect();
        assert_eq!(withheld.len(), 3, "{withheld:#?}");
        assert!(withheld.iter().all(|line| line.ends_with(": withheld")));
    }
}
