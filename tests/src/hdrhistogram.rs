//! Reads histogram logs with HdrHistogram's own library, in Java.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// Path of the library in Debian's `libhdrhistogram-java`.
const LIBRARY: &str = "/usr/share/java/hdrhistogram.jar";

/// The reason why logs cannot be read here, `None` if they can.
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

/// A histogram as read by Java, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The number of values.
    pub count: u64,
    /// Minimum, percentiles 50, 90, 99 and 99.9, maximum.
    pub values: [u64; 6],
}

/// The sums of all intervals of a log, by tag; `-` stands for no tag.
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

/// The output of HistogramLogProcessor: the percentile distribution of the intervals without a tag.
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
