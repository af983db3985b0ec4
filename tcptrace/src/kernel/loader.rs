//! Loads the object with constants of this kernel, and attaches the hooks of the plan.

use super::{
    btf::{Btf, Parameter},
    counters::{CountersPod, Totals},
    excerpt,
    hook::{self, Feature, Hook},
    offsets,
    plan::{self, Abilities, Mechanism, Preference, SocketReader},
    probe::{self, Facts, LoadFor},
    programs::{Attached, Programs},
    refusal::{self, Refusal},
    reset_reasons::ResetReasons,
    stacks::{self, Stacks, Wanted},
};
use aya::{
    Ebpf, EbpfError, VerifierLogLevel,
    maps::{MapData, PerCpuArray, RingBuf},
};
use aya_log::EbpfLogger;
use std::{
    fs::{self, File},
    path::PathBuf,
    time::Duration,
};
use tcptrace_common::{ABSENT, Field};

static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/tcptrace.bpf.o"));

/// The environment variable that names another object to load, in builds with `test-hooks`.
const OBJECT_VARIABLE: &str = "TCPTRACE_BPF_OBJECT";

/// Smallest and largest ring buffer, bytes; a power of two between them.
pub(crate) const BUFFER_RANGE: (u32, u32) = (4 << 10, 1 << 30);

/// What can be chosen.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The hooks that `--hooks` allows.
    pub(crate) preference: Preference,
    /// How the sockets that exist are read.
    pub(crate) sockets: SocketReader,
    /// Programs that are loaded and never run, for testing what is made of a hook that does not fire.
    pub(crate) silent: Vec<String>,
    /// Size of the ring buffer, bytes, a power of two within [`BUFFER_RANGE`].
    pub(crate) buffer_bytes: u32,
    /// Whether SCTP's and MPTCP's own sockets are reported too.
    pub(crate) all_protocols: bool,
    /// Which calls' user stacks are recorded.
    pub(crate) stacks: Option<Wanted>,
    /// Whether the kernel side logs.
    pub(crate) debug: bool,
}

impl Settings {
    /// Fill level of the ring buffer at which the kernel side wakes the reader, bytes.
    pub(crate) const fn wake_bytes(&self) -> u32 {
        self.buffer_bytes / 4
    }

    /// The least that loads: for snapshots and checks.
    pub(crate) const fn least(preference: Preference) -> Self {
        Self {
            preference,
            sockets: SocketReader::Netlink,
            silent: Vec::new(),
            buffer_bytes: BUFFER_RANGE.0,
            all_protocols: false,
            stacks: None,
            debug: false,
        }
    }
}

/// The attached programs. Dropping it detaches them.
pub(crate) struct Kernel {
    programs: Programs,
    counters: PerCpuArray<MapData, CountersPod>,
    pub(crate) attached: Vec<Attached>,
    /// `uname -r`, `-m`, `-n`.
    pub(crate) names: (String, String, String),
    /// The source of stacks, if requested; taken by their reader.
    pub(crate) stacks: Option<Stacks>,
    /// What this kernel calls its reasons for sending a reset.
    pub(crate) reset_reasons: ResetReasons,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    skipped_before: u64,
    abilities: Abilities,
    preference: Preference,
}

impl Kernel {
    /// Loads and attaches. Fails if the privileges, the kernel or the object do not allow the transitions to be traced.
    /// Everything else that cannot be had is in [`Kernel::attached`].
    pub(crate) fn attach(settings: &Settings) -> Result<(Self, RingBuf<MapData>), Refusal> {
        let mut loading = Loading::open(settings, LoadFor::Tracing)?;
        let mut abilities = loading.abilities();
        let attached = loading.attach(&mut abilities, settings.preference)?;
        let Loading { programs, facts } = &mut loading;
        let limitations = settings
            .stacks
            .map(|wanted| {
                let types = facts.btf.as_ref().ok();
                stacks::attach(programs, types, abilities.has_trampolines, wanted)
            })
            .transpose()?;
        let (mut kernel, records) = loading.finish(attached, abilities, settings)?;
        if let Some(limitations) = limitations {
            let ring = ring(&mut kernel.programs.ebpf, "STACKS")?;
            kernel.stacks = Some(Stacks { ring, limitations });
        }
        Ok((kernel, records))
    }

