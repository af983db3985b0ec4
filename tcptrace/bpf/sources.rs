//! What the kernel object is made from: its sources, the packages that write part of its code, their hashes, and
//! what the record beside the object says of them. Shared by `build.rs` and xtask; knows no compiler.

use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// What goes into the object, relative to the workspace: files, and folders of Rust files.
pub(crate) const INPUTS: [&str; 5] = [
    "Cargo.lock",
    "tcptrace-common/Cargo.toml",
    "tcptrace-common/src",
    "tcptrace-ebpf/Cargo.toml",
    "tcptrace-ebpf/src",
];

/// The sources as they are now.
pub(crate) struct Sources {
    /// SHA-256 of each file, by its path in the workspace.
    pub(crate) files: BTreeMap<String, String>,
    /// The packages that write part of the object's code, each with its version, in one line.
    pub(crate) packages: String,
}

impl Sources {
    /// Reads what [`INPUTS`] names. Errors name the path.
    pub(crate) fn read(workspace: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        let mut packages = String::new();
        for input in INPUTS {
            let path = workspace.join(input);
            if input == "Cargo.lock" {
                packages = locked_packages(&read_to_string(&path)?);
            } else {
                hash_tree(&path, input, &mut files)?;
            }
        }
        Ok(Self { files, packages })
    }

    /// One hash over everything.
    pub(crate) fn digest(&self) -> String {
        let files = self.files.iter().map(|(path, hash)| format!("{path} {hash}"));
        let lines: Vec<String> = files.chain([self.packages.clone()]).collect();
        sha256(lines.join("\n").as_bytes())
    }

    /// What differs from the record, by name; empty where the object is up to date.
    pub(crate) fn changed_since(&self, record: &str) -> Vec<String> {
        let mut changed = Vec::new();
        for (path, hash) in &self.files {
            if recorded(record, &format!("\"{path}\"")) != Some(hash) {
                changed.push(path.clone());
            }
        }
        for path in record
            .lines()
            .filter_map(|line| line.strip_prefix('"')?.split('"').next())
        {
            if !self.files.contains_key(path) {
                changed.push(format!("{path} (gone)"));
            }
        }
        if recorded(record, "packages") != Some(&self.packages) {
            changed.push("the versions of aya in Cargo.lock".to_owned());
        }
        if changed.is_empty() && recorded(record, "sources") != Some(&self.digest()) {
            changed.push("the record itself".to_owned());
        }
        changed
    }
}

/// The value of `key` in the record: the text between the quotes of `key = "…"`.
pub(crate) fn recorded<'a>(record: &'a str, key: &str) -> Option<&'a str> {
    record
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// aya's packages that `tcptrace-ebpf` reaches through Cargo.lock. Others are their build-time tools, which
/// leave no code of their own in the object.
fn locked_packages(lock: &str) -> String {
    let mut found = BTreeSet::new();
    let mut wanted = vec!["tcptrace-ebpf"];
    while let Some(name) = wanted.pop() {
        let heading = format!("name = \"{name}\"");
        for package in lock
            .split("[[package]]")
            .filter(|package| package.lines().any(|line| line == heading))
        {
            let version = recorded(package, "version").unwrap_or("?");
            if name != "tcptrace-ebpf" && !found.insert(format!("{name} {version}")) {
                continue;
            }
            let dependencies = package
                .lines()
                .filter_map(|line| line.strip_prefix(" \"")?.split(['"', ' ']).next());
            wanted.extend(dependencies.filter(|dependency| dependency.starts_with("aya-")));
        }
    }
    found.into_iter().collect::<Vec<_>>().join(", ")
}

fn hash_tree(path: &Path, name: &str, files: &mut BTreeMap<String, String>) -> io::Result<()> {
    if !path.is_dir() {
        files.insert(name.to_owned(), sha256(read_to_string(path)?.as_bytes()));
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(|error| naming(path, &error))? {
        let entry = entry.map_err(|error| naming(path, &error))?.path();
        let Some(file_name) = entry.file_name().and_then(|file_name| file_name.to_str()) else {
            continue;
        };
        if entry.is_dir() || entry.extension().is_some_and(|extension| extension == "rs") {
            hash_tree(&entry, &format!("{name}/{file_name}"), files)?;
        }
    }
    Ok(())
}

fn read_to_string(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| naming(path, &error))
}

fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
