//! The options of `serve`: its configuration file, Prometheus's web configuration file, and where OTLP is pushed to.

mod config;
pub(crate) mod otlp;
mod web;

pub(crate) use config::with_file;
pub(crate) use web::{TlsFiles, web};

use super::{UsageError, wrong};
use std::{fs, path::Path};

fn read(flag: &'static str, path: &Path) -> Result<String, UsageError> {
    fs::read_to_string(path).map_err(|error| {
        wrong(
            flag,
            format!("{}: {error}", path.display()),
            "give a file that this user can read",
        )
    })
}
