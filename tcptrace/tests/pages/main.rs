//! Pages of `report --html` in a browser: nothing is complained of and nothing requested, figures are those of
//! `report --json`, and what the script adds works. Pictures are in target/pages.

mod traffic;

use serde_json::{Value, json};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};
use tcptrace_tests::{
    browser::{Browser, Size},
    by_name,
    live::{self, LiveTest, Parallelism, Requirement},
};
use tempfile::TempDir;
use traffic::{MILLISECOND, Traffic};

/// A desktop's and a telephone's window.
const SIZES: [(&str, Size); 2] = [("wide", (1_280, 900)), ("narrow", (400, 800))];

/// Transitions of the largest recording: some 15 s of the debug build. `TCPTRACE_PAGES_TRANSITIONS` sets another number.
const TRANSITIONS: u64 = 10_000_000;

/// Bytes of a page of one host, however long it was recorded.
const MOST_BYTES: usize = 2 << 20;

fn main() -> ExitCode {
    let browser = |name: &str, body: fn()| LiveTest::new(name, &[Requirement::Chromium], body);
    let tests = by_name! {
        browser =>
            figures_are_those_of_the_json,
            a_process_is_shown_alone_and_all_again,
            numbers_are_shown_under_the_pointer_and_by_keys,
            a_span_of_time_is_chosen,
            without_scripts_a_page_has_all_text_and_tables,
            a_page_is_printed_with_what_is_closed,
            an_empty_recording_has_a_page,
            names_with_markup_are_text,
            a_huge_recording_has_a_page_of_bounded_size;
    };
    live::run(tests, Parallelism::One, || Ok(()))
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder of ours"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn tcptrace(arguments: &[&str], files: &[&Path]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_tcptrace"))
        .args(arguments)
        .args(files)
        .output()
        .expect("the command starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    output.stdout
}

/// A page that is open in a browser, and the recording that it was made of.
struct Opened {
    browser: Browser,
    recording: PathBuf,
    bytes: usize,
    _folder: Folder,
}

impl Opened {
    fn new(traffic: &Traffic<'_>) -> Self {
        let folder = Folder::new();
        let recording = folder.path("it.arrows");
        traffic.write(&recording);
        Self::of(folder, recording)
    }

    fn of(folder: Folder, recording: PathBuf) -> Self {
        let page = folder.path("it.html");
        let output = page.to_str().expect("text");
        tcptrace(&["report", "--html", "-o", output], &[&recording]);
        let mut browser = Browser::start();
        browser.prefer(SIZES[0].1, "light");
        browser.open(&page);
        Self {
            browser,
            recording,
            bytes: fs::read(&page).expect("it was written").len(),
            _folder: folder,
        }
    }

    /// What must hold of every page, at last.
    fn end(mut self) {
        assert_eq!(self.browser.complaints, [""; 0]);
        let requested = &self.browser.requested;
        assert_eq!(requested.len(), 1, "{requested:?}");
        assert!(requested[0].starts_with("file://"), "{requested:?}");
        // The policy forbids what a page might add, too.
        let is_forbidden = self.browser.value(
            "new Promise((done) => {
                const image = new Image();
                image.onload = () => done(false);
                image.onerror = () => done(true);
                image.src = 'data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=';
            })",
        );
        assert_eq!(is_forbidden, json!(true));
    }

    /// A picture as it is shown now.
    fn take_picture(&mut self, name: &str) {
        self.browser
            .picture(&folder_of_pictures().join(name).with_extension("png"), 8_000);
    }

    /// Pictures in every size and colour scheme.
    fn take_pictures(&mut self, name: &str) {
        let folder = folder_of_pictures();
        for (size_name, size) in SIZES {
            for scheme in ["light", "dark"] {
                self.browser.prefer(size, scheme);
                let file = folder.join(format!("{name}-{size_name}-{scheme}.png"));
                self.browser.picture(&file, 8_000);
            }
        }
        self.browser.prefer(SIZES[0].1, "light");
    }

    fn is_visible(&mut self, selector: &str) -> bool {
        let script = format!("document.querySelector({selector:?}).checkVisibility()");
        self.browser.value(&script).as_bool().expect("a boolean")
    }

    fn text(&mut self, selector: &str) -> String {
        let script = format!("document.querySelector({selector:?}).textContent");
        self.browser
            .value(&script)
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

fn folder_of_pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("pages");
    fs::create_dir_all(&folder).expect("a folder of ours");
    folder
}

