//! Reads the running kernel's BTF: offsets of struct fields, arguments of functions. Format: Documentation/bpf/btf.rst.
//! (aya parses BTF too, but does not expose members and prototypes.)

use hashbrown::{DefaultHashBuilder, HashTable};
use memmap2::{Mmap, MmapOptions};
use std::{
    fs::File,
    hash::BuildHasher as _,
    io::{self, Read as _},
    ops::Deref,
    path::Path,
};

/// Where the kernel shows its own types.
pub(crate) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

const MAX_DEPTH: usize = 32;

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// Why BTF could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BtfError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: io::Error },
    /// Its contents.
    #[error("the BTF data is malformed near byte {0}")]
    Malformed(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttachKind {
    /// A function, as an attach target of fentry and fexit.
    Function,
    /// A tracepoint, as an attach target of `tp_btf`.
    Tracepoint,
}

impl AttachKind {
    /// Name of the type that represents `name`.
    pub(crate) fn full(self, name: &str) -> String {
        match self {
            Self::Function => name.to_owned(),
            Self::Tracepoint => format!("btf_trace_{name}"),
        }
    }

    const fn kind(self) -> u32 {
        match self {
            Self::Function => kind::FUNC,
            Self::Tracepoint => kind::TYPEDEF,
        }
    }
}

/// The kernel's own pages, or a copy where it does not map them (before Linux 6.16) and it gives 4 KiB a read.
enum Data {
    Mapped(Mmap),
    Copied(Vec<u8>),
}

impl Data {
    fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        // Privately: the kernel refuses to share them (`btf_sysfs_vmlinux_mmap`).
        // SAFETY: the kernel's types never change while it runs, and the file that tests read stays as it is.
        if let Ok(mapped) = unsafe { MmapOptions::new().map_copy_read_only(&file) } {
            return Ok(Self::Mapped(mapped));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Self::Copied(bytes))
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(bytes) => bytes,
            Self::Copied(bytes) => bytes,
        }
    }
}

/// The types of one kernel.
pub(crate) struct Btf {
    data: Data,
    /// Byte offset of type N + 1; type 0 is `void`.
    types: Vec<u32>,
    /// Offsets of the types that are looked up by name.
    names: HashTable<u32>,
    hasher: DefaultHashBuilder,
    strings: usize,
}

/// What a parameter or a return value is, as far as a program cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// A pointer to the struct of this name.
    PointerTo(String),
    /// An integer or an enum.
    Number {
        /// Size of the number.
        bytes: u32,
    },
    /// Anything else, and nothing.
    Other,
}

/// What a function takes and returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prototype {
    /// In order; for a tracepoint without the tracer's own data.
    pub(crate) parameters: Vec<Parameter>,
    /// [`Parameter::Other`] for `void`.
    pub(crate) returns: Parameter,
}

/// Where a struct keeps a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FieldPosition {
    /// Bytes from the struct's beginning.
    pub(crate) offset: u32,
    /// Size of the field.
    pub(crate) bytes: u32,
}

#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    info: u32,
    /// The type that it refers to, or a size.
    target: u32,
}

impl Type {
    const fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }
    const fn entries(self) -> usize {
        (self.info & 0xffff) as usize
    }
    const fn has_bitfields(self) -> bool {
        self.info >> 31 == 1
    }
}

impl Btf {
    /// With which BTF begins, in its machine's byte order.
    pub(crate) const MAGIC: u16 = 0xeb9f;

    /// Reads the running kernel's. Fails if the file is absent or damaged.
    pub(crate) fn of_running_kernel() -> Result<Self, BtfError> {
        Self::from_file(Path::new(KERNEL_BTF))
    }

    /// Reads a file of raw BTF in this machine's byte order.
    pub(crate) fn from_file(path: &Path) -> Result<Self, BtfError> {
        let data = Data::of(path).map_err(|source| BtfError::Read {
            path: path.display().to_string(),
            source,
        })?;
        Self::parse(data)
    }

    /// The id of what a hook attaches to, and the `info` of that type.
    pub(crate) fn id(&self, of: AttachKind, name: &str) -> Option<(u32, u32)> {
        let found = self.find(of.kind(), &of.full(name))?;
        let index = self.types.binary_search(&u32::try_from(found.at).ok()?).ok()?;
        Some((u32::try_from(index).ok()? + 1, found.info))
    }

