//! HdrHistogram's own readers, in Java: what they find in a log. Knows nothing of who wrote it.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// Where Debian's `libhdrhistogram-java` puts the library.
const LIBRARY: &str = "/usr/share/java/hdrhistogram.jar";

/// Why logs cannot be read by it here, `None` where they can.
#[must_use]
pub fn missing() -> Option<String> {
    if !fs::exists(LIBRARY).unwrap_or(false) {
        return Some(format!("no {LIBRARY} (libhdrhistogram-java)"));
    }
    let compiler = Command::new("javac")
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    compiler.err().map(|error| format!("no Java compiler: {error}"))
}

/// A histogram as Java sees it, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How many values.
    pub count: u64,
    /// Minimum, percentiles 50, 90, 99 and 99.9, maximum.
    pub values: [u64; 6],
}

/// All intervals of a log, added up by tag; `-` is what has none.
#[must_use]
pub fn by_tag(log: &Path) -> BTreeMap<String, Seen> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/ReadHlog.java");
    let text = run(Command::new("java").args(["-cp", LIBRARY, program]).arg(log));
    text.lines()
        .map(|line| {
            let mut words = line.split(' ');
            let tag = words.next().expect("a tag").to_owned();
            let numbers: Vec<u64> = words.map(|word| word.parse().expect("a number")).collect();
            let (count, values) = numbers.split_first().expect("a count");
            let seen = Seen {
                count: *count,
                values: values.try_into().expect("six values"),
            };
            (tag, seen)
        })
        .collect()
}

/// What HistogramLogProcessor prints of a log: the percentile distribution of what has no tag.
#[must_use]
pub fn processed(log: &Path) -> String {
    run(Command::new("java")
        .args(["-cp", LIBRARY, "org.HdrHistogram.HistogramLogProcessor", "-i"])
        .arg(log))
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("java runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).expect("Java prints UTF-8")
}
