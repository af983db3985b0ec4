//! A process's mapped code, and the unwind tables of the mapped files.

use crate::privileges::scout;
use framehop::{ExplicitModuleSectionInfo, Module};
use hashbrown::HashMap;
use nix::fcntl::OFlag;
use object::{
    Object as _, ObjectSection as _, ObjectSegment as _, ReadCache, ReadRef, SegmentFlags, elf::PF_X,
};
use std::{
    fs::{self, File, OpenOptions},
    ops::Range,
    os::unix::fs::OpenOptionsExt as _,
    sync::Arc,
};

/// Larger tables than any linker makes of real code are not read.
const MOST_OF_ONE: u64 = 64 << 20;

/// Maximum size of the tables that are kept, bytes.
const MOST_OF_ALL: usize = 256 << 20;

/// Executable memory of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Addresses of the mapping in the process.
    pub(crate) range: Range<u64>,
    /// Where in the file it begins.
    pub(crate) offset: u64,
    /// The file's device and inode; `None` where no file is behind it.
    pub(crate) file: Option<(String, u64)>,
    /// The path, or what the kernel calls it.
    pub(crate) path: String,
}

/// The executable mappings of a process, in order; empty where it has ended.
pub(crate) fn executable(pid: u32) -> Vec<Mapping> {
    let maps = scout::ask(move || fs::read(format!("/proc/{pid}/maps"))).unwrap_or_default();
    String::from_utf8_lossy(&maps)
        .lines()
        .filter_map(mapping)
        .collect()
}

/// A line of proc_pid_maps(5), where it is executable.
fn mapping(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut word = || {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after.trim_start();
        word
    };
    let (from, to) = word().split_once('-')?;
    let range = u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?;
    let is_executable = word().contains('x');
    let offset = u64::from_str_radix(word(), 16).ok()?;
    let device = word().to_owned();
    let inode: u64 = word().parse().ok()?;
    is_executable.then(|| Mapping {
        range,
        offset,
        file: (inode != 0).then_some((device, inode)),
        path: rest.to_owned(),
    })
}

/// What unwinding needs of one file.
#[derive(Clone, Default)]
struct Tables {
    /// File offset, address in the file's own terms and size of each executable segment. Others may share a page of the
    /// file with them, at another address.
    segments: Vec<(u64, u64, u64)>,
    sections: ExplicitModuleSectionInfo<Arc<[u8]>>,
}

/// The unwind tables of files, read once each.
#[derive(Default)]
pub(crate) struct Files {
    known: HashMap<(String, u64), Tables>,
    bytes: usize,
}

impl Files {
    /// Whether the tables exceed their limit and should be dropped.
    pub(crate) const fn is_full(&self) -> bool {
        self.bytes > MOST_OF_ALL
    }

    /// A mapping as the unwinder wants it; `None` where no file with tables is behind it.
    pub(crate) fn module(&mut self, pid: u32, mapping: &Mapping) -> Option<Module<Arc<[u8]>>> {
        let file = mapping.file.as_ref()?;
        if !self.known.contains_key(file) {
            let tables = read(pid, mapping).unwrap_or_default();
            let sections = [&tables.sections.eh_frame, &tables.sections.debug_frame];
            self.bytes += sections
                .into_iter()
                .flatten()
                .map(|bytes| bytes.len())
                .sum::<usize>();
            self.known.insert(file.clone(), tables);
        }
        let tables = self.known.get(file)?;
        let base = base(&tables.segments, mapping)?;
        Some(Module::new(
            mapping.path.clone(),
            mapping.range.clone(),
            base,
            tables.sections.clone(),
        ))
    }
}

/// Where address 0 of the file would be.
fn base(segments: &[(u64, u64, u64)], mapping: &Mapping) -> Option<u64> {
    const PAGE: u64 = 4096;
    let (offset, address, _) = segments.iter().find(|(offset, _, size)| {
        let from = offset & !(PAGE - 1);
        (from..offset.saturating_add(*size)).contains(&mapping.offset)
    })?;
    let in_file = address.wrapping_sub(*offset).wrapping_add(mapping.offset);
    Some(mapping.range.start.wrapping_sub(in_file))
}