    fn parse(data: Data) -> Result<Self, BtfError> {
        let header = |at| read_u32(&data, at).ok_or(BtfError::Malformed(at));
        if header(0)? & 0xffff != u32::from(Self::MAGIC) {
            return Err(BtfError::Malformed(0));
        }
        let base = header(4)? as usize;
        let first = base + header(8)? as usize;
        let end = first + header(12)? as usize;
        let strings = base + header(16)? as usize;
        let mut btf = Self {
            data,
            types: Vec::with_capacity(200_000),
            names: HashTable::with_capacity(100_000),
            hasher: DefaultHashBuilder::default(),
            strings,
        };
        let mut at = first;
        while at < end {
            let found = btf.type_at(at).ok_or(BtfError::Malformed(at))?;
            let size = record_size(&found).ok_or(BtfError::Malformed(at))?;
            let offset = u32::try_from(at).map_err(|_| BtfError::Malformed(at))?;
            btf.types.push(offset);
            if matches!(
                found.kind(),
                kind::STRUCT | kind::ENUM | kind::FUNC | kind::TYPEDEF
            ) {
                btf.index(found, offset);
            }
            at += size;
        }
        Ok(btf)
    }

    fn index(&mut self, found: Type, offset: u32) {
        let Self {
            data,
            names,
            hasher,
            strings,
            ..
        } = self;
        let hash = |name: u32| hasher.hash_one(string_at(data, *strings, name));
        let hash_of = |offset: &u32| read_u32(data, *offset as usize).map_or(0, hash);
        names.insert_unique(hash(found.name), offset, hash_of);
    }

    /// The place of `path` (members joined by dots) in `struct name`; anonymous structs and unions are looked
    /// through. `None` where this kernel has no such field, or has it in single bits.
    pub(crate) fn field(&self, name: &str, path: &str) -> Option<FieldPosition> {
        let (found, bits) = self.found(name, path)?;
        let bytes = self.size(found, 0)?;
        (bits % 8 == 0).then_some(FieldPosition {
            offset: bits / 8,
            bytes,
        })
    }

    /// The place of a bitfield of one bit: the offset of its byte, and its mask there.
    pub(crate) fn bit(&self, name: &str, path: &str) -> Option<(u32, u8)> {
        let (_, bits) = self.found(name, path)?;
        let shift = if cfg!(target_endian = "big") {
            7 - bits % 8
        } else {
            bits % 8
        };
        Some((bits / 8, 1 << shift))
    }

    /// The type of a field, and its offset in bits.
    fn found(&self, name: &str, path: &str) -> Option<(Type, u32)> {
        let mut current = self.find(kind::STRUCT, name)?;
        let mut bits = 0;
        for part in path.split('.') {
            let (member, offset) = self.member(current, part, 0)?;
            bits += offset;
            current = self.strip(member)?;
        }
        Some((current, bits))
    }

    /// The enumerators of `enum name` with their values; none if this kernel has no such enum.
    pub(crate) fn enumerators(&self, name: &str) -> impl Iterator<Item = (&str, u32)> {
        let found = self.find(kind::ENUM, name);
        found.into_iter().flat_map(move |found| {
            (0..found.entries()).map_while(move |index| {
                let at = found.at + 12 + index * 8;
                let name = str::from_utf8(self.string(read_u32(&self.data, at)?)).ok()?;
                Some((name, read_u32(&self.data, at + 4)?))
            })
        })
    }

    pub(crate) fn function(&self, name: &str) -> Option<Prototype> {
        let function = self.find(kind::FUNC, name)?;
        self.prototype(self.type_by_id(function.target)?)
    }

    pub(crate) fn tracepoint(&self, name: &str) -> Option<Prototype> {
        let typedef = self.find(kind::TYPEDEF, &AttachKind::Tracepoint.full(name))?;
        let pointer = self.type_by_id(typedef.target)?;
        let mut prototype = self.prototype(self.type_by_id(pointer.target)?)?;
        // The first is the tracer's own data.
        (!prototype.parameters.is_empty()).then(|| {
            prototype.parameters.remove(0);
            prototype
        })
    }

    fn prototype(&self, of: Type) -> Option<Prototype> {
        if of.kind() != kind::FUNC_PROTO {
            return None;
        }
        let parameter = |id| self.parameter(id).unwrap_or(Parameter::Other);
        let parameters = (0..of.entries())
            .map(|index| Some(parameter(read_u32(&self.data, of.at + 12 + index * 8 + 4)?)))
            .collect::<Option<_>>()?;
        Some(Prototype {
            parameters,
            returns: parameter(of.target),
        })
    }

