//! `tcptrace record`: a session whose entries go to a file, files in turn, or a ring of them.

use super::{
    Failure, runtime,
    session::{Session, Wake},
};
use crate::{
    cli::RecordArgs,
    engine::Engine,
    event::{Nanos, ProcessKey, Task},
    filter::Filter,
    kernel::clock::{self, Anchor},
    options::{
        self,
        recording::{Files, Rotation},
    },
    output::{duration::human, json, report as report_output},
    owner::container::Place,
    record::{
        entry::Entry,
        origin::Origin,
        recorder::{Recorder, WriteError},
        tap::Tap,
    },
    report::{self, Beginning},
    source::cgroups::Cgroups,
    view::Sort,
};
use anyhow::Context as _;
use hashbrown::HashMap;
use jiff::Timestamp;
use std::{
    collections::VecDeque,
    env, fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

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
    let files = options::recording::files(args)?;
    let sync = options::seconds("--sync", args.sync)?;
    let duration = args
        .duration
        .map(|value| options::seconds("--duration", value))
        .transpose()?;
    let places = Places::new(args);
    runtime()?.block_on(async {
        let save = match args.flight_recorder {
            Some(_) => Some(signal(SignalKind::user_defined1()).context("cannot wait for SIGUSR1")?),
            None => None,
        };
        let mut session = Session::start_tapped(&settings, args.tracing.max_connections, Tap::open())?;
        for shortfall in session.shortfalls() {
            eprintln!("tcptrace: not traced: {shortfall}");
        }
        places.prepare().context("cannot make the recording's folder")?;
        let origin = Origin::new(
            &session.header(),
            session.shortfalls(),
            env::args().collect::<Vec<_>>().join(" "),
            args.tracing.max_connections,
        );
        let first = places.path(0);
        let recorder =
            Recorder::start(&first, &origin, sync, &mut session.tap).map_err(|error| not_written(&error))?;
        let mut recording = Recording {
            session,
            recorder,
            origin,
            places,
            files,
            written: VecDeque::from([first]),
            places_told: PlacesTold::default(),
            cgroups: Cgroups::of_this_host(),
            file_began: Instant::now(),
            clock_due: Instant::now() + CLOCK_EVERY,
            save,
        };
        let deadline = duration.map(|span| Instant::now() + span);
        recording.run(deadline).await?;
        recording.end(args.report.as_deref())
    })
}

/// What stopped is said, and what is left.
fn not_written(error: &WriteError) -> Failure {
    let remedy = match error.error.kind() {
        io::ErrorKind::AlreadyExists => "choose another name, or delete the file that is there",
        io::ErrorKind::StorageFull => "free some space, or keep less with --rotate and --keep",
        _ => "choose another place with -o",
    };
    Failure::Other(anyhow::anyhow!(
        "the recording has stopped: {error}\n  it means: what was written before is whole and can be read\n  what to do: {remedy}"
    ))
}

/// How the files are called.
struct Places {
    file: PathBuf,
    is_numbered: bool,
    is_ring: bool,
}

impl Places {
    fn new(args: &RecordArgs) -> Self {
        let is_ring = args.flight_recorder.is_some();
        Self {
            file: if is_ring {
                args.output.join("ring.arrows")
            } else {
                args.output.clone()
            },
            is_numbered: is_ring || args.rotate.is_some(),
            is_ring,
        }
    }

    fn prepare(&self) -> io::Result<()> {
        match self.file.parent() {
            Some(folder) if self.is_ring => fs::DirBuilder::new().recursive(true).mode(0o700).create(folder),
            Some(_) | None => Ok(()),
        }
    }

    /// `name.ext`, or `name-000003.ext`.
    fn path(&self, segment: u64) -> PathBuf {
        if !self.is_numbered {
            return self.file.clone();
        }
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let mut name = format!("{stem}-{segment:06}");
        if let Some(extension) = self.file.extension() {
            name.push('.');
            name.push_str(&extension.to_string_lossy());
        }
        self.file.with_file_name(name)
    }
}

/// Where processes run, as the current file has it.
#[derive(Default)]
struct PlacesTold(HashMap<ProcessKey, Arc<Place>>);

impl PlacesTold {
    /// Beyond so many, those of processes that are gone are forgotten with the rest, which are told once more.
    const MOST: usize = 65_536;

    fn tell(&mut self, engine: &Engine, tap: &mut Tap) {
        if self.0.len() > Self::MOST {
            self.0.clear();
        }
        for (process, place) in engine.table.processes.placed() {
            if self.0.get(&process.key).is_some_and(|told| told == place) {
                continue;
            }
            self.0.insert(process.key, Arc::clone(place));
            tap.tell(Entry::Place {
                task: Task {
                    process: process.key,
                    comm: process.comm,
                    cgroup: process.cgroup,
                    is_kernel_thread: process.is_kernel_thread,
                },
                path: place.path.as_str().into(),
            });
        }
    }
}

