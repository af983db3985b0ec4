//! Loads the object, attaches what the plan says and keeps it attached. The only file that drives aya.

use super::{
    btf::{Btf, Parameter},
    hook::{self, Attach, Hook, Purpose},
    plan::{self, Abilities, Plan, Preference, Way},
    probe::{self, Facts, Handlers},
    refusal::Refusal,
};
use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    maps::{MapData, PerCpuArray, RingBuf},
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSock, FEntry, FExit, Iter, Program, ProgramError, ProgramFd,
        SockOps, TracePoint,
    },
};
use aya_log::EbpfLogger;
use std::{
    fs::{self, File},
    os::fd::AsRawFd as _,
    path::PathBuf,
};
use tcptrace_common::{ABSENT, Counters, Field};

static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/tcptrace.bpf.o"));

/// The environment variable that names another object to load, for testing one that was just built.
pub const OBJECT_VARIABLE: &str = "TCPTRACE_BPF_OBJECT";

/// Smallest and largest ring buffer, bytes; a power of two between them.
pub const BUFFER_RANGE: (u32, u32) = (4 << 10, 1 << 30);

/// What can be chosen.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which hooks.
    pub preference: Preference,
    /// Size of the ring buffer, bytes, a power of two within [`BUFFER_RANGE`].
    pub buffer_bytes: u32,
    /// Whether SCTP's and MPTCP's own sockets are reported too.
    pub all_protocols: bool,
    /// Whether the kernel side logs.
    pub debug: bool,
}

/// What became of one purpose.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Which.
    pub purpose: Purpose,
    /// How it is served.
    pub way: Way,
    /// Its hooks, and why one of them is not attached.
    pub hooks: Vec<(Hook, Option<String>)>,
}

impl Attached {
    /// Why this purpose is not served in full.
    #[must_use]
    pub fn shortfall(&self) -> Option<String> {
        if let Way::Missing(reason) = self.way {
            return Some(reason.to_owned());
        }
        self.hooks
            .iter()
            .find_map(|(hook, failure)| failure.as_ref().map(|why| format!("{}: {why}", hook.target)))
    }
}

/// Everything the kernel counts.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// Old × new, over all CPUs.
    pub transitions: [u64; 256],
    /// Records that found the buffer full, by [`tcptrace_common::Loss`].
    pub lost: [u64; 4],
    /// Hits by record kind.
    pub hits: [u64; 32],
    /// Runs of a program that the kernel skipped, because the same program was running on that CPU already.
    pub skipped: u64,
}

impl Totals {
    /// All transitions of TCP sockets.
    #[must_use]
    pub fn all_transitions(&self) -> u64 {
        self.transitions.iter().sum()
    }

    /// All records that did not arrive.
    #[must_use]
    pub fn all_lost(&self) -> u64 {
        self.lost.iter().sum::<u64>() + self.skipped
    }
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct CountersPod(Counters);

// SAFETY: `repr(C)`, 64-bit integers only, so there is no padding and every bit pattern is a value.
unsafe impl aya::Pod for CountersPod {}

/// The attached programs. Dropping it detaches them.
pub struct Kernel {
    ebpf: Ebpf,
    btf: Option<aya::Btf>,
    counters: PerCpuArray<MapData, CountersPod>,
    /// What was attached, by purpose.
    pub attached: Vec<Attached>,
    /// `uname -r`, `-m`, `-n`.
    pub names: (String, String, String),
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    skipped_before: u64,
}

impl Kernel {
    /// Loads and attaches.
    ///
    /// # Errors
    /// Where the privileges, the kernel or the object do not allow the transitions to be traced. Everything else
    /// that cannot be had is in [`Kernel::attached`].
    pub fn attach(settings: &Settings) -> Result<(Self, RingBuf<MapData>), Refusal> {
        let mut loading = Loading::open(settings, Handlers::Wanted)?;
        let attached = loading.attach(settings.preference)?;
        loading.finish(attached, settings.debug)
    }

