//! Runs the `tcptrace` binary on the running kernel: in network namespaces of the tests, with real sockets, a scripted peer
//! on a TUN device, and the kernel's tables to compare with. Every wait has a timeout, and all traffic stays inside of the
//! namespaces that the tests create.
#![expect(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "only tests use it, errors are the operating system's, and a panic fails the calling test"
)]

pub mod arrow_readers;
pub mod binary;
pub mod browser;
pub mod certificates;
pub mod cgroup;
pub mod clock;
pub mod collector;
pub mod command;
pub mod event;
pub mod failure;
pub mod files;
pub mod hdrhistogram;
pub mod host;
pub mod http;
pub mod interface;
pub mod kernel_log;
pub mod kernel_table;
pub mod kubernetes;
pub mod live;
pub mod model_table;
pub mod netns;
pub mod nginx;
pub mod path;
pub mod peer;
pub mod program;
pub mod prometheus;
pub mod protected;
pub mod pty;
pub mod random;
pub mod recording;
pub mod rotel;
pub mod screen;
pub mod serving;
pub mod shared;
pub mod small_disk;
pub mod sockets;
pub mod ss;
pub mod ss_network;
pub mod state;
pub mod tracer;
pub mod user;
pub mod workload;
