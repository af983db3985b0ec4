//! Every way in which a file could be harmed by being an output's name, and what becomes of the name.

use super::*;
use nix::unistd::{geteuid, mkfifo};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    thread,
};
use tempfile::TempDir;

const RECORDING: &[u8] = b"\xff\xff\xff\xff\x78\x03\x00\x00schema";

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn none() -> Inputs {
    Inputs::default()
}

fn names_in(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Asserts that writing is refused so, and that what is there is untouched.
fn assert_refused(path: &Path, inputs: &Inputs, is_it: impl Fn(&Cause) -> bool) {
    let before = fs::read(path).ok();
    let error = write(path, "overwritten", inputs).unwrap_err();
    assert!(is_it(&error.cause), "{error}");
    assert_eq!(error.left, Left::Nothing);
    let checked = check(path, inputs).unwrap_err();
    assert!(is_it(&checked.cause), "{checked}");
    assert_eq!(fs::read(path).ok(), before);
}

#[test]
fn an_older_file_stays_until_the_new_one_is_whole() {
    let folder = folder();
    let path = folder.path().join("out.csv");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut file = OutFile::open(&path, &none()).unwrap();
    file.write_all(b"half").unwrap();
    drop(file);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names_in(&folder), ["out.csv"]);
    let mut file = OutFile::open(&path, &none()).unwrap();
    file.write_all(b"whole").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    file.publish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names_in(&folder), ["out.csv"]);
}

#[test]
fn a_stream_has_its_name_from_its_beginning() {
    let folder = folder();
    let path = folder.path().join("events");
    let mut file = OutFile::open(&path, &none()).unwrap();
    file.publish().unwrap();
    file.write_all(b"line\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "line\n");
    assert_eq!(file.failed(Errno::ENOSPC).left, Left::Beginning);
}

#[test]
fn recordings_are_never_overwritten() {
    let folder = folder();
    let path = folder.path().join("g.arrows");
    for bytes in [RECORDING, b"ARROW1\0\0"] {
        fs::write(&path, bytes).unwrap();
        assert_refused(&path, &none(), |cause| matches!(cause, Cause::Recording));
    }
    for text in ["", "host,time\n", "#[StartTime"] {
        fs::write(&path, text).unwrap();
        write(&path, "new", &none()).unwrap();
    }
    let mut file = OutFile::open(&path, &none()).unwrap();
    fs::write(&path, RECORDING).unwrap();
    let error = file.publish().unwrap_err();
    assert!(
        matches!(error.cause, Cause::Recording),
        "it came meanwhile: {error}"
    );
    assert_eq!(fs::read(&path).unwrap(), RECORDING);
}

#[test]
fn a_new_recording_takes_the_name_of_anything_but_a_recording() {
    let folder = folder();
    let path = folder.path().join("g.arrows");
    remove_replaceable(&path).unwrap();
    fs::write(&path, "notes").unwrap();
    assert!(check_new(&path).is_ok() && path.exists());
    remove_replaceable(&path).unwrap();
    assert!(!path.exists());
    fs::write(&path, RECORDING).unwrap();
    assert!(matches!(remove_replaceable(&path), Err(Cause::Recording)));
    fs::remove_file(&path).unwrap();
    mkfifo(&path, Mode::S_IRUSR).unwrap();
    assert!(remove_replaceable(&path).is_err());
    assert_eq!(names_in(&folder), ["g.arrows"]);
}

#[test]
fn an_input_is_no_output_under_any_of_its_names() {
    let folder = folder();
    let input = folder.path().join("web.hlog");
    let other = folder.path().join("other.hlog");
    fs::write(&input, "#[StartTime").unwrap();
    fs::hard_link(&input, &other).unwrap();
    let missing = folder.path().join("missing");
    let inputs = Inputs::of(&[missing, input.clone()]);
    for path in [&input, &other, &folder.path().join(".").join("web.hlog")] {
        assert_refused(path, &inputs, |cause| matches!(cause, Cause::Input));
    }
    write(&folder.path().join("third.hlog"), "new", &inputs).unwrap();
}

#[test]
fn links_are_not_followed() {
    let folder = folder();
    let target = folder.path().join("target");
    fs::write(&target, "precious").unwrap();
    for (name, leads_to) in [("link", "target"), ("dangling", "nowhere")] {
        let link = folder.path().join(name);
        symlink(leads_to, &link).unwrap();
        assert_refused(&link, &none(), |cause| matches!(cause, Cause::Link));
        assert!(matches!(NewFile::create(&link), Err(Cause::Io(_))));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert!(!folder.path().join("nowhere").exists());
}

#[test]
fn another_name_of_a_file_keeps_what_it_has() {
    let folder = folder();
    let [path, other] = ["path", "other"].map(|name| folder.path().join(name));
    fs::write(&path, "precious").unwrap();
    fs::hard_link(&path, &other).unwrap();
    write(&path, "new", &none()).unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
}

#[test]
fn another_user_s_file_is_refused_only_where_others_can_write() {
    if !geteuid().is_root() {
        // It takes root to have another user's file; tests/tests/outputs.rs requires it.
        return;
    }
    let folder = folder();
    let path = folder.path().join("out.csv");
    fs::write(&path, "old").unwrap();
    chown(&path, Some(65_534), None).unwrap();
    let mode = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    for shared in [0o1777, 0o777, 0o775] {
        mode(shared);
        assert_refused(&path, &none(), |cause| {
            matches!(cause, Cause::ForeignFile(65_534))
        });
    }
    mode(0o755);
    write(&path, "new", &none()).unwrap();
}

#[test]
fn a_file_that_may_not_be_written_is_not_replaced() {
    let folder = folder();
    let path = folder.path().join("kept.csv");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let written = write(&path, "new", &none());
    assert_eq!(
        written.is_ok(),
        geteuid().is_root(),
        "root may write to every file"
    );
}

#[test]
fn pipes_and_devices_are_written_to() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let unread = write(&pipe, "for nobody", &none()).unwrap_err();
    let Cause::Io(unread) = unread.cause else {
        panic!("the system refuses")
    };
    assert_eq!(
        unread.raw_os_error(),
        Some(libc::ENXIO),
        "nothing waits for a reader"
    );
    let reader = thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).unwrap()
    });
    let mut stream = OutFile::open(&pipe, &none()).unwrap();
    stream.write_all(b"through").unwrap();
    drop(stream);
    assert_eq!(reader.join().unwrap(), "through");
    write(Path::new("/dev/null"), "gone", &none()).unwrap();
    let error = write(Path::new("/dev/full"), "gone", &none()).unwrap_err();
    assert_eq!(
        (error.cause.kind(), error.left),
        (Some(io::ErrorKind::StorageFull), Left::Beginning)
    );
    assert_refused(folder.path(), &none(), |cause| {
        cause.kind() == Some(io::ErrorKind::IsADirectory)
    });
}

