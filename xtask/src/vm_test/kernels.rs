//! The kernels to test, and how they are fetched: Debian packages, by apt with separate lists and caches, so that those of
//! the system do not change. Nothing is installed.

use crate::command;
use anyhow::{Context as _, Result};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

pub(crate) struct Kernel {
    /// The name on the command line.
    pub(crate) name: &'static str,
    /// The Debian suite.
    suite: &'static str,
    /// Prefix and suffix of the package's name, with the version in between.
    package: (&'static str, &'static str),
    /// Whether the run fails if the suite does not have it.
    pub(crate) is_required: bool,
    pub(crate) task: Task,
}

/// The tests that a guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// The live tests, traced with each mechanism, on one processor that skips idle time.
    Compare,
    /// Snapshots during a flood of connections, on two processors, which races need.
    Flood,
}

/// All kernels, oldest first. Linux 6.12.100 has the fault of CVE-2026-74714.
pub(crate) const KERNELS: [Kernel; 5] = [
    Kernel {
        name: "5.10",
        suite: "bullseye-security",
        package: ("linux-image-5.10.", "-cloud-amd64"),
        is_required: false,
        task: Task::Compare,
    },
    Kernel {
        name: "6.1",
        suite: "bookworm",
        package: ("linux-image-6.1.", "-cloud-amd64"),
        is_required: true,
        task: Task::Compare,
    },
    Kernel {
        name: "6.12",
        suite: "bookworm-security",
        package: ("linux-image-6.12.", "-cloud-amd64"),
        is_required: true,
        task: Task::Compare,
    },
    Kernel {
        name: "6.12.100",
        suite: "bookworm-security",
        package: ("linux-image-6.12.100+", "-cloud-amd64"),
        is_required: false,
        task: Task::Flood,
    },
    Kernel {
        name: "7.2",
        suite: "sid",
        package: ("linux-image-7.2.", "-cloud-amd64"),
        is_required: false,
        task: Task::Compare,
    },
];

pub(crate) enum Fetched {
    Kernel(Files),
    /// The reason why it cannot be fetched.
    Absent(String),
}

/// A kernel's files.
pub(crate) struct Files {
    /// The output of `uname -r`.
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    /// The folder of the modules.
    modules: PathBuf,
}

impl Files {
    /// A module, decompressed; `None` if it is built in or not available.
    pub(crate) fn module(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let plain = self.modules.join("kernel").join(path);
        if plain.exists() {
            return Ok(Some(fs::read(plain)?));
        }
        let packed = plain.with_added_extension("xz");
        if !packed.exists() {
            return Ok(None);
        }
        let output = Command::new("xz")
            .arg("-dc")
            .arg(&packed)
            .output()
            .context("cannot run xz, which unpacks modules")?;
        Ok(Some(output.stdout))
    }
}

/// Fetches the kernels into `folder`, except those of an earlier run.
pub(crate) fn fetch<'a>(wanted: &[&'a Kernel], folder: &Path) -> Result<Vec<(&'a Kernel, Fetched)>> {
    let mut apt = None;
    wanted
        .iter()
        .map(|kernel| {
            let place = folder.join(kernel.name);
            if let Ok(files) = files_in(&place) {
                return Ok((*kernel, Fetched::Kernel(files)));
            }
            if apt.is_none() {
                apt = Some(Apt::open(&folder.join("apt"))?);
            }
            let fetched = match apt.as_ref().map(|apt| apt.unpack(kernel, &place)) {
                Some(Ok(())) => Fetched::Kernel(files_in(&place)?),
                Some(Err(error)) => Fetched::Absent(format!("{error:#}")),
                None => Fetched::Absent("apt is not available".to_owned()),
            };
            Ok((*kernel, fetched))
        })
        .collect()
}

