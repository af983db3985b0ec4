//! Pages of `report --html` as text: tests with a browser are in tests/pages.

use crate::*;
use std::env;

/// The page of these files.
fn page(arguments: &[&str], files: &[String]) -> String {
    tcptrace(&[&["report", "--html"], arguments].concat(), files)
}

/// The page without what only the source has to be read for, a tag in each line.
fn skeleton(page: &str) -> String {
    let cut = |text: &str, from: &str, to: &str| {
        let (before, rest) = text.split_once(from).expect("it is there");
        let (_, after) = rest.split_once(to).expect("it ends");
        format!("{before}{from}…{to}{after}")
    };
    let page = cut(page, "<style>", "</style>");
    let page = cut(&page, "<script>", "</script>");
    let page = cut(&page, "sha256-", "\'");
    let page = cut(&page, "script-src \'sha256-", "\'");
    page.replace(env!("CARGO_PKG_VERSION"), "VERSION")
        .replace("><", ">\n<")
}

#[test]
fn the_page_of_a_recording() {
    let folder = Folder::new();
    let [file, _] = folder.two_hosts();
    let page = page(&["--to", "+2s"], &[file]);
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "../snapshots" }, {
        insta::assert_snapshot!("page", skeleton(&page));
    });
}

#[test]
fn the_same_recordings_make_the_same_bytes() {
    let folder = Folder::new();
    let files = folder.two_hosts();
    let turned = [files[1].clone(), files[0].clone()];
    for arguments in [&[][..], &["--redact"]] {
        let first = page(arguments, &files);
        for _ in 0..5 {
            assert!(first == page(arguments, &files), "{arguments:?}");
        }
        assert!(
            first == page(arguments, &turned),
            "{arguments:?}: in any order the same"
        );
    }
}

#[test]
fn a_page_of_several_hosts_has_a_section_for_each() {
    let folder = Folder::new();
    let files = folder.two_hosts();
    let text = page(&[], &files);
    for (at, host) in ["web1", "web2"].iter().enumerate() {
        assert!(text.contains(&format!("<a href=\"#h{at}\">{host}</a>")), "{host}");
        assert!(
            text.contains(&format!("<h2 id=\"h{at}-name\">{host}</h2>")),
            "{host}"
        );
    }
    // A directory is all that is in it.
    let directory = Path::new(&files[0])
        .parent()
        .expect("a folder")
        .display()
        .to_string();
    assert!(text == page(&[], &[directory]));
}

/// A recording at whose beginning 7 records and a gap of 3 entries are missing.
pub(crate) fn lossy(folder: &Folder) -> String {
    let file = folder.file("lossy.arrows");
    let time = Nanos(BEGAN);
    let lost = Entry::Lost { time, total: 7 };
    let gap = Entry::Gap { time, entries: 3 };
    record_by(Path::new(&file), 1, &origin(1), 20, &[lost, gap]);
    file
}

#[test]
fn what_was_lost_is_marked_and_named() {
    let folder = Folder::new();
    let file = lossy(&folder);
    let page = page(&[], &[file]);
    for text in [
        "<rect class=\"lost\" x=\"0\"",
        "8 records lost",
        "7 records lost in the kernel",
        "entries known to be missing: 3",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("Nothing was lost"));
}

#[test]
fn what_was_lost_before_a_span_is_no_part_of_it() {
    let folder = Folder::new();
    let file = lossy(&folder);
    let files = [file];
    let page = page(&["--from", "+5s"], &files);
    assert!(page.contains("Nothing was lost"), "{page}");
    assert!(!page.contains("class=\"lost\""), "{page}");
    let figures = |arguments: &[&str]| {
        let rows = rows(&tcptrace(&[&["report", "--json"], arguments].concat(), &files));
        let summary = rows.iter().find_map(|row| row.get("summary")).expect("a summary");
        ["lost", "gaps", "missing_entries"].map(|field| summary[field].as_u64())
    };
    let of_histograms = |arguments: &[&str]| {
        let rows = rows(&tcptrace(&[&["hist", "--json"], arguments].concat(), &files));
        let summary = &rows.last().expect("a summary")["summary"]["runs"][0];
        ["lost", "gaps", "missing_entries"].map(|field| summary[field].as_u64())
    };
    for figures in [&figures as &dyn Fn(&[&str]) -> _, &of_histograms] {
        assert_eq!(figures(&[]), [Some(7), Some(1), Some(3)]);
        assert_eq!(figures(&["--from", "+5s"]), [Some(0); 3]);
    }
}