    fn parameter(&self, id: u32) -> Option<Parameter> {
        let found = self.strip(self.type_by_id(id)?)?;
        match found.kind() {
            kind::INT | kind::ENUM | kind::ENUM64 => Some(Parameter::Number { bytes: found.target }),
            kind::PTR => {
                let target = self.strip(self.type_by_id(found.target)?)?;
                (target.kind() == kind::STRUCT).then(|| Parameter::PointerTo(self.name(target).to_owned()))
            }
            _ => None,
        }
    }

    /// Bytes that a value of this type takes.
    fn size(&self, of: Type, depth: usize) -> Option<u32> {
        match of.kind() {
            kind::PTR => Some(8),
            kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 => Some(of.target),
            kind::ARRAY if depth < MAX_DEPTH => {
                let element = self.strip(self.type_by_id(read_u32(&self.data, of.at + 12)?)?)?;
                let count = read_u32(&self.data, of.at + 20)?;
                self.size(element, depth + 1)?.checked_mul(count)
            }
            _ => None,
        }
    }

    fn member(&self, of: Type, name: &str, depth: usize) -> Option<(Type, u32)> {
        if depth > MAX_DEPTH || !matches!(of.kind(), kind::STRUCT | kind::UNION) {
            return None;
        }
        for index in 0..of.entries() {
            let at = of.at + 12 + index * 12;
            let member_name = read_u32(&self.data, at)?;
            let member = self.type_by_id(read_u32(&self.data, at + 4)?)?;
            let mut offset = read_u32(&self.data, at + 8)?;
            if of.has_bitfields() {
                offset &= 0x00ff_ffff;
            }
            if member_name == 0 {
                if let Some((found, inner)) = self
                    .strip(member)
                    .and_then(|inner| self.member(inner, name, depth + 1))
                {
                    return Some((found, offset + inner));
                }
            } else if self.string(member_name) == name.as_bytes() {
                return Some((member, offset));
            }
        }
        None
    }

    fn find(&self, wanted: u32, name: &str) -> Option<Type> {
        self.names
            .iter_hash(self.hasher.hash_one(name.as_bytes()))
            .filter_map(|at| self.type_at(*at as usize))
            .filter(|t| t.kind() == wanted && t.entries_fit(wanted) && self.string(t.name) == name.as_bytes())
            // Of static functions of one name the kernel attaches to the first.
            .min_by_key(|t| t.at)
    }

    fn strip(&self, mut current: Type) -> Option<Type> {
        for _ in 0..MAX_DEPTH {
            match current.kind() {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    current = self.type_by_id(current.target)?;
                }
                _ => return Some(current),
            }
        }
        None
    }

    fn type_by_id(&self, id: u32) -> Option<Type> {
        self.type_at(*self.types.get((id as usize).checked_sub(1)?)? as usize)
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        Some(Type {
            at,
            name: read_u32(&self.data, at)?,
            info: read_u32(&self.data, at + 4)?,
            target: read_u32(&self.data, at + 8)?,
        })
    }

    fn name(&self, of: Type) -> &str {
        str::from_utf8(self.string(of.name)).unwrap_or("")
    }

    fn string(&self, offset: u32) -> &[u8] {
        string_at(&self.data, self.strings, offset)
    }
}

fn string_at(data: &[u8], strings: usize, offset: u32) -> &[u8] {
    let rest = data.get(strings + offset as usize..).unwrap_or(&[]);
    rest.split(|byte| *byte == 0).next().unwrap_or(&[])
}

impl Type {
    /// A struct or an enum that is only declared has no members; the definition is the one to find.
    const fn entries_fit(self, wanted: u32) -> bool {
        !matches!(wanted, kind::STRUCT | kind::ENUM) || self.entries() > 0
    }
}

fn read_u32(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

fn record_size(of: &Type) -> Option<usize> {
    let extra = match of.kind() {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => of.entries() * 12,
        kind::ENUM | kind::FUNC_PROTO => of.entries() * 8,
        1..=19 => 0,
        _ => return None,
    };
    Some(12 + extra)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 24..400)) {
            bytes[..2].copy_from_slice(&Btf::MAGIC.to_ne_bytes());
            for at in [4, 8, 12, 16, 20] {
                bytes[at + 1] = 0;
                bytes[at + 2] = 0;
                bytes[at + 3] = 0;
            }
            if let Ok(btf) = Btf::parse(Data::Copied(bytes)) {
                let _ = btf.field("sock_common", "skc_family");
                let _ = btf.function("inet_twsk_kill");
                let _ = btf.enumerators("sk_rst_reason").count();
            }
        }
    }
}