    /// Loads the object for its iterators alone, attaching nothing.
    ///
    /// # Errors
    /// As [`Kernel::attach`], and where there is no BTF.
    pub fn for_snapshots() -> Result<Self, Refusal> {
        let settings = Settings {
            preference: Preference::Auto,
            buffer_bytes: BUFFER_RANGE.0,
            all_protocols: false,
            debug: false,
        };
        let loading = Loading::open(&settings, Handlers::NotNeeded)?;
        loading.facts.btf.as_ref().map_err(Clone::clone)?;
        Ok(loading.finish(Vec::new(), false)?.0)
    }

    /// Adds up the per-CPU counters.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn totals(&self) -> Result<Totals, Refusal> {
        let mut totals = Totals {
            transitions: [0; 256],
            lost: [0; 4],
            hits: [0; 32],
            skipped: self.skipped_before + self.skipped(),
        };
        let per_cpu = self
            .counters
            .get(&0, 0)
            .map_err(|error| system("read the counters", &error))?;
        for CountersPod(cpu) in per_cpu.iter() {
            add(&mut totals.transitions, &cpu.transitions);
            add(&mut totals.lost, &cpu.lost);
            add(&mut totals.hits, &cpu.hits);
        }
        Ok(totals)
    }

    /// Opens the iterator over the TCP sockets of the calling thread's network namespace.
    ///
    /// # Errors
    /// Where the kernel has no such iterator or refuses it.
    pub fn open_tcp_iterator(&mut self) -> Result<File, Refusal> {
        self.open_iterator("iter_tcp", "tcp")
    }

    /// Opens the iterator over the open files of all tasks.
    ///
    /// # Errors
    /// As above.
    pub fn open_holder_iterator(&mut self) -> Result<File, Refusal> {
        self.open_iterator("iter_task_file", "task_file")
    }

    /// Detaches every hook. Counters and iterators stay.
    pub fn detach(&mut self) {
        // The kernel forgets the count with the program.
        self.skipped_before = self.skipped();
        for (hook, _) in self.attached.iter().flat_map(|part| &part.hooks) {
            unload(&mut self.ebpf, hook);
        }
    }

    /// Writes what the kernel side logged to the log.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    fn open_iterator(&mut self, name: &str, target: &str) -> Result<File, Refusal> {
        let refused = |error: ProgramError| refusal_of(name, error);
        let btf = self.btf.as_ref().ok_or_else(|| Refusal::BadBtf {
            detail: "there is none".to_owned(),
        })?;
        let program: &mut Iter = self
            .ebpf
            .program_mut(name)
            .ok_or_else(|| missing_program(name))?
            .try_into()
            .map_err(refused)?;
        if program.fd().is_err() {
            program.load(target, btf).map_err(refused)?;
        }
        let link = program.attach().map_err(refused)?;
        let link = program.take_link(link).map_err(refused)?;
        link.into_file()
            .map_err(|error| system("open the iterator", &error))
    }

    /// The kernel counts these per program (`bpf_prog_inc_misses_counter`) and shows them in `fdinfo`. What one of
    /// the two programs for transitions skips, the other reports.
    fn skipped(&self) -> u64 {
        let is_doubled = |name: &str| hook::SET_STATE.iter().any(|hook| hook.program == name);
        self.ebpf
            .programs()
            .filter(|(name, _)| !is_doubled(name))
            .filter_map(|(_, program)| misses(program))
            .sum()
    }
}

fn misses(program: &Program) -> Option<u64> {
    let fd = program.fd().ok()?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", raw(fd))).ok()?;
    info.lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"))?
        .trim()
        .parse()
        .ok()
}

fn raw(fd: &ProgramFd) -> i32 {
    use std::os::fd::AsFd as _;
    fd.as_fd().as_raw_fd()
}

