//! The files of a report: which belong to one run, in which order, and what is missing between them.

use super::{
    entry::{Entry, Item},
    origin::Origin,
    read::{ReadError, Reader},
};
use crate::{event::Nanos, plural::counted, printable::printable};
use std::{
    io,
    ops::ControlFlow,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// One run of `tcptrace record`, in one file or several.
pub(crate) struct Run {
    /// Where its first file comes from.
    pub(crate) origin: Origin,
    files: Vec<(PathBuf, Reader)>,
    /// What of it was not given, or could not be opened.
    remarks: Vec<String>,
}

/// Opens files and combines those of each run. Unreadable ones are remarks of the first run, and returned with the
/// reason. Regular files are open only while they are played: there may be more than a process may open, and the
/// beginning of each takes memory.
pub(crate) fn open(paths: &[PathBuf]) -> (Vec<Run>, Vec<(PathBuf, ReadError)>) {
    let mut runs: Vec<Run> = Vec::new();
    let mut failures = Vec::new();
    for path in paths {
        let mut reader = match Reader::open(path) {
            Ok(reader) => reader,
            Err(error) => {
                failures.push((path.clone(), error));
                continue;
            }
        };
        if path.is_file() {
            reader.close();
        }
        match runs.iter_mut().find(|run| run.origin.run == reader.origin.run) {
            Some(run) => run.files.push((path.clone(), reader)),
            None => runs.push(Run {
                origin: reader.origin.clone(),
                files: vec![(path.clone(), reader)],
                remarks: Vec::new(),
            }),
        }
    }
    for run in &mut runs {
        run.put_in_order();
    }
    runs.sort_by(|a, b| {
        let key = |run: &Run| (run.origin.host.clone(), run.origin.clock.wall_ns);
        key(a).cmp(&key(b))
    });
    if let Some(run) = runs.first_mut() {
        let failures = failures.iter();
        run.remarks
            .extend(failures.map(|(path, error)| unread(path, error)));
    }
    (runs, failures)
}

impl Run {
    fn put_in_order(&mut self) {
        self.files.sort_by_key(|(_, reader)| reader.origin.segment);
        let mut known = None;
        self.files.retain(|(path, reader)| {
            let segment = reader.origin.segment;
            let is_new = known != Some(segment);
            if !is_new {
                self.remarks
                    .push(format!("{}: part {segment} was given twice", named(path)));
            }
            known = Some(segment);
            is_new
        });
        if let Some((_, first)) = self.files.first() {
            self.origin = first.origin.clone();
        }
    }

    /// Hands over every entry of every file until `each` breaks off. From one file to the next comes the clock's new
    /// reading, and a gap where a file between the two was not given, or cannot be opened any more.
    pub(crate) fn play(
        &mut self,
        each: &mut impl FnMut(Item<'_>) -> ControlFlow<()>,
    ) -> Result<(), (PathBuf, io::Error)> {
        let mut next = None;
        for (path, reader) in &mut self.files {
            let Origin { segment, clock, .. } = reader.origin;
            if let Err(error) = reader.reopen(path) {
                self.remarks.push(unread(path, &error));
                next.get_or_insert(segment);
                continue;
            }
            if next.is_some() && each(Item::Entry(&Entry::Clock(clock))).is_break() {
                return Ok(());
            }
            if next.is_some_and(|next| next != segment) {
                let gap = Entry::Gap {
                    time: Nanos(clock.mono_ns),
                    entries: 0,
                };
                if each(Item::Entry(&gap)).is_break() {
                    return Ok(());
                }
            }
            next = Some(segment + 1);
            let went_on = reader.visit(each).map_err(|error| (path.clone(), error))?;
            if !went_on {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What was not read so far, and where: a sentence each.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut list = self.remarks.clone();
        let mut next = None;
        for (path, reader) in &self.files {
            let segment = reader.origin.segment;
            if let Some(next) = next.filter(|next| *next != segment) {
                list.push(format!(
                    "{}: {} between it and the previous file of the run",
                    named(path),
                    missing_parts(next, segment)
                ));
            }
            next = Some(segment + 1);
            list.extend(remarks_of(path, reader));
        }
        list
    }
}

impl Run {
    /// Whether the last file was ended in order.
    pub(crate) fn is_whole(&self) -> bool {
        self.files.last().is_some_and(|(_, reader)| reader.is_whole)
    }

    /// The name of the first file, safe to print.
    pub(crate) fn name(&self) -> String {
        self.files
            .first()
            .map_or_else(String::new, |(path, _)| named(path))
    }

    /// What is missing after the last file, where it does not end in order; `until` is the latest time in it, for people.
    /// A file that was ended for another to follow, as those of a ring are, lacks nothing.
    pub(crate) fn open_end(&self, until: &str) -> Option<String> {
        let (path, _) = self.files.last().filter(|(_, reader)| !reader.is_whole)?;
        Some(format!(
            "{}: truncated at {until}: its run was killed, crashed or is still running, and nothing later is in the file",
            named(path)
        ))
    }
}

/// A file's name, safe to print.
pub(crate) fn named(path: &Path) -> String {
    printable(path.as_os_str().as_bytes()).into_owned()
}

/// That a file gives nothing, and why, in one line.
fn unread(path: &Path, error: &ReadError) -> String {
    let text = error.to_string();
    format!("{}: {}", named(path), text.lines().next().unwrap_or_default())
}

fn missing_parts(from: u64, to: u64) -> String {
    match to - from {
        1 => format!("part {from} is missing"),
        count => format!("{count} parts are missing, {from} to {}", to - 1),
    }
}

fn remarks_of(path: &Path, reader: &Reader) -> Vec<String> {
    let mut list: Vec<String> = reader
        .damage
        .iter()
        .map(|damage| format!("{}: {damage}", named(path)))
        .collect();
    if reader.more_damage > 0 {
        list.push(format!(
            "{}: damaged bytes at {} were also skipped",
            named(path),
            counted(reader.more_damage, "more place")
        ));
    }
    if reader.unknown > 0 {
        list.push(format!(
            "{}: {} of an unknown kind",
            named(path),
            counted(reader.unknown, "row")
        ));
    }
    list
}
