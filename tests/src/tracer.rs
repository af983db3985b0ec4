//! A running `tcptrace trace --json`: started, waited for until its header says that it sees everything, its
//! events collected by namespace while the test works, stopped by SIGINT, its summary read.

use crate::{binary, event::Event, netns::Netns};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long loading, attaching and the first snapshot may take on a busy machine.
const START_PATIENCE: Duration = Duration::from_mins(1);
/// Eight times the default: other tests load the machine, and these are not about losses.
const BUFFER: &str = "64M";
/// How long the tracer may take to end after SIGINT.
const STOP_PATIENCE: Duration = Duration::from_mins(1);

/// The process and what it has said so far.
pub struct Tracer {
    child: Mutex<Child>,
    readers: Mutex<Vec<JoinHandle<()>>>,
    log: Arc<Log>,
}

/// How the tracer ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Exit status.
    pub status: ExitStatus,
    /// What stands below `summary` in the last line.
    pub summary: Value,
    /// Standard error.
    pub messages: String,
}

#[derive(Default)]
struct Log {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Default)]
struct Said {
    header: Option<Value>,
    events: HashMap<u64, Vec<Event>>,
    summary: Option<Value>,
    messages: String,
    /// The first line that is none of the promised objects.
    nonsense: Option<String>,
    ended: bool,
}