fn add<const N: usize>(sum: &mut [u64; N], more: &[u64; N]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

struct Loading {
    ebpf: Ebpf,
    facts: Facts,
    btf: Option<aya::Btf>,
}

impl Loading {
    fn open(settings: &Settings, handlers: Handlers) -> Result<Self, Refusal> {
        let facts = probe::facts(handlers)?;
        let btf = if facts.btf.is_ok() {
            aya::Btf::from_sys_fs().ok()
        } else {
            None
        };
        let ebpf = load(settings, &facts, btf.as_ref())?;
        Ok(Self { ebpf, facts, btf })
    }

    fn attach(&mut self, preference: Preference) -> Result<Vec<Attached>, Refusal> {
        let mut abilities = self.abilities();
        loop {
            let plan = plan::plan(abilities, preference);
            let attached = self.carry_out(&plan)?;
            let trampoline_failed = attached.iter().any(|part| {
                part.way == Way::Fentry && part.hooks.iter().any(|(_, failure)| failure.is_some())
            });
            // Half of the trampolines would tell half of the truth: use the timers instead of all of them.
            if !trampoline_failed || preference == Preference::Fentry || !abilities.knows_timer_handlers {
                return Ok(attached);
            }
            self.detach_all(&plan);
            abilities.has_trampolines = false;
        }
    }

    fn abilities(&mut self) -> Abilities {
        let handlers = self.facts.handlers;
        let has_trampolines = self.has_trampolines();
        let btf = self.facts.btf.as_ref().ok();
        Abilities {
            has_btf: btf.is_some(),
            has_trampolines,
            knows_timer_handlers: handlers.timewait != 0 && handlers.request != 0,
            has_cookie: btf.is_some_and(has_cookie),
        }
    }

    /// Loading the smallest of them is the kernel's own answer.
    fn has_trampolines(&mut self) -> bool {
        let Some(probe) = hook::TIMEWAIT_FENTRY
            .iter()
            .find(|hook| hook.attach == Attach::Fentry)
        else {
            return false;
        };
        let answer = self.check(probe).is_ok() && self.load_program(probe).is_ok();
        unload(&mut self.ebpf, probe);
        answer
    }

    fn carry_out(&mut self, plan: &Plan) -> Result<Vec<Attached>, Refusal> {
        let mut results = Vec::new();
        for hook in &plan.hooks {
            let result = self.attach_hook(hook);
            if hook.purpose == Purpose::Transitions {
                result.clone()?;
            }
            if let Err(refusal) = &result {
                log::info!("{}", refusal.explain(true));
            }
            results.push((*hook, result.err().map(|refusal| refusal.cause())));
        }
        Ok(plan
            .ways
            .iter()
            .map(|(purpose, way)| Attached {
                purpose: *purpose,
                way: *way,
                hooks: results
                    .iter()
                    .filter(|(hook, _)| {
                        hook.purpose == *purpose || (*way == Way::Timers && serves_requests(hook, *purpose))
                    })
                    .cloned()
                    .collect(),
            })
            .collect())
    }

    fn attach_hook(&mut self, hook: &Hook) -> Result<(), Refusal> {
        if hook.attach == Attach::ClassicTracepoint {
            // The object was loaded with the offsets from the format file, so the file is there.
            probe::classic_format()?;
        }
        self.check(hook)?;
        self.load_program(hook)?;
        let refused = |error| refusal_of(hook.program, error);
        match self.program(hook)? {
            Program::BtfTracePoint(program) => program.attach().map(drop),
            Program::FEntry(program) => program.attach().map(drop),
            Program::FExit(program) => program.attach().map(drop),
            Program::TracePoint(program) => program.attach("sock", hook.target).map(drop),
            // A link, which stands beside others whatever the mode, and takes no flag for it.
            Program::CgroupSock(program) => program
                .attach(probe::root_cgroup()?, CgroupAttachMode::Single)
                .map(drop),
            Program::SockOps(program) => program
                .attach(probe::root_cgroup()?, CgroupAttachMode::Single)
                .map(drop),
            _ => return Err(missing_program(hook.program)),
        }
        .map_err(refused)
    }

    fn load_program(&mut self, hook: &Hook) -> Result<(), Refusal> {
        let Self { ebpf, btf, .. } = self;
        let no_btf = || Refusal::BadBtf {
            detail: "there is none".to_owned(),
        };
        let program = ebpf
            .program_mut(hook.program)
            .ok_or_else(|| missing_program(hook.program))?;
        let btf = btf.as_ref().ok_or_else(no_btf);
        let result = match program {
            Program::BtfTracePoint(program) => BtfTracePoint::load(program, hook.target, btf?),
            Program::FEntry(program) => FEntry::load(program, hook.target, btf?),
            Program::FExit(program) => FExit::load(program, hook.target, btf?),
            Program::TracePoint(program) => TracePoint::load(program),
            Program::CgroupSock(program) => CgroupSock::load(program),
            Program::SockOps(program) => SockOps::load(program),
            _ => return Err(missing_program(hook.program)),
        };
        result.map_err(|error| refusal_of(hook.program, error))
    }

    fn program(&mut self, hook: &Hook) -> Result<&mut Program, Refusal> {
        self.ebpf
            .program_mut(hook.program)
            .ok_or_else(|| missing_program(hook.program))
    }

    fn detach_all(&mut self, plan: &Plan) {
        for hook in &plan.hooks {
            unload(&mut self.ebpf, hook);
        }
    }

    /// Compares what the hook relies on with the running kernel's types.
    fn check(&self, hook: &Hook) -> Result<(), Refusal> {
        let Ok(btf) = &self.facts.btf else { return Ok(()) };
        if let Some(field) = hook.fields.iter().find(|field| offset(btf, **field) == ABSENT) {
            return Err(Refusal::NoField {
                field: format!("{}.{}", field.of_struct(), field.path()),
            });
        }
        let parameters = match hook.attach {
            Attach::ClassicTracepoint | Attach::Cgroup => return Ok(()),
            Attach::TpBtf => btf.tracepoint(hook.target),
            Attach::Fentry | Attach::Fexit => btf.function(hook.target),
        };
        let refused = |error: String| Refusal::System {
            action: format!("attach to {} {}", hook.attach.name(), hook.target),
            error,
        };
        let parameters = parameters.ok_or_else(|| refused("this kernel has none".to_owned()))?;
        for (index, wanted) in hook.arguments.iter().enumerate() {
            let found = parameters.get(index);
            let matches = match (found, *wanted) {
                (Some(_), "") => true,
                (Some(Parameter::PointerTo(name)), wanted) => name == wanted,
                (Some(Parameter::Other) | None, _) => false,
            };
            if !matches {
                let number = index + 1;
                return Err(refused(if found.is_some() {
                    format!("its argument {number} is no struct {wanted} here")
                } else {
                    format!("it has no argument {number} here")
                }));
            }
        }
        Ok(())
    }

    fn finish(mut self, attached: Vec<Attached>, debug: bool) -> Result<(Kernel, RingBuf<MapData>), Refusal> {
        let records = self
            .ebpf
            .take_map("RECORDS")
            .ok_or_else(|| missing_map("RECORDS"))?;
        let records = RingBuf::try_from(records).map_err(|error| system("map the ring buffer", &error))?;
        let counters = self
            .ebpf
            .take_map("COUNTERS")
            .ok_or_else(|| missing_map("COUNTERS"))?;
        let counters =
            PerCpuArray::try_from(counters).map_err(|error| system("open the counters", &error))?;
        let logger = if debug {
            Some(
                EbpfLogger::init(&mut self.ebpf)
                    .map_err(|error| system("open the kernel side's log", &error))?,
            )
        } else {
            None
        };
        let Facts {
            release,
            machine,
            host,
            ..
        } = self.facts;
        let kernel = Kernel {
            ebpf: self.ebpf,
            btf: self.btf,
            counters,
            attached,
            names: (release, machine, host),
            logger,
            skipped_before: 0,
        };
        Ok((kernel, records))
    }
}

/// Unloading detaches too. Not loaded is what is wanted, so a failure needs no handling.
fn unload(ebpf: &mut Ebpf, hook: &Hook) {
    match ebpf.program_mut(hook.program) {
        Some(Program::BtfTracePoint(program)) => drop(program.unload()),
        Some(Program::FEntry(program)) => drop(program.unload()),
        Some(Program::FExit(program)) => drop(program.unload()),
        Some(Program::TracePoint(program)) => drop(program.unload()),
        Some(Program::CgroupSock(program)) => drop(program.unload()),
        Some(Program::SockOps(program)) => drop(program.unload()),
        Some(_) | None => {}
    }
}

/// The timer hooks serve both hidden states.
fn serves_requests(hook: &Hook, purpose: Purpose) -> bool {
    purpose == Purpose::Requests && hook::TIMERS.contains(hook)
}

fn load(settings: &Settings, facts: &Facts, btf: Option<&aya::Btf>) -> Result<Ebpf, Refusal> {
    let offsets: Vec<u16> = match &facts.btf {
        Ok(kernel) => offsets(kernel)?,
        Err(_) => vec![ABSENT; Field::COUNT],
    };
    let classic = classic_offsets(&facts.btf, settings.preference)?;
    let known = |function: &str| facts.btf.as_ref().ok().and_then(|btf| btf.function(function));
    let count = |function: &str| {
        u8::try_from(known(function).map_or(0, |parameters| parameters.len())).unwrap_or(u8::MAX)
    };
    // The kernel's own functions behind the helpers: they are there where the helpers are.
    let has_cookie = u8::from(facts.btf.as_ref().is_ok_and(has_cookie));
    let has_task_btf = u8::from(known("bpf_get_current_task_btf").is_some());
    let has_sock_from_file = u8::from(known("bpf_sock_from_file").is_some());
    let socket_file_ops = if has_sock_from_file == 0 {
        probe::symbol("socket_file_ops")
    } else {
        0
    };
    let all_protocols = u8::from(settings.all_protocols);
    let wake_bytes = u64::from(settings.buffer_bytes / 4);
    let timewait_process_arguments = count("tcp_timewait_state_process");
    let accept_arguments = count("inet_csk_accept");
    let kern_sock_mask = facts
        .btf
        .as_ref()
        .ok()
        .and_then(|btf| btf.bit(Field::KernSock.of_struct(), Field::KernSock.path()))
        .map_or(0, |(_, mask)| mask);
    let log_level = if settings.debug {
        aya_log::Level::Trace as u8
    } else {
        0
    };
    let object = object()?;
    EbpfLoader::new()
        .btf(btf)
        .verifier_log_level(VerifierLogLevel::STATS | VerifierLogLevel::VERBOSE)
        .override_global("OFFSETS", &offsets[..], true)
        .override_global("CLASSIC_OFFSETS", &classic[..], true)
        .override_global("HAS_COOKIE", &has_cookie, true)
        .override_global("HAS_TASK_BTF", &has_task_btf, true)
        .override_global("HAS_SOCK_FROM_FILE", &has_sock_from_file, true)
        .override_global("SOCKET_FILE_OPS", &socket_file_ops, true)
        .override_global("ALL_PROTOCOLS", &all_protocols, true)
        .override_global("WAKE_BYTES", &wake_bytes, true)
        .override_global("TW_TIMER_HANDLER", &facts.handlers.timewait, true)
        .override_global("REQSK_TIMER_HANDLER", &facts.handlers.request, true)
        .override_global("TIMEWAIT_PROCESS_ARGUMENTS", &timewait_process_arguments, true)
        .override_global("ACCEPT_ARGUMENTS", &accept_arguments, true)
        .override_global("KERN_SOCK_MASK", &kern_sock_mask, true)
        .override_global(aya_log::LEVEL, &log_level, false)
        .map_max_entries("RECORDS", settings.buffer_bytes)
        .load(&object)
        .map_err(|error| match error {
            EbpfError::MapError(error) if !has_ring_buffer() => {
                log::debug!("{error}");
                Refusal::TooOld {
                    release: facts.release.clone(),
                }
            }
            EbpfError::MapError(error) => system("create the maps", &error),
            other => Refusal::BadObject {
                detail: chain(&other),
            },
        })
}

/// The function behind `bpf_get_socket_cookie` for tracing programs.
fn has_cookie(btf: &Btf) -> bool {
    btf.function("bpf_get_socket_ptr_cookie").is_some()
}

fn has_ring_buffer() -> bool {
    aya::sys::is_map_supported(aya::maps::MapType::RingBuf).unwrap_or(true)
}

fn object() -> Result<std::borrow::Cow<'static, [u8]>, Refusal> {
    match std::env::var_os(OBJECT_VARIABLE) {
        None => Ok(OBJECT.into()),
        Some(path) => fs::read(PathBuf::from(&path))
            .map(Into::into)
            .map_err(|error| Refusal::BadObject {
                detail: format!("{}: {error}", path.to_string_lossy()),
            }),
    }
}

