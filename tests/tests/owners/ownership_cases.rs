//! Every way in which a process can become the owner of a socket. Real processes open the sockets of each case, so that
//! their holders are known. Every case is checked alike: by a snapshot, by the event when the peer closes, in which the
//! owner has no part, and by the event when the owner closes.

use crate::{
    judge::{Known, Process, is_settled, judge, judge_listed, story_until, text, whole_story},
    order::Order,
    puppet::{Puppet, Stage, client, listener},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    sync::{Mutex, OnceLock},
    time::Duration,
};
use tcptrace_tests::{
    clock::linger,
    live::Requirement,
    netns::Netns,
    shared,
    sockets::{self, Holder, Listed},
    state::State,
    tracer::Tracer,
};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Requirements besides tracing.
    pub(crate) requirements: &'static [Requirement],
    /// Starts the processes, and returns when they hold the sockets.
    open: fn(&Stage) -> Scene,
}

/// The processes, their sockets, and the peers' sockets, which this process holds.
struct Scene {
    puppets: Vec<Puppet>,
    sockets: Vec<Opened>,
    peers: Vec<TcpStream>,
}

/// A socket of a puppet.
struct Opened {
    endpoints: (SocketAddr, SocketAddr),
    held_by: Vec<Process>,
    listened_by: Vec<Process>,
    holders: Vec<Holder>,
    /// The puppets and their descriptors, in the order in which they are closed.
    closes: Vec<(usize, i32)>,
}

pub(crate) const CASES: [Case; 14] = [
    case("who_accepts_is_the_owner", accept),
    case("who_connects_is_the_owner", connect),
    case(
        "of_four_forked_workers_the_one_that_accepts_is_the_owner",
        pre_fork,
    ),
    case(
        "a_child_forked_for_a_connection_is_its_owner",
        fork_per_connection,
    ),
    case("who_was_handed_a_socket_is_its_owner", handed_over),
    case("who_hands_a_copy_over_shares_the_socket", handed_a_copy),
    case("one_process_with_three_descriptors_is_one_owner", dup),
    case("a_thread_that_accepts_is_called_by_its_leader", thread_accepts),
    case("a_thread_that_connects_is_called_by_its_leader", thread_connects),
    case("exec_changes_the_name_and_not_the_process", exec),
    case("a_socket_inherited_at_exec_is_the_heir_s", inherited),
    case(
        "who_inherited_the_listener_and_accepts_is_the_owner",
        inherited_listener,
    ),
    case(
        "a_service_owns_what_it_accepts_from_its_activator_s_socket",
        activation,
    ),
    Case {
        name: "who_accepts_by_io_uring_is_the_owner",
        requirements: &[Requirement::IoUring],
        open: ring_accept,
    },
];

const fn case(name: &'static str, open: fn(&Stage) -> Scene) -> Case {
    Case {
        name,
        requirements: &[],
        open,
    }
}

impl Case {
    /// Runs the case and checks what is reported. A tracer that already runs may need some time to find the holders: the case
    /// is then repeated with sockets that stay open for longer.
    pub(crate) fn run(&self, order: Order, netns: Netns) {
        const LIVES_MS: [u64; 5] = [0, 200, 500, 1500, 5000];
        let mut last = String::new();
        if order == Order::Before {
            let (cases, scene) = OpenCases::with(self);
            match scene.end(cases.netns, &cases.tracer, &cases.listed, order) {
                Ok(()) => return,
                Err(provisional) => last = provisional,
            }
        } else {
            for life_ms in LIVES_MS {
                let stage = Stage::new();
                let scene = (self.open)(&stage);
                let listed = sockets::list(netns, &[]);
                linger(Duration::from_millis(life_ms));
                match scene.end(netns, shared::tracer(), &listed, order) {
                    Ok(()) => return,
                    Err(provisional) => last = provisional,
                }
            }
        }
        panic!("still provisional when the peer closed:\n{last}");
    }
}

/// All cases with their sockets open, and the one tracer that was started then.
struct OpenCases {
    netns: Netns,
    scenes: Mutex<BTreeMap<&'static str, Scene>>,
    tracer: Tracer,
    /// A snapshot of all their sockets.
    listed: Vec<Listed>,
}

