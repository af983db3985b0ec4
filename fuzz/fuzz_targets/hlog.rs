//! Logs of histograms: any text; and any bytes as one histogram of it, which base64 would hide from the fuzzer.

#![no_main]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use libfuzzer_sys::fuzz_target;
use tcptrace::{
    output::hist::{self, Picture, csv, json, text},
    source::hlog::read,
    stats::key::By,
};

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let log = if first % 2 == 0 {
        rest.to_vec()
    } else {
        format!("Tag=CLOSE_WAIT,0.000,1.000,1.000,{}\n", STANDARD.encode(rest)).into_bytes()
    };
    let by = [By::State, By::Process, By::Cgroup, By::Tuple][usize::from(first >> 1 & 3)];
    let Ok(dump) = read("log", &log[..], by) else {
        return;
    };
    // Drawing takes far longer than reading.
    if first >> 3 != 0 {
        return;
    }
    let picture = Picture {
        report: &dump.report,
        measures: &hist::measures(&[]),
        watched: None,
        top: 10,
    };
    let drawn = text::draw(&picture) + &csv::rows(&picture);
    assert!(!drawn.chars().any(|c| c.is_control() && c != '\n'), "{drawn:?}");
    let _json = json::rows(&picture);
});
