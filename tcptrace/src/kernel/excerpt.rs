//! What aya needs of the kernel's types: the ids of what is attached to, and nothing else. Reading all of them takes it
//! longer than everything else that a start does: 5.5 MB, 150,000 types, each of them a value of its own.

use super::{
    btf::{AttachKind, Btf},
    hook::{self, Attach, Hook},
};
use aya::{EbpfLoader, Endianness};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::chroot,
};
use std::thread;

/// A type that has no name and that nothing looks for: `BTF_KIND_FWD` (Documentation/bpf/btf.rst, 2.2.7).
const FILLER: [u32; 3] = [0, 7 << 24, 0];
const HEADER_BYTES: u32 = 24;
const VERSION: u16 = 1;

/// The kernel's types as far as `hooks` or an iterator name them, with the ids that they have in the kernel. `None`
/// where there are so many that aya cannot read them either.
pub(crate) fn for_aya<'a>(types: &Btf, hooks: impl IntoIterator<Item = &'a Hook>) -> Option<aya::Btf> {
    aya::Btf::parse(&excerpt(types, &named(hooks))?, Endianness::default()).ok()
}

/// The loader without the kernel's types, which it would read whole at once although it is given its own: it is made
/// in a thread whose root directory has no `/sys`. Where that is refused it reads them, and only takes longer.
pub(crate) fn loader() -> EbpfLoader<'static> {
    let blind = || {
        if let Err(error) = unshare(CloneFlags::CLONE_FS).and_then(|()| chroot("/proc/self/fdinfo")) {
            log::debug!("aya reads all of the kernel's types: {error}");
        }
        EbpfLoader::new()
    };
    thread::spawn(blind).join().unwrap_or_else(|_| EbpfLoader::new())
}

/// Everything that is attached to by its type.
fn named<'a>(hooks: impl IntoIterator<Item = &'a Hook>) -> Vec<(AttachKind, String)> {
    let hooks = hooks.into_iter().filter_map(|hook| match hook.attach {
        Attach::TpBtf => Some((AttachKind::Tracepoint, hook.target.to_owned())),
        Attach::Fentry | Attach::Fexit => Some((AttachKind::Function, hook.target.to_owned())),
        Attach::ClassicTracepoint | Attach::Cgroup => None,
    });
    let iterators =
        hook::ITERATORS.map(|iterator| (AttachKind::Function, format!("bpf_iter_{}", iterator.target)));
    hooks.chain(iterators).collect()
}

fn excerpt(types: &Btf, named: &[(AttachKind, String)]) -> Option<Vec<u8>> {
    let mut strings = vec![0];
    let mut records: Vec<[u32; 3]> = Vec::new();
    for (kind, name) in named {
        let Some((id, info)) = types.id(*kind, name) else {
            continue;
        };
        let at = (id as usize).checked_sub(1)?;
        if records.len() <= at {
            records.resize(at + 1, FILLER);
        }
        records[at] = [u32::try_from(strings.len()).ok()?, info, 0];
        strings.extend_from_slice(kind.full(name).as_bytes());
        strings.push(0);
    }
    let types_bytes = u32::try_from(records.len() * size_of::<[u32; 3]>()).ok()?;
    let strings_bytes = u32::try_from(strings.len()).ok()?;
    let header = [HEADER_BYTES, 0, types_bytes, types_bytes, strings_bytes];
    let numbers = header.into_iter().chain(records.into_iter().flatten());
    let magic = Btf::MAGIC.to_ne_bytes().into_iter();
    // Version and flags are a byte each.
    let version = VERSION.to_le_bytes();
    Some(
        magic
            .chain(version)
            .chain(numbers.flat_map(u32::to_ne_bytes))
            .chain(strings)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use aya_obj::btf::BtfKind;

    #[test]
    fn every_id_is_the_one_that_aya_finds_in_the_whole() {
        let (Ok(types), Ok(whole)) = (Btf::of_running_kernel(), aya::Btf::from_sys_fs()) else {
            return;
        };
        let part = for_aya(&types, hook::all()).expect("an excerpt");
        let mut found = 0;
        for (kind, name) in named(hook::all()) {
            let of = match kind {
                AttachKind::Function => BtfKind::Func,
                AttachKind::Tracepoint => BtfKind::Typedef,
            };
            let full = kind.full(&name);
            let id = |btf: &aya::Btf| btf.id_by_type_name_kind(&full, of).ok();
            assert_eq!(id(&part), id(&whole), "{full}");
            found += usize::from(id(&part).is_some());
        }
        assert!(found > 10, "{found} of the hooks' targets are there");
    }
}
