//! A table of the paths that runtimes make, and of those that only look like them.

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const UID: &str = "72f7f152-440c-66ac-9084-e0fc1d8a910c";
const UID_OF_SYSTEMD: &str = "72f7f152_440c_66ac_9084_e0fc1d8a910c";
const STATIC_UID: &str = "8d24d5b8a5e8b0c9d6e7f8091a2b3c4d";

/// Path, container, pod, unit; lines that begin with # say of whom.
const PATHS: &str = r"
# Docker: cgroupfs driver, systemd driver, in Kubernetes, rootless.
/docker/ID | docker ID | - | -
/docker/ID/system.slice/nginx.service | docker ID | - | nginx.service
/system.slice/docker-ID.scope | docker ID | - | docker-ID.scope
/kubepods.slice/kubepods-podUID_.slice/docker-ID.scope | docker ID | UID | docker-ID.scope
/user.slice/user-1000.slice/user@1000.service/app.slice/docker-ID.scope | docker ID | - | docker-ID.scope
# containerd: CRI with systemd, without, and with the one's name for the other; nerdctl.
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice/cri-containerd-ID.scope | containerd ID | UID | cri-containerd-ID.scope
/system.slice/containerd.service/kubepods-besteffort-podUID_.slice:cri-containerd:ID | containerd ID | UID | containerd.service
/kubepods/burstable/podUID/ID | ? ID | UID | -
/kubepods/podSTATIC_UID/ID | ? ID | STATIC_UID | -
/docker/OTHER/kubelet/kubepods/besteffort/podUID/ID | ? ID | UID | -
/docker/OTHER/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUID_.slice/cri-containerd-ID.scope | containerd ID | UID | cri-containerd-ID.scope
/system.slice/nerdctl-ID.scope | containerd ID | - | nerdctl-ID.scope
/default/ID | containerd ID | - | -
/k8s.io/ID | containerd ID | - | -
# CRI-O, and its monitor.
/kubepods.slice/kubepods-podUID_.slice/crio-ID.scope | cri-o ID | UID | crio-ID.scope
/kubepods.slice/kubepods-podUID_.slice/crio-ID.scope/container | cri-o ID | UID | crio-ID.scope
/kubepods/podUID/crio-ID | cri-o ID | UID | -
/kubepods.slice/kubepods-podUID_.slice/crio-conmon-ID.scope | - | UID | crio-conmon-ID.scope
# podman: root's, a user's, of a unit, in a pod; its monitor.
/machine.slice/libpod-ID.scope | podman ID | - | libpod-ID.scope
/machine.slice/libpod-ID.scope/container | podman ID | - | libpod-ID.scope
/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container | podman ID | - | libpod-ID.scope
/system.slice/web.service/libpod-payload-ID | podman ID | - | web.service
/libpod_parent/libpod-ID | podman ID | - | -
/machine.slice/machine-libpod_pod_OTHER.slice/libpod-ID.scope/container | podman ID | OTHER | libpod-ID.scope
/machine.slice/libpod-conmon-ID.scope | - | - | libpod-conmon-ID.scope
# LXC, LXD and Incus.
/lxc.payload.mail/system.slice/postfix.service | lxc mail | - | postfix.service
/lxc.payload.user-1000_web-1/init.scope | lxc user-1000_web-1 | - | init.scope
/lxc.payload/mail/init.scope | lxc mail | - | init.scope
/lxc/mail | lxc mail | - | -
/lxc/mail/system.slice/docker-ID.scope | docker ID | - | docker-ID.scope
/lxc.monitor.mail | - | - | -
# Others.
/ecs/STATIC_UID/STATIC_UID-1234567890 | ? STATIC_UID-1234567890 | - | -
/ID | ? ID | - | -
/system.slice/runc-ID.scope | ? ID | - | runc-ID.scope
# systemd.
/system.slice/ssh.service | - | - | ssh.service
/system.slice/system-getty.slice/getty@tty1.service | - | - | getty@tty1.service
/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service | - | - | foo.service
/user.slice/user-1000.slice/session-3.scope | - | - | session-3.scope
/system.slice/app-a\x2db.service/worker | - | - | app-a\x2db.service
/init.scope | - | - | init.scope
/system.slice | - | - | -
/ | - | - | -
 | - | - | -
# Nearly.
/docker/0123 | - | - | -
/docker-ID.service | - | - | docker-ID.service
/system.slice/a-ID.mount | - | - | a-ID.mount
/tripodUID | - | - | -
/a:b | - | - | -
/a:cri-containerd:x | - | - | -
";

/// `ID`, `OTHER` and the uids stand for their values.
fn filled(text: &str) -> String {
    text.replace("OTHER", OTHER)
        .replace("STATIC_UID", STATIC_UID)
        .replace("UID_", UID_OF_SYSTEMD)
        .replace("UID", UID)
        .replace("ID", ID)
}

