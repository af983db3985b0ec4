//! A thread that reads and never writes: its system calls are filtered (seccomp(2)), so that none opens a file for
//! writing, changes what a folder holds or who may do what, sends anything, or runs a program.

use libc::{c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};
use std::{collections::BTreeMap, env::consts::ARCH};

/// `SIOCGSKNS` of `linux/sockios.h`: the network namespace of a socket, as a file.
pub(crate) const SIOCGSKNS: libc::c_ulong = 0x894c;

/// Refused whatever their arguments are. `openat2` has its flags in memory, where no filter sees them.
const NEVER: &[c_long] = &[
    libc::SYS_openat2,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_truncate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
];

/// Older forms that newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const NEVER_OLD: &[c_long] = &[
    libc::SYS_creat,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_OLD: &[c_long] = &[];

/// Calls that open files, with the place of the flags among their arguments.
#[cfg(target_arch = "x86_64")]
const OPENING: &[(c_long, u8)] = &[(libc::SYS_openat, 2), (libc::SYS_open, 1)];
#[cfg(not(target_arch = "x86_64"))]
const OPENING: &[(c_long, u8)] = &[(libc::SYS_openat, 2)];

/// Flags with which a file is not only read: bits that are looked at, and what they are.
const WRITING: [(c_int, c_int); 5] = [
    (libc::O_ACCMODE, libc::O_WRONLY),
    (libc::O_ACCMODE, libc::O_RDWR),
    (libc::O_ACCMODE, libc::O_ACCMODE),
    (libc::O_CREAT, libc::O_CREAT),
    (libc::O_TRUNC, libc::O_TRUNC),
];

/// Filters the calling thread's system calls from now on; those refused fail with EPERM. Fails if the kernel or the
/// architecture has no such filters.
pub(super) fn confine() -> Result<(), Error> {
    apply_filter(&filter()?)
}

fn filter() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = NEVER
        .iter()
        .chain(NEVER_OLD)
        .map(|call| (*call, Vec::new()))
        .collect();
    for (call, argument) in OPENING {
        let writing = WRITING.iter().map(|(mask, value)| {
            let [mask, value] = [*mask, *value].map(|flags| u64::from(flags.unsigned_abs()));
            let operator = SeccompCmpOp::MaskedEq(mask);
            let condition = SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator, value)?;
            SeccompRule::new(vec![condition])
        });
        rules.insert(*call, writing.collect::<Result<_, _>>()?);
    }
    // Of a socket that another process has open only its network namespace is asked, and of that its kind.
    let asking = [SIOCGSKNS, libc::NS_GET_NSTYPE];
    let asks_otherwise = asking
        .map(|request| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, request))
        .into_iter()
        .collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(asks_otherwise)?]);
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, refused, TargetArch::try_from(ARCH)?)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::{self, File, OpenOptions},
        io,
        net::TcpStream,
        process::Command,
        thread,
    };

    #[test]
    fn files_are_read_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "text").unwrap();
        let path = folder.path().to_owned();
        let denied = |result: io::Result<()>| result.unwrap_err().kind() == io::ErrorKind::PermissionDenied;
        let outcome = thread::spawn(move || {
            nix::sys::prctl::set_no_new_privs().unwrap();
            let held = File::open("/proc/self/ns/net").unwrap();
            confine().unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), "text");
            assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
            assert!(fs::read_link("/proc/self/exe").is_ok());
            assert!(denied(File::create(path.join("new")).map(drop)));
            assert!(denied(OpenOptions::new().append(true).open(&file).map(drop)));
            assert!(denied(
                OpenOptions::new().read(true).write(true).open(&file).map(drop)
            ));
            assert!(denied(fs::remove_file(&file)));
            assert!(denied(fs::rename(&file, path.join("other"))));
            assert!(denied(fs::create_dir(path.join("folder"))));
            assert!(denied(fs::hard_link(&file, path.join("link"))));
            assert!(denied(TcpStream::connect("127.0.0.1:1").map(drop)));
            assert!(denied(Command::new("true").status().map(drop)));
            let descriptor = std::os::fd::AsRawFd::as_raw_fd(&held);
            let mut index: c_int = 0;
            // SAFETY: the first request writes one number, the second takes no argument.
            let (others, asked) = unsafe {
                (
                    libc::ioctl(descriptor, libc::FIONREAD, &raw mut index),
                    libc::ioctl(descriptor, libc::NS_GET_NSTYPE),
                )
            };
            assert_eq!((others, asked), (-1, libc::CLONE_NEWNET));
        });
        outcome.join().unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "text");
    }
}
