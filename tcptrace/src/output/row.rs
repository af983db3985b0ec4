//! Rows of tables for other programs. The columns of a row are listed once, each with a title and a value; every format
//! is made from that list.

use super::json::rfc3339;
use crate::{
    engine::Engine,
    kernel::clock::ClockPair,
    owner::{
        container::Location,
        policy::{Evidence, Owner},
        processes::Process,
    },
};
use serde::{Serialize, Serializer};
use std::{borrow::Cow, net::IpAddr};

/// What is in a column of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    Number(u64),
    Flag(bool),
    Address(IpAddr),
    /// Nanoseconds since 1970.
    Time(u64),
}

/// A title, and the value of a row.
pub(crate) type Column<R> = (&'static str, fn(&R) -> Value<'_>);

/// A row whose columns are listed.
pub(crate) trait TableRow: Sized {
    fn columns<'r>() -> &'r [Column<Self>]
    where
        Self: 'r;
}

impl<'a> Value<'a> {
    /// The text of an exported file, empty where the value is unknown.
    pub(crate) fn text(self) -> Cow<'a, str> {
        match self {
            Self::Null => "".into(),
            Self::Text(text) => text,
            Self::Number(number) => number.to_string().into(),
            Self::Flag(flag) => flag.to_string().into(),
            Self::Address(address) => address.to_string().into(),
            Self::Time(wall_ns) => rfc3339(wall_ns).into(),
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Text(_) | Self::Address(_) | Self::Time(_) => {
                serializer.serialize_str(&self.clone().text())
            }
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

macro_rules! from_number {
    ($($number:ty),*) => {
        $(impl From<$number> for Value<'_> {
            fn from(number: $number) -> Self {
                Self::Number(number.into())
            }
        })*
    };
}
from_number!(u16, u32, u64);

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<IpAddr> for Value<'_> {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}

/// A line of a trace: a change, or a connection that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a, T> {
    pub(crate) of: &'a T,
    pub(crate) owner: Option<Owner>,
    pub(crate) engine: &'a Engine,
    /// That of a recording.
    pub(crate) host: Option<&'a str>,
    pub(crate) netns_name: Option<&'a str>,
    pub(crate) anchor: &'a ClockPair,
}

impl<T> Line<'_, T> {
    /// The owner's process, if still known, and the evidence.
    pub(crate) fn process(&self) -> Option<(&Process, Evidence)> {
        let owner = self.owner?;
        Some((self.engine.table.processes.get(owner.process)?, owner.evidence))
    }

    pub(crate) fn location(&self) -> Option<&Location> {
        self.process()?.0.location.as_deref()
    }
}

/// The columns of a line: what all lines have, which were made at `$time`, with what only these have before the reason
/// and behind the owner.
macro_rules! line_columns {
    ($time:ident, [$($what:expr),* $(,)?], [$($more:expr),* $(,)?]) => {
        &[
            ("host", |line| line.host.into()),
            ("time", |line| $crate::output::row::Value::Time(line.anchor.wall(line.of.$time))),
            ("mono_ns", |line| line.of.$time.0.into()),
            ("cookie", |line| line.of.id.cookie.into()),
            ("incarnation", |line| line.of.id.incarnation.into()),
            ("family", |line| line.of.endpoints.family().name().into()),
            ("local_addr", |line| line.of.endpoints.local().into()),
            ("local_port", |line| line.of.endpoints.local_port.into()),
            ("remote_addr", |line| line.of.endpoints.remote().into()),
            ("remote_port", |line| line.of.endpoints.remote_port.into()),
            ("netns", |line| $crate::event::known_netns(line.of.netns).into()),
            $($what,)*
            ("reason", |line| line.of.reason.map($crate::event::EndReason::name).into()),
            ("reset_reason", |line| line.engine.reset_reason(line.of.reset_reason).into()),
            ("error", |line| line.of.reason.and_then($crate::event::EndReason::error).into()),
            ("pid", |line| {
                line.process().map(|(process, _)| process.key.pid).into()
            }),
            ("comm", |line| {
                line.process().map(|(process, _)| process.name()).into()
            }),
            ("evidence", |line| {
                line.process().map(|(_, evidence)| evidence.name()).into()
            }),
            $($more,)*
            ("netns_name", |line| line.netns_name.into()),
            ("runtime", |line| $crate::output::row::location::runtime(line.location()).into()),
            ("container", |line| $crate::output::row::location::container(line.location()).into()),
            ("pod", |line| $crate::output::row::location::pod(line.location()).into()),
            ("unit", |line| $crate::output::row::location::unit(line.location()).into()),
            ("cgroup_path", |line| {
                $crate::output::row::location::cgroup_path(line.location()).into()
            }),
        ]
    };
}
pub(crate) use line_columns;

/// What is known of where a process runs, a column each.
pub(crate) mod location {
    use super::Location;

    pub(crate) fn runtime(location: Option<&Location>) -> Option<&str> {
        Some(location?.container.as_ref()?.runtime?.name())
    }

    pub(crate) fn container(location: Option<&Location>) -> Option<&str> {
        Some(&location?.container.as_ref()?.id)
    }

    pub(crate) fn pod(location: Option<&Location>) -> Option<&str> {
        location?.pod.as_deref()
    }

    pub(crate) fn unit(location: Option<&Location>) -> Option<&str> {
        location?.unit.as_deref()
    }

    pub(crate) fn cgroup_path(location: Option<&Location>) -> Option<&str> {
        Some(&location?.path)
    }
}
