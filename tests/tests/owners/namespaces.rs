//! A process in its own pid namespace and network namespace: reported by its id in the tracer's.

use crate::{
    judge::{Known, judge, judge_listed, listed, story_until, text, whole_story},
    order::Order,
    puppet::Stage,
};
use tcptrace_tests::{clock::monotonic_ns, netns::Netns, state::State};

/// The child is process 1 there, and has both sockets.
pub(crate) fn a_child_in_its_own_namespaces_is_reported_by_its_id_here(order: Order, _: Netns) {
    let stage = Stage::new();
    let (tracer, (_parent, mut child, netns, [served, connected], endpoints)) = order.watch(|| {
        let made_ns = monotonic_ns();
        let mut parent = stage.start("parent");
        let inode = parent.number("unshare");
        let mut child = stage.fork(&mut parent);
        assert_eq!(child.ask("pid"), "1");
        child.ask("name init");
        let (listener, address) = child.listen();
        let connected: i32 = child.number(&format!("connect {address}"));
        let served: i32 = child.number(&format!("accept {listener}"));
        let port: u16 = child.number(&format!("port {connected}"));
        let endpoints = (address, ([127, 0, 0, 1], port).into());
        let netns = Netns { inode, made_ns };
        (parent, child, netns, [served, connected], endpoints)
    });
    let of = |endpoints| Known {
        endpoints,
        netns,
        held_by: vec![child.process()],
        listened_by: vec![child.process()],
        closed_by: child.process(),
    };
    let there = of(endpoints);
    let here = of((endpoints.1, endpoints.0));
    for (known, descriptor) in [(&there, served), (&here, connected)] {
        let socket = listed(known).expect("an open connection is listed");
        judge_listed(&socket, vec![child.holds(descriptor)], known);
    }
    child.ask(&format!("close {connected}"));
    let story = story_until(&tracer, &there, State::CloseWait);
    story.unwrap_or_else(|reported| panic!("no CLOSE_WAIT:\n{}", text(&reported)));
    child.ask(&format!("close {served}"));
    judge(&whole_story(&tracer, &there), &there);
    let story = story_until(&tracer, &here, State::TimeWait);
    let story = story.unwrap_or_else(|reported| panic!("no TIME_WAIT:\n{}", text(&reported)));
    judge(&story, &here);
    tracer.end();
}
