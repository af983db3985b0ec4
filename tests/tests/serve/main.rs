//! `tcptrace serve`: its numbers are the kernel's, Prometheus and promtool take them, alerts fire and end with their
//! causes, and no client delays tracing or keeps others out.

mod clients;
mod numbers;
mod refusals;
mod scraped;

use std::process::ExitCode;
use tcptrace_tests::{
    by_name,
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
};

fn main() -> ExitCode {
    let with = |name: &str, more: &[Requirement], body: fn(Netns)| {
        let all = [live::TRACING, more].concat();
        LiveTest::new(name, &all, move || Netns::run(body))
    };
    let live = |name: &str, body: fn(Netns)| with(name, &[], body);
    let with_ss = |name: &str, body: fn(Netns)| with(name, &[Requirement::Ss], body);
    let with_prometheus = |name: &str, body: fn(Netns)| with(name, &[Requirement::Prometheus], body);
    let tests = by_name! {
        live =>
            numbers::counters_are_those_of_the_connections,
            numbers::series_stay_within_the_budget_while_processes_come_and_go,
            clients::every_path_and_form_is_answered,
            clients::hostile_clients_keep_nobody_out,
            clients::scrapes_during_a_flood_lose_nothing,
            refusals::what_cannot_be_served_is_refused,
            refusals::without_privileges_it_says_which_are_missing;
        with_ss =>
            numbers::sockets_are_those_of_ss_at_a_quiet_moment;
        with_prometheus =>
            scraped::promtool_has_no_remarks,
            scraped::the_packaged_rules_pass_their_tests,
            scraped::a_leak_fires_its_alerts_and_its_end_clears_them,
            scraped::native_histograms_by_tls_with_a_password;
    };
    live::run(tests, Parallelism::One, || Ok(()))
}
