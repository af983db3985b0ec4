//! Connections per second with each tracer, as a share of the rate without.

use super::{churn, median::Measurements, tracer::Tracer};
use anyhow::Result;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// A command that traces connections.
struct Contender {
    name: &'static str,
    program: PathBuf,
    arguments: &'static [&'static str],
}

/// Prints one table: a row for each tracer, a column for each kind of churn.
pub(super) fn measure(program: &Path, span: Duration, rounds: usize) -> Result<()> {
    let contenders = contenders(program);
    let mut shares = vec![[const { Vec::new() }; churn::Kind::ALL.len()]; contenders.len()];
    let mut lost = Vec::new();
    for _ in 0..rounds {
        for (contender, shares) in contenders.iter().zip(&mut shares) {
            for (kind, shares) in churn::Kind::ALL.into_iter().zip(shares) {
                let untraced = churn::run(kind, span, 1)?;
                let folder = tempfile::tempdir()?;
                let mut command = Command::new(&contender.program);
                let tracer = Tracer::start(command.args(contender.arguments).current_dir(&folder))?;
                let rate = churn::run(kind, span, 1)?;
                let messages = tracer.end()?;
                shares.push(rate / untraced * 100.0);
                lost.extend(
                    messages
                        .lines()
                        .filter(|line| line.contains("lost"))
                        .map(|line| format!("{}: {line}", contender.name)),
                );
            }
        }
    }
    println!(
        "\nConnections per second in % of the untraced rate: median of {rounds} rounds (smallest–largest)\n"
    );
    let kinds: Vec<_> = churn::Kind::ALL.iter().map(|kind| kind.name()).collect();
    println!("| tracer | {} |\n| --- | ---: | ---: |", kinds.join(" | "));
    for (contender, shares) in contenders.iter().zip(shares) {
        let shares = shares.map(|values| Measurements::new(values).to_string());
        println!("| `{}` | {} |", contender.name, shares.join(" | "));
    }
    for line in lost {
        println!("{line}");
    }
    Ok(())
}

/// The commands of `program`, and the other tracers that are installed.
fn contenders(program: &Path) -> Vec<Contender> {
    let ours: [(_, &[_]); 4] = [
        ("trace --json", &["trace", "--json"]),
        ("record", &["record", "-o", "run.arrows"]),
        ("watch -b", &["watch", "-b"]),
        ("hist", &["hist"]),
    ];
    let mut contenders: Vec<_> = ours
        .into_iter()
        .map(|(name, arguments)| Contender {
            name,
            program: program.to_owned(),
            arguments,
        })
        .collect();
    for (name, path) in [
        ("tcpstates (libbpf-tools)", "/usr/sbin/tcpstates"),
        ("tcplife (libbpf-tools)", "/usr/sbin/tcplife"),
        ("tcplife.bt (bpftrace)", "/usr/sbin/tcplife.bt"),
    ] {
        match Tracer::start(&mut Command::new(path)).and_then(Tracer::end) {
            Ok(_) => contenders.push(Contender {
                name,
                program: path.into(),
                arguments: &[],
            }),
            Err(error) => println!("{name} is left out: {error:#}"),
        }
    }
    contenders
}