#[test]
fn times_have_a_date_where_a_run_goes_over_midnight() {
    const MIDNIGHT: u64 = 1_795_305_600;
    let folder = Folder::new();
    let made = |name: &str, begin: u64| {
        let file = folder.file(name);
        let origin = Origin {
            clock: ClockPair {
                mono_ns: BEGAN,
                wall_ns: begin * SECOND,
            },
            ..origin(1)
        };
        record_by(Path::new(&file), 1, &origin, 60, &[]);
        page(&[], &[file])
    };
    let over = made("over.arrows", MIDNIGHT - 30);
    assert!(over.contains(">11-21 23:59:30<"), "{over}");
    assert!(over.contains(">11-22 00:00:00<"), "{over}");
    let after = made("after.arrows", MIDNIGHT + 30);
    assert!(
        after.contains(">00:00:30<") && !after.contains(">11-22"),
        "{after}"
    );
}

#[test]
fn runs_of_one_host_are_distinguished_by_their_spans() {
    let folder = Folder::new();
    let files: Vec<String> = [1, 2]
        .map(|number| {
            let file = folder.file(&format!("{number}.arrows"));
            let origin = Origin {
                host: "web".to_owned(),
                ..origin(number)
            };
            record_by(Path::new(&file), number, &origin, 60, &[]);
            file
        })
        .to_vec();
    let page = page(&[], &files);
    for text in [
        "<title>TCP states on web</title>",
        "<h2 id=\"h0-name\">web, 2026-11-21 23:26:40 to 2026-11-21 23:27:40</h2>",
        "<a href=\"#h1\">web, 2026-11-22 00:26:40 to 2026-11-22 00:27:40</a>",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[test]
fn a_filter_is_shown_with_what_it_selects() {
    let folder = Folder::new();
    let [file, _] = folder.two_hosts();
    let pid = PIDS[0].to_string();
    let page = page(&["-p", &pid], &[file]);
    // Both processes do the same.
    let (selected, all) = (CONNECTIONS * 5 - LEAKED * 2, (CONNECTIONS * 5 - LEAKED * 2) * 2);
    let text = format!("{selected} of {all} transitions selected");
    assert!(page.contains(&text), "{text}: {page}");
}

/// Two clients of the same addresses in network namespaces of their own, and more endpoints than are listed.
#[test]
fn endpoints_have_their_namespaces_and_those_that_are_not_listed_are_added_up() {
    const DESTINATIONS: u64 = 30;
    let folder = Folder::new();
    let file = folder.file("namespaces.arrows");
    let mut writer = Writer::create(Path::new(&file), &origin(1)).expect("a new file");
    let mut push = |entry: Entry| writer.push(&entry).expect("there is room");
    for number in 0..DESTINATIONS {
        for (at, old, new) in [(0, Close, SynSent), (1, SynSent, Established)] {
            let event = event(number + 1, BEGAN + number * 1_000 + at, old, new, task(PIDS[0]));
            let remote = 443 + u16::try_from(number / 2).expect("few");
            let address = |text: &str| text.parse().expect("an address");
            let (local, remote_host) = (address("10.0.0.1"), address("10.0.0.2"));
            push(Entry::Event(Event {
                endpoints: Endpoints::new((local, event.endpoints.local_port), (remote_host, remote)),
                netns: 4_026_531_840 + u32::try_from(number % 2).expect("few"),
                ..event
            }));
        }
    }
    push(Entry::Stopped(Nanos(BEGAN + 60 * SECOND)));
    writer.finish().expect("there is room");
    let page = page(&[], &[file]);
    for section in ["handshakes", "ports"] {
        let (_, text) = page
            .split_once(&format!("<section class=\"{section}\">"))
            .expect("it is there");
        let (text, _) = text.split_once("</section>").expect("it ends");
        for netns in [4_026_531_840_u32, 4_026_531_841] {
            assert!(text.contains(&format!("10.0.0.2:443 in {netns}")), "{text}");
        }
    }
    let (_, others) = page.split_once("other endpoints").expect("a row");
    let cells: Vec<&str> = others.split("<td>").skip(2).take(1).collect();
    assert!(
        cells[0].starts_with("10<"),
        "of 30 endpoints 20 are listed: {cells:?}"
    );
}

/// More processes and endpoints than are kept apart: the page says so, and marks what may be more.
#[test]
fn what_is_added_up_for_want_of_room_is_named() {
    const MANY: u64 = 600;
    let folder = Folder::new();
    let file = folder.file("many.arrows");
    let mut writer = Writer::create(Path::new(&file), &origin(1)).expect("a new file");
    for number in 0..MANY {
        // Of the same process in the first half, of one each in the second.
        let process = u32::try_from(number.saturating_sub(MANY / 2)).expect("few");
        for (at, old, new) in [(0, Close, SynSent), (1, SynSent, Established)] {
            let time = BEGAN + number * SECOND / 20 + at;
            let event = event(number + 1, time, old, new, task(PIDS[0] + process));
            let address = |text: &str| text.parse().expect("an address");
            let remote = (address("10.0.0.2"), 443 + u16::try_from(number).expect("few"));
            let entry = Entry::Event(Event {
                endpoints: Endpoints::new((address("10.0.0.1"), event.endpoints.local_port), remote),
                ..event
            });
            writer.push(&entry).expect("there is room");
        }
    }
    let stopped = Entry::Stopped(Nanos(BEGAN + 60 * SECOND));
    writer.push(&stopped).expect("there is room");
    writer.finish().expect("there is room");
    let page = page(&[], &[file]);
    assert!(page.contains("there were more than 256 processes"));
    assert!(page.contains("≥ marks a lower bound"));
    assert!(page.contains("<td>≥1</td>"));
}

/// A recording that has a secret wherever a page has text or an address of it.
fn secretive(folder: &Folder) -> String {
    const ADDRESSES: [(&str, &str); 2] = [("10.66.66.1", "10.66.66.2"), ("fd66:66::1", "fd66:66::2")];
    let file = folder.file("secret.arrows");
    let origin = Origin {
        host: "secret-host".to_owned(),
        kernel: "6.8.0-secret-vendor".to_owned(),
        limitations: vec!["secret-limitation".to_owned()],
        ..origin(1)
    };
    let mut writer = Writer::create(Path::new(&file), &origin).expect("a new file");
    let mut push = |entry: Entry| writer.push(&entry).expect("there is room");
    for (number, (local, remote)) in ADDRESSES.into_iter().enumerate() {
        let task = Task {
            comm: *b"secret-comm\0\0\0\0\0",
            ..task(PIDS[number])
        };
        for connection in 0..3 {
            for made in life(1, 1, connection) {
                let address = |text: &str| text.parse().expect("an address");
                let id = number as u64 * 10 + connection + 1;
                let event = event(id, made.time.0, Close, SynSent, task);
                let endpoints = Endpoints::new(
                    (address(local), event.endpoints.local_port),
                    (address(remote), 443),
                );
                push(Entry::Event(Event {
                    endpoints,
                    data: made.data,
                    ..event
                }));
            }
        }
    }
    push(Entry::Note {
        time: Nanos(BEGAN),
        text: "secret-note".into(),
    });
    push(Entry::Settled(Nanos(BEGAN + 90 * SECOND)));
    writer.flush().expect("there is room");
    // The end is damaged, so that a remark names the file.
    writer
        .push(&Entry::Settled(Nanos(BEGAN + 91 * SECOND)))
        .expect("there is room");
    writer.finish().expect("there is room");
    let mut bytes = fs::read(&file).expect("it was written");
    bytes.truncate(bytes.len() - 20);
    fs::write(&file, bytes).expect("there is room");
    file
}

#[test]
fn a_redacted_page_has_no_name_and_no_address() {
    let folder = Folder::new();
    let file = secretive(&folder);
    let open = page(&[], std::slice::from_ref(&file));
    for secret in [
        "secret-host",
        "secret-comm",
        "secret-limitation",
        "secret-note",
        "secret-vendor",
        "secret.arrows",
        "10.66.66.2",
        "fd66:66::2",
    ] {
        assert!(
            open.contains(secret),
            "{secret} is in the page that is not redacted"
        );
    }
    let redacted = page(&["--redact"], &[file]);
    for secret in ["secret", "66.66", "66:66"] {
        let at = redacted.find(secret);
        let around = at.map(|at| &redacted[at.saturating_sub(100)..redacted.len().min(at + 100)]);
        assert_eq!(around, None, "{secret}");
    }
    for pseudonym in ["host-1", "process-1 (4001)", "192.0.2.1", "2001:db8::1"] {
        assert!(redacted.contains(pseudonym), "{pseudonym}");
    }
    // One name is one pseudonym.
    assert!(redacted.contains("process-1 (4002)") && !redacted.contains("process-2"));
}

#[test]
fn options_that_a_page_cannot_obey_are_refused() {
    let refused = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tcptrace"))
            .args(arguments)
            .output()
            .expect("the command starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        text(&output.stderr)
    };
    refused(&["report"]);
    refused(&["report", "-o", "page.html", "it.arrows"]);
    refused(&["report", "--redact", "it.arrows"]);
    refused(&["report", "--html", "--json", "it.arrows"]);
    refused(&["report", "--html", "--services", "it.arrows"]);
    refused(&["report", "--html", "--duration", "5", "it.arrows"]);
    let error = refused(&["report", "--html", "--at", "-5m"]);
    assert!(error.contains("time ranges apply to recordings only"), "{error}");
}