/// Through `map_files`, which leads to the file itself in whatever mount namespace, deleted or not.
fn read(pid: u32, mapping: &Mapping) -> Option<Tables> {
    let Range { start, end } = mapping.range;
    let by_range = format!("/proc/{pid}/map_files/{start:x}-{end:x}");
    let by_path = format!("/proc/{pid}/root{}", mapping.path);
    // Only opened by the scout: what a process has made of its files is parsed where no harm can be done.
    let file = scout::ask(move || File::open(by_range).ok().or_else(|| open_of_process(&by_path)))?;
    tables(&ReadCache::new(file))
}

/// Opens a regular file whose path a process chooses: no link out of its root, no pipe to wait for.
pub(super) fn open_of_process(path: &str) -> Option<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

fn tables<'data>(data: impl ReadRef<'data>) -> Option<Tables> {
    let object = object::File::parse(data).ok()?;
    let is_executable = |flags| matches!(flags, SegmentFlags::Elf { p_flags } if p_flags & PF_X != 0);
    let segments = object
        .segments()
        .filter(|segment| is_executable(segment.flags()))
        .map(|segment| {
            let (offset, size) = segment.file_range();
            (offset, segment.address(), size)
        })
        .collect();
    let range = |name: &str| {
        let section = object.section_by_name(name)?;
        Some(section.address()..section.address() + section.size())
    };
    let bytes = |name: &str| -> Option<Arc<[u8]>> {
        let section = object.section_by_name(name)?;
        let data = (section.size() <= MOST_OF_ONE).then(|| section.data().ok())??;
        (!data.is_empty()).then(|| Arc::from(data))
    };
    Some(Tables {
        segments,
        sections: ExplicitModuleSectionInfo {
            text_svma: range(".text"),
            got_svma: range(".got"),
            eh_frame_svma: range(".eh_frame"),
            eh_frame: bytes(".eh_frame"),
            eh_frame_hdr_svma: range(".eh_frame_hdr"),
            eh_frame_hdr: bytes(".eh_frame_hdr"),
            debug_frame: bytes(".debug_frame"),
            ..ExplicitModuleSectionInfo::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executable_mappings_are_kept_and_paths_may_hold_blanks() {
        let code = "7f00a000-7f00b000 r-xp 00003000 fe:01 77    /opt/my app/lib.so (deleted)";
        let found = mapping(code).expect("it is executable");
        assert_eq!(found.range, 0x7f00_a000..0x7f00_b000);
        assert_eq!(
            (found.offset, found.file),
            (0x3000, Some(("fe:01".to_owned(), 77)))
        );
        assert_eq!(found.path, "/opt/my app/lib.so (deleted)");
        assert_eq!(mapping("7f00a000-7f00b000 r--p 00000000 fe:01 77 /bin/x"), None);
        let jit = mapping("7f00a000-7f00b000 rwxp 00000000 00:00 0 ").expect("it is executable");
        assert_eq!((jit.file, jit.path.as_str()), (None, ""));
        assert_eq!(mapping("nonsense"), None);
    }

    #[test]
    fn the_base_follows_from_the_segment_that_is_mapped() {
        let mapping = Mapping {
            range: 0x5555_0000_2000..0x5555_0000_4000,
            offset: 0x1000,
            file: None,
            path: String::new(),
        };
        // The segment begins in the middle of a page, of which the whole is mapped.
        let segments = [(0, 0, 0x800), (0x1240, 0x2240, 0x1000)];
        assert_eq!(base(&segments, &mapping), Some(0x5555_0000_0000));
        assert_eq!(base(&[], &mapping), None);
    }

    #[test]
    fn this_program_has_tables_and_a_segment_for_its_code() {
        let pid = std::process::id();
        let mappings = executable(pid);
        let here = this_program_has_tables_and_a_segment_for_its_code as fn() as usize as u64;
        let own = mappings
            .iter()
            .find(|mapping| mapping.range.contains(&here))
            .expect("code is mapped");
        let module = Files::default().module(pid, own).expect("it has tables");
        // Where the file begins in memory is where its first mapping, of the ELF header, lies.
        let maps = fs::read_to_string("/proc/self/maps").expect("it can be read");
        let first = maps
            .lines()
            .find(|line| line.ends_with(&own.path))
            .and_then(|line| u64::from_str_radix(line.split_once('-')?.0, 16).ok());
        assert_eq!(Some(module.base_avma()), first);
    }
}
