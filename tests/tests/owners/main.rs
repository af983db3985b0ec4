//! The reported owner of a socket is right or marked as provisional, however a process gets the socket.

mod brief;
mod exits;
mod frames;
mod judge;
mod languages;
mod leaks;
mod many;
mod namespaces;
mod nginx;
mod order;
mod ownership_cases;
mod part;
mod puppet;
mod ring;
mod unowned;

use nginx::Style;
use order::Order;
use std::{env, path::PathBuf, process::ExitCode};
use tcptrace_tests::{
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    shared,
};

/// The body of a test in its namespace.
type Test = fn(Order, Netns);

/// Tests that run in both orders, and their requirements besides tracing.
const TESTS: [(&str, &[Requirement], Test); 11] = [
    (
        "what_a_process_leaves_behind_is_still_its_own",
        &[],
        exits::what_a_process_leaves_behind_is_still_its_own,
    ),
    (
        "a_process_id_used_again_is_two_processes",
        &[],
        exits::a_process_id_used_again_is_two_processes,
    ),
    (
        "a_socket_in_the_accept_queue_is_the_listener_s",
        &[],
        unowned::a_socket_in_the_accept_queue_is_the_listener_s,
    ),
    (
        "a_direct_descriptor_of_an_io_uring_is_a_guess_until_it_is_closed",
        &[Requirement::IoUring],
        unowned::a_direct_descriptor_of_an_io_uring_is_a_guess_until_it_is_closed,
    ),
    (
        "the_path_of_an_mptcp_socket_is_the_program_s",
        &[Requirement::Mptcp],
        unowned::the_path_of_an_mptcp_socket_is_the_program_s,
    ),
    (
        "a_listener_of_the_kernel_is_reported_as_the_kernel_s",
        &[Requirement::Mptcp, Requirement::Ip],
        unowned::a_listener_of_the_kernel_is_reported_as_the_kernel_s,
    ),
    (
        "a_child_in_its_own_namespaces_is_reported_by_its_id_here",
        &[],
        namespaces::a_child_in_its_own_namespaces_is_reported_by_its_id_here,
    ),
    (
        "five_hundred_leaked_sockets_are_their_worker_s",
        &[],
        leaks::five_hundred_leaked_sockets_are_their_worker_s,
    ),
    (
        "closed_sockets_that_are_still_open_are_their_process_s",
        &[],
        leaks::closed_sockets_that_are_still_open_are_their_process_s,
    ),
    (
        "what_nginx_serves_on_connections_kept_alive_is_its_workers",
        &[Requirement::Nginx, Requirement::Wrk, Requirement::Ss],
        |order, netns| nginx::what_nginx_serves_is_its_workers(Style::KeepAlive, order, netns),
    ),
    (
        "what_nginx_serves_and_closes_is_its_workers",
        &[Requirement::Nginx, Requirement::Wrk, Requirement::Ss],
        |order, netns| nginx::what_nginx_serves_is_its_workers(Style::OneRequest, order, netns),
    ),
];

fn main() -> ExitCode {
    if let Some(entrance) = env::var_os(part::ENTRANCE) {
        part::play(PathBuf::from(entrance));
    }
    if let Ok(address) = env::var(brief::ADDRESS) {
        brief::live_briefly(&address);
        return ExitCode::SUCCESS;
    }
    let mut tests = vec![
        test(
            "a_name_changed_by_exec_is_reported_without_a_transition".to_owned(),
            &[],
            leaks::a_name_changed_by_exec_is_reported_without_a_transition,
        ),
        test(
            "six_hundred_brief_processes_own_what_they_connect".to_owned(),
            &[Requirement::Speed],
            brief::six_hundred_brief_processes_own_what_they_connect,
        ),
        test(
            "twenty_thousand_sockets_have_their_owner_sooner_than_from_ss".to_owned(),
            &[Requirement::Ss],
            many::twenty_thousand_sockets_have_their_owner_sooner_than_from_ss,
        ),
    ];
    for (order, prefix) in Order::BOTH {
        for case in &ownership_cases::CASES {
            let name = format!("{prefix}::{}", case.name);
            tests.push(test(name, case.requirements, move |netns| case.run(order, netns)));
        }
        for (name, requirements, body) in TESTS {
            let name = format!("{prefix}::{name}");
            tests.push(test(name, requirements, move |netns| body(order, netns)));
        }
        for language in &languages::LANGUAGES {
            let name = format!("{prefix}::{}", language.name);
            let requirements = [language.requirement];
            tests.push(test(name, &requirements, move |netns| {
                language.play(order, netns);
            }));
        }
    }
    live::run(tests, Parallelism::Processors, || {
        shared::stop().and(ownership_cases::stop())
    })
}

fn test(
    name: String,
    requirements: &[Requirement],
    body: impl Fn(Netns) + Send + Sync + 'static,
) -> LiveTest {
    let requirements = [live::TRACING, requirements].concat();
    LiveTest::new(name, &requirements, move || Netns::run(&body))
}
