//! Why the kernel or the privileges are insufficient: what failed, what it means, what to do.

use nix::sys::resource::{Resource, getrlimit};
use std::fmt;

/// A cause that stops the tracer, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not root, and not the capabilities either.
    MissingCapabilities(Vec<&'static str>),
    /// Capabilities of a user namespace do not reach the kernel's programs.
    UserNamespace,
    /// `/proc` is not there, or is another pid namespace's.
    NoProc,
    /// The kernel is locked down for confidentiality.
    LockedDown,
    /// `bpf(2)` does not exist.
    NoBpf,
    /// Ring buffers came with Linux 5.8.
    TooOld {
        /// `uname -r`.
        release: String,
    },
    /// No BTF, and no tracepoint to fall back on.
    NoTracefs {
        /// Why mounting it failed.
        detail: String,
    },
    /// The tracepoint does not exist.
    NoTracepoint,
    /// A struct lacks a field that every program needs.
    NoField {
        /// `struct.member`
        field: String,
    },
    /// BTF exists but cannot be read.
    BadBtf {
        /// What is wrong with the BTF data.
        detail: String,
    },
    /// The verifier refused a program.
    Verifier {
        /// Name of the program.
        program: String,
        /// The errno's text.
        error: String,
        /// The verifier's log, all of it.
        log: String,
    },
    /// A map could not be made or a program not attached.
    System {
        /// What was tried.
        action: String,
        /// Error of the kernel.
        error: String,
    },
    /// This process may not open as many files as tracing takes.
    NoDescriptors {
        /// What was tried.
        action: String,
        /// The soft `RLIMIT_NOFILE`.
        limit: u64,
    },
    /// The object handed in is not one.
    BadObject {
        /// What is wrong with the object.
        detail: String,
    },
}

/// How many of the verifier's last lines are shown without `-v`.
const LOG_LINES: usize = 6;

impl Refusal {
    /// A failed step, with all of the error's causes.
    pub(crate) fn of(action: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let action = action.to_owned();
        if is_out_of_descriptors(error) {
            let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
            return Self::NoDescriptors { action, limit };
        }
        Self::System {
            action,
            error: chain(error),
        }
    }

    /// What failed, as a clause without an end.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::MissingCapabilities(names) => {
                format!("not allowed to use BPF: missing {}", names.join(", "))
            }
            Self::UserNamespace => "not allowed to use BPF: this is a user namespace".to_owned(),
            Self::NoProc => "/proc is not mounted, or belongs to another PID namespace".to_owned(),
            Self::LockedDown => "the kernel is locked down (confidentiality mode)".to_owned(),
            Self::NoBpf => "this kernel has no bpf(2) system call".to_owned(),
            Self::TooOld { release } => format!("Linux {release} has no BPF ring buffer"),
            Self::NoTracefs { detail } => format!("no BTF, and tracefs cannot be read: {detail}"),
            Self::NoTracepoint => "this kernel has no tracepoint sock:inet_sock_set_state".to_owned(),
            Self::NoField { field } => format!("this kernel's BTF has no field {field}"),
            Self::BadBtf { detail } => format!("the kernel's BTF cannot be used: {detail}"),
            Self::Verifier { program, error, .. } => {
                format!("the verifier rejected the program {program}: {error}")
            }
            Self::System { action, error } => format!("cannot {action}: {error}"),
            Self::NoDescriptors { action, limit } => {
                format!("cannot {action}: too many open files; the limit of this process is {limit}")
            }
            Self::BadObject { detail } => format!("the kernel object cannot be loaded: {detail}"),
        }
    }

    pub(crate) const fn meaning(&self) -> &'static str {
        match self {
            Self::MissingCapabilities(_) => "tracing the kernel needs root or these capabilities",
            Self::UserNamespace => {
                "capabilities in it, even root's, do not allow tracing, which covers the whole host"
            }
            Self::NoProc => "network namespaces, processes and holders of sockets are found there",
            Self::LockedDown => "no program may read kernel memory, not even as root",
            Self::NoBpf => "it was built without CONFIG_BPF_SYSCALL, and cannot be traced",
            Self::TooOld { .. } => "tcptrace needs Linux 5.8 or newer",
            Self::NoTracefs { .. } => {
                "without BTF, the classic tracepoint is used, whose layout is described there"
            }
            Self::NoTracepoint => "it exists since Linux 4.16 and requires CONFIG_INET",
            Self::NoField { .. } => "this version of tcptrace does not support its layout",
            Self::BadBtf { .. } => "the layout of the kernel's structs is unknown",
            Self::Verifier { .. } => "this kernel has a rule that the program violates",
            Self::System { .. } => "the kernel refused an operation that tracing requires",
            Self::NoDescriptors { .. } => {
                "each BPF program, map and link requires a descriptor, about 64 in total"
            }
            Self::BadObject { .. } => "the file is damaged or belongs to another version",
        }
    }

    /// What to do about it.
    pub(crate) const fn remedy(&self) -> &'static str {
        match self {
            Self::MissingCapabilities(_) => {
                "run it with sudo, or: setcap cap_bpf,cap_perfmon,cap_net_admin,cap_sys_admin,cap_sys_ptrace,cap_dac_read_search,cap_syslog+ep tcptrace"
            }
            Self::UserNamespace => {
                "run it outside, as root on the host (a rootless container cannot trace); `snapshot`, `leaks --once` and `doctor --once` show what is visible from here"
            }
            Self::NoProc => "mount -t proc proc /proc",
            Self::LockedDown => "boot with lockdown=integrity or without lockdown",
            Self::NoBpf => {
                "use a distribution kernel, or set CONFIG_BPF_SYSCALL=y and CONFIG_DEBUG_INFO_BTF=y"
            }
            Self::TooOld { .. } => "use a newer kernel; `tcptrace check` shows what each feature requires",
            Self::NoTracefs { .. } => "mount -t tracefs tracefs /sys/kernel/tracing",
            Self::NoTracepoint => "use a kernel with CONFIG_INET=y and CONFIG_TRACEPOINTS=y",
            Self::NoField { .. } | Self::BadBtf { .. } | Self::Verifier { .. } => {
                "please report it with the output of `tcptrace check -v`"
            }
            Self::System { .. } => {
                "run `tcptrace check`, which shows what the kernel and these privileges support; seccomp or a security module may also refuse it"
            }
            Self::NoDescriptors { .. } => "raise the limit first, as with `ulimit -n 1024`",
            Self::BadObject { .. } => "rebuild the object: cargo xtask build-ebpf",
        }
    }

    /// The three lines that a user sees, with the whole verifier log where `verbose`.
    pub(crate) fn explain(&self, verbose: bool) -> String {
        let mut text = format!(
            "{}\n  what it means: {}\n  what to do: {}",
            self.cause(),
            self.meaning(),
            self.remedy()
        );
        if let Self::Verifier { log, .. } = self {
            let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            let shown = if verbose {
                &lines[..]
            } else {
                &lines[lines.len().saturating_sub(LOG_LINES)..]
            };
            for line in shown {
                text.push_str("\n  | ");
                text.push_str(line);
            }
            if shown.len() < lines.len() {
                text.push_str("\n  (-v shows the complete verifier log)");
            }
        }
        text
    }
}