static OPEN_CASES: OnceLock<OpenCases> = OnceLock::new();

impl OpenCases {
    /// All cases, which the first caller opens, and the scene of this one.
    fn with(case: &Case) -> (&'static Self, Scene) {
        let cases = OPEN_CASES.get_or_init(|| Netns::run(Self::open));
        let scene = cases
            .scenes
            .lock()
            .expect("no thread panics with the lock held")
            .remove(case.name);
        (cases, scene.expect("each case is run once"))
    }

    fn open(netns: Netns) -> Self {
        let is_met = |requirement: &Requirement| requirement.unmet().is_none();
        let cases = CASES.iter().filter(|case| case.requirements.iter().all(is_met));
        let scenes = cases
            .map(|case| (case.name, (case.open)(&Stage::new())))
            .collect();
        Self {
            netns,
            scenes: Mutex::new(scenes),
            tracer: Tracer::start(&[]),
            listed: sockets::list(netns, &[]),
        }
    }
}

/// Stops the tracer of the cases that were opened before it, if it was started.
pub(crate) fn stop() -> Result<(), String> {
    OPEN_CASES
        .get()
        .map_or(Ok(()), |cases| shared::end(&cases.tracer))
}

/// The processes, if there are several.
fn sharers(holders: &[Holder]) -> BTreeSet<u32> {
    let all: BTreeSet<u32> = holders.iter().map(|holder| holder.pid).collect();
    if all.len() > 1 { all } else { BTreeSet::new() }
}

/// The local endpoint of the server's socket, and the remote one.
fn served(client: &TcpStream) -> (SocketAddr, SocketAddr) {
    (
        client.peer_addr().expect("connected"),
        client.local_addr().expect("connected"),
    )
}

fn accept(stage: &Stage) -> Scene {
    accept_by(stage, |server, listener| {
        server.number(&format!("accept {listener}"))
    })
}

fn thread_accepts(stage: &Stage) -> Scene {
    accept_by(stage, |server, listener| {
        server.number(&format!("thread a-thread accept {listener}"))
    })
}

fn ring_accept(stage: &Stage) -> Scene {
    accept_by(stage, |server, listener| {
        server.number(&format!("ring-accept {listener}"))
    })
}

fn dup(stage: &Stage) -> Scene {
    let mut scene = accept(stage);
    let server = &mut scene.puppets[0];
    let opened = &mut scene.sockets[0];
    let first = opened.holders[0].fd;
    for _ in 0..2 {
        let copy = server.number(&format!("dup {first}"));
        opened.holders.push(server.holds(copy));
        opened.closes.push((0, copy));
    }
    scene
}

fn accept_by(stage: &Stage, accept: impl FnOnce(&mut Puppet, i32) -> i32) -> Scene {
    let mut server = stage.start("server");
    let (listener, address) = server.listen();
    let peer = client(address);
    let descriptor = accept(&mut server, listener);
    let opened = Opened {
        endpoints: served(&peer),
        held_by: vec![server.process()],
        listened_by: vec![server.process()],
        holders: vec![server.holds(descriptor)],
        closes: vec![(0, descriptor)],
    };
    Scene {
        puppets: vec![server],
        sockets: vec![opened],
        peers: vec![peer],
    }
}

fn connect(stage: &Stage) -> Scene {
    connect_by(stage, |client, address| {
        client.number(&format!("connect {address}"))
    })
}

fn thread_connects(stage: &Stage) -> Scene {
    connect_by(stage, |client, address| {
        client.number(&format!("thread a-thread connect {address}"))
    })
}

fn connect_by(stage: &Stage, connect: impl FnOnce(&mut Puppet, SocketAddr) -> i32) -> Scene {
    let (listener, address) = listener();
    let mut client = stage.start("client");
    let descriptor = connect(&mut client, address);
    let (peer, its_end) = listener.accept().expect("it waits");
    let opened = Opened {
        endpoints: (its_end, address),
        held_by: vec![client.process()],
        listened_by: vec![],
        holders: vec![client.holds(descriptor)],
        closes: vec![(0, descriptor)],
    };
    Scene {
        puppets: vec![client],
        sockets: vec![opened],
        peers: vec![peer],
    }
}