fn offset(btf: &Btf, field: Field) -> u16 {
    let (of_struct, path) = (field.of_struct(), field.path());
    let at = match field {
        Field::KernSock => btf.bit(of_struct, path).map(|(at, _)| at),
        _ => btf.field_offset(of_struct, path),
    };
    at.and_then(|at| u16::try_from(at).ok()).unwrap_or(ABSENT)
}

fn offsets(btf: &Btf) -> Result<Vec<u16>, Refusal> {
    Field::ALL
        .iter()
        .map(|field| {
            let at = offset(btf, *field);
            if at == ABSENT && field.is_required() {
                Err(Refusal::NoField {
                    field: format!("{}.{}", field.of_struct(), field.path()),
                })
            } else {
                Ok(at)
            }
        })
        .collect()
}

/// The fields of the classic tracepoint, in the order that the kernel side expects.
const CLASSIC_FIELDS: [&str; 11] = [
    "oldstate", "newstate", "sport", "dport", "family", "protocol", "saddr", "daddr", "saddr_v6", "daddr_v6",
    "skaddr",
];

fn classic_offsets(btf: &Result<Btf, Refusal>, preference: Preference) -> Result<Vec<u16>, Refusal> {
    if btf.is_ok() && preference != Preference::Tracepoint {
        return Ok(vec![0; CLASSIC_FIELDS.len()]);
    }
    let format = probe::classic_format()?;
    CLASSIC_FIELDS
        .iter()
        .map(|name| {
            format_offset(&format, name).ok_or_else(|| Refusal::NoField {
                field: format!("{name} of the tracepoint sock:inet_sock_set_state"),
            })
        })
        .collect()
}