    /// Loads the object for its iterators alone, attaching nothing. Fails as [`Kernel::attach`], and where there is no
    /// BTF.
    pub(crate) fn for_snapshots() -> Result<Self, Refusal> {
        let settings = Settings::least(Preference::Auto);
        let loading = Loading::open(&settings, LoadFor::Snapshots)?;
        loading.facts.btf.as_ref().map_err(Clone::clone)?;
        Ok(loading.finish(Vec::new(), Abilities::default(), &settings)?.0)
    }

    /// How a purpose is served now.
    pub(crate) fn mechanism(&self, feature: Feature) -> Option<Mechanism> {
        let part = self.attached.iter().find(|part| part.feature == feature)?;
        Some(part.mechanism)
    }

    /// Goes on without the hooks that serve `feature`, which do not fire on this kernel: by the next way where there is
    /// one, else without. Returns the way from now on. Fails if the next way's programs cannot be attached.
    pub(crate) fn give_up(&mut self, feature: Feature) -> Result<Mechanism, Refusal> {
        let mechanism = self.mechanism(feature);
        let fallback =
            mechanism.and_then(|mechanism| plan::fallback(self.abilities, self.preference, mechanism));
        let Some(plan) = fallback else {
            let silent = Mechanism::Missing(plan::SILENT);
            if let Some(part) = self.attached.iter_mut().find(|part| part.feature == feature) {
                part.mechanism = silent;
            }
            return Ok(silent);
        };
        let hooks = self.attached.iter().flat_map(|part| &part.hooks);
        let attached = hooks.filter(|(_, failure)| failure.is_none());
        let (kept, gone): (Vec<Hook>, Vec<Hook>) = attached
            .map(|(hook, _)| *hook)
            .partition(|hook| plan.hooks.contains(hook));
        let skipped = self.programs.skipped();
        self.programs.remove(&gone);
        self.skipped_before += skipped - self.programs.skipped();
        // Read anew: keeping the types would cost megabytes for something that hardly ever happens.
        let types = Btf::of_running_kernel().ok();
        self.attached = self.programs.carry_out(&plan, types.as_ref(), &kept)?;
        Ok(self
            .mechanism(feature)
            .unwrap_or(Mechanism::Missing(plan::SILENT)))
    }

    /// Adds up the per-CPU counters.
    pub(crate) fn totals(&self) -> Result<Totals, Refusal> {
        let per_cpu = self
            .counters
            .get(&0, 0)
            .map_err(|error| Refusal::of("read the counters", &error))?;
        Ok(Totals::of(
            per_cpu.iter(),
            self.skipped_before + self.programs.skipped(),
        ))
    }

    /// Time spent in the programs since they were loaded, while `BPF_ENABLE_STATS` was on; `None` where the kernel does
    /// not tell of any.
    pub(crate) fn run_time(&self) -> Option<Duration> {
        self.programs.run_time()
    }

    /// Opens the iterator over the TCP sockets of the calling thread's network namespace. Fails if the kernel has no
    /// such iterator or refuses it.
    pub(crate) fn open_tcp_iterator(&mut self) -> Result<File, Refusal> {
        self.programs.open_iterator(hook::SOCKETS)
    }

    /// Opens the iterator over the open files of all tasks.
    pub(crate) fn open_holder_iterator(&mut self) -> Result<File, Refusal> {
        self.programs.open_iterator(hook::OPEN_FILES)
    }

    /// Detaches every hook. Counters and iterators stay.
    pub(crate) fn detach(&mut self) {
        // The kernel drops the count with the program.
        self.skipped_before += self.programs.skipped();
        let hooks = self.attached.iter().flat_map(|part| &part.hooks);
        self.programs
            .remove(hooks.map(|(hook, _)| hook).chain(&hook::stacks::ALL));
    }

    /// Writes what the kernel side logged to the log.
    pub(crate) fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }
}

struct Loading {
    programs: Programs,
    facts: Facts,
}

