//! `tcptrace record`: a session that writes its input to one file, to numbered files, or to a ring of files.

mod files;
mod locations;
mod trigger;

use super::{
    Failure,
    dump::{Dumper, Signalled},
    messages, runtime,
    session::{Session, Wake},
};
use crate::{
    cli::RecordArgs,
    duration::human,
    event::Nanos,
    filter::Filter,
    kernel::clock::{self, ClockPair},
    options,
    outfile::{self, Cause, Inputs, Left, NotWritten, OutFile, Whereabouts},
    output::{json, report as report_output},
    plural::counted,
    record::{
        entry::Entry,
        file_writer::{FileWriter, WriteError},
        origin::Origin,
        recorder::Recorder,
        run_stats::Beginning,
    },
    report,
    unseen::{self, Unseen},
    view::Sort,
};
use files::Files;
use locations::RecordedLocations;
use std::{
    env,
    io::{ErrorKind, Write as _},
    path::Path,
    time::Duration,
};
use tokio::time::Instant;
use trigger::{Fired, Trigger};

/// The clocks may be this far from where the latest reading puts them, before another is written.
const DRIFT: Nanos = Nanos::from_millis(1);

/// How often the clocks are read.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// Records until a signal or the duration ends it, or the disk is full.
pub(crate) fn run(args: &RecordArgs, verbose: u8) -> Result<(), Failure> {
    let settings = options::settings(&args.tracing, verbose)?;
    let policy = options::recording::files(args)?;
    let fire_on = options::recording::fire_on(&args.fire_on)?;
    let mut files = Files::new(args, policy);
    let report = report_file(args, &files)?;
    runtime()?.block_on(async {
        files.prepare().map_err(|cause| not_begun(&args.output, cause))?;
        let mut session = Session::start_recorded(&settings, args.tracing.max_connections, Recorder::open())?;
        let unseen = session.unseen();
        for Unseen { text, .. } in &unseen {
            messages::tell(format_args!("not seen: {text}"));
        }
        let outputs = [args.output.as_path()];
        session.confine(outputs.into_iter().chain(args.report.as_deref()), files.is_ring());
        let origin = Origin::new(
            &session.header(),
            unseen::texts(&unseen),
            &command_line(),
            args.tracing.max_connections,
            session.engine.reset_reasons.clone(),
        );
        // Who sees the file may send the signal.
        let dumper = Dumper::new(&session, &Filter::default(), Some(&files.histograms()))?;
        files
            .remove_replaceable()
            .map_err(|cause| not_begun(&args.output, cause))?;
        let writer = FileWriter::start(&files.begin(), &origin, args.sync, &mut session.recorder)
            .map_err(|error| not_begun(&error.path, error.cause))?;
        let trigger = (!fire_on.is_empty()).then(|| Trigger::new(fire_on, files.kept(), &mut session));
        let mut recording = Recording {
            session,
            writer,
            origin,
            files,
            locations: RecordedLocations::new(),
            clock_due: Instant::now() + CLOCK_EVERY,
            dumper,
            trigger,
            wanted: None,
        };
        recording.session.announce("recording", args.duration);
        recording.run().await?;
        recording.end(report)
    })
}

/// How this program was called, as far as it is text.
pub(super) fn command_line() -> String {
    let words: Vec<String> = env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}

/// What came of a dump.
fn say(outcome: Result<String, String>) {
    let (Ok(text) | Err(text)) = outcome;
    messages::tell(text);
}

/// The file of the report, made ready before anything is recorded: where it cannot be written is known at once.
fn report_file(args: &RecordArgs, files: &Files) -> Result<Option<OutFile>, Failure> {
    let Some(path) = &args.report else { return Ok(None) };
    if *path == args.output || files.may_number(path) {
        return Err(Failure::Usage(options::wrong(
            "--report",
            "it is the name of the recording",
            "choose another name",
        )));
    }
    Ok(Some(OutFile::open(path, &Inputs::default())?))
}

