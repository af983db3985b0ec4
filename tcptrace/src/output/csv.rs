//! Comma-separated values, RFC 4180: quoted where needed, one line of titles.

use crate::{
    connection::table::Change,
    event::EndReason,
    kernel::clock::Anchor,
    output::json::rfc3339,
    owner::{
        container::{Place, Runtime},
        processes::Processes,
    },
};
use std::borrow::Cow;

/// The titles of [`change`].
pub const TITLES: &str = "time,mono_ns,cookie,incarnation,family,local_addr,local_port,remote_addr,remote_port,netns,old,new,dwell_ns,dwell_exact,reason,pid,comm,evidence,netns_name,runtime,container,pod,unit,cgroup_path\n";

/// One change, with its newline.
#[must_use]
pub fn change(change: &Change, processes: &Processes, netns_name: Option<&str>, anchor: &Anchor) -> String {
    let owner = change
        .owner
        .and_then(|owner| Some((processes.get(owner.process)?, owner.evidence)));
    let (pid, comm, evidence) = match &owner {
        Some((process, evidence)) => (process.key.pid.to_string(), process.name(), evidence.name()),
        None => (String::new(), Cow::Borrowed(""), ""),
    };
    format!(
        "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{pid},{},{evidence},{},{}\n",
        rfc3339(anchor.wall(change.time)),
        change.time.0,
        change.id.cookie,
        change.id.incarnation,
        change.ends.family().name(),
        change.ends.local(),
        change.ends.local_port,
        change.ends.remote(),
        change.ends.remote_port,
        change.netns,
        change.old,
        change.new,
        change
            .dwell
            .map_or_else(String::new, |age| age.span().0.to_string()),
        change.dwell.is_some_and(crate::event::Age::is_exact),
        change.reason.map_or("", EndReason::name),
        quoted(&comm),
        quoted(netns_name.unwrap_or_default()),
        place(owner.and_then(|(process, _)| process.place.as_deref())),
    )
}

/// Runtime, container, pod, unit and path of a place: five fields.
#[must_use]
pub fn place(place: Option<&Place>) -> String {
    let Some(place) = place else {
        return ",,,,".to_owned();
    };
    let container = place.container.as_ref();
    let runtime = container.and_then(|container| container.runtime);
    [
        runtime.map_or("", Runtime::name),
        container.map_or("", |container| &container.id),
        place.pod.as_deref().unwrap_or_default(),
        place.unit.as_deref().unwrap_or_default(),
        &place.path,
    ]
    .map(quoted)
    .join(",")
}

/// What a spreadsheet runs as a formula where a text begins with it; control characters are in no text of ours.
const FORMULAS: [char; 4] = ['=', '+', '-', '@'];

/// A text, in quotes where it holds a comma, a quote or a line break, and with an apostrophe before it where a
/// spreadsheet would run it as a formula: programs choose their names. What reads as a number is no formula.
#[must_use]
pub fn quoted(field: &str) -> Cow<'_, str> {
    let is_formula = field.starts_with(FORMULAS) && field != "-" && field.parse::<f64>().is_err();
    let marked: Cow<'_, str> = if is_formula {
        format!("'{field}").into()
    } else {
        field.into()
    };
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", marked.replace('"', "\"\"")).into()
    } else {
        marked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_five_fields_known_or_not() {
        assert_eq!(place(None), ",,,,");
        assert_eq!(place(Some(&Place::of_path(b"/"))), ",,,,/");
        assert_eq!(
            place(Some(&Place::of_path(b"/lxc/a,b/c.service"))),
            "lxc,\"a,b\",,c.service,\"/lxc/a,b/c.service\""
        );
    }

    #[test]
    fn fields_with_commas_and_quotes_survive() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn a_text_is_no_formula_and_a_number_stays_one() {
        assert_eq!(quoted("=1+1"), "'=1+1");
        assert_eq!(
            quoted("=HYPERLINK(\"http://x\",1)"),
            "\"'=HYPERLINK(\"\"http://x\"\",1)\""
        );
        for formula in ["+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "-.mount"] {
            assert_eq!(quoted(formula), format!("'{formula}"));
        }
        for plain in ["", "-", "-5", "+5", "-0.25", "1=1", "a-b", "nginx"] {
            assert_eq!(quoted(plain), plain);
        }
    }
}
