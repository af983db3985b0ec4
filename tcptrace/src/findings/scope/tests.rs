use super::*;
use crate::findings::{
    Level,
    fixture::{NETNS, key, scene, socket},
    history::{History, OfDestination},
    scene::Socket,
};

fn finding(subject: Subject) -> Finding {
    Finding {
        rule: "any",
        level: Level::Note,
        subject,
        title: String::new(),
        evidence: Vec::new(),
        meaning: String::new(),
        remedy: String::new(),
        weight: 0.0,
    }
}

/// Two processes, each with a listener and a connection that it makes; only the first one's are asked for.
fn two(asked: Asked) -> Scene {
    let mut scene = scene();
    let (ours, theirs) = (scene.process_at(1, "ours"), scene.process_at(2, "theirs"));
    for (port, owner, is_asked_for) in [(80, ours, true), (81, theirs, false)] {
        let local = format!("10.0.0.1:{port}");
        let listener = socket(TcpState::Listen, &local, "0.0.0.0:0", 0, Some(owner));
        scene.add(
            1,
            &Socket {
                is_asked_for,
                ..listener
            },
        );
        if is_asked_for {
            let client = socket(TcpState::SynSent, "10.0.0.1:4000", "10.0.0.9:80", 0, Some(owner));
            scene.add(1, &client);
        }
        let to = Destination {
            netns: NETNS,
            local: [10, 0, 0, 1].into(),
            remote: [10, 0, 0, 9].into(),
            port: 1_000 + port,
        };
        let of = OfDestination {
            process: Some(key(if is_asked_for { 1 } else { 2 })),
            ..OfDestination::default()
        };
        scene.history.by_destination.insert(to, of);
    }
    scene.asked = Some(asked);
    scene
}

fn all() -> Vec<Subject> {
    let listener = |port| Subject::Listener {
        netns: NETNS,
        addr: [10, 0, 0, 1].into(),
        port,
        comm: None,
    };
    let destination = |port| Subject::Destination {
        netns: NETNS,
        addr: [10, 0, 0, 9].into(),
        port: Some(port),
    };
    vec![
        Subject::process(key(1), "ours"),
        Subject::process(key(2), "theirs"),
        listener(80),
        listener(81),
        destination(80),
        destination(81),
        destination(1_080),
        destination(1_081),
        Subject::Netns {
            netns: NETNS,
            name: None,
        },
        Subject::Host,
    ]
}

/// The places in [`all`] of what is left, and of that what is marked.
fn left(scene: &Scene) -> (Vec<usize>, Vec<usize>) {
    let mut findings: Vec<Finding> = all().into_iter().map(finding).collect();
    limit(&mut findings, scene);
    let position = |finding: &Finding| {
        let is_it = |subject: &Subject| *subject == finding.subject;
        all().iter().position(is_it).expect("one of them")
    };
    let marked = findings.iter().filter(|finding| {
        let evidence = finding.evidence.first();
        evidence.is_some_and(|evidence| evidence.name == "unfiltered")
    });
    (
        findings.iter().map(position).collect(),
        marked.map(position).collect(),
    )
}

#[test]
fn others_are_left_out_and_the_host_is_marked() {
    let processes = Some([key(1)].into());
    let of_one = two(Asked {
        processes,
        is_part: true,
        changes: 0,
    });
    assert_eq!(left(&of_one), (vec![0, 2, 4, 6, 8, 9], vec![8, 9]));
    // A port, an address family: whose they are does not matter.
    let by_ends = two(Asked {
        is_part: true,
        ..Asked::default()
    });
    assert_eq!(left(&by_ends), (vec![0, 1, 2, 4, 6, 7, 8, 9], vec![8, 9]));
    let by_netns = two(Asked::default());
    assert_eq!(left(&by_netns).1, [9]);
    let everything = Scene {
        asked: None,
        ..by_netns
    };
    assert_eq!(left(&everything), ((0..10).collect(), vec![]));
}

#[test]
fn only_namespaces_with_something_that_was_asked_for_are_kept() {
    let scene = two(Asked {
        processes: Some([key(1)].into()),
        is_part: true,
        changes: 0,
    });
    let namespaces = |scene: &Scene| {
        let namespace = |netns| Netns {
            netns,
            ..Netns::default()
        };
        let mut namespaces = vec![namespace(NETNS), namespace(NETNS + 1)];
        keep_namespaces(&mut namespaces, scene);
        namespaces.len()
    };
    assert_eq!(namespaces(&scene), 1);
    let nothing = Scene {
        sockets: Vec::new(),
        history: History::default(),
        ..scene
    };
    assert_eq!(namespaces(&nothing), 0);
    assert!(!nothing.has_matched());
    let whole = Scene {
        asked: Some(Asked::default()),
        ..nothing
    };
    assert_eq!(namespaces(&whole), 2);
    assert!(whole.has_matched());
}