/// Three clients, of which the first leaks for a minute.
fn ordinary() -> Traffic<'static> {
    Traffic {
        connections: 3_000,
        step_ns: 25 * MILLISECOND,
        processes: &["leaky-client", "crawler", "probe"],
        host: "web-1",
        notes: &[],
    }
}

fn figures_are_those_of_the_json() {
    let mut page = Opened::new(&ordinary());
    let lines = String::from_utf8(tcptrace(&["report", "--json"], &[&page.recording])).expect("UTF-8");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let processes: Vec<&Value> = lines.iter().filter_map(|line| line.get("process")).collect();
    assert_eq!(processes.len(), 1, "one leaks");
    for process in processes {
        let row = format!(".processes tr[data-process=\"{}\"]", process["pid"]);
        assert_eq!(
            page.text(&format!("{row} th")),
            process["comm"].as_str().expect("a name")
        );
        for (state, count) in process["counts"].as_object().expect("counts") {
            let cell = page.text(&format!("{row} td[data-state=\"{state}\"]"));
            assert_eq!(cell, count.to_string(), "{state}");
        }
    }
    let summary = lines
        .iter()
        .find_map(|line| line.get("summary"))
        .expect("a summary");
    for (state, count) in summary["counts"].as_object().expect("counts") {
        let cell = page.text(&format!(".processes .total td[data-state=\"{state}\"]"));
        assert_eq!(cell, count.to_string(), "{state}");
    }
    for (state, dwells) in summary["dwells"].as_object().expect("dwells") {
        let row = format!("#h0-p0 .durations tr[data-measure=\"{state}\"]");
        let ended = page.text(&format!("{row} td[data-field=\"ended\"]"));
        assert_eq!(ended, dwells["count"].to_string(), "{state}");
    }
    let column = "(title) => [...document.querySelector('#h0-p0 .times .numbers thead').rows[0].cells].findIndex((cell) => \
                  cell.textContent === title)";
    let changes = page.browser.value(&format!(
        "(() => {{
            const at = ({column})('Transitions');
            const rows = [...document.querySelector('#h0-p0 .times .numbers tbody').rows];
            return rows.reduce((sum, row) => sum + Number(row.cells[at].textContent), 0);
        }})()"
    ));
    assert_eq!(changes, summary["changes"]);
    page.take_pictures("ordinary");
    page.end();
}

fn a_process_is_shown_alone_and_all_again() {
    let mut page = Opened::new(&ordinary());
    assert!(page.is_visible("#h0-p0 .diagram"));
    assert!(!page.is_visible("#h0-p1"));
    page.browser
        .value("document.querySelector('.processes [data-process] a.narrow').click()");
    page.browser.value("new Promise(requestAnimationFrame)");
    assert!(!page.is_visible("#h0-p0 .diagram"));
    assert!(page.is_visible("details.part[open] .diagram"));
    assert_eq!(page.text("details.part[open] h3"), "leaky-client (4001)");
    let chosen = page
        .browser
        .value("document.querySelector('.toolbar select').value");
    assert_eq!(chosen, json!("h0-p1"));
    let is_current = page
        .browser
        .value("document.querySelectorAll('[aria-current]').length");
    assert_eq!(is_current, json!(1));
    let others = "document.querySelectorAll('.finding:not([data-part=h0-p1])').length";
    let shown = "[...document.querySelectorAll('.finding')].filter((it) => it.checkVisibility()).length";
    let [others, shown, all] = [others, shown, "document.querySelectorAll('.finding').length"]
        .map(|script| page.browser.value(script).as_u64().expect("a count"));
    assert!(shown > 0, "it leaks");
    assert_eq!(shown, all - others, "findings about others are hidden");
    assert_eq!(page.is_visible(".hidden-findings"), others > 0);
    page.take_pictures("narrowed");
    page.browser.value(
        "(() => {
            const select = document.querySelector('.toolbar select');
            select.value = 'h0-p0';
            select.dispatchEvent(new Event('change'));
            return new Promise(requestAnimationFrame);
        })()",
    );
    assert!(page.is_visible("#h0-p0 .diagram"));
    assert!(!page.is_visible("details.part"));
    page.end();
}