/// The offset of a field in a tracepoint's `format` file, whose lines read `field:TYPE NAME[N];\toffset:O;…`.
fn format_offset(format: &str, name: &str) -> Option<u16> {
    format.lines().find_map(|line| {
        let (declaration, rest) = line.trim().strip_prefix("field:")?.split_once(';')?;
        let last = declaration.rsplit(' ').next()?;
        if last.split('[').next()? != name {
            return None;
        }
        rest.trim()
            .strip_prefix("offset:")?
            .split(';')
            .next()?
            .parse()
            .ok()
    })
}

fn missing_program(name: &str) -> Refusal {
    Refusal::BadObject {
        detail: format!("it has no program {name} of the expected type"),
    }
}

fn missing_map(name: &str) -> Refusal {
    Refusal::BadObject {
        detail: format!("it has no map {name}"),
    }
}

fn system(action: &str, error: &dyn std::error::Error) -> Refusal {
    Refusal::System {
        action: action.to_owned(),
        error: chain(error),
    }
}

fn refusal_of(program: &str, error: ProgramError) -> Refusal {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => Refusal::Verifier {
            program: program.to_owned(),
            error: io_error.to_string(),
            log: verifier_log.to_string(),
        },
        other => system(&format!("attach {program}"), &other),
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_from_the_format_file() {
        let format = "name: inet_sock_set_state\nformat:\n\
            \tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;\n\
            \tfield:__u16 sport;\toffset:24;\tsize:2;\tsigned:0;\n\
            \tfield:__u8 saddr[4];\toffset:32;\tsize:4;\tsigned:0;\n\
            \tfield:__u8 saddr_v6[16];\toffset:40;\tsize:16;\tsigned:0;\n";
        assert_eq!(format_offset(format, "skaddr"), Some(8));
        assert_eq!(format_offset(format, "saddr"), Some(32));
        assert_eq!(format_offset(format, "saddr_v6"), Some(40));
        assert_eq!(format_offset(format, "dport"), None);
    }
}
