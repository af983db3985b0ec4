//! Owners of 20,000 sockets of one process, or of as many as one process may have, compared with `ss -tanp`.

use crate::puppet::Stage;
use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tcptrace_tests::{binary, command::tcptrace, netns::Netns, sockets};

/// Number of connections; the process has both sockets of each, if it may.
const PAIRS: u64 = 10_000;
/// Maximum number of its other open files.
const OTHER_FILES: u64 = 20;
/// The least factor by which `ss` must be slower.
const TIMES: u32 = 4;

/// All owners, in a quarter of the time.
pub(crate) fn twenty_thousand_sockets_have_their_owner_sooner_than_from_ss(netns: Netns) {
    let stage = Stage::new();
    let mut holder = stage.start("holder");
    let pairs = PAIRS.min((stage.open_files - OTHER_FILES) / 2);
    let begun = Instant::now();
    holder.ask(&format!("pairs {pairs}"));
    let count = usize::try_from(2 * pairs).expect("a few thousand");
    println!("{count} sockets made in {:?}", begun.elapsed());
    let process = holder.process();
    let listed = sockets::list(netns, &["-s", "established"]);
    assert_eq!(listed.len(), count);
    let descriptors: BTreeSet<i32> = listed
        .iter()
        .map(|socket| {
            let [held] = socket.holders.as_slice() else {
                panic!("one descriptor: {socket:?}");
            };
            let owner = socket.owner.as_ref().expect("a socket that is held has an owner");
            assert!(process.is(owner) && held.pid == process.pid, "{socket:?}");
            held.fd
        })
        .collect();
    assert_eq!(descriptors.len(), count, "one descriptor each");

    let inode = netns.inode.to_string();
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        let mut ss = Command::new("ss");
        ss.arg("-tanpH").stdin(Stdio::null());
        theirs = theirs.min(time(ss, &process.comm, count));
        let snapshot = tcptrace(&["snapshot", "--no-header", "--netns", &inode]);
        ours = ours.min(time(snapshot, &process.comm, count));
    }
    println!("best of 3: tcptrace snapshot {ours:?}, ss -tanp {theirs:?}");
    if binary::is_release_build() {
        assert!(
            ours * TIMES <= theirs,
            "the snapshot takes {ours:?}, ss {theirs:?}"
        );
    } else {
        println!("the times are not compared: the binary is not in a folder of cargo's release profile");
    }
}

/// Duration of the whole run, which must report the process for every socket.
fn time(mut command: Command, comm: &str, count: usize) -> Duration {
    let begun = Instant::now();
    let output = command.output().expect("the command can be started");
    let took = begun.elapsed();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let named = text.lines().filter(|line| line.contains(comm)).count();
    assert_eq!(named, count, "every socket is named");
    took
}
