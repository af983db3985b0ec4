//! `tcptrace serve`: its numbers are the kernel's, Prometheus and promtool take them, alerts fire and end with their
//! causes, and no client delays tracing or keeps others out.

mod alerts;
mod clients;
mod documented;
mod numbers;
mod refusals;
mod scraped;
mod tls;

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
    let with_prometheus_and_python =
        |name: &str, body: fn(Netns)| with(name, &[Requirement::Prometheus, Requirement::Python], body);
    let in_trouble = |name: &str, body: fn(Netns)| {
        let all = [Requirement::Prometheus, Requirement::Python, Requirement::Tun];
        with(name, &all, body)
    };
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
        with_prometheus_and_python =>
            documented::the_page_is_followed_to_an_alert;
        in_trouble =>
            alerts::troubles_fire_their_alerts_and_their_ends_clear_them;
        with_prometheus =>
            scraped::promtool_has_no_remarks,
            scraped::the_packaged_rules_pass_their_tests,
            tls::native_histograms_by_tls_with_a_password,
            tls::clients_need_a_certificate_and_renewed_ones_are_used;
    };
    live::run(tests, Parallelism::One, || Ok(()))
}
