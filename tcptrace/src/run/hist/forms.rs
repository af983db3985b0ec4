//! A report of durations in the requested format. Files next to the output are written here too.

use crate::{
    cli::HistFormat as Form,
    options::HistOptions,
    outfile::{self, Inputs},
    output::{
        self,
        hist::{self, Picture, csv, hgrm, hlog, text},
    },
    run::Failure,
    stats::measure::Kind,
    unseen::Unseen,
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// A report in every form but a log. Text ends with what could not be seen.
pub(super) fn drawn(picture: &Picture<'_>, form: Form, unseen: &[Unseen]) -> String {
    match form {
        Form::Text => {
            let mut text = text::draw(picture);
            output::unseen::push(&mut text, unseen);
            text
        }
        Form::Json => hist::json::rows(picture),
        Form::Csv => csv::rows(picture),
        Form::Hgrm => hgrm::distribution(&hlog::total(picture.report, picture.measures)),
        Form::Hlog => String::new(),
    }
}

/// Percentile distributions go to a file each, as the plotter takes them: `dwell.hgrm` has all states together,
/// `dwell.CLOSE_WAIT.hgrm` that one.
pub(super) fn write_beside(
    picture: &Picture<'_>,
    wanted: &HistOptions,
    inputs: &Inputs,
) -> Result<(), Failure> {
    let (Form::Hgrm, Some(file)) = (wanted.form, &wanted.output.file) else {
        return Ok(());
    };
    let all = picture.report.everybody();
    for measure in picture.measures {
        if all.count(*measure, Kind::Finished) == 0 {
            continue;
        }
        let text = hgrm::distribution(&all.histogram(*measure, Kind::Finished));
        let path = named_after(file, measure.name());
        outfile::write(&path, &text, inputs)?;
    }
    Ok(())
}

/// `dwell.hgrm` and `CLOSE_WAIT` to `dwell.CLOSE_WAIT.hgrm`.
fn named_after(file: &Path, word: &str) -> PathBuf {
    let mut extension = OsString::from(word);
    if let Some(last) = file.extension() {
        extension.push(".");
        extension.push(last);
    }
    file.with_extension(extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_single_states_are_named_after_the_one_of_all() {
        let table = [
            ("/tmp/dwell.hgrm", "/tmp/dwell.CLOSE_WAIT.hgrm"),
            ("dwell", "dwell.CLOSE_WAIT"),
            ("a.b.hgrm", "a.b.CLOSE_WAIT.hgrm"),
        ];
        for (all, one) in table {
            assert_eq!(named_after(Path::new(all), "CLOSE_WAIT"), Path::new(one));
        }
    }
}
