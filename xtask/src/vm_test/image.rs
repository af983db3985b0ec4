//! Writes a guest's initramfs: busybox, the programs, modules, and an `init` that runs the tests and powers
//! off. Format: Documentation/driver-api/early-userspace/buffer-format.rst.

use super::{
    Programs,
    kernels::{Files, Task},
};
use crate::command;
use anyhow::{Context as _, Result};
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// Where the kernel keeps the modules that the tests need: sock_diag for TCP, TUN for the scripted peer. They are loaded
/// in the order of their names, in which `tcp_diag` follows `inet_diag`, which it needs.
const MODULES: [(&str, &str); 3] = [
    ("inet_diag.ko", "net/ipv4/inet_diag.ko"),
    ("tcp_diag.ko", "net/ipv4/tcp_diag.ko"),
    ("tun.ko", "drivers/net/tun.ko"),
];

/// How long the flood of connections lasts in a guest.
const FLOOD_SECONDS: u64 = 120;

/// Writes `to`.
pub(crate) fn write(to: &Path, kernel: &Files, programs: &Programs, task: Task) -> Result<()> {
    let mut archive = Archive::default();
    archive.add_file("init", init(programs, task)?.as_bytes())?;
    let busybox = command::find("busybox").context("there is no busybox")?;
    archive.add_file("bin/busybox", &fs::read(busybox)?)?;
    for (name, path) in MODULES {
        if let Some(module) = kernel.module(path)? {
            archive.add_file(&format!("modules/{name}"), &module)?;
        }
    }
    for program in programs.all() {
        archive.add_file(&format!("bin/{}", name(program)?), &stripped(program)?)?;
    }
    for folder in ["proc", "sys", "dev", "tmp", "run"] {
        archive.add_folder(folder);
    }
    archive.add("TRAILER!!!", 0, &[]);
    fs::write(to, archive.bytes).with_context(|| format!("cannot write {}", to.display()))
}

fn init(programs: &Programs, task: Task) -> Result<String> {
    let (flag, tests) = match task {
        Task::Plans => ("--alone", programs.tests.as_slice()),
        Task::Flood => ("--untraced", std::slice::from_ref(&programs.flood)),
    };
    let mut command = format!("/bin/{} {flag}", name(&programs.driver)?);
    for test in tests {
        command.push_str(" /bin/");
        command.push_str(&name(test)?);
    }
    Ok(format!(
        "#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t bpf bpf /sys/fs/bpf
/bin/busybox mount -t tracefs tracefs /sys/kernel/tracing
/bin/busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
/bin/busybox mount -t tmpfs tmp /tmp
/bin/busybox ifconfig lo 127.0.0.1 up
for module in /modules/*; do /bin/busybox insmod $module; done
export PATH=/bin TCPTRACE_BIN=/bin/tcptrace TCPTRACE_EMULATED=1 TCPTRACE_FLOOD_SECONDS={FLOOD_SECONDS}
/bin/tcptrace check
{command}
echo \"the tests ended with $?\"
/bin/busybox poweroff -f
"
    ))
}

fn name(program: &Path) -> Result<String> {
    let name = program.file_name().context("a program has a name")?;
    Ok(name.to_string_lossy().into_owned())
}

/// Debug information is twenty times the program.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let copy = tempfile::NamedTempFile::new()?;
    command::output(Command::new("strip").arg("-o").arg(copy.path()).arg(program))?;
    Ok(fs::read(copy.path())?)
}

/// A cpio archive of the form `newc`.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<PathBuf>,
}

impl Archive {
    fn add_file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        if let Some(folder) = Path::new(path).parent() {
            self.add_folder(&folder.to_string_lossy());
        }
        u32::try_from(content.len()).context("a file in the archive is below 4 GiB")?;
        self.add(path, PROGRAM, content);
        Ok(())
    }

    fn add_folder(&mut self, path: &str) {
        let path = PathBuf::from(path);
        let parents: Vec<PathBuf> = path.ancestors().map(Path::to_owned).collect();
        for folder in parents.into_iter().rev() {
            if !folder.as_os_str().is_empty() && self.folders.insert(folder.clone()) {
                self.add(&folder.to_string_lossy(), DIRECTORY, &[]);
            }
        }
    }

    fn add(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        self.bytes.extend(b"070701");
        // Inode, mode, owner, group, links, time, size, four device numbers, length of the name, checksum.
        let numbers = [
            self.entries as usize,
            mode as usize,
            0,
            0,
            1,
            0,
            content.len(),
            0,
            0,
            0,
            0,
            path.len() + 1,
            0,
        ];
        for number in numbers {
            write!(self.bytes, "{number:08x}").expect("a vector takes all bytes");
        }
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn folders_come_before_what_they_hold() {
        let mut archive = Archive::default();
        archive.add_file("a/b/c", b"content").unwrap();
        archive.add_file("a/d", b"").unwrap();
        let text = String::from_utf8_lossy(&archive.bytes);
        let at = |name: &str| text.find(name).unwrap();
        assert!(at("a\0") < at("a/b\0") && at("a/b\0") < at("a/b/c\0"));
        assert_eq!(text.matches("a/b\0").count(), 1);
        assert_eq!(archive.bytes.len() % 4, 0);
    }
}
