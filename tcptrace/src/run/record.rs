//! `tcptrace record`: a session whose entries go to a file, files in turn, or a ring of them.

mod files;
mod places;
mod trigger;

use super::{
    Failure,
    dump::{Dumper, Signalled},
    messages, runtime,
    session::{Session, Wake},
};
use crate::{
    cli::RecordArgs,
    event::Nanos,
    filter::Filter,
    kernel::clock::{self, Anchor},
    options,
    outfile::{self, Cause, Inputs, Left, NotWritten, OutFile, Whereabouts},
    output::{duration::human, json, report as report_output},
    record::{
        entry::Entry,
        origin::Origin,
        recorder::{Recorder, WriteError},
        tap::Tap,
    },
    report::{self, Beginning},
    view::Sort,
};
use files::Files;
use places::Places;
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
///
/// # Errors
/// Wrong flags, a kernel that refuses, a file that cannot be written.
pub fn run(args: &RecordArgs, verbose: u8) -> Result<(), Failure> {
    let settings = options::settings(&args.tracing, verbose)?;
    let policy = options::recording::files(args)?;
    let sync = options::seconds("--sync", args.sync)?;
    let duration = args
        .duration
        .map(|value| options::seconds("--duration", value))
        .transpose()?;
    let fire_on = options::recording::fire_on(&args.fire_on)?;
    let mut files = Files::new(args, policy);
    let report = report_file(args, &files)?;
    runtime()?.block_on(async {
        files.prepare().map_err(|cause| not_begun(&args.output, cause))?;
        let mut session = Session::start_tapped(&settings, args.tracing.max_connections, Tap::open())?;
        for shortfall in session.shortfalls() {
            messages::tell(format_args!("not traced: {shortfall}"));
        }
        let outputs = [args.output.as_path()];
        session.confine(outputs.into_iter().chain(args.report.as_deref()), files.is_ring());
        let origin = Origin::new(
            &session.header(),
            session.shortfalls(),
            &command_line(),
            args.tracing.max_connections,
        );
        // Who sees the file may send the signal.
        let dumper = Dumper::new(&session, &Filter::default(), Some(&files.histograms()))?;
        let recorder = Recorder::start(&files.begin(), &origin, sync, &mut session.tap)
            .map_err(|error| not_begun(&error.path, error.cause))?;
        let trigger = (!fire_on.is_empty()).then(|| Trigger::new(fire_on, files.kept(), &session));
        let mut recording = Recording {
            session,
            recorder,
            origin,
            files,
            places: Places::new(),
            clock_due: Instant::now() + CLOCK_EVERY,
            dumper,
            trigger,
            wanted: None,
        };
        let deadline = duration.map(|span| Instant::now() + span);
        recording.run(deadline).await?;
        recording.end(report)
    })
}

/// How this program was called, as far as it is text.
fn command_line() -> String {
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
            "the recording has this name",
            "choose another one",
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
            "what was recorded is lost",
            "record again, and keep the file until the end",
        ),
        Cause::Removed => (
            "what was recorded since that file was begun is lost",
            "record again, and keep the files until the end",
        ),
        cause => (
            "what was recorded until then is whole and can be read",
            match cause.kind() {
                Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                    "free some space, or keep less with --rotate and --keep"
                }
                Some(ErrorKind::AlreadyExists) if is_numbered => {
                    "start again: the files go on after the highest number that is there"
                }
                _ => cause.remedy(),
            },
        ),
    };
    Failure::Other(anyhow::anyhow!(
        "the recording has stopped: {error}\n  it means: {left}\n  what to do: {remedy}"
    ))
}

