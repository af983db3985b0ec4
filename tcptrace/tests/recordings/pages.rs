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

#[test]
fn what_was_lost_is_marked_and_named() {
    let folder = Folder::new();
    let file = folder.file("lossy.arrows");
    let at = |second: u64| Nanos(BEGAN + second * SECOND);
    let lost = Entry::Lost {
        time: at(0),
        total: 7,
    };
    let gap = Entry::Gap {
        time: at(0),
        entries: 3,
    };
    record_by(Path::new(&file), 1, &origin(1), 20, &[lost, gap]);
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

/// A recording that has a secret wherever there is text or an address.
fn secretive(folder: &Folder) -> String {
    const ADDRESSES: [(&str, &str); 2] = [("10.66.66.1", "10.66.66.2"), ("fd66:66::1", "fd66:66::2")];
    let file = folder.file("secret.arrows");
    let origin = Origin {
        host: "secret-host".to_owned(),
        command: "tcptrace record -o /srv/secret-command".to_owned(),
        limitations: vec!["secret-limitation".to_owned()],
        run: "secret-run".to_owned(),
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
        push(Entry::Location {
            task,
            path: "/system.slice/secret-unit.service".into(),
        });
    }
    push(Entry::Note {
        time: Nanos(BEGAN),
        text: "secret-note".into(),
    });
    push(Entry::Settled(Nanos(BEGAN + 90 * SECOND)));
    push(Entry::Summary("{\"secret\":\"secret-summary\"}".into()));
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
fn a_page_needs_no_option_that_is_for_this_machine() {
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
    refused(&["report", "--html", "--duration", "5", "it.arrows"]);
    let error = refused(&["report", "--html", "--at", "-5m"]);
    assert!(error.contains("only a recording has a span"), "{error}");
}