fn numbers_are_shown_under_the_pointer_and_by_keys() {
    let mut page = Opened::new(&ordinary());
    assert!(!page.is_visible("#h0-p0 .tip"));
    page.browser.point_at("#h0-p0 .plot.time svg:not(.key)");
    assert!(page.is_visible("#h0-p0 .tip"));
    let tip = page.text("#h0-p0 .tip");
    assert!(tip.contains("CLOSE_WAIT") && tip.contains("Transitions"), "{tip}");
    page.browser
        .value("document.querySelector('#h0-p0 .plot.time .canvas svg').focus()");
    page.browser.press("ArrowRight");
    let next = page.text("#h0-p0 .tip");
    assert_ne!(tip, next);
    let announced = page.text("#numbers");
    assert!(announced.contains("CLOSE_WAIT"), "{announced}");
    page.browser.press("ArrowLeft");
    assert_eq!(page.text("#h0-p0 .tip"), tip);
    page.browser.press("Escape");
    assert!(!page.is_visible("#h0-p0 .tip"));
    page.browser.point_at("#h0-p0 .durations .plot svg:not(.key)");
    assert!(page.text("#h0-p0 .durations .tip").contains("After"));
    page.end();
}

fn a_span_of_time_is_chosen() {
    let mut page = Opened::new(&ordinary());
    let labels = "[...document.querySelectorAll('#h0-p0 .plot.time .x span')].slice(0, 5).map((label) => label.textContent)";
    let rows = "[...document.querySelectorAll('#h0-p0 .times .numbers tbody')][0].querySelectorAll('tr:not([hidden])').length";
    let (all_labels, all_rows) = (page.browser.value(labels), page.browser.value(rows));
    page.browser.value(
        "(() => {
            const from = document.querySelector('.toolbar input');
            from.value = Math.floor(from.max / 2);
            from.dispatchEvent(new Event('input'));
        })()",
    );
    let later = page.browser.value(labels);
    assert_eq!(
        later[0], all_labels[2],
        "from the middle on: {later} of {all_labels}"
    );
    assert_eq!(later[4], all_labels[4]);
    let half = page.browser.value(rows).as_u64().expect("a count") * 2;
    assert!(half.abs_diff(all_rows.as_u64().expect("a count")) <= 1);
    let crossed = page.browser.value(
        "(() => {
            const [from, to] = document.querySelectorAll('.toolbar input');
            from.value = from.max;
            from.dispatchEvent(new Event('input'));
            return to.valueAsNumber - from.valueAsNumber;
        })()",
    );
    assert_eq!(crossed, json!(1), "the beginning stays before the end");
    page.browser
        .value("document.querySelector('.toolbar button').click()");
    // After the page's own, which the click has set.
    page.browser.value("new Promise((done) => setTimeout(done))");
    assert_eq!(page.browser.value(labels), all_labels);
    assert_eq!(page.browser.value(rows), all_rows);
    page.end();
}

