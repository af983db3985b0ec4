//! Run time of each kernel program, by the kernel's statistics, and its share of a connection.

use super::{churn, empty_program::EmptyProgram, tracer::Tracer};
use anyhow::{Context as _, Result};
use aya::programs::loaded_programs;
use std::{collections::BTreeMap, fs, path::Path, time::Duration};

/// The sysctl that enables the kernel's statistics of BPF programs.
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Prints a table for each kind of churn.
pub(super) fn measure(program: &Path, span: Duration) -> Result<()> {
    let _empty = EmptyProgram::attach()?;
    for kind in churn::Kind::ALL {
        let tracer = Tracer::counting(program)?;
        println!("\nNanoseconds per run of each program, where {}:\n", kind.name());
        account(&tracer, || Ok(churn::run(kind, span, 1)? * span.as_secs_f64()))?;
        tracer.stop()?;
    }
    Ok(())
}

/// Prints the statistics of the programs of `tracer` during `body`, which returns how many connections it made.
pub(super) fn account(tracer: &Tracer, body: impl FnOnce() -> Result<f64>) -> Result<()> {
    with_statistics(|| {
        let before = runs()?;
        let connections = body()?;
        print(&before, &tracer.program_ids()?, connections)
    })
}

/// Runs `body` with the kernel's statistics enabled.
fn with_statistics(body: impl FnOnce() -> Result<()>) -> Result<()> {
    fs::write(STATS, "1").with_context(|| format!("cannot enable {STATS}"))?;
    let result = body();
    fs::write(STATS, "0").with_context(|| format!("cannot disable {STATS}"))?;
    result
}

/// Time and number of runs of each program, by ID.
fn runs() -> Result<BTreeMap<u32, (String, Duration, u64)>> {
    loaded_programs()
        .map(|program| {
            let program = program.context("cannot list the kernel's programs")?;
            let name = program.name_as_str().unwrap_or("?").to_owned();
            Ok((program.id(), (name, program.run_time(), program.run_count())))
        })
        .collect()
}

fn print(before: &BTreeMap<u32, (String, Duration, u64)>, ours: &[u32], connections: f64) -> Result<()> {
    println!("| program | per run | runs per connection | per connection |");
    println!("| --- | ---: | ---: | ---: |");
    let mut sum = 0.0;
    for (id, (name, time, count)) in runs()? {
        let (time_before, count_before) = before.get(&id).map_or_else(Default::default, |of| (of.1, of.2));
        let is_empty = name == EmptyProgram::NAME;
        if count == count_before || !(is_empty || ours.contains(&id)) {
            continue;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let count = (count - count_before) as f64;
        let nanoseconds = (time.as_secs_f64() - time_before.as_secs_f64()) * 1e9;
        if !is_empty {
            sum += nanoseconds / connections;
        }
        println!(
            "| {name} | {:.0} | {:.1} | {:.0} |",
            nanoseconds / count,
            count / connections,
            nanoseconds / connections
        );
    }
    println!("| all but the empty one | | | {sum:.0} |");
    Ok(())
}
