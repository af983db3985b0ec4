//! A network namespace for a test. The test's body runs on a thread that has entered it, and the threads and processes
//! that it spawns are in it too. Mounts do not change: tracefs and bpffs stay.

use crate::{clock::monotonic_ns, interface};
use nix::sched::{CloneFlags, unshare};
use std::{fs, io, os::unix::fs::MetadataExt as _, panic, thread};

/// A namespace that a test created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Netns {
    /// The inode number, which identifies it for the kernel and `tcptrace`.
    pub inode: u64,
    /// Time of creation, `CLOCK_MONOTONIC`: an earlier namespace may have had the same number.
    pub made_ns: u64,
}

impl Netns {
    /// Runs `body` on a new thread in a new namespace whose loopback interface is up. A panic is propagated.
    pub fn run<T: Send>(body: impl FnOnce(Netns) -> T + Send) -> T {
        let outcome = thread::scope(|scope| {
            thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, || {
                    let netns = Self::enter_new().expect("a network namespace can be made");
                    body(netns)
                })
                .expect("a thread can be started")
                .join()
        });
        outcome.unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// Whether this process may create a namespace and set its sysctls.
    pub fn probe() -> io::Result<()> {
        thread::spawn(|| {
            let netns = Self::enter_new()?;
            netns.set("ipv4/tcp_rfc1337", "0")
        })
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the probing thread panicked")))
    }

    /// Writes a sysctl of this namespace, named below `net`: `ipv4/tcp_fin_timeout`.
    pub fn set(self, name: &str, value: &str) -> io::Result<()> {
        // The kernel resolves /proc/sys/net by the namespace of the thread that opens it (`net_ctl_root`).
        debug_assert_eq!(
            inode_of_this_thread()?,
            self.inode,
            "a sysctl is set from a thread in the namespace"
        );
        fs::write(format!("/proc/sys/net/{name}"), value)
            .map_err(|error| io::Error::new(error.kind(), format!("net/{name} = {value}: {error}")))
    }

    fn enter_new() -> io::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let netns = Self {
            inode: inode_of_this_thread()?,
            made_ns: monotonic_ns(),
        };
        // Containers may disable IPv6 in new namespaces.
        for scope in ["all", "default"] {
            let name = format!("ipv6/conf/{scope}/disable_ipv6");
            if fs::exists(format!("/proc/sys/net/{name}"))? {
                netns.set(&name, "0")?;
            }
        }
        interface::bring_up("lo")?;
        Ok(netns)
    }
}

fn inode_of_this_thread() -> io::Result<u64> {
    Ok(fs::metadata("/proc/thread-self/ns/net")?.ino())
}
