//! A running `tcptrace trace --json`: started until its header, its events collected by namespace while the test runs,
//! stopped by SIGINT, its summary parsed.

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

/// Maximum time to load, attach and take the first snapshot on a busy machine.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Eight times the default: other tests load the machine, and these do not test losses.
const BUFFER: &str = "64M";
/// Maximum time to exit after SIGINT.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);

/// The process and its output so far.
pub struct Tracer {
    child: Mutex<Child>,
    readers: Mutex<Vec<JoinHandle<()>>>,
    log: Arc<Log>,
}

/// The exit status and the output at the end.
#[derive(Clone, Debug)]
pub struct Ending {
    pub status: ExitStatus,
    /// The `summary` of the last line.
    pub summary: Value,
    pub messages: String,
}

#[derive(Default)]
struct Log {
    received: Mutex<Received>,
    changed: Condvar,
}

#[derive(Default)]
struct Received {
    header: Option<Value>,
    events: HashMap<Option<u64>, Vec<Event>>,
    summary: Option<Value>,
    messages: String,
    /// The first line that is not one of the documented objects.
    nonsense: Option<String>,
    ended: bool,
}

impl Tracer {
    /// Starts `tcptrace trace --json` with additional `arguments`, in the namespace of the current thread, and returns
    /// when it reports everything.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        Self::try_start(arguments).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Like `start`, but returns the tracer's messages if it does not start.
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
            .wait(START_TIMEOUT, |received| received.header.is_some().then_some(()))
        {
            Some(()) => Ok(tracer),
            None => Err(tracer.why_there_is_no_header()),
        }
    }

    /// The `header` of the first line.
    pub fn header(&self) -> Value {
        self.log
            .lock()
            .header
            .clone()
            .expect("a started tracer has sent its header")
    }

    /// Standard error of the tracer so far.
    pub fn messages(&self) -> String {
        self.log.lock().messages.clone()
    }

    /// The events of a namespace so far, in the order of the output.
    pub fn events(&self, netns: Netns) -> Vec<Event> {
        self.log.lock().of(netns).to_vec()
    }

    /// The events of all namespaces so far, in the order of the output for each namespace.
    pub fn all_events(&self) -> Vec<Event> {
        self.log.lock().events.values().flatten().cloned().collect()
    }

    /// Waits until the namespace's events give an answer; `None` if `timeout` elapses or the tracer exits first.
    pub fn wait_until<T>(
        &self,
        netns: Netns,
        timeout: Duration,
        mut question: impl FnMut(&[Event]) -> Option<T>,
    ) -> Option<T> {
        self.log.wait(timeout, |received| question(received.of(netns)))
    }

    /// Sends SIGINT to the tracer and waits for its exit.
    pub fn stop(&self) -> Ending {
        self.interrupt();
        self.ending()
    }

    /// Waits until the tracer exits by itself.
    pub fn ending(&self) -> Ending {
        let ended = self
            .log
            .wait(STOP_TIMEOUT, |received| received.ended.then_some(()));
        assert!(
            ended.is_some(),
            "tcptrace did not end within {STOP_TIMEOUT:?}:\n{}",
            self.messages()
        );
        let status = lock(&self.child).wait().expect("the tracer is our child");
        self.join_readers();
        let received = self.log.lock();
        assert!(
            received.nonsense.is_none(),
            "tcptrace printed a line that is not promised: {:?}",
            received.nonsense
        );
        Ending {
            status,
            summary: received
                .summary
                .clone()
                .unwrap_or_else(|| panic!("no summary:\n{}", received.messages)),
            messages: received.messages.clone(),
        }
    }

    fn why_there_is_no_header(&self) -> String {
        if !self.log.lock().ended {
            return format!(
                "no header from tcptrace within {START_TIMEOUT:?}:\n{}",
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
        self.signal(Signal::SIGINT);
    }

    pub fn signal(&self, signal: Signal) {
        // The child has not been waited for, so its id cannot be that of another process.
        let pid = i32::try_from(lock(&self.child).id()).expect("process ids fit i32");
        kill(Pid::from_raw(pid), signal).expect("our own child takes a signal");
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        if !matches!(child.try_wait(), Ok(Some(_))) {
            // Best effort: it may have exited.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Received {
    fn of(&self, netns: Netns) -> &[Event] {
        let events = self.events.get(&Some(netns.inode)).map_or(&[][..], Vec::as_slice);
        // The kernel reuses an inode number only after the last event of the earlier namespace.
        &events[events.partition_point(|event| event.mono_ns < netns.made_ns)..]
    }
}

/// Reads the pipe faster than the lines are parsed, so that the tracer never waits for the test.
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
            // Every waiting test reads all events again: notify once for all lines that are available.
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
            let mut received = self.lock();
            if let Some(header) = object.get("header") {
                received.header = Some(header.clone());
            }
            if let Some(summary) = object.get("summary") {
                received.summary = Some(summary.clone());
            }
            return;
        }
        // Losses are in the summary too.
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

    fn wait<T>(&self, timeout: Duration, mut question: impl FnMut(&Received) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut received = self.lock();
        loop {
            let answer = question(&received);
            let left = deadline.saturating_duration_since(Instant::now());
            if answer.is_some() || received.ended || left.is_zero() {
                return answer;
            }
            received = self
                .changed
                .wait_timeout(received, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        lock(&self.received)
    }
}

/// A test that panicked with the lock held has only read: others may continue.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