/// Nothing was recorded, and why.
fn not_begun(path: &Path, cause: Cause) -> Failure {
    Failure::Output(NotWritten {
        what: path.display().to_string(),
        cause,
        left: Left::Nothing,
    })
}

/// A recording that ended early, and what is left.
fn stopped(error: &WriteError, is_numbered: bool) -> Failure {
    let (left, remedy) = match &error.cause {
        Cause::Removed if !is_numbered => (
            "the recording is lost",
            "record again, and keep the file until the end",
        ),
        Cause::Removed => (
            "everything recorded since that file was created is lost",
            "record again, and keep the files until the end",
        ),
        cause => (
            "everything recorded until then is complete and readable",
            match cause.kind() {
                Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                    "free some space, or keep less with --rotate and --keep"
                }
                Some(ErrorKind::AlreadyExists) if is_numbered => {
                    "start again: numbering continues after the highest existing file"
                }
                _ => cause.remedy(),
            },
        ),
    };
    Failure::Other(anyhow::anyhow!(
        "the recording has stopped: {error}\n  what it means: {left}\n  what to do: {remedy}"
    ))
}

struct Recording {
    session: Session,
    writer: FileWriter,
    origin: Origin,
    files: Files,
    locations: RecordedLocations,
    clock_due: Instant,
    dumper: Dumper,
    trigger: Option<Trigger>,
    /// That the ring is to be saved.
    wanted: Option<Saving>,
}

/// A ring that is to be saved.
#[derive(Default)]
struct Saving {
    /// What a rule has found, where one has fired.
    findings: Option<String>,
}

impl Recording {
    async fn run(&mut self) -> Result<(), Failure> {
        while !self.session.recorder.is_broken() {
            let signalled = self.dumper.signalled_or(self.session.wait(None)).await;
            self.session.pump()?;
            self.locations.find(&mut self.session);
            self.read_clocks();
            if let Some(trigger) = &mut self.trigger
                && let Some(fired) = trigger.evaluate(&mut self.session)?
            {
                self.fire(&fired);
            }
            match signalled {
                Signalled::Not(Wake::Stop | Wake::Deadline) => break,
                Signalled::Not(Wake::Tick) => {}
                Signalled::Dump if self.files.is_ring() => {
                    self.wanted.get_or_insert_default();
                }
                Signalled::Dump => say(self.dumper.write(&self.session)),
            }
            if !self.tend_files() {
                break;
            }
        }
        if let Some(saving) = self.wanted.take() {
            self.save_ring(saving);
        }
        Ok(())
    }

    /// Begins another file where one is due, once the one before is there, and deletes old ones. `false` where there is
    /// nothing to record to.
    fn tend_files(&mut self) -> bool {
        if !self.files.are_there(self.writer.files()) {
            return true;
        }
        self.files.delete_old();
        if let Some(saving) = self.wanted.take() {
            self.save_ring(saving);
            return true;
        }
        let is_removed = match self.writer.displaced() {
            Some((path, Whereabouts::Removed)) => {
                let what = if self.files.is_numbered() {
                    "its content is lost, and the next file is created"
                } else {
                    "the recording is lost"
                };
                messages::tell(format_args!(
                    "{} was removed while it was being written: {what}",
                    path.display()
                ));
                true
            }
            Some((path, _)) => {
                messages::tell(outfile::moved(&path));
                false
            }
            None => false,
        };
        if self.files.is_numbered() && (is_removed || self.files.is_full(self.writer.bytes())) {
            self.next_file();
            return true;
        }
        !is_removed
    }