/// Whether an error or one of its causes is EMFILE.
fn is_out_of_descriptors(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(|error| error.raw_os_error() == Some(libc::EMFILE))
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explain(false))
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn nine_lines() -> String {
        (1..=9)
            .map(|n| format!("line {n}"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn every_refusal_says_what_failed_what_it_means_and_what_to_do() {
        let all = [
            Refusal::MissingCapabilities(vec!["CAP_BPF", "CAP_PERFMON"]),
            Refusal::UserNamespace,
            Refusal::NoProc,
            Refusal::LockedDown,
            Refusal::NoBpf,
            Refusal::TooOld {
                release: "5.4.0".to_owned(),
            },
            Refusal::NoTracefs {
                detail: "No such file or directory".to_owned(),
            },
            Refusal::NoTracepoint,
            Refusal::NoField {
                field: "sock_common.skc_num".to_owned(),
            },
            Refusal::BadBtf {
                detail: "malformed near byte 12".to_owned(),
            },
            Refusal::Verifier {
                program: "inet_sock_set_state".to_owned(),
                error: "Permission denied".to_owned(),
                log: nine_lines(),
            },
            Refusal::System {
                action: "create the ring buffer".to_owned(),
                error: "ENOMEM".to_owned(),
            },
            Refusal::NoDescriptors {
                action: "create the maps".to_owned(),
                limit: 12,
            },
            Refusal::BadObject {
                detail: "not an ELF file".to_owned(),
            },
        ];
        let text: Vec<String> = all.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(text.join("\n\n"));
    }

    #[test]
    fn a_low_limit_of_open_files_is_named_wherever_it_is_the_cause() {
        #[derive(Debug, thiserror::Error)]
        #[error("a step failed")]
        struct Step(#[source] std::io::Error);
        let error = Step(std::io::Error::from_raw_os_error(libc::EMFILE));
        let refusal = Refusal::of("attach", &error);
        assert!(matches!(refusal, Refusal::NoDescriptors { .. }), "{refusal}");
        let other = std::io::Error::from_raw_os_error(libc::EACCES);
        assert!(matches!(Refusal::of("attach", &other), Refusal::System { .. }));
    }

    #[test]
    fn the_whole_verifier_log_is_shown_on_request() {
        let refusal = Refusal::Verifier {
            program: "p".to_owned(),
            error: "e".to_owned(),
            log: nine_lines(),
        };
        assert!(!refusal.explain(false).contains("line 3"));
        assert!(refusal.explain(true).contains("line 1"));
    }
}