/// Each connection is accepted by the worker whose process id it sends.
fn pre_fork(stage: &Stage) -> Scene {
    const WORKERS: usize = 4;
    const CONNECTIONS: usize = 24;
    let mut leader = stage.start("leader");
    let (listener, address) = leader.listen();
    let mut puppets: Vec<Puppet> = (0..WORKERS).map(|_| stage.fork(&mut leader)).collect();
    for worker in &mut puppets {
        worker.ask("name worker");
        worker.send(&format!("serve {listener}"));
    }
    puppets.push(leader);
    let everyone: Vec<Process> = puppets.iter().map(Puppet::process).collect();
    let mut sockets = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..CONNECTIONS {
        let peer = client(address);
        let mut word = String::new();
        BufReader::new(&peer)
            .read_line(&mut word)
            .expect("a worker answers");
        let (pid, descriptor) = word.trim_end().split_once(' ').expect("two numbers");
        let pid: u32 = pid.parse().expect("a number");
        let descriptor = descriptor.parse().expect("a number");
        let worker = puppets.iter().position(|puppet| puppet.pid == pid);
        let worker = worker.expect("one of the workers");
        sockets.push(Opened {
            endpoints: served(&peer),
            held_by: vec![puppets[worker].process()],
            listened_by: everyone.clone(),
            holders: vec![puppets[worker].holds(descriptor)],
            closes: vec![(worker, descriptor)],
        });
        peers.push(peer);
    }
    let busy: BTreeSet<usize> = sockets.iter().map(|socket| socket.closes[0].0).collect();
    println!("{} of {WORKERS} workers accepted", busy.len());
    for worker in &mut puppets[..WORKERS] {
        // Any command ends the serving, whose count is sent before the response.
        worker.send("name worker");
        worker.hear().expect("it has served");
        worker.hear().expect("it has its name");
    }
    Scene {
        puppets,
        sockets,
        peers,
    }
}

fn fork_per_connection(stage: &Stage) -> Scene {
    let mut scene = accept(stage);
    let descriptor = scene.sockets[0].holders[0].fd;
    let child = stage.fork(&mut scene.puppets[0]);
    scene.puppets[0].ask(&format!("close {descriptor}"));
    scene.pass_on(child, descriptor);
    scene
}

fn handed_over(stage: &Stage) -> Scene {
    let mut scene = handed_a_copy(stage);
    let opened = &mut scene.sockets[0];
    let given_up = opened.holders.remove(0).fd;
    opened.closes.remove(0);
    scene.puppets[0].ask(&format!("close {given_up}"));
    scene
}

/// Passes the descriptor over a Unix socket.
fn handed_a_copy(stage: &Stage) -> Scene {
    let mut scene = accept(stage);
    let mut heir = stage.start("heir");
    let (one, other) = UnixStream::pair().expect("a pair");
    let from = scene.puppets[0].give(&one);
    let to = heir.give(&other);
    let descriptor = scene.sockets[0].holders[0].fd;
    scene.puppets[0].ask(&format!("send {from} {descriptor}"));
    let taken = heir.number(&format!("receive {to}"));
    let opened = &mut scene.sockets[0];
    opened.held_by.push(heir.process());
    opened.holders.push(heir.holds(taken));
    opened.closes.push((1, taken));
    scene.puppets.push(heir);
    scene
}

fn exec(stage: &Stage) -> Scene {
    let mut scene = accept(stage);
    let descriptor = scene.sockets[0].holders[0].fd;
    scene.puppets[0].ask(&format!("keep {descriptor}"));
    stage.exec(&mut scene.puppets[0], "successor");
    let successor = &scene.puppets[0];
    let opened = &mut scene.sockets[0];
    opened.held_by.push(successor.process());
    opened.listened_by.push(successor.process());
    opened.holders = vec![successor.holds(descriptor)];
    assert_eq!(opened.holders[0].comm, "successor");
    scene
}

fn inherited(stage: &Stage) -> Scene {
    let mut scene = accept(stage);
    let descriptor = scene.sockets[0].holders[0].fd;
    let mut heir = stage.fork(&mut scene.puppets[0]);
    scene.puppets[0].ask(&format!("close {descriptor}"));
    scene.sockets[0].held_by.push(heir.process());
    heir.ask(&format!("keep {descriptor}"));
    stage.exec(&mut heir, "heir");
    scene.pass_on(heir, descriptor);
    scene
}

