//! What a process may still do after it was confined. Each test confines a thread of its own; only one of them starts
//! the thread that looks into other processes, of which a process has one.

use std::{
    fs::{self, File},
    io,
    net::{TcpListener, TcpStream},
    panic,
    path::Path,
    thread,
};
use tcptrace::privileges::{self, Held, Landlock, Needs, Work, scout};

/// Runs a test on a thread, which is all that it confines.
fn apart(test: impl FnOnce() + Send + 'static) {
    if let Err(panic) = thread::spawn(test).join() {
        panic::resume_unwind(panic);
    }
}

fn is_denied<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Whether this kernel confines files: if not, that is reported, and everything else still holds.
fn has_landlock(held: &Held) -> bool {
    match &held.landlock {
        Landlock::Enforced { abi } => *abi >= 1,
        Landlock::NotInKernel | Landlock::NotEnabled => false,
        Landlock::Refused { reason } => panic!("{reason}"),
    }
}

fn effective() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").expect("a thread has a status");
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.expect("it has capabilities").trim();
    u64::from_str_radix(set, 16).expect("a set is hexadecimal")
}

#[test]
fn a_replay_reads_its_inputs_and_writes_beside_its_output_alone() {
    let [own, foreign] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [input, output, other, victim] = [
        own.path().join("input"),
        own.path().join("output"),
        foreign.path().join("other"),
        foreign.path().join("victim"),
    ];
    for file in [&input, &other, &victim] {
        fs::write(file, "text").unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (beside, file) = (own.path().join("output.part"), victim.clone());
    let listed = foreign.path().to_owned();
    apart(move || {
        let held = privileges::confine(&Needs {
            work: Work::Replay,
            inputs: vec![input.clone()],
            outputs: vec![output.clone()],
            listed: vec![listed.clone()],
            links: false,
        });
        assert_eq!(held.capabilities, [] as [&str; 0]);
        assert_eq!((held.scout.as_ref(), held.no_new_privileges), (None, true));
        assert_eq!(held.failures, [] as [&str; 0]);
        assert_eq!(fs::read_to_string(&input).unwrap(), "text");
        fs::write(&beside, "more").unwrap();
        fs::rename(&beside, &output).unwrap();
        if has_landlock(&held) {
            assert!(is_denied(fs::read(&other)));
            assert!(fs::read_dir(&listed).is_ok());
            assert!(is_denied(fs::write(&victim, "")));
            assert!(is_denied(fs::remove_file(&victim)));
            assert!(is_denied(File::create(victim.with_extension("new"))));
            assert!(is_denied(fs::rename(&output, victim.with_extension("moved"))));
            assert!(is_denied(fs::read("/proc/self/status")));
        }
        if matches!(held.landlock, Landlock::Enforced { abi } if abi >= 4) {
            assert!(is_denied(TcpStream::connect(address)));
            assert!(is_denied(TcpListener::bind("127.0.0.1:0")));
        }
    });
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
    assert_eq!(fs::read_to_string(own.path().join("output")).unwrap(), "more");
    assert_eq!(fs::read_dir(foreign.path()).unwrap().count(), 2);
}

#[test]
fn a_device_is_written_and_its_folder_is_not() {
    apart(|| {
        let held = privileges::confine(&Needs {
            work: Work::Replay,
            inputs: Vec::new(),
            outputs: vec!["/dev/null".into()],
            listed: Vec::new(),
            links: false,
        });
        fs::write("/dev/null", "text").unwrap();
        if has_landlock(&held) {
            assert!(is_denied(fs::write("/dev/zero", "text")));
            assert!(is_denied(File::create("/dev/tcptrace-test")));
        }
    });
}

#[test]
fn a_thread_that_renounces_still_writes_to_what_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut file = File::create(&path).unwrap();
    let again = path.clone();
    apart(move || {
        privileges::renounce();
        io::Write::write_all(&mut file, b"text").unwrap();
        let opened = File::open(&again);
        assert!(opened.is_ok() || is_denied(opened));
    });
    assert_eq!(fs::read_to_string(&path).unwrap(), "text");
}

#[test]
fn one_thread_looks_into_other_processes_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let of_child = format!("/proc/{}/ns/net", child.id());
    let name = || thread::current().name().map(str::to_owned);
    apart(move || {
        assert_ne!(scout::ask(name).as_deref(), Some("scout"));
        let before = effective();
        let held = privileges::confine(&Needs {
            work: Work::Live { reads_code: false },
            inputs: Vec::new(),
            outputs: Vec::new(),
            listed: Vec::new(),
            links: false,
        });
        assert_eq!(held.failures, [] as [&str; 0]);
        assert_eq!(effective() & !before, 0);
        assert_eq!(held.capabilities.is_empty(), effective() == 0);
        assert_eq!(scout::ask(name).as_deref(), Some("scout"));
        assert_eq!(scout::ask(move || scout::ask(name)).as_deref(), Some("scout"));
        let panicked = panic::catch_unwind(|| scout::ask(|| panic!("on purpose")));
        assert!(panicked.is_err());
        if has_landlock(&held) {
            assert!(is_denied(fs::metadata(&of_child)));
            assert!(is_denied(File::create(&path)));
        }
        assert!(scout::ask(move || fs::metadata(Path::new(&of_child))).is_ok());
        assert!(is_denied(scout::ask(move || File::create(&path))));
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
