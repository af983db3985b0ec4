//! Running tracers, ours and others.

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A tracer whose programs are attached; ended when it is dropped.
pub(super) struct Tracer {
    child: Child,
    output: tempfile::NamedTempFile,
}

/// The last line of `trace --json`.
pub(super) struct Summary(serde_json::Value);

impl Summary {
    /// The number with this key.
    pub(super) fn number(&self, name: &str) -> Result<u64> {
        let number = self.0["summary"][name].as_u64();
        number.with_context(|| format!("the summary has no {name}: {}", self.0))
    }
}

impl Tracer {
    /// Starts `command` with its output discarded, and waits until its programs are attached.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        Self::start_on(command, Stdio::null(), Stdio::null())
    }

    /// Starts `trace` with a filter that nothing matches, so that it writes its header and its summary only.
    pub(super) fn counting(program: &Path) -> Result<Self> {
        let output = tempfile::NamedTempFile::new()?;
        let mut command = Command::new(program);
        command.args(["trace", "--json", "--localport", "1", "--remoteport", "1"]);
        let standard_output = output.reopen()?;
        let mut tracer = Self::start_on(&mut command, Stdio::null(), standard_output.into())?;
        tracer.output = output;
        Ok(tracer)
    }

    /// Starts `command` with this standard input and output.
    pub(super) fn start_on(command: &mut Command, input: Stdio, output: Stdio) -> Result<Self> {
        let messages = tempfile::NamedTempFile::new()?;
        let child = command
            .stdin(input)
            .stdout(output)
            .stderr(messages.reopen()?)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let mut tracer = Self {
            child,
            output: messages,
        };
        tracer.await_attachment()?;
        Ok(tracer)
    }

    /// Waits until the number of its programs has not changed for two seconds: the first second costs more in `watch`, which then measures itself.
    fn await_attachment(&mut self) -> Result<()> {
        const QUIET: Duration = Duration::from_secs(2);
        let deadline = Instant::now() + Duration::from_secs(30);
        let (mut before, mut since) = (0, Instant::now());
        while before == 0 || since.elapsed() < QUIET {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!(
                    "the tracer ended ({status}): {}",
                    fs::read_to_string(self.output.path())?
                );
            }
            anyhow::ensure!(Instant::now() < deadline, "the tracer did not attach within 30 s");
            let now = self.program_ids()?.len();
            if now != before {
                (before, since) = (now, Instant::now());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The IDs of the programs to which it holds descriptors.
    pub(super) fn program_ids(&self) -> Result<Vec<u32>> {
        let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", self.child.id()))?.flatten();
        let ids = descriptors.filter_map(|descriptor| {
            let info = fs::read_to_string(descriptor.path()).ok()?;
            let id = info.lines().find_map(|line| line.strip_prefix("prog_id:"))?;
            id.trim().parse().ok()
        });
        let mut ids: Vec<u32> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// CPU time of all its threads in seconds.
    pub(super) fn cpu_time(&self) -> Result<f64> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text.split(' ').next().unwrap_or_default();
            nanoseconds += first.parse::<u64>().context("/proc/PID/task/TID/schedstat")?;
        }
        Ok(Duration::from_nanos(nanoseconds).as_secs_f64())
    }

    /// Resident memory in KiB.
    pub(super) fn resident_kib(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.context("/proc/PID/status has no VmRSS")
    }

    /// Ends it as Ctrl-C does and returns the summary of [`counting`](Self::counting).
    pub(super) fn stop(mut self) -> Result<Summary> {
        self.interrupt()?;
        let text = fs::read_to_string(self.output.path())?;
        let last = text.lines().last().unwrap_or_default();
        let summary = serde_json::from_str(last).with_context(|| format!("no summary: {last}"))?;
        Ok(Summary(summary))
    }

    /// Ends it as Ctrl-C does and returns its standard error.
    pub(super) fn end(mut self) -> Result<String> {
        self.interrupt()?;
        Ok(fs::read_to_string(self.output.path())?)
    }

    fn interrupt(&mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGINT)?;
        let status = self.child.wait()?;
        // A panic of Rust's.
        anyhow::ensure!(
            status.code() != Some(101),
            "the tracer panicked: {}",
            fs::read_to_string(self.output.path())?
        );
        Ok(())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Fails where it has ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