fn inherited_listener(stage: &Stage) -> Scene {
    let mut ancestor = stage.start("ancestor");
    let (listener, address) = ancestor.listen();
    let mut heir = stage.fork(&mut ancestor);
    let mut listened_by = vec![ancestor.process(), heir.process()];
    heir.ask(&format!("keep {listener}"));
    stage.exec(&mut heir, "heir");
    listened_by.push(heir.process());
    let peer = client(address);
    let descriptor = heir.number(&format!("accept {listener}"));
    let opened = Opened {
        endpoints: served(&peer),
        held_by: vec![heir.process()],
        listened_by,
        holders: vec![heir.holds(descriptor)],
        closes: vec![(0, descriptor)],
    };
    Scene {
        puppets: vec![heir, ancestor],
        sockets: vec![opened],
        peers: vec![peer],
    }
}

/// The activator listens, waits for the first connection and becomes the service.
fn activation(stage: &Stage) -> Scene {
    let mut activator = stage.start("activator");
    let (listener, address) = activator.listen();
    let mut listened_by = vec![activator.process()];
    let peer = client(address);
    let mut service = stage.fork(&mut activator);
    listened_by.push(service.process());
    stage.activate(&mut service, "service", listener);
    listened_by.push(service.process());
    let first: i32 = service.number("activated");
    let descriptor = service.number(&format!("accept {first}"));
    let opened = Opened {
        endpoints: served(&peer),
        held_by: vec![service.process()],
        listened_by,
        holders: vec![service.holds(descriptor)],
        closes: vec![(0, descriptor)],
    };
    Scene {
        puppets: vec![service, activator],
        sockets: vec![opened],
        peers: vec![peer],
    }
}

impl Scene {
    /// Closes the peers' sockets, then the owners', and checks an earlier snapshot and the events of both. An error has the
    /// events of a socket whose owner was still provisional when its peer closed.
    fn end(self, netns: Netns, tracer: &Tracer, listed: &[Listed], order: Order) -> Result<(), String> {
        let Self {
            mut puppets,
            sockets,
            peers,
        } = self;
        let mut all_known = Vec::new();
        for socket in &sockets {
            let (closer, _) = *socket.closes.last().expect("somebody closes it");
            let known = Known {
                endpoints: socket.endpoints,
                netns,
                held_by: socket.held_by.clone(),
                listened_by: socket.listened_by.clone(),
                closed_by: puppets[closer].process(),
            };
            let listed = listed.iter().find(|listed| listed.endpoints() == known.endpoints);
            let listed = listed.expect("an open connection is listed");
            judge_listed(listed, socket.holders.clone(), &known);
            all_known.push(known);
        }
        drop(peers);
        let mut provisional = String::new();
        for (known, socket) in all_known.iter().zip(&sockets) {
            let story = story_until(tracer, known, State::CloseWait);
            let story = story.unwrap_or_else(|reported| panic!("no CLOSE_WAIT:\n{}", text(&reported)));
            if !is_settled(&story, State::CloseWait) {
                provisional.push_str(&text(&story));
            }
            // A tracer that already ran may have scanned before the socket was shared.
            if order == Order::Before {
                let last = story.last().expect("it has reached the state");
                assert_eq!(
                    sharers(&last.holders),
                    sharers(&socket.holders),
                    "{}",
                    text(&story)
                );
            }
        }
        for (puppet, descriptor) in sockets.iter().flat_map(|socket| &socket.closes) {
            puppets[*puppet].ask(&format!("close {descriptor}"));
        }
        for known in &all_known {
            judge(&whole_story(tracer, known), known);
        }
        if provisional.is_empty() {
            Ok(())
        } else {
            Err(provisional)
        }
    }

    /// From here on only the new puppet holds the socket.
    fn pass_on(&mut self, to: Puppet, descriptor: i32) {
        let opened = &mut self.sockets[0];
        opened.held_by.push(to.process());
        opened.holders = vec![to.holds(descriptor)];
        opened.closes = vec![(self.puppets.len(), descriptor)];
        self.puppets.push(to);
    }
}
