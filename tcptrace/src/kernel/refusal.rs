//! Why the kernel or the privileges will not do: what failed, what it means, what to do about it.

use std::fmt;

/// A cause that stops the tracer, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not root, and not the capabilities either.
    MissingCapabilities(Vec<&'static str>),
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
    /// BTF is there and cannot be read.
    BadBtf {
        /// Why.
        detail: String,
    },
    /// The verifier refused a program.
    Verifier {
        /// Which.
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
        /// What the kernel said.
        error: String,
    },
    /// The object handed in is not one.
    BadObject {
        /// Why.
        detail: String,
    },
}

/// How many of the verifier's last lines are shown without `-v`.
const LOG_LINES: usize = 6;

impl Refusal {
    /// A failed step, with all of the error's causes.
    #[must_use]
    pub fn of(action: &str, error: &dyn std::error::Error) -> Self {
        Self::System {
            action: action.to_owned(),
            error: chain(error),
        }
    }

    /// What failed.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::MissingCapabilities(names) => {
                format!("not allowed to use BPF: missing {}", names.join(", "))
            }
            Self::LockedDown => "the kernel is locked down (confidentiality mode)".to_owned(),
            Self::NoBpf => "this kernel has no bpf(2) system call".to_owned(),
            Self::TooOld { release } => format!("Linux {release} has no BPF ring buffer"),
            Self::NoTracefs { detail } => format!("no BTF, and tracefs cannot be read: {detail}"),
            Self::NoTracepoint => "this kernel has no tracepoint sock:inet_sock_set_state".to_owned(),
            Self::NoField { field } => format!("this kernel's BTF has no field {field}"),
            Self::BadBtf { detail } => format!("the kernel's BTF cannot be used: {detail}"),
            Self::Verifier { program, error, .. } => {
                format!("the kernel's verifier refused the program {program}: {error}")
            }
            Self::System { action, error } => format!("cannot {action}: {error}"),
            Self::BadObject { detail } => format!("the kernel object cannot be loaded: {detail}"),
        }
    }

    /// What that means.
    #[must_use]
    pub const fn meaning(&self) -> &'static str {
        match self {
            Self::MissingCapabilities(_) => "tracing the kernel needs root or these capabilities",
            Self::LockedDown => "no program may read kernel memory, not even root's",
            Self::NoBpf => "it was built without CONFIG_BPF_SYSCALL; nothing can be traced on it",
            Self::TooOld { .. } => "tcptrace needs Linux 5.8 or newer",
            Self::NoTracefs { .. } => {
                "without BTF the classic tracepoint is needed, and its layout is described there"
            }
            Self::NoTracepoint => "it came with Linux 4.16 and needs CONFIG_INET",
            Self::NoField { .. } => "its layout is one that this version of tcptrace does not know",
            Self::BadBtf { .. } => "the layout of the kernel's structs is not known",
            Self::Verifier { .. } => "this kernel has a rule that the program does not meet",
            Self::System { .. } => "the kernel refused a step that tracing needs",
            Self::BadObject { .. } => "the file is damaged or of another version",
        }
    }

    /// What to do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::MissingCapabilities(_) => {
                "run it with sudo, or: setcap cap_bpf,cap_perfmon,cap_net_admin,cap_sys_admin,cap_sys_ptrace,cap_dac_read_search,cap_syslog+ep tcptrace"
            }
            Self::LockedDown => "boot with lockdown=integrity or without lockdown",
            Self::NoBpf => {
                "use a distribution's kernel, or set CONFIG_BPF_SYSCALL=y and CONFIG_DEBUG_INFO_BTF=y"
            }
            Self::TooOld { .. } => "use a newer kernel; `tcptrace check` shows what each feature needs",
            Self::NoTracefs { .. } => "mount -t tracefs tracefs /sys/kernel/tracing",
            Self::NoTracepoint => "use a kernel with CONFIG_INET=y and CONFIG_TRACEPOINTS=y",
            Self::NoField { .. } | Self::BadBtf { .. } | Self::Verifier { .. } => {
                "please report it with the output of `tcptrace check -v`"
            }
            Self::System { .. } => "`tcptrace check` shows what this kernel and these privileges allow",
            Self::BadObject { .. } => {
                "unset TCPTRACE_BPF_OBJECT, or rebuild the object: cargo xtask build-ebpf"
            }
        }
    }

    /// The three lines that a user sees, with the whole verifier log where `verbose`.
    #[must_use]
    pub fn explain(&self, verbose: bool) -> String {
        let mut text = format!(
            "{}\n  it means: {}\n  what to do: {}",
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
                text.push_str("\n  (-v shows the verifier's whole log)");
            }
        }
        text
    }
}

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
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
            Refusal::BadObject {
                detail: "not an ELF file".to_owned(),
            },
        ];
        let text: Vec<String> = all.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(text.join("\n\n"));
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
