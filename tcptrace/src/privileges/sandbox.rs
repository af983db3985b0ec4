//! Landlock: the files that a thread may open from now on, and the ports that it may connect to. Everything else is denied:
//! other files, TCP, abstract UNIX sockets outside. Open descriptors are not affected.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus,
    Scope, make_bitflags,
};
use std::{fmt, path::PathBuf};

/// The newest rights that are requested; those that the kernel does not support are omitted. Signals are not confined: ^Z
/// stops all of the terminal's foreground.
const NEWEST: ABI = ABI::V6;

/// What may be done in a folder that outputs are written to: files and folders of the user's are made, renamed, linked
/// and removed. No devices, sockets or links that lead elsewhere.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | Refer
});

/// What may be done with an output that is no regular file: a device, a pipe, a terminal.
const WRITE_SPECIAL: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ ReadFile | WriteFile | Truncate | IoctlDev });

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ ReadFile | ReadDir });

#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// Files that may be read, and folders with all below.
    pub(super) readable: Vec<PathBuf>,
    /// Folders that may be listed, with all below.
    pub(super) listed: Vec<PathBuf>,
    /// Folders in which files may be written; anything else that may be written.
    pub(super) writable: Vec<PathBuf>,
    /// Whether files are linked from one folder into another, which Landlock cannot allow before its ABI 2.
    pub(super) links: bool,
    /// TCP ports that may be connected to.
    pub(super) ports: Vec<u16>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// In force.
    Enforced {
        /// The kernel's version of it.
        abi: i32,
    },
    /// The kernel was built without it, or is older than 5.13.
    NotInKernel,
    /// The kernel has it, and was booted without.
    NotEnabled,
    /// The kernel refused it.
    Refused {
        /// The kernel's reason.
        reason: String,
    },
}

impl fmt::Display for Landlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enforced { abi } => write!(f, "Landlock: ABI {abi}"),
            Self::NotInKernel => f.write_str("Landlock: not in this kernel"),
            Self::NotEnabled => f.write_str("Landlock: not enabled (boot parameter lsm=)"),
            Self::Refused { reason } => write!(f, "Landlock: not applied: {reason}"),
        }
    }
}

/// Confines the calling thread, and those that it starts from now on.
pub(super) fn confine(files: &Files) -> Landlock {
    match try_to_confine(files) {
        Ok(outcome) => outcome,
        Err(error) => Landlock::Refused {
            reason: error.to_string(),
        },
    }
}

fn try_to_confine(files: &Files) -> Result<Landlock, RulesetError> {
    let linking = if files.links {
        CompatLevel::HardRequirement
    } else {
        CompatLevel::BestEffort
    };
    let mut ruleset = Ruleset::default()
        .set_compatibility(linking)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::AbstractUnixSocket)?
        .create()?;
    let readable = files
        .readable
        .iter()
        .map(|path| (path, READ, AccessFs::ReadFile.into()));
    let writable = files.writable.iter().map(|path| (path, WRITE, WRITE_SPECIAL));
    let listed = files
        .listed
        .iter()
        .map(|path| (path, AccessFs::ReadDir.into(), BitFlags::EMPTY));
    for (path, of_folder, of_file) in readable.chain(writable).chain(listed) {
        let rights = if path.is_dir() { of_folder } else { of_file };
        if rights.is_empty() {
            continue;
        }
        // What is not there needs no right, and a pipe without a name can have none.
        let Ok(opened) = PathFd::new(path) else { continue };
        let Ok(same) = ruleset.try_clone() else { continue };
        match same.add_rule(PathBeneath::new(opened, rights)) {
            Ok(same) => ruleset = same,
            Err(error) => log::debug!("{}: {error}", path.display()),
        }
    }
    for port in &files.ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    let status = ruleset.restrict_self()?;
    Ok(match (status.landlock, status.ruleset) {
        (LandlockStatus::NotImplemented, _) => Landlock::NotInKernel,
        (LandlockStatus::NotEnabled, _) => Landlock::NotEnabled,
        (LandlockStatus::Available { .. }, RulesetStatus::NotEnforced) => Landlock::Refused {
            reason: "the kernel knows none of the rights".to_owned(),
        },
        (
            LandlockStatus::Available {
                effective_abi,
                kernel_abi,
            },
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced,
        ) => Landlock::Enforced {
            abi: kernel_abi.unwrap_or(effective_abi as i32),
        },
    })
}
