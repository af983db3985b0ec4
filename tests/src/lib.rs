//! Drives the real `tcptrace` binary against the running kernel: network namespaces of a test's own, real
//! sockets, a scripted peer at the other end of a TUN device, and the kernel's own tables as the truth.
//! Everything that waits has a deadline; everything that moves traffic stays inside the namespace it made.
#![expect(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "an error is the operating system's answer, and a harness panics to fail the test that called it"
)]

pub mod analysts;
pub mod binary;
pub mod cgroup;
pub mod clock;
pub mod command;
pub mod event;
pub mod failure;
pub mod files;
pub mod hdrhistogram;
pub mod host;
pub mod interface;
pub mod kernel_log;
pub mod kernel_table;
pub mod live;
pub mod netns;
pub mod path;
pub mod peer;
pub mod pty;
pub mod random;
pub mod recording;
pub mod screen;
pub mod shared;
pub mod small_disk;
pub mod sockets;
pub mod ss;
pub mod state;
pub mod told;
pub mod tracer;
pub mod user;
pub mod workload;
