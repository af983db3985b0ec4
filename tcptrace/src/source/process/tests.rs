use super::*;

#[test]
fn a_start_is_found_behind_any_name() {
    let stat = b"7 (a) S 1 (b) R 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98100 9 9";
    assert_eq!(start_in(stat), Some(StartTicks(98_100)));
    assert_eq!(
        StartTicks::of(ProcessKey::new(7, 981_009_999_999)),
        StartTicks(98_100)
    );
    assert_eq!(start_in(b"7 (a) S 1"), None);
    assert_eq!(start_in(b""), None);
}

#[test]
fn a_thread_s_id_means_its_process() {
    let pid = std::process::id();
    let thread = std::thread::spawn(|| nix::unistd::gettid().as_raw().unsigned_abs());
    let ended = thread.join().unwrap();
    assert_eq!(leader_of(pid), Some(pid));
    std::thread::spawn(move || {
        let own = nix::unistd::gettid().as_raw().unsigned_abs();
        assert_ne!(own, pid);
        assert_eq!(leader_of(own), Some(pid));
    })
    .join()
    .unwrap();
    assert_ne!(leader_of(ended), Some(ended));
}

#[test]
fn a_process_is_found_by_a_thread_whatever_its_name() {
    std::thread::spawn(|| {
        // A name that is cut within a letter, as the kernel cuts what is longer than 15 bytes.
        // SAFETY: the kernel reads up to the zero.
        let result = unsafe { libc::prctl(libc::PR_SET_NAME, c"\xc3\xa9\xc3".as_ptr()) };
        assert_eq!(result, 0);
        let own = nix::unistd::gettid().as_raw().unsigned_abs();
        assert_eq!(leader_of(own), Some(std::process::id()));
    })
    .join()
    .unwrap();
}

#[test]
fn a_process_whose_leader_has_ended_is_found() {
    // SAFETY: the child starts one thread, ends its first, and is killed.
    let child = unsafe { libc::fork() };
    if child == 0 {
        std::thread::spawn(|| std::thread::sleep(std::time::Duration::from_mins(1)));
        // SAFETY: it ends the calling thread alone.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    let pid = child.unsigned_abs();
    let threads = || {
        let folder = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        folder.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    };
    let has_ended = || {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .unwrap()
            .contains(") Z ")
    };
    while !has_ended() {
        std::thread::yield_now();
    }
    let ids: Vec<u32> = threads().collect();
    let leaders: Vec<Option<u32>> = ids.iter().map(|id| leader_of(*id)).collect();
    let start = start_of(pid);
    // SAFETY: numbers alone, and no place for the status.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    assert_eq!(leaders, [Some(pid); 2], "{ids:?}");
    assert!(start.is_some());
}

#[test]
fn another_process_with_the_same_id_is_not_believed() {
    let pid = std::process::id();
    assert!(start_of(pid).is_some());
    assert_eq!(place_of(ProcessKey::new(pid, 0)), None);
}

#[test]
fn the_fullest_table_of_a_process_counts() {
    let pid = std::process::id();
    let own = entries(&format!("/proc/{pid}/fd")).unwrap();
    let (filled, is_filled) = std::sync::mpsc::channel();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
        let files: Vec<fs::File> = (0..200).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        filled.send(files.len()).unwrap();
        let _ended = is_done.recv();
    });
    assert_eq!(is_filled.recv().unwrap(), 200);
    let used = most_used(pid).unwrap();
    match own {
        Entries::Sized(own) => {
            assert!(own < 200, "the test's own table is not the fuller one");
            assert!(used >= 200);
        }
        // Before Linux 6.2.
        Entries::Listed(_) => assert!(used < 200),
    }
    drop(done);
    thread.join().unwrap();
}

#[test]
fn a_shared_table_is_listed_once() {
    use Entries::{Listed, Sized};
    let then_nothing_is_read = |tables: &[Entries]| {
        let more = iter::from_fn(|| panic!("another table is read"));
        fullest(tables.iter().copied().chain(more))
    };
    assert_eq!(then_nothing_is_read(&[Listed(5)]), Some(5));
    // The leader has ended.
    assert_eq!(then_nothing_is_read(&[Listed(0), Listed(7)]), Some(7));
    let all = |tables: &[Entries]| fullest(tables.iter().copied());
    assert_eq!(all(&[Sized(3), Sized(9), Sized(4)]), Some(9));
    assert_eq!(all(&[Listed(0), Sized(9), Sized(4)]), Some(9));
    assert_eq!(all(&[Listed(0)]), Some(0));
    assert_eq!(all(&[]), None);
}

#[test]
fn open_files_are_counted_against_the_soft_limit() {
    let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max processes             63448                63448                processes \n\
            Max open files            1024                 524288               files     \n";
    assert_eq!(limit_in(limits), Some(1024));
    assert_eq!(
        limit_in("Max open files            unlimited            unlimited            files"),
        None
    );
    let pid = std::process::id();
    assert_eq!(descriptors_of(ProcessKey::new(pid, 0)), None);
}