impl Tracer {
    /// Starts `tcptrace trace --json` with more `arguments`, in the namespace of the current thread, and returns
    /// when it sees everything.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        Self::try_start(arguments).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Like `start`, with the tracer's own words where it does not come that far.
    pub fn try_start(arguments: &[&str]) -> Result<Self, String> {
        let mut child = Command::new(binary::path())
            .args(["trace", "--json"])
            .args(
                (!arguments.contains(&"--buffer"))
                    .then_some(["--buffer", BUFFER])
                    .into_iter()
                    .flatten(),
            )
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("tcptrace cannot be started: {error}"))?;
        let log = Arc::new(Log::default());
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (lines, unparsed) = mpsc::channel();
        let readers = vec![
            thread::spawn(move || read_ahead(stdout, &lines)),
            thread::spawn({
                let log = Arc::clone(&log);
                move || log.collect(&unparsed)
            }),
            thread::spawn({
                let log = Arc::clone(&log);
                move || log.collect_messages(stderr)
            }),
        ];
        let tracer = Self {
            child: Mutex::new(child),
            readers: Mutex::new(readers),
            log,
        };
        match tracer
            .log
            .wait(START_PATIENCE, |said| said.header.is_some().then_some(()))
        {
            Some(()) => Ok(tracer),
            None => Err(tracer.why_there_is_no_header()),
        }
    }

    /// What stands below `header` in the first line.
    pub fn header(&self) -> Value {
        self.log
            .lock()
            .header
            .clone()
            .expect("a started tracer has sent its header")
    }

    /// What the tracer has written to standard error.
    pub fn messages(&self) -> String {
        self.log.lock().messages.clone()
    }

    /// The events of a namespace so far, in the order in which they were printed.
    pub fn events(&self, netns: Netns) -> Vec<Event> {
        self.log.lock().of(netns).to_vec()
    }

    /// Everything so far, of all namespaces, each one's in the order in which it was printed.
    pub fn all_events(&self) -> Vec<Event> {
        self.log.lock().events.values().flatten().cloned().collect()
    }

    /// Waits until the namespace's events give an answer; `None` when `patience` or the tracer ends first.
    pub fn wait_until<T>(
        &self,
        netns: Netns,
        patience: Duration,
        mut question: impl FnMut(&[Event]) -> Option<T>,
    ) -> Option<T> {
        self.log.wait(patience, |said| question(said.of(netns)))
    }

    /// Interrupts the tracer and waits for its end.
    pub fn stop(&self) -> Ending {
        self.interrupt();
        self.ending()
    }

    /// Waits for the tracer to end by itself.
    pub fn ending(&self) -> Ending {
        let ended = self.log.wait(STOP_PATIENCE, |said| said.ended.then_some(()));
        assert!(
            ended.is_some(),
            "tcptrace did not end within {STOP_PATIENCE:?}:\n{}",
            self.messages()
        );
        let status = lock(&self.child).wait().expect("the tracer is our child");
        self.join_readers();
        let said = self.log.lock();
        assert!(
            said.nonsense.is_none(),
            "tcptrace printed a line that is not promised: {:?}",
            said.nonsense
        );
        Ending {
            status,
            summary: said
                .summary
                .clone()
                .unwrap_or_else(|| panic!("no summary:\n{}", said.messages)),
            messages: said.messages.clone(),
        }
    }

    fn why_there_is_no_header(&self) -> String {
        if !self.log.lock().ended {
            return format!(
                "no header from tcptrace within {START_PATIENCE:?}:\n{}",
                self.messages()
            );
        }
        let status = lock(&self.child).wait().expect("the tracer is our child");
        self.join_readers();
        format!("tcptrace ended with {status}:\n{}", self.messages())
    }

    fn join_readers(&self) {
        for reader in lock(&self.readers).drain(..) {
            reader.join().expect("a reader only reads");
        }
    }

    fn interrupt(&self) {
        // The child has not been waited for, so that its id cannot be another process's.
        let pid = i32::try_from(lock(&self.child).id()).expect("process ids fit i32");
        kill(Pid::from_raw(pid), Signal::SIGINT).expect("our own child takes a signal");
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        if !matches!(child.try_wait(), Ok(Some(_))) {
            // Best effort: it may have ended in between.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Said {
    fn of(&self, netns: Netns) -> &[Event] {
        let events = self.events.get(&netns.inode).map_or(&[][..], Vec::as_slice);
        // The kernel gives out a number again only after everything has happened in the namespace that had it.
        &events[events.partition_point(|event| event.mono_ns < netns.made_ns)..]
    }
}

/// Takes the lines from the pipe faster than they can be understood, so that the tracer never waits for the test.
fn read_ahead(stdout: ChildStdout, lines: &Sender<String>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    while let Ok(1..) = stdout.read_line(&mut line) {
        if lines.send(std::mem::take(&mut line)).is_err() {
            return;
        }
    }
}

impl Log {
    fn collect(&self, lines: &Receiver<String>) {
        while let Ok(line) = lines.recv() {
            self.take(line.trim_end());
            // Whoever waits looks at all events again: once for all that came together.
            for line in lines.try_iter() {
                self.take(line.trim_end());
            }
            self.changed.notify_all();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn take(&self, line: &str) {
        if line.starts_with("{\"header\"") || line.starts_with("{\"summary\"") {
            let object: Value = serde_json::from_str(line).unwrap_or_default();
            let mut said = self.lock();
            if let Some(header) = object.get("header") {
                said.header = Some(header.clone());
            }
            if let Some(summary) = object.get("summary") {
                said.summary = Some(summary.clone());
            }
            return;
        }
        // What is missing is in the summary too.
        if line.starts_with("{\"loss\"") {
            return;
        }
        match serde_json::from_str::<Event>(line) {
            Ok(event) => self.lock().events.entry(event.netns).or_default().push(event),
            Err(error) => {
                self.lock()
                    .nonsense
                    .get_or_insert_with(|| format!("{error}: {line}"));
            }
        }
    }

    fn collect_messages(&self, mut stderr: ChildStderr) {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = stderr.read(&mut chunk) {
            self.lock()
                .messages
                .push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
    }

    fn wait<T>(&self, patience: Duration, mut question: impl FnMut(&Said) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut said = self.lock();
        loop {
            let answer = question(&said);
            let left = deadline.saturating_duration_since(Instant::now());
            if answer.is_some() || said.ended || left.is_zero() {
                return answer;
            }
            said = self
                .changed
                .wait_timeout(said, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        lock(&self.said)
    }
}

/// A test that panicked with the lock held has only read: the others may go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
