use super::*;
use crate::socket::snapshot::distinct;

#[test]
fn a_file_on_which_no_namespace_is_mounted_is_no_name() {
    let folder = std::env::temp_dir().join(format!("tcptrace-names-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("plain"), "").unwrap();
    std::os::unix::fs::symlink("/proc/self/ns/net", folder.join("real")).unwrap();
    let names = names_in(&[Path::new("/nowhere"), &folder]);
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(
        names.into_iter().collect::<Vec<_>>(),
        [(current().unwrap(), "real".to_owned())]
    );
}

#[test]
fn a_name_that_does_not_exist_is_reported_with_its_path() {
    let (path, error) = named("no-such-name").unwrap_err();
    assert_eq!(path, Path::new("/run/netns/no-such-name"));
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(named("/proc/self/ns/net").is_ok());
}

#[test]
fn only_a_network_namespace_is_one() {
    for (path, reason) in [
        ("/etc/passwd", "it is not a namespace"),
        ("/proc/self/ns/mnt", "it is a namespace of another kind"),
    ] {
        assert_eq!(named(path).unwrap_err().1.to_string(), reason);
    }
    // The folder of names is none either.
    assert!(named("").is_err());
}

#[test]
fn processes_with_one_mark_share_a_namespace() {
    let denied = [Some(1), Some(2), Some(1), None].map(|mark| Denied { pid: 7, mark });
    assert_eq!(distinct(&denied), 3);
    assert_eq!(distinct(&[]), 0);
}

#[test]
fn a_descriptor_that_may_not_be_used_names_the_capability() {
    let barred = |errno: Errno| Barred {
        error: errno.into(),
        takes: Capability::CAP_SYS_PTRACE,
    };
    // The same for every process, so that namespaces with one reason are one line.
    let why = barred(Errno::EPERM).why(7, true);
    assert!(why.contains("CAP_SYS_PTRACE") && !why.contains('7'), "{why}");
    for (errno, is_missing) in [(Errno::EPERM, false), (Errno::EMFILE, true)] {
        let why = barred(errno).why(7, is_missing);
        assert!(why.contains("process 7") && !why.contains("CAP_"), "{why}");
    }
}

#[test]
fn what_nothing_leads_to_is_absent() {
    let own = current().unwrap();
    assert_eq!(absent(&[own, 1]), [1]);
    assert_eq!(absent(&[]), [0; 0]);
}

#[test]
fn mounts_of_network_namespaces_are_found_among_others() {
    let mounts = b"9 1 0:4 net:[4026532199] /run/netns/my\\040shop\xc3 rw - nsfs nsfs rw\n\
                      10 1 0:4 mnt:[4026532200] /run/other rw - nsfs nsfs rw\n\
                      11 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
    let shop = std::ffi::OsStr::from_bytes(b"/run/netns/my shop\xc3");
    assert_eq!(mount_points(mounts).collect::<Vec<_>>(), [Path::new(shop)]);
}

#[test]
fn a_socket_of_a_process_leads_to_its_namespace() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let fd = socket.as_raw_fd().unsigned_abs();
    let own = current().unwrap();
    // Asking takes CAP_NET_ADMIN.
    match of_descriptor(std::process::id(), fd) {
        Ok(found) => assert_eq!(found, own),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
    }
    let null = File::open("/dev/null").unwrap();
    assert!(of_descriptor(std::process::id(), null.as_raw_fd().unsigned_abs()).is_err());
}
