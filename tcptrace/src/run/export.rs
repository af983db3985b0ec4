//! `tcptrace export`: recordings as a table for other tools.

use super::{Failure, confine, ignore_broken_pipe, messages, recordings};
use crate::{
    cli::{ExportArgs, ExportFormat},
    options,
    outfile::{Inputs, OutFile},
    output::{
        descriptor::Descriptor,
        export::{self, ExportRow},
        json, parquet,
        sink::{Sink, SinkError},
    },
    plural::{counted, was},
};
use ::parquet::errors::ParquetError;
use std::{io, ops::ControlFlow};

/// Writes every change of the recordings that the filter lets pass, and every connection that is still there.
pub(crate) fn run(args: &ExportArgs) -> Result<(), Failure> {
    let span = options::recording::span(&args.span)?;
    let filter = options::recording::filter(&args.filter, &args.state)?;
    confine::replay(&args.files, args.output.as_deref());
    let mut target = open(args)?;
    let mut ended = Ok(());
    let mut coverage = recordings::Coverage::default();
    for mut run in recordings::open(&args.files)? {
        let host = run.origin.host.clone();
        let mut has_selected = false;
        let mut each = |row: &ExportRow<'_>| {
            if ended.is_ok() && filter.accepts(&row.filter_input()) {
                has_selected = true;
                ended = target.write(row);
            }
            if ended.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let played = recordings::play(&mut run, span, &filter, &mut |replay| {
            let mut batch = replay.engine.batch().iter();
            batch.try_for_each(|change| each(&ExportRow::of_change(&host, change, replay)))
        })?;
        let Some(played) = coverage.of(played) else {
            continue;
        };
        let _went_on = played.replay.engine.table.iter().try_for_each(|connection| {
            each(&ExportRow::of_open(&host, connection, &played.replay, played.end))
        });
        recordings::print_remarks(&played.remarks_and_gaps(&run));
        let lost = played.replay.lost_in_span();
        if lost > 0 {
            messages::tell(format_args!(
                "{}: {} {} lost in the kernel",
                run.name(),
                counted(lost, "record"),
                was(lost)
            ));
        }
        recordings::print_unseen(&run.origin.unseen());
        coverage.look_for(&filter, &played.replay, has_selected, &run);
    }
    coverage.begin()?;
    ignore_broken_pipe(ended.and_then(|()| target.finish()))?;
    coverage.end()
}

enum Target {
    Parquet(Box<parquet::Writer<Descriptor>>, OutFile),
    Csv(Sink),
    Lines(Sink),
}

fn open(args: &ExportArgs) -> Result<Target, Failure> {
    let inputs = Inputs::of(&args.files);
    let sink = || Sink::open(args.output.as_deref(), &inputs);
    Ok(match args.format {
        ExportFormat::Parquet => {
            let Some(path) = &args.output else {
                return Err(Failure::Usage(options::wrong(
                    "--format parquet",
                    "Parquet cannot be written to standard output",
                    "name a file with -o",
                )));
            };
            let file = OutFile::open(path, &inputs)?;
            let descriptor = file.try_clone().map_err(|error| file.failed(error))?;
            let writer = parquet::Writer::new(Descriptor::from(descriptor))
                .map_err(|error| file.failed(io_error(error)))?;
            Target::Parquet(Box::new(writer), file)
        }
        ExportFormat::Csv => {
            let mut sink = sink()?;
            ignore_broken_pipe(sink.lines(&export::csv_titles()))?;
            Target::Csv(sink)
        }
        ExportFormat::Jsonl => Target::Lines(sink()?),
    })
}

impl Target {
    fn write(&mut self, row: &ExportRow<'_>) -> Result<(), SinkError> {
        match self {
            Self::Parquet(writer, file) => writer
                .push(row)
                .map_err(|error| file.failed(io_error(error)).into()),
            Self::Csv(sink) => sink.lines(&export::csv(row)),
            Self::Lines(sink) => sink.lines(&json::line(row)),
        }
    }

    fn finish(self) -> Result<(), SinkError> {
        match self {
            Self::Parquet(mut writer, mut file) => {
                let written = writer.finish();
                written.map_err(|error| file.failed(io_error(error)))?;
                Ok(file.publish()?)
            }
            Self::Csv(mut sink) | Self::Lines(mut sink) => sink.finish(),
        }
    }
}

/// Parquet's own error where it is one, else the disk's.
fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        other => io::Error::other(other),
    }
}
