//! The object's programs: loads, attaches and detaches them, hook by hook. With `loader` the only file that drives aya.

use super::{
    btf::Btf,
    hook::{self, Attach, Feature, Hook, Listing},
    plan::{Mechanism, Plan},
    probe, prototype,
    refusal::Refusal,
};
use aya::{
    Ebpf,
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSock, FEntry, FExit, Iter, Program, ProgramError, ProgramFd,
        SockOps, TracePoint,
    },
};
use std::{
    fs::{self, File},
    os::fd::AsRawFd as _,
    time::Duration,
};

/// What became of one purpose.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    pub(crate) feature: Feature,
    pub(crate) mechanism: Mechanism,
    /// Its hooks, and why one of them is not attached.
    pub(crate) hooks: Vec<(Hook, Option<String>)>,
}

impl Attached {
    /// Why this purpose is not served in full.
    pub(crate) fn limitation(&self) -> Option<String> {
        if let Mechanism::Missing(reason) = self.mechanism {
            return Some(reason.to_owned());
        }
        self.hooks
            .iter()
            .find_map(|(hook, failure)| failure.as_ref().map(|why| format!("{}: {why}", hook.target)))
    }
}

/// The loaded object. Dropping it detaches everything.
pub(super) struct Programs {
    pub(super) ebpf: Ebpf,
    /// The kernel's types for aya, where there are any.
    pub(super) btf: Option<aya::Btf>,
    /// Programs that are loaded and not attached, as if the compiler had inlined what they hook.
    pub(super) silent: Vec<String>,
}

impl Programs {
    /// Attaches what the plan says, comparing each hook with the kernel's `types` first. Those of `kept` are attached
    /// already. Fails if the transitions cannot be traced. Every other failure is in what is returned.
    pub(super) fn carry_out(
        &mut self,
        plan: &Plan,
        types: Option<&Btf>,
        kept: &[Hook],
    ) -> Result<Vec<Attached>, Refusal> {
        let mut results = Vec::new();
        for hook in &plan.hooks {
            let result = if kept.contains(hook) {
                Ok(())
            } else {
                self.attach(hook, types)
            };
            if hook.feature == Feature::Transitions {
                result.clone()?;
            }
            if let Err(refusal) = &result {
                log::info!("{}", refusal.explain(true));
            }
            results.push((*hook, result.err().map(|refusal| refusal.cause())));
        }
        Ok(plan
            .mechanisms
            .iter()
            .map(|(feature, mechanism)| Attached {
                feature: *feature,
                mechanism: *mechanism,
                hooks: results
                    .iter()
                    .filter(|(hook, _)| {
                        hook.feature == *feature
                            || (mechanism.is_by_timers() && serves_requests(hook, *feature))
                    })
                    .cloned()
                    .collect(),
            })
            .collect())
    }

    /// Detaches and unloads these.
    pub(super) fn remove<'a>(&mut self, hooks: impl IntoIterator<Item = &'a Hook>) {
        for hook in hooks {
            unload(&mut self.ebpf, hook);
        }
    }

    /// Whether fentry and fexit programs load. Loading the smallest of them is the kernel's own answer.
    pub(super) fn has_trampolines(&mut self, types: Option<&Btf>) -> bool {
        let Some(probe) = hook::TIMEWAIT_FENTRY
            .iter()
            .find(|hook| hook.attach == Attach::Fentry)
        else {
            return false;
        };
        let fits = types.is_none_or(|types| prototype::check(types, probe).is_ok());
        let answer = fits && self.load(probe).is_ok();
        unload(&mut self.ebpf, probe);
        answer
    }

    pub(super) fn attach(&mut self, hook: &Hook, types: Option<&Btf>) -> Result<(), Refusal> {
        if hook.attach == Attach::ClassicTracepoint {
            // The object was loaded with the offsets from the format file, so the file exists.
            probe::classic_format()?;
        }
        if let Some(types) = types {
            prototype::check(types, hook)?;
        }
        self.load(hook)?;
        if self.silent.iter().any(|name| name == hook.program) {
            return Ok(());
        }
        let refused = |error| refusal_of(hook.program, error);
        match self.program(hook)? {
            Program::BtfTracePoint(program) => program.attach().map(drop),
            Program::FEntry(program) => program.attach().map(drop),
            Program::FExit(program) => program.attach().map(drop),
            Program::TracePoint(program) => program.attach("sock", hook.target).map(drop),
            // A link, which coexists with others in any mode, and takes no flag for it.
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

    fn load(&mut self, hook: &Hook) -> Result<(), Refusal> {
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

    /// Opens an iterator. Fails if the kernel has no such iterator or refuses it.
    pub(super) fn open_iterator(&mut self, listing: Listing) -> Result<File, Refusal> {
        let Listing {
            program: name,
            target,
        } = listing;
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
            .map_err(|error| Refusal::of("open the iterator", &error))
    }

    /// Time spent in all programs that are loaded.
    pub(super) fn run_time(&self) -> Option<Duration> {
        self.ebpf
            .programs()
            .filter_map(|(_, program)| program.info().ok())
            .map(|info| info.run_time())
            .reduce(|sum, one| sum + one)
    }

    /// Runs that the kernel skipped. It counts these per program (`bpf_prog_inc_misses_counter`), shows them in
    /// `fdinfo`, and forgets them with the program. What one of the two programs for transitions skips, the other
    /// reports.
    pub(super) fn skipped(&self) -> u64 {
        let is_doubled = |name: &str| hook::SET_STATE.iter().any(|hook| hook.program == name);
        let is_for_stacks = |name: &str| hook::stacks::ALL.iter().any(|hook| hook.program == name);
        self.ebpf
            .programs()
            .filter(|(name, _)| !is_doubled(name) && !is_for_stacks(name))
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

/// Unloading detaches too. The goal is that it is not loaded, so a failure needs no handling.
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
fn serves_requests(hook: &Hook, feature: Feature) -> bool {
    feature == Feature::Requests && hook::TIMERS.contains(hook)
}

fn missing_program(name: &str) -> Refusal {
    Refusal::BadObject {
        detail: format!("it has no program {name} of the expected type"),
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
        other => Refusal::of(&format!("attach {program}"), &other),
    }
}