fn without_scripts_a_page_has_all_text_and_tables() {
    let mut page = Opened::new(&ordinary());
    let tables = "document.querySelectorAll('main table').length";
    let with_scripts = page.browser.value(tables);
    let file = page.browser.value("location.pathname");
    page.browser.disable_scripts();
    page.browser.open(Path::new(file.as_str().expect("a path")));
    assert!(!page.is_visible(".toolbar"), "it needs scripts");
    assert!(!page.is_visible(".hidden-findings"));
    assert_eq!(page.browser.value(tables), with_scripts);
    for selector in [
        ".finding",
        ".processes",
        "#h0-p0 .diagram",
        "#h0-p0 table.durations",
        "details.part summary",
        "details.glossary summary",
    ] {
        assert!(page.is_visible(selector), "{selector}");
    }
    let parts = page
        .browser
        .value("document.querySelectorAll('details.part').length");
    assert_eq!(parts, json!(3), "a process each");
    assert_eq!(page.browser.complaints, [""; 0]);
}

fn a_page_is_printed_with_what_is_closed() {
    let mut page = Opened::new(&ordinary());
    assert!(!page.is_visible(".glossary dl"));
    page.browser.prefer_print();
    assert!(page.is_visible(".glossary dl"));
    assert!(!page.is_visible("details.numbers"));
    let wider = "[...document.querySelectorAll('main :not(svg *)')].filter((it) => it.checkVisibility() && \
                 it.getBoundingClientRect().right > innerWidth).map((it) => it.outerHTML.slice(0, 80))";
    // The width of a sheet of A4 without its margins, in pixels of CSS.
    page.browser.prefer((718, 1_000), "light");
    page.browser.prefer_print();
    assert_eq!(page.browser.value(wider), json!([]));
    page.take_picture("printed");
    page.end();
}

fn an_empty_recording_has_a_page() {
    let mut page = Opened::new(&Traffic {
        connections: 0,
        ..ordinary()
    });
    let text = page.text("main");
    assert!(text.contains("No findings among 0 sockets"), "{text}");
    page.take_pictures("empty");
    page.end();
}

fn names_with_markup_are_text() {
    const NAMES: [&str; 3] = ["<img src=x>", "</script><b>", "'\"><svg/onload="];
    const NOTE: &str = "<script>document.title = 'run'</script> & \u{2028} &amp; ]]> --> </style>";
    const HOST: &str = "<b onclick='alert(1)'>\"host\"</b>";
    let mut page = Opened::new(&Traffic {
        processes: &NAMES,
        host: HOST,
        notes: &[NOTE],
        ..ordinary()
    });
    let text = page.text("body");
    for name in NAMES.iter().chain([&HOST]) {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert!(text.contains("document.title = 'run'"), "{text}");
    let count = |selector: &str| format!("document.querySelectorAll({selector:?}).length");
    for (selector, expected) in [("script", 1), ("style", 1), ("img, b[onclick], svg[onload]", 0)] {
        assert_eq!(
            page.browser.value(&count(selector)),
            json!(expected),
            "{selector}"
        );
    }
    assert_eq!(
        page.browser.value("document.title"),
        json!(format!("TCP states on {HOST}"))
    );
    page.take_pictures("hostile");
    page.end();
}

fn a_huge_recording_has_a_page_of_bounded_size() {
    let transitions =
        env::var("TCPTRACE_PAGES_TRANSITIONS").map_or(TRANSITIONS, |text| text.parse().expect("a number"));
    let names: Vec<String> = (0..400).map(|number| format!("client-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let folder = Folder::new();
    let recording = folder.path("it.arrows");
    let begun = Instant::now();
    let written = Traffic {
        connections: transitions / 5,
        step_ns: MILLISECOND,
        processes: &names,
        host: "busy-1",
        notes: &[],
    }
    .write(&recording);
    let (begun, took) = (Instant::now(), begun.elapsed());
    let mut page = Opened::of(folder, recording);
    println!(
        "{written} transitions written in {took:.1?}, page of {} bytes made and opened in {:.1?}",
        page.bytes,
        begun.elapsed()
    );
    assert!(page.bytes < MOST_BYTES, "{} bytes", page.bytes);
    let text = page.text(".facts");
    assert!(text.contains(&format!("{written} transitions")), "{text}");
    page.take_pictures("huge");
    page.end();
}