impl Loading {
    fn open(settings: &Settings, load_for: LoadFor) -> Result<Self, Refusal> {
        let facts = probe::facts(load_for)?;
        let btf = facts.btf.as_ref().ok().and_then(|types| match load_for {
            LoadFor::Tracing => excerpt::for_aya(types, hook::all()),
            LoadFor::Snapshots => excerpt::for_aya(types, []),
        });
        let ebpf = load(settings, &facts, btf.as_ref())?;
        let silent = settings.silent.clone();
        Ok(Self {
            programs: Programs { ebpf, btf, silent },
            facts,
        })
    }

    /// Attaches the best plan that works. If trampolines do not, `abilities` is updated accordingly.
    fn attach(
        &mut self,
        abilities: &mut Abilities,
        preference: Preference,
    ) -> Result<Vec<Attached>, Refusal> {
        let types = self.facts.btf.as_ref().ok();
        loop {
            let plan = plan::plan(*abilities, preference);
            let attached = self.programs.carry_out(&plan, types, &[])?;
            let trampoline_failed = attached.iter().any(|part| {
                part.mechanism == Mechanism::Fentry && part.hooks.iter().any(|(_, failure)| failure.is_some())
            });
            // A part of the trampolines would miss transitions: use the timers instead of all of them.
            if !trampoline_failed || preference == Preference::Fentry || !abilities.knows_timer_handlers {
                return Ok(attached);
            }
            self.programs.remove(&plan.hooks);
            abilities.has_trampolines = false;
        }
    }

    fn abilities(&mut self) -> Abilities {
        let handlers = self.facts.handlers;
        let types = self.facts.btf.as_ref().ok();
        Abilities {
            has_btf: types.is_some(),
            has_trampolines: self.programs.has_trampolines(types),
            knows_timer_handlers: handlers.timewait != 0 && handlers.request != 0,
            has_cookie: types.is_some_and(has_cookie),
            names_receiver: types.is_some_and(names_receiver),
        }
    }

    fn finish(
        mut self,
        attached: Vec<Attached>,
        abilities: Abilities,
        settings: &Settings,
    ) -> Result<(Kernel, RingBuf<MapData>), Refusal> {
        let ebpf = &mut self.programs.ebpf;
        let records = ring(ebpf, "RECORDS")?;
        let counters = ebpf.take_map("COUNTERS").ok_or_else(|| missing_map("COUNTERS"))?;
        let counters =
            PerCpuArray::try_from(counters).map_err(|error| Refusal::of("open the counters", &error))?;
        let logger = if settings.debug {
            Some(EbpfLogger::init(ebpf).map_err(|error| Refusal::of("open the kernel side's log", &error))?)
        } else {
            None
        };
        let reset_reasons = self.facts.btf.as_ref().map(reset_reasons).unwrap_or_default();
        let Facts {
            release,
            machine,
            host,
            ..
        } = self.facts;
        let kernel = Kernel {
            programs: self.programs,
            counters,
            attached,
            names: (release, machine, host),
            stacks: None,
            reset_reasons,
            logger,
            skipped_before: 0,
            abilities,
            preference: settings.preference,
        };
        Ok((kernel, records))
    }
}

fn ring(ebpf: &mut Ebpf, name: &str) -> Result<RingBuf<MapData>, Refusal> {
    let map = ebpf.take_map(name).ok_or_else(|| missing_map(name))?;
    RingBuf::try_from(map).map_err(|error| Refusal::of("map the ring buffer", &error))
}