struct Recording {
    session: Session,
    recorder: Recorder,
    origin: Origin,
    places: Places,
    files: Files,
    /// The files that are there, the current one last.
    written: VecDeque<PathBuf>,
    places_told: PlacesTold,
    cgroups: Cgroups,
    file_began: Instant,
    clock_due: Instant,
    save: Option<Signal>,
}

impl Recording {
    async fn run(&mut self, deadline: Option<Instant>) -> Result<(), Failure> {
        while !self.session.tap.is_broken() {
            let is_asked = async {
                match &mut self.save {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            let wake = tokio::select! {
                wake = self.session.wait(deadline) => Some(wake),
                _ = is_asked => None,
            };
            self.session.pump(&mut |_| {})?;
            self.tell_places();
            self.read_clocks();
            match wake {
                Some(Wake::Stop | Wake::Deadline) => break,
                Some(Wake::Tick) => {
                    if self.is_full() {
                        self.next_file();
                        self.delete_old();
                    }
                }
                None => self.save_ring(),
            }
        }
        Ok(())
    }

    /// Where processes run is found out while they do: nothing else tells it the morning after.
    fn tell_places(&mut self) {
        let now = clock::monotonic();
        let Self {
            session,
            cgroups,
            places_told,
            ..
        } = self;
        let processes = &mut session.engine.table.processes;
        processes.place_all(now, &mut |process| {
            cgroups.place(process.key, process.cgroup, now)
        });
        places_told.tell(&session.engine, &mut session.tap);
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

    fn is_full(&self) -> bool {
        match self.files.rotation {
            Some(Rotation::Size(bytes)) => self.recorder.bytes() >= bytes,
            Some(Rotation::Time(span)) => self.file_began.elapsed() >= span,
            None => false,
        }
    }

    /// The next file begins with a snapshot, so that it is understood without the one before.
    fn next_file(&mut self) {
        self.origin.segment += 1;
        self.origin.clock = Anchor::now();
        let path = self.places.path(self.origin.segment);
        self.session.tap.next_file(path.clone(), self.origin.clone());
        self.session.take_snapshot(&mut |_| {});
        self.places_told = PlacesTold::default();
        self.tell_places();
        self.written.push_back(path);
        self.file_began = Instant::now();
    }

    fn delete_old(&mut self) {
        let Some(keep) = self.files.keep else { return };
        while self.written.len() > keep {
            if let Some(path) = self.written.pop_front()
                && let Err(error) = fs::remove_file(&path)
            {
                eprintln!("tcptrace: {} cannot be deleted: {error}", path.display());
            }
        }
    }

    /// Links the ring's files into a folder of their own, where no rotation deletes them.
    fn save_ring(&mut self) {
        self.next_file();
        let result = self.link_ring();
        self.delete_old();
        match result {
            Ok((folder, count)) => eprintln!("tcptrace: {count} files saved in {}", folder.display()),
            Err(error) => eprintln!("tcptrace: the flight recorder cannot save its files: {error}"),
        }
    }

    fn link_ring(&self) -> io::Result<(PathBuf, usize)> {
        let root = self.places.file.parent().unwrap_or(Path::new("."));
        let folder = root.join(format!(
            "saved-{}",
            Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ")
        ));
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        // All but the one that was just begun; the one before it is finished by the writing thread, under both names.
        let whole = self.written.len() - 1;
        for path in self.written.iter().take(whole) {
            if let Some(name) = path.file_name() {
                fs::hard_link(path, folder.join(name))?;
            }
        }
        Ok((folder, whole))
    }

    fn end(mut self, report_file: Option<&Path>) -> Result<(), Failure> {
        let session = &mut self.session;
        session.stop(&mut |_| {});
        self.places_told.tell(&session.engine, &mut session.tap);
        let summary = session.summary(0)?;
        session.tap.tell(Entry::Lost {
            time: clock::monotonic(),
            total: summary.lost,
        });
        session
            .tap
            .tell(Entry::Summary(json::line(&summary).trim_end().into()));
        session.tap.close();
        self.recorder.finish().map_err(|error| not_written(&error))?;
        let Some(ledger) = session.tap.ledger() else {
            return Ok(());
        };
        if let Some(path) = report_file {
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
            fs::write(path, report_output::text(&[report])).map_err(Failure::Output)?;
        }
        eprintln!(
            "{} events, {} changes in {}, {} lost, {} not recorded",
            ledger.events,
            summary.changes,
            human(Nanos(summary.watched_ns)),
            summary.lost,
            ledger.missing
        );
        Ok(())
    }
}
