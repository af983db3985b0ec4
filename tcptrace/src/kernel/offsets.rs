//! Offsets of what the programs read: of struct fields, from BTF, and of fields of the classic tracepoint's record,
//! from its `format` file. A field of unexpected size counts as missing.

use super::{btf::Btf, plan::Preference, probe, refusal::Refusal};
use tcptrace_common::{ABSENT, Field};

/// How many bytes the programs load for a field, and so how many it must have.
const fn bytes(field: Field) -> u32 {
    match field {
        Field::State
        | Field::TwSubstate
        | Field::Shutdown
        | Field::IsMptcp
        | Field::CaState
        | Field::Retransmits
        | Field::Backoff
        | Field::ProbesOut
        | Field::Pending
        | Field::KeepaliveProbes => 1,
        Field::RemotePort
        | Field::LocalPort
        | Field::Family
        | Field::Protocol
        | Field::Sport
        | Field::TwSport
        | Field::SkbTransport => 2,
        Field::RemoteV4
        | Field::LocalV4
        | Field::Error
        | Field::AcceptQueue
        | Field::Backlog
        | Field::RcvNxt
        | Field::CopiedSeq
        | Field::WriteSeq
        | Field::SndUna
        | Field::RcvTstamp
        | Field::LrcvTime
        | Field::SrttUs
        | Field::MdevUs
        | Field::TotalRetrans
        | Field::PacketsOut
        | Field::RetransOut
        | Field::SndNxt
        | Field::SndWnd
        | Field::RcvWnd
        | Field::MssCache
        | Field::WmemQueued
        | Field::RmemAlloc
        | Field::Drops
        | Field::Rto
        | Field::UserTimeout
        | Field::RtoMax
        | Field::KeepaliveTime
        | Field::KeepaliveIntvl
        | Field::LocalPortRange
        | Field::NetInum
        | Field::TaskFlags
        | Field::CredUid
        | Field::Tgid
        | Field::Pid
        | Field::TwEntryStamp => 4,
        Field::Net
        | Field::Cookie
        | Field::SkFlags
        | Field::Listener
        | Field::UlpData
        | Field::PathOf
        | Field::Socket
        | Field::GroupLeader
        | Field::StartBoottime
        | Field::BytesAcked
        | Field::BytesReceived
        | Field::Cgroups
        | Field::Cred
        | Field::DefaultCgroup
        | Field::CgroupNode
        | Field::NodeId
        | Field::TimerFunction
        | Field::TimerExpires
        | Field::RetransmitExpires
        | Field::SockRetransmitExpires
        | Field::SkbHead
        | Field::SocketSk
        | Field::SocketFile
        | Field::FileOps
        | Field::FilePrivate
        | Field::FileInode
        | Field::Files
        | Field::FileTable
        | Field::FileArray
        | Field::RegsIp
        | Field::RegsSp
        | Field::RegsBp
        | Field::RegsOrigAx
        | Field::InodeNumber => 8,
        Field::RemoteV6 | Field::LocalV6 | Field::Comm | Field::TimerEntry => 16,
        // Only its place counts: what is read of it are fields of `timer_list`.
        Field::TwTimer | Field::ReqTimer | Field::KeepaliveTimer | Field::SockTimer => 0,
        // 2 bytes of 8 before Linux 6.9, of 2 from then on.
        Field::RegsCs => 0,
        // One bit.
        Field::KernSock => 0,
    }
}

/// The byte offset of `field`, [`ABSENT`] where this kernel has none of the size that the programs load.
pub(crate) fn offset(btf: &Btf, field: Field) -> u16 {
    if field == Field::KernSock {
        return kern_sock(btf).map_or(ABSENT, |(at, _)| at);
    }
    btf.field(field.of_struct(), field.path())
        .filter(|found| bytes(field) == 0 || found.bytes == bytes(field))
        .and_then(|found| u16::try_from(found.offset).ok())
        .unwrap_or(ABSENT)
}

/// The byte of `sk_kern_sock` and its mask there.
pub(crate) fn kern_sock(btf: &Btf) -> Option<(u16, u8)> {
    let (at, mask) = btf.bit(Field::KernSock.of_struct(), Field::KernSock.path())?;
    Some((u16::try_from(at).ok()?, mask))
}

pub(crate) fn no_field(field: Field) -> Refusal {
    let size = match bytes(field) {
        0 => String::new(),
        count => format!(" of {count} bytes"),
    };
    Refusal::NoField {
        field: format!("{}.{}{size}", field.of_struct(), field.path()),
    }
}

/// All offsets in the order that the programs expect. Fails if a field is missing that no program can do without.
pub(crate) fn offsets(btf: &Btf) -> Result<Vec<u16>, Refusal> {
    Field::ALL
        .iter()
        .map(|field| {
            let at = offset(btf, *field);
            if at == ABSENT && field.is_required() {
                Err(no_field(*field))
            } else {
                Ok(at)
            }
        })
        .collect()
}

/// The fields of the classic tracepoint, in the order that the kernel side expects.
const CLASSIC_FIELDS: [&str; 11] = [
    "oldstate", "newstate", "sport", "dport", "family", "protocol", "saddr", "daddr", "saddr_v6", "daddr_v6",
    "skaddr",
];

/// Their offsets, all 0 where it is not used. Fails if the file cannot be read, or lacks a field.
pub(crate) fn classic_offsets(
    btf: &Result<Btf, Refusal>,
    preference: Preference,
) -> Result<Vec<u16>, Refusal> {
    if btf.is_ok() && preference != Preference::Tracepoint {
        return Ok(vec![0; CLASSIC_FIELDS.len()]);
    }
    let format = probe::classic_format()?;
    CLASSIC_FIELDS
        .iter()
        .map(|name| {
            format_offset(&format, name).ok_or_else(|| Refusal::NoField {
                field: format!("{name} of the tracepoint sock:inet_sock_set_state"),
            })
        })
        .collect()
}

/// The offset of a field in a tracepoint's `format` file, whose lines read `field:TYPE NAME[N];\toffset:O;…`.
fn format_offset(format: &str, name: &str) -> Option<u16> {
    format.lines().find_map(|line| {
        let (declaration, rest) = line.trim().strip_prefix("field:")?.split_once(';')?;
        let last = declaration.rsplit(' ').next()?;
        if last.split('[').next()? != name {
            return None;
        }
        rest.trim()
            .strip_prefix("offset:")?
            .split(';')
            .next()?
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_from_the_format_file() {
        let format = "name: inet_sock_set_state\nformat:\n\
            \tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;\n\
            \tfield:__u16 sport;\toffset:24;\tsize:2;\tsigned:0;\n\
            \tfield:__u8 saddr[4];\toffset:32;\tsize:4;\tsigned:0;\n\
            \tfield:__u8 saddr_v6[16];\toffset:40;\tsize:16;\tsigned:0;\n";
        assert_eq!(format_offset(format, "skaddr"), Some(8));
        assert_eq!(format_offset(format, "saddr"), Some(32));
        assert_eq!(format_offset(format, "saddr_v6"), Some(40));
        assert_eq!(format_offset(format, "dport"), None);
    }
}