fn load(settings: &Settings, facts: &Facts, btf: Option<&aya::Btf>) -> Result<Ebpf, Refusal> {
    let offsets: Vec<u16> = match &facts.btf {
        Ok(kernel) => offsets::offsets(kernel)?,
        Err(_) => vec![ABSENT; Field::COUNT],
    };
    let classic = offsets::classic_offsets(&facts.btf, settings.preference)?;
    let known = |function: &str| facts.btf.as_ref().ok().and_then(|btf| btf.function(function));
    let count = |function: &str| {
        u8::try_from(known(function).map_or(0, |prototype| prototype.parameters.len())).unwrap_or(u8::MAX)
    };
    // The kernel functions behind the helpers, which exist if the helpers do.
    let has_cookie = u8::from(facts.btf.as_ref().is_ok_and(has_cookie));
    let has_task_btf = u8::from(known("bpf_get_current_task_btf").is_some());
    let has_sock_from_file = u8::from(known("bpf_sock_from_file").is_some());
    let socket_file_ops = if has_sock_from_file == 0 {
        probe::symbol("socket_file_ops")
    } else {
        0
    };
    let all_protocols = u8::from(settings.all_protocols);
    let wake_bytes = u64::from(settings.wake_bytes());
    let timewait_process_arguments = count("tcp_timewait_state_process");
    let accept_arguments = count("inet_csk_accept");
    let has_reset_reason = u8::from(facts.btf.as_ref().is_ok_and(has_reset_reason));
    let kern_sock_mask = facts
        .btf
        .as_ref()
        .ok()
        .and_then(offsets::kern_sock)
        .map_or(0, |(_, mask)| mask);
    let log_level = if settings.debug {
        aya_log::Level::Trace as u8
    } else {
        0
    };
    let stack_bytes = settings.stacks.map_or(BUFFER_RANGE.0, |_| stacks::BUFFER_BYTES);
    let object = object()?;
    excerpt::loader()
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
        .override_global("HAS_RESET_REASON", &has_reset_reason, true)
        .override_global("KERN_SOCK_MASK", &kern_sock_mask, true)
        .override_global(aya_log::LEVEL, &log_level, false)
        .map_max_entries("RECORDS", settings.buffer_bytes)
        .map_max_entries("STACKS", stack_bytes)
        .load(&object)
        .map_err(|error| match error {
            EbpfError::MapError(error) if !has_ring_buffer() => {
                log::debug!("{error}");
                Refusal::TooOld {
                    release: facts.release.clone(),
                }
            }
            EbpfError::MapError(error) => Refusal::of("create the maps", &error),
            other => Refusal::BadObject {
                detail: refusal::chain(&other),
            },
        })
}

/// The function behind `bpf_get_socket_cookie` for tracing programs.
fn has_cookie(btf: &Btf) -> bool {
    btf.function("bpf_get_socket_ptr_cookie").is_some()
}

/// Whether `kfree_skb` reports the socket of a segment.
fn names_receiver(btf: &Btf) -> bool {
    const RECEIVER: usize = 3;
    let prototype = btf.tracepoint("kfree_skb");
    let receiver = prototype
        .as_ref()
        .and_then(|found| found.parameters.get(RECEIVER));
    receiver.is_some_and(|found| *found == Parameter::PointerTo("sock".to_owned()))
}

/// Whether `tcp_send_reset` reports why.
fn has_reset_reason(btf: &Btf) -> bool {
    const REASON: usize = 2;
    let prototype = btf.tracepoint("tcp_send_reset");
    let reason = prototype.as_ref().and_then(|found| found.parameters.get(REASON));
    reason.is_some_and(|found| *found == Parameter::Number { bytes: 4 })
}

/// The names of the reasons, by their numbers on this kernel: empty if it reports none.
fn reset_reasons(btf: &Btf) -> ResetReasons {
    if has_reset_reason(btf) {
        ResetReasons::new(btf.enumerators("sk_rst_reason"))
    } else {
        ResetReasons::default()
    }
}

fn has_ring_buffer() -> bool {
    aya::sys::is_map_supported(aya::maps::MapType::RingBuf).unwrap_or(true)
}

fn object() -> Result<std::borrow::Cow<'static, [u8]>, Refusal> {
    let path = cfg!(feature = "test-hooks")
        .then(|| std::env::var_os(OBJECT_VARIABLE))
        .flatten();
    match path {
        None => Ok(OBJECT.into()),
        Some(path) => fs::read(PathBuf::from(&path))
            .map(Into::into)
            .map_err(|error| Refusal::BadObject {
                detail: format!("{}: {error}", path.to_string_lossy()),
            }),
    }
}

fn missing_map(name: &str) -> Refusal {
    Refusal::BadObject {
        detail: format!("it has no map {name}"),
    }
}
