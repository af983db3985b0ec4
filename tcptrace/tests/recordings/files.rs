//! Which files a command reads, and how many.

use crate::*;

#[test]
fn the_log_beside_the_recordings_of_a_directory_is_not_counted_too() {
    let folder = Folder::new();
    let [file, _] = folder.two_hosts();
    let saved = folder.file("saved");
    fs::create_dir(&saved).expect("there is room");
    let log = format!("{saved}/states.hlog");
    let _written = tcptrace(
        &["hist", "--format", "hlog", "-o", &log],
        std::slice::from_ref(&file),
    );
    fs::rename(&file, format!("{saved}/ring-000000.arrows")).expect("the same disk");
    let read = tcptrace(&["hist", "--json"], std::slice::from_ref(&saved));
    assert_eq!(
        close_waits(&read),
        BTreeSet::from([reported("\"web1\"", 2)]),
        "{read}"
    );
    // Given by name, they are refused.
    let both = [format!("{saved}/ring-000000.arrows"), log];
    let output = bounded(&["hist"], &both);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), out.as_str()), (Some(2), ""), "{error}");
    assert!(
        error.contains("states.hlog and a recording have the same time of web1"),
        "{error}"
    );
}
