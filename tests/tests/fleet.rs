//! What a fleet is set up with: names of pods, manifests that Kubernetes' published schemas allow, and commands of the
//! documentation that tcptrace has.

use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    os::{fd::OwnedFd, unix::fs::symlink},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode},
    time::Duration,
};
use tcptrace_tests::{
    cgroup::Cgroup,
    clock::poll_until,
    command::{self, tcptrace},
    kubernetes,
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    serving::Serving,
};

fn main() -> ExitCode {
    let mut requirements = live::TRACING.to_vec();
    requirements.push(Requirement::Cgroups);
    let tests = vec![
        LiveTest::new("sockets_are_counted_by_the_names_of_pods", &requirements, || {
            Netns::run(sockets_are_counted_by_the_names_of_pods);
        }),
        LiveTest::new(
            "the_manifests_are_those_of_the_published_schemas",
            &[Requirement::KubernetesSchemas],
            the_manifests_are_those_of_the_published_schemas,
        ),
        LiveTest::new(
            "the_pod_monitor_is_valid_by_the_published_schema",
            &[Requirement::KubernetesSchemas],
            the_pod_monitor_is_valid_by_the_published_schema,
        ),
        LiveTest::new(
            "the_manifests_agree_with_each_other",
            &[],
            the_manifests_agree_with_each_other,
        ),
        LiveTest::new(
            "options_in_the_documentation_exist",
            &[],
            options_in_the_documentation_exist,
        ),
    ];
    live::run(tests, Parallelism::One, || Ok(()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A process in the cgroup of a container, whose names are in files as the runtimes and the kubelet write them.
fn sockets_are_counted_by_the_names_of_pods(netns: Netns) {
    const UID: &str = "72f7f152-440c-66ac-9084-e0fc1d8a910c";
    let [of_link, of_config, unknown] = ["a", "b", "c"].map(|digit| digit.repeat(64));
    let root = tempfile::tempdir().expect("a folder of its own");
    let links = root.path().join("var/log/containers");
    let config = root
        .path()
        .join("run/containers/storage/overlay-containers")
        .join(&of_config)
        .join("userdata");
    for folder in [&links, &config] {
        fs::create_dir_all(folder).expect("our own folder");
    }
    symlink("/nowhere", links.join(format!("shop-1_prod_web-{of_link}.log"))).expect("our own folder");
    let annotations = r#"{"annotations": {"io.kubernetes.container.name": "db", "io.kubernetes.pod.name": "shop-1",
        "io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.pod.namespace": "prod"}}"#;
    fs::write(config.join("config.json"), annotations).expect("our own folder");
    let ids = [of_link, of_config, unknown];
    let held: Vec<(Cgroup, Child)> = ids
        .iter()
        .map(|id| {
            let cgroup = Cgroup::make(&format!("/tcptrace-fleet/kubepods/burstable/pod{UID}/{id}"));
            let cgroup = cgroup.expect("a cgroup can be made");
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
            // The process has the listener as its standard input.
            let child = Command::new("sleep")
                .arg("60")
                .stdin(OwnedFd::from(listener))
                .spawn();
            let child = child.expect("sleep is installed");
            fs::write(cgroup.door(), child.id().to_string()).expect("it is our own child");
            (cgroup, child)
        })
        .collect();
    let inode = netns.inode.to_string();
    let folder = root.path().display().to_string();
    let serving = Serving::start(&["--netns", &inode, "--host-root", &folder]);
    // Where the kubelet has links, the runtime's files are not read: that container keeps its ID.
    let expected = [
        ("web", &ids[0]),
        (ids[1].as_str(), &ids[1]),
        (ids[2].as_str(), &ids[2]),
    ];
    let found = poll_until(Duration::from_secs(30), || {
        let series = serving.series();
        let all = expected.iter().all(|(name, id)| {
            let labels =
                format!("namespace=\"prod\",pod=\"shop-1\",container=\"{name}\",container_id=\"{id}\"");
            series.get(&format!(
                "tcptrace_container_sockets{{{labels},runtime=\"\",state=\"LISTEN\"}}"
            )) == Some(1)
        });
        let pod = format!(
            "tcptrace_pod_sockets{{namespace=\"prod\",pod=\"shop-1\",uid=\"{UID}\",state=\"LISTEN\"}}"
        );
        (all && series.get(&pod) == Some(3)).then_some(())
    });
    let text = serving.text();
    for (cgroup, mut child) in held {
        child.kill().expect("it is our own child");
        child.wait().expect("it is our own child");
        drop(cgroup);
    }
    found.unwrap_or_else(|| panic!("{text}"));
    serving.stop();
}

fn the_manifests_are_those_of_the_published_schemas() {
    let manifest = manifest("daemonset.yaml");
    // From the first that has appArmorProfile.
    for version in ["1.30", "1.37"] {
        kubernetes::validate(&manifest, version).unwrap_or_else(|problem| panic!("{version}: {problem}"));
    }
    let broken = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file of its own");
    let text = fs::read_to_string(&manifest).expect("it is text");
    let broken_text = text.replace("hostPID:", "hostPids:");
    assert_ne!(text, broken_text);
    fs::write(broken.path(), broken_text).expect("the file is ours");
    assert!(
        kubernetes::validate(broken.path(), "1.37").is_err(),
        "the check finds nothing"
    );
}

fn manifest(name: &str) -> PathBuf {
    root().join("tcptrace/packaging/kubernetes").join(name)
}

fn the_pod_monitor_is_valid_by_the_published_schema() {
    let monitor = manifest("podmonitor.yaml");
    kubernetes::validate_pod_monitor(&monitor).unwrap_or_else(|problem| panic!("{problem}"));
    let text = fs::read_to_string(&monitor).expect("it is text");
    for (right, wrong) in [("honorLabels", "honourLabels"), ("port: metrics", "port: 9105")] {
        let broken = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file of its own");
        let broken_text = text.replace(right, wrong);
        assert_ne!(text, broken_text);
        fs::write(broken.path(), broken_text).expect("the file is ours");
        assert!(
            kubernetes::validate_pod_monitor(broken.path()).is_err(),
            "{wrong} is not found"
        );
    }
}

/// What the kustomization and the PodMonitor refer to is in the DaemonSet.
fn the_manifests_agree_with_each_other() {
    let documents = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(manifest(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let kustomization = documents("kustomization.yaml").remove(0);
    let resources = list(&kustomization["resources"]);
    let all: Vec<Value> = resources
        .iter()
        .flat_map(|name| documents(name.as_str().expect("a name")))
        .collect();
    let of_kind = |kind: &str| {
        let found = all.iter().find(|resource| resource["kind"] == kind);
        found.unwrap_or_else(|| panic!("there is no {kind}"))
    };
    let daemon_set = of_kind("DaemonSet");
    let template = &daemon_set["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let image = &kustomization["images"][0];
    let [name, tag] = ["name", "newTag"].map(|key| image[key].as_str().expect("text"));
    assert_eq!(container["image"], format!("{name}:{tag}"));
    assert_eq!(tag, env!("CARGO_PKG_VERSION"));

    let quota = of_kind("ResourceQuota");
    assert_eq!(
        quota["metadata"]["namespace"],
        daemon_set["metadata"]["namespace"]
    );
    let classes = &quota["spec"]["scopeSelector"]["matchExpressions"][0]["values"];
    assert_eq!(list(classes), [template["spec"]["priorityClassName"].clone()]);

    let monitor = documents("podmonitor.yaml").remove(0);
    for selector in [&monitor["spec"]["selector"], &daemon_set["spec"]["selector"]] {
        let labels = selector["matchLabels"].as_object().expect("labels");
        assert!(!labels.is_empty());
        for (label, value) in labels {
            assert_eq!(template["metadata"]["labels"][label], *value, "{label}");
        }
    }
    // The job of the packaged alerts.
    let job = monitor["spec"]["jobLabel"].as_str().expect("a label");
    assert_eq!(template["metadata"]["labels"][job], "tcptrace");
    assert_eq!(
        monitor["metadata"]["namespace"],
        daemon_set["metadata"]["namespace"]
    );
    let endpoints = list(&monitor["spec"]["podMetricsEndpoints"]);
    let ports = list(&container["ports"]);
    let port = ports
        .iter()
        .find(|port| port["name"] == endpoints[0]["port"])
        .expect("the DaemonSet has the port of the PodMonitor");
    let number = port["containerPort"].as_u64().expect("a number");
    let annotations = &template["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/port"], number.to_string());
    let listen = format!("--listen=$(NODE_IP):{number}");
    assert!(
        list(&container["args"])
            .iter()
            .any(|argument| *argument == listen)
    );
}

/// Every option that a line of `docs/fleet.md` gives to a command is in its help.
fn options_in_the_documentation_exist() {
    let page = fs::read_to_string(root().join("docs/fleet.md")).expect("there is the page");
    let mut found = 0;
    let mut is_code = false;
    for line in page.lines() {
        is_code ^= line.starts_with("```");
        let is_command = is_code
            && ["# ", "$ ", "tcptrace "]
                .iter()
                .any(|start| line.starts_with(start));
        let Some((_, rest)) = line.split_once("tcptrace ").filter(|_| is_command) else {
            continue;
        };
        // Up to what the shell does with it.
        let rest = rest.split(['|', '>', ';', '&']).next().unwrap_or_default();
        let mut words = rest.split_whitespace();
        let Some(name) = words.next() else { continue };
        let help = command::run(tcptrace(&[name, "--help"]));
        assert_eq!(help.code, Some(0), "{line}: {}", help.err);
        for option in words.filter(|word| word.starts_with("--")) {
            let option = option.split('=').next().unwrap_or_default();
            let is_there = help
                .out
                .split(|c: char| c.is_whitespace() || c == ',')
                .any(|word| word == option);
            assert!(is_there, "{line}: no {option} in the help of {name}");
            found += 1;
        }
    }
    assert!(found > 5, "only {found} options were found");
}