/// Runtime (`?` where the path does not show it) and id, pod, unit; `-` for none.
fn fields_of(location: &Location) -> [String; 3] {
    let container = location.container.as_ref().map(|container| {
        let runtime = container.runtime.map_or("?", Runtime::name);
        format!("{runtime} {}", container.id)
    });
    [container, location.pod.clone(), location.unit.clone()]
        .map(|field| field.unwrap_or_else(|| "-".to_owned()))
}

#[test]
fn every_runtime_s_paths_are_understood() {
    let lines = PATHS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let fields: Vec<&str> = line.split(" | ").collect();
        let [path, container, pod, unit] = fields[..] else {
            panic!("four fields: {line}")
        };
        let location = Location::of_path(filled(path).as_bytes());
        assert_eq!(fields_of(&location), [container, pod, unit].map(filled), "{path}");
        assert_eq!(location.path, filled(path));
    }
}

#[test]
fn of_several_hierarchies_the_one_that_says_most_is_believed() {
    let table = [
        (
            "0::/system.slice/ssh.service\n",
            "/system.slice/ssh.service",
            "-",
            "ssh.service",
        ),
        // Docker without systemd on a hybrid host: v2 still has the unit that started it.
        (
            "5:memory:/docker/ID\n1:name=systemd:/docker/ID\n0::/system.slice/containerd.service\n",
            "/system.slice/containerd.service",
            "docker ID",
            "-",
        ),
        (
            "9:cpu,cpuacct:/\n1:name=systemd:/docker/ID\n0::/\n",
            "/docker/ID",
            "docker ID",
            "-",
        ),
        (
            "2:memory:/jobs/7\n1:name=systemd:/system.slice/cron.service\n0::/\n",
            "/system.slice/cron.service",
            "-",
            "cron.service",
        ),
        ("2:memory:/jobs/7\n1:name=systemd:/\n0::/\n", "/jobs/7", "-", "-"),
        ("2:memory:/jobs/7\n0::/mine\n", "/mine", "-", "-"),
        ("1:name=systemd:/\n0::/\n", "/", "-", "-"),
        (
            "0::/gone.service (deleted)\n",
            "/gone.service",
            "-",
            "gone.service",
        ),
        ("0::/a:b:c\n", "/a:b:c", "-", "-"),
    ];
    for (lines, path, container, unit) in table {
        let location = Location::of_process(filled(lines).as_bytes()).expect("there are lines");
        assert_eq!(location.path, filled(path), "{lines}");
        let [told_container, _, told_unit] = fields_of(&location);
        assert_eq!(
            [told_container, told_unit],
            [container, unit].map(filled),
            "{lines}"
        );
    }
    assert_eq!(Location::of_process(b""), None);
    assert_eq!(Location::of_process(b"nonsense"), None);
}

#[test]
fn names_that_would_command_a_terminal_are_disarmed() {
    let location = Location::of_path("/lxc.payload.\x1b[2J\u{202e}/\x07.service".as_bytes());
    assert_eq!(location.path, "/lxc.payload.\u{fffd}[2J\u{fffd}/\u{fffd}.service");
    assert_eq!(
        fields_of(&location),
        ["lxc \u{fffd}[2J\u{fffd}", "-", "\u{fffd}.service"]
    );
    assert_eq!(
        Location::of_path(b"/\xff.scope").unit.as_deref(),
        Some("\u{fffd}.scope")
    );
}

#[test]
fn a_cgroup_is_in_its_parents_by_whole_names() {
    let location = Location::of_path(b"/a/bc/d");
    for (tree, is_in) in [
        ("/", true),
        ("/a", true),
        ("/a/", true),
        ("/a/bc", true),
        ("/a/bc/d", true),
        ("/a/b", false),
        ("/a/bc/d/e", false),
        ("/bc", false),
    ] {
        assert_eq!(location.is_in(tree), is_in, "{tree}");
    }
    assert!(Location::of_path(b"/").is_in("/"));
}

#[test]
fn a_place_answers_to_its_container_its_pod_and_its_unit() {
    let location = Location::of_path(filled("/kubepods-podUID_.slice/web.service/docker-ID").as_bytes());
    for (word, is_called) in [
        (ID, true),
        (&ID[..12], true),
        (&ID[..4], true),
        (&ID[..3], false),
        (&ID[1..], false),
        (UID, true),
        (&UID[..8], false),
        ("web.service", true),
        ("web", true),
        ("we", false),
        ("", false),
    ] {
        assert_eq!(location.is_called(word), is_called, "{word}");
    }
    let lxc = Location::of_path(b"/lxc/mail-server");
    assert!(lxc.is_called("mail-server"));
    assert!(!lxc.is_called("mail"));
}

#[test]
fn people_see_twelve_digits_of_an_id_or_the_unit() {
    let short = |path: &str| {
        Location::of_path(filled(path).as_bytes())
            .short()
            .map(str::to_owned)
    };
    assert_eq!(short("/docker/ID").as_deref(), Some("0123456789ab"));
    assert_eq!(
        short("/lxc/a-rather-long-name").as_deref(),
        Some("a-rather-long-name")
    );
    assert_eq!(short("/system.slice/ssh.service").as_deref(), Some("ssh.service"));
    assert_eq!(short("/"), None);
}