struct Recording {
    session: Session,
    recorder: Recorder,
    origin: Origin,
    files: Files,
    places: Places,
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
    async fn run(&mut self, deadline: Option<Instant>) -> Result<(), Failure> {
        while !self.session.tap.is_broken() {
            let signalled = self.dumper.signalled_or(self.session.wait(deadline)).await;
            let trigger = &mut self.trigger;
            self.session.pump(&mut |change| {
                if let Some(trigger) = trigger {
                    trigger.take(change);
                }
            })?;
            self.places.find(&mut self.session);
            self.read_clocks();
            if let Some(trigger) = &mut self.trigger
                && let Some(fired) = trigger.judge(&mut self.session)?
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
        if !self.files.are_there(self.recorder.files()) {
            return true;
        }
        self.files.delete_old();
        if let Some(saving) = self.wanted.take() {
            self.save_ring(saving);
            return true;
        }
        let is_removed = match self.recorder.displaced() {
            Some((path, Whereabouts::Removed)) => {
                let what = if self.files.is_numbered() {
                    "what it had is lost, and the next file is begun"
                } else {
                    "what was recorded is lost"
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
        if self.files.is_numbered() && (is_removed || self.files.is_full(self.recorder.bytes())) {
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
        let now = Anchor::now();
        let Some(ledger) = self.session.tap.ledger() else {
            return;
        };
        if ledger.wall(Nanos(now.mono_ns)).abs_diff(now.wall_ns) > DRIFT.0 {
            self.session.tap.tell(Entry::Clock(now));
        }
    }

    /// The next file begins with a snapshot, so that it is understood without the one before.
    fn next_file(&mut self) {
        self.origin.segment += 1;
        self.origin.clock = Anchor::now();
        let path = self.files.begin();
        self.session.tap.next_file(path, self.origin.clone());
        self.session.take_snapshot(&mut |_| {});
        self.places.next_file();
        self.places.find(&mut self.session);
    }

    /// The reasons are told in the recording too.
    fn fire(&mut self, fired: &Fired) {
        for reason in &fired.reasons {
            messages::tell(format_args!("fired: {reason}"));
            self.session.tap.tell(Entry::Note {
                time: clock::monotonic(),
                text: format!("the flight recorder fired: {reason}").into(),
            });
        }
        if fired.left == 0 {
            self.trigger = None;
            messages::tell(format_args!(
                "fired for the {}th time: from now on only SIGUSR1 saves, so that the disk does not fill",
                trigger::MOST
            ));
        }
        self.wanted = Some(Saving {
            findings: Some(fired.text.clone()),
        });
    }

    /// What the ring has is kept, with histograms of the whole run, and the findings where there are any.
    fn save_ring(&mut self, saving: Saving) {
        self.next_file();
        match self.files.save() {
            Ok((folder, count)) => {
                messages::tell(format_args!("{count} files saved in {}", folder.display()));
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
        session.stop(&mut |_| {});
        self.places.tell(session);
        let summary = session.summary(0)?;
        session.tap.tell(Entry::Lost {
            time: clock::monotonic(),
            total: summary.lost,
        });
        session
            .tap
            .tell(Entry::Summary(json::line(&summary).trim_end().into()));
        session.tap.close();
        self.recorder
            .finish()
            .map_err(|error| stopped(&error, is_numbered))?;
        self.files.delete_old();
        let Some(ledger) = session.tap.ledger() else {
            return Ok(());
        };
        if let Some(mut file) = report_file {
            let beginning = Beginning::of_run(ledger);
            let report = report::build(
                &self.origin,
                &session.engine,
                ledger,
                beginning,
                ledger.latest,
                &Filter::default(),
                Sort::default(),
            );
            let text = report_output::text(&[report]);
            file.write_all(text.as_bytes())
                .map_err(|error| file.failed(error))?;
            file.publish()?;
        }
        messages::print(format_args!(
            "{} events, {} changes in {}, {} lost, {} not recorded; {}\n",
            ledger.events,
            summary.changes,
            human(Nanos(summary.watched_ns)),
            summary.lost,
            ledger.missing,
            summary.usage.words()
        ));
        Ok(())
    }
}
