//! `tcptrace leaks` and `tcptrace doctor` on programs with and without problems: each problem is reported under its
//! name, and nothing else is.

mod doctor;
mod half_closed;
mod healthy;
mod leaks;
mod ports;
mod sick;
mod silent_peers;

use std::process::ExitCode;
use tcptrace_tests::{
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
};

type Test = fn(Netns);

const TESTS: [(&str, &[Requirement], Test); 34] = [
    (
        "a_pool_that_keeps_stale_connections",
        &[Requirement::Python],
        leaks::a_pool_keeps_stale_connections,
    ),
    (
        "growth_and_exhaustion_are_predicted_within_a_fifth",
        &[],
        leaks::growth_and_exhaustion_are_predicted,
    ),
    (
        "a_client_that_waits_for_a_slow_answer",
        &[],
        half_closed::a_client_waits_for_a_slow_answer,
    ),
    (
        "a_client_that_takes_nothing",
        &[],
        half_closed::a_client_takes_nothing,
    ),
    (
        "a_pool_whose_connections_the_server_has_closed_by_close_notify",
        &[],
        half_closed::a_pool_closed_by_close_notify,
    ),
    (
        "accepted_sockets_in_a_queue_that_nobody_reads",
        &[],
        half_closed::sockets_wait_in_a_queue,
    ),
    (
        "resets_that_do_not_end_a_leak",
        &[],
        half_closed::resets_do_not_end_a_leak,
    ),
    (
        "connections_of_an_mptcp_listener_that_are_forgotten",
        &[Requirement::Mptcp],
        half_closed::an_mptcp_listener_forgets,
    ),
    (
        "a_listener_that_stops_accepting",
        &[],
        sick::a_listener_stops_accepting,
    ),
    (
        "a_client_that_runs_out_of_ports",
        &[],
        ports::a_client_runs_out_of_ports,
    ),
    (
        "a_program_that_uses_up_its_own_range",
        &[Requirement::LocalPortRange],
        ports::a_program_s_own_range_is_used_up,
    ),
    (
        "ports_that_are_bound_before_connect",
        &[],
        ports::ports_are_bound_for_all_destinations,
    ),
    (
        "sockets_that_bind_late",
        &[],
        ports::sockets_that_bind_late_take_no_port_for_all_destinations,
    ),
    ("reuse_of_time_wait", &[], ports::reuse_of_time_wait_is_counted),
    (
        "a_full_table_of_time_wait",
        &[],
        sick::the_table_of_time_wait_is_full,
    ),
    (
        "sockets_that_were_reset_and_not_closed",
        &[],
        sick::reset_sockets_stay_open,
    ),
    (
        "closing_with_unread_data",
        &[],
        sick::closing_with_unread_data_resets,
    ),
    ("a_syn_flood", &[Requirement::Tun], sick::a_syn_flood),
    (
        "a_peer_that_never_acknowledges",
        &[Requirement::Tun],
        sick::a_peer_never_acknowledges,
    ),
    (
        "clients_that_give_up_before_the_kernel",
        &[Requirement::Tun],
        sick::clients_give_up_before_the_kernel,
    ),
    (
        "a_listener_that_drops_without_a_full_queue",
        &[Requirement::Tun],
        sick::a_listener_drops_without_a_full_queue,
    ),
    (
        "a_listener_that_defers_accepting",
        &[],
        sick::a_listener_that_defers_drops_nothing,
    ),
    (
        "a_connection_that_waits_for_accept",
        &[],
        sick::a_connection_waits_for_accept,
    ),
    (
        "a_peer_that_stops_acknowledging",
        &[Requirement::Tun],
        silent_peers::a_peer_stops_acknowledging,
    ),
    (
        "a_peer_that_sends_and_acknowledges_nothing",
        &[Requirement::Tun],
        silent_peers::a_peer_that_sends_is_not_dead,
    ),
    (
        "a_limit_of_the_timeouts_that_is_in_the_forecast",
        &[Requirement::Tun],
        silent_peers::a_limit_of_the_timeouts_is_in_the_forecast,
    ),
    (
        "a_limit_of_the_socket_s_timeouts_that_is_in_the_forecast",
        &[Requirement::Tun],
        silent_peers::a_limit_of_the_socket_s_timeouts_is_in_the_forecast,
    ),
    (
        "a_user_timeout_that_ends_a_dead_connection",
        &[Requirement::Tun],
        silent_peers::a_user_timeout_ends_a_dead_connection,
    ),
    (
        "keep_alive_that_ends_a_dead_connection",
        &[Requirement::Tun],
        silent_peers::keep_alive_ends_a_dead_connection,
    ),
    (
        "a_peer_that_does_not_read",
        &[],
        silent_peers::a_peer_does_not_read,
    ),
    (
        "an_orphan_whose_peer_does_not_read",
        &[Requirement::RtoMax],
        silent_peers::an_orphan_is_given_up_although_its_peer_answers,
    ),
    (
        "defaults_are_the_kernel_s",
        &[],
        doctor::defaults_are_those_of_a_new_namespace,
    ),
    (
        "nginx_with_keep_alive_is_healthy",
        &[Requirement::Nginx, Requirement::Wrk],
        healthy::nginx_with_keep_alive,
    ),
    (
        "postgresql_under_pgbench_is_healthy",
        &[Requirement::Postgresql],
        healthy::postgresql_under_pgbench,
    ),
];

fn main() -> ExitCode {
    let mut all: Vec<LiveTest> = leaks::FORGETFUL
        .iter()
        .map(|server| {
            let requirements = [live::TRACING, &[server.requirement]].concat();
            LiveTest::new(server.name, &requirements, || {
                Netns::run(|netns| leaks::verdict_of(server, netns));
            })
        })
        .collect();
    all.extend(TESTS.into_iter().map(|(name, more, body)| {
        let requirements = [live::TRACING, more].concat();
        LiveTest::new(name, &requirements, move || Netns::run(body))
    }));
    live::run(all, Parallelism::One, || Ok(()))
}