/// Newer Debian packages have the image next to the modules, and the modules below `usr`.
fn files_in(place: &Path) -> Result<Files> {
    let modules = ["lib/modules", "usr/lib/modules"]
        .iter()
        .filter_map(|folder| fs::read_dir(place.join(folder)).ok()?.next()?.ok())
        .map(|entry| entry.path())
        .next()
        .context("no modules")?;
    let release = modules
        .file_name()
        .context("no release")?
        .to_string_lossy()
        .into_owned();
    let image = [
        place.join("boot").join(format!("vmlinuz-{release}")),
        modules.join("vmlinuz"),
    ]
    .into_iter()
    .find(|image| image.exists())
    .context("no image")?;
    Ok(Files {
        release,
        image,
        modules,
    })
}

/// The mirror of this Debian archive in the system's package sources.
fn mirror<'a>(mirrors: &'a str, archive: &str) -> Result<&'a str> {
    mirrors
        .lines()
        .map(|line| line.trim_end_matches('/'))
        .find(|line| line.rsplit('/').next() == Some(archive))
        .with_context(|| {
            format!(
                "the system's package sources have no mirror of {archive}: add one, and run apt-get update"
            )
        })
}

/// apt with a separate state.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn open(folder: &Path) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let mirrors =
            command::output(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]))?;
        let mut sources = String::new();
        for suite in KERNELS.map(|kernel| kernel.suite) {
            let archive = if suite.ends_with("-security") {
                "debian-security"
            } else {
                "debian"
            };
            let mirror = mirror(&mirrors, archive)?;
            let _ = writeln!(
                sources,
                "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {suite} main"
            );
        }
        fs::write(folder.join("sources.list"), sources)?;
        let apt = Self {
            folder: folder.to_owned(),
        };
        // A removed suite does not affect the others; its packages are then reported as missing.
        let _ = command::output(apt.command("apt-get").args(["-q", "update"]));
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let folder = self.folder.display();
        command.current_dir(&self.folder).args([
            "-oDir::Etc::sourceparts=/dev/null".to_owned(),
            format!("-oDir::Etc::sourcelist={folder}/sources.list"),
            format!("-oDir::State::lists={folder}/lists"),
            format!("-oDir::Cache={folder}/cache"),
            "-oAPT::Architecture=amd64".to_owned(),
            "-oAPT::Sandbox::User=root".to_owned(),
        ]);
        command
    }

    /// Downloads and unpacks the newest package of this kernel, and the packages that it consists of.
    fn unpack(&self, kernel: &Kernel, place: &Path) -> Result<()> {
        let (start, end) = kernel.package;
        let names = command::output(self.command("apt-cache").args(["pkgnames", start]))?;
        let newest = names
            .lines()
            .filter(|name| name.ends_with(end))
            .max_by_key(|name| numbers(name))
            .with_context(|| format!("the suite {} has no package {start}*{end}", kernel.suite))?;
        let depends = command::output(self.command("apt-cache").args(["depends", newest]))?;
        let parts = depends.lines().filter_map(|line| {
            let name = line.trim().strip_prefix("Depends: ")?;
            (name.starts_with("linux-binary-") || name.starts_with("linux-modules-")).then_some(name)
        });
        let fresh = place.with_added_extension("new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        for name in std::iter::once(newest).chain(parts) {
            println!("fetching {name}");
            command::output(self.command("apt-get").args(["-q", "download", name]))?;
            let archive = self.newest_archive(name)?;
            command::output(Command::new("dpkg-deb").arg("--extract").args([&archive, &fresh]))?;
            fs::remove_file(archive)?;
        }
        files_in(&fresh)?;
        fs::rename(&fresh, place)?;
        Ok(())
    }

    fn newest_archive(&self, package: &str) -> Result<PathBuf> {
        let start = format!("{package}_");
        let files = fs::read_dir(&self.folder)?.flatten().map(|file| file.path());
        files
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(&start))
            })
            .max()
            .with_context(|| format!("apt downloaded no {package}"))
    }
}

/// The numbers in a package's name, by which versions are ordered.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn the_newest_package_has_the_highest_numbers() {
        let names = [
            "linux-image-6.12.9+deb12-cloud-amd64",
            "linux-image-6.12.101+deb12-cloud-amd64",
        ];
        assert_eq!(names.iter().max_by_key(|name| numbers(name)), Some(&names[1]));
    }
}