#[test]
fn a_descriptor_must_have_been_inherited() {
    let folder = folder();
    let own = File::create(folder.path().join("own")).unwrap();
    for path in [
        format!("/dev/fd/{}", own.as_raw_fd()),
        "/proc/self/fd/987654".to_owned(),
    ] {
        let error = OutFile::open(Path::new(&path), &none()).unwrap_err();
        assert!(matches!(error.cause, Cause::NoDescriptor(_)), "{error}");
    }
    assert!(OutFile::open(Path::new("/dev/stderr"), &none()).is_ok());
}

#[test]
fn new_files_never_share_a_name() {
    let folder = folder();
    let path = folder.path().join("tcptrace-host.hlog");
    let written: Vec<PathBuf> = (0..26)
        .map(|number| write_new(&path, &number.to_string()).unwrap())
        .collect();
    assert_eq!(names_in(&folder).len(), 26);
    assert_eq!(written[0], path);
    assert_eq!(written[25], folder.path().join("tcptrace-host-26.hlog"));
    for (number, path) in written.iter().enumerate() {
        assert_eq!(fs::read_to_string(path).unwrap(), number.to_string());
    }
}

/// As where the file system has no nameless files.
fn destination_beside(path: &Path) -> (Destination, File) {
    let (folder, name) = Folder::containing(path).unwrap();
    let (beside, file) = destination::with_name_beside(|name| create(&folder, name)).unwrap();
    let destination = Destination {
        folder,
        name,
        inputs: none(),
        state: State::Beside(beside),
    };
    (destination, file)
}

#[test]
fn a_name_beside_serves_as_well_as_none() {
    let folder = folder();
    let path = folder.path().join("out.csv");
    drop(destination_beside(&path));
    assert_eq!(names_in(&folder), [""; 0]);
    let (mut destination, file) = destination_beside(&path);
    destination.publish(&file).unwrap();
    let (mut destination, file) = destination_beside(&path);
    destination.publish_as_new(&file, "text", names(&path)).unwrap();
    assert_eq!(names_in(&folder), ["out-2.csv", "out.csv"]);
}

#[test]
fn a_file_that_loses_its_name_is_noticed() {
    let folder = folder();
    let [path, moved] = ["run.arrows", "moved"].map(|name| folder.path().join(name));
    let file = NewFile::create(&path).unwrap();
    assert_eq!(file.whereabouts(), Whereabouts::InPlace);
    fs::rename(&path, &moved).unwrap();
    assert_eq!(file.whereabouts(), Whereabouts::Moved);
    fs::write(&path, "another").unwrap();
    assert_eq!(file.whereabouts(), Whereabouts::Moved);
    fs::remove_file(&moved).unwrap();
    assert_eq!(file.whereabouts(), Whereabouts::Removed);
    file.discard();
    assert_eq!(fs::read_to_string(&path).unwrap(), "another");
}