    /// Suspends and steps of the wall clock are written down when they are noticed.
    fn read_clocks(&mut self) {
        if Instant::now() < self.clock_due {
            return;
        }
        self.clock_due = Instant::now() + CLOCK_EVERY;
        let now = ClockPair::now();
        let Some(run_stats) = self.session.recorder.run_stats() else {
            return;
        };
        if run_stats.wall(Nanos(now.mono_ns)).abs_diff(now.wall_ns) > DRIFT.0 {
            self.session.recorder.push(Entry::Clock(now));
        }
    }

    /// The next file begins with a snapshot, so that it is understood without the one before.
    fn next_file(&mut self) {
        self.origin.segment += 1;
        self.origin.lost = self.session.recorder.run_stats().map_or(0, |stats| stats.lost);
        self.origin.event_lost = self.session.engine.table.lost_by_latest_event();
        self.origin.clock = ClockPair::now();
        let path = self.files.begin();
        self.session.recorder.next_file(path, self.origin.clone());
        self.session.take_snapshot();
        self.locations.next_file();
        self.locations.find(&mut self.session);
    }

    /// Also records the reasons.
    fn fire(&mut self, fired: &Fired) {
        for reason in &fired.reasons {
            messages::tell(format_args!("fired: {reason}"));
            self.session.recorder.push(Entry::Note {
                time: clock::monotonic(),
                text: format!("the flight recorder fired: {reason}").into(),
            });
        }
        if fired.left == 0 {
            self.trigger = None;
            messages::tell(format_args!(
                "fired {} times: from now on, only SIGUSR1 saves, to limit the disk usage",
                trigger::MOST
            ));
        }
        self.wanted = Some(Saving {
            findings: Some(fired.text.clone()),
        });
    }

    /// What the ring has is kept, with histograms of the whole run, and the findings where there are any. It ends with a
    /// snapshot, as a run does: queues and what the network does are known of that moment.
    fn save_ring(&mut self, saving: Saving) {
        self.session.take_snapshot();
        self.locations.find(&mut self.session);
        self.next_file();
        match self.files.save() {
            Ok((folder, count)) => {
                let files = counted(count, "file");
                messages::tell(format_args!("{files} saved in {}", folder.display()));
                say(self.dumper.write_to(&folder.join("states.hlog"), &self.session));
                if let Some(text) = saving.findings
                    && let Err(error) =
                        outfile::write(&folder.join("findings.txt"), &text, &Inputs::default())
                {
                    messages::tell(error.in_a_line());
                }
            }
            Err(cause) => messages::tell(format_args!(
                "the flight recorder cannot save its files: {cause}; {}",
                cause.remedy()
            )),
        }
    }

    fn end(mut self, report_file: Option<OutFile>) -> Result<(), Failure> {
        let is_numbered = self.files.is_numbered();
        let session = &mut self.session;
        session.stop();
        self.locations.push(session);
        let summary = session.summary(0)?;
        session.recorder.push(Entry::Lost {
            time: clock::monotonic(),
            total: summary.lost,
        });
        session
            .recorder
            .push(Entry::Summary(json::line(&summary).trim_end().into()));
        session.recorder.close();
        self.writer
            .finish()
            .map_err(|error| stopped(&error, is_numbered))?;
        self.files.delete_old();
        let Some(run_stats) = session.recorder.run_stats() else {
            return Ok(());
        };
        if let Some(mut file) = report_file {
            let beginning = Beginning::of_run(run_stats);
            let report = report::build(
                &self.origin,
                &session.engine,
                run_stats,
                beginning,
                run_stats.latest,
                &Filter::default(),
                Sort::default(),
            );
            let text = report_output::text(&[report]);
            file.write_all(text.as_bytes())
                .map_err(|error| file.failed(error))?;
            file.publish()?;
        }
        messages::print(format_args!(
            "{}, {} in {}, {} lost, {} not recorded; {}\n",
            counted(run_stats.events, "event"),
            counted(summary.changes, "change"),
            human(Nanos(summary.watched_ns)),
            summary.lost,
            run_stats.missing,
            summary.usage.words()
        ));
        Ok(())
    }
}
