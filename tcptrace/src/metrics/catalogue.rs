//! Every family of metrics. `docs/metrics.md` is generated from it.

use super::{Description, Kind, Unit};

macro_rules! families {
    ($($id:ident = $kind:ident $name:literal $(in $unit:ident)? by [$($label:literal),*] is $help:literal;)*) => {
        $(
            pub(crate) static $id: Description = Description {
                name: $name,
                kind: Kind::$kind,
                unit: families!(@unit $($unit)?),
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// In the order of outputs.
        pub(crate) static ALL: &[&Description] = &[$(&$id),*];
    };
    (@unit) => { None };
    (@unit $unit:ident) => { Some(Unit::$unit) };
}

families! {
    SOCKETS = Gauge "tcptrace_sockets" by ["state"]
        is "Sockets by state.";
    PROCESS_SOCKETS = Gauge "tcptrace_process_sockets" by ["process", "state"]
        is "Sockets by the name of their owner and by state.";
    UNIT_SOCKETS = Gauge "tcptrace_unit_sockets" by ["unit", "state"]
        is "Sockets by the systemd unit of their owner and by state.";
    CONTAINER_SOCKETS = Gauge "tcptrace_container_sockets" by ["namespace", "pod", "container", "container_id", "runtime", "state"]
        is "Sockets by the container of their owner and by state.";
    POD_SOCKETS = Gauge "tcptrace_pod_sockets" by ["namespace", "pod", "uid", "state"]
        is "Sockets by the pod of their owner and by state.";
    NETNS_SOCKETS = Gauge "tcptrace_netns_sockets" by ["netns", "state"]
        is "Sockets by network namespace and by state.";
    OLDEST_AGE = Gauge "tcptrace_oldest_age_seconds" in Seconds by ["state"]
        is "How long the oldest socket of each state has been in it, at least.";
    AGED_SOCKETS = Gauge "tcptrace_aged_sockets" by ["state", "at_least"]
        is "Sockets that have been in their state for at least so many seconds.";
    TRANSITIONS = Counter "tcptrace_transitions" by ["from", "to"]
        is "Transitions by old and new state.";
    STATE_DURATION = Histogram "tcptrace_state_duration_seconds" in Seconds by ["state"]
        is "Time in a state, of stays that have ended and were seen from start to end.";
    PARTIAL_DURATIONS = Counter "tcptrace_partial_state_durations" by ["state"]
        is "Stays in a state that have ended and whose start was not seen: not in tcptrace_state_duration_seconds.";
    CONNECTION_DURATION = Histogram "tcptrace_connection_duration_seconds" in Seconds by []
        is "Lifetime of connections that have ended, from the first SYN to the end of TIME_WAIT.";
    HANDSHAKE_DURATION = Histogram "tcptrace_handshake_duration_seconds" in Seconds by ["side", "outcome"]
        is "Time in SYN_SENT (client) or SYN_RECV (server), by how the handshake ended.";
    CONNECTS = Counter "tcptrace_connects" by ["port", "outcome"]
        is "Calls of connect that have ended, by destination port and outcome.";
    ENDS = Counter "tcptrace_connection_ends" by ["reason"]
        is "Connections that have ended, by reason; none where nothing but an orderly close was seen.";
    TIME_WAIT_ENDS = Counter "tcptrace_time_wait_ends" by ["reason"]
        is "TIME_WAITs that have ended, by reason.";
    OPENED = Counter "tcptrace_process_connections_opened" by ["process"]
        is "Connections that became ESTABLISHED, by the name of their owner.";
    CLOSED = Counter "tcptrace_process_connections_closed" by ["process"]
        is "Connections that left ESTABLISHED, by the name of their owner.";
    TIME_WAITS = Counter "tcptrace_process_time_waits" by ["process"]
        is "TIME_WAITs made, by the name of the process that closed first.";
    RETRANSMITTED = Counter "tcptrace_process_retransmitted_segments" by ["process"]
        is "Segments that were sent again, of connections that have ended, by the name of their owner.";

    EVALUATION_AGE = Gauge "tcptrace_evaluation_age_seconds" in Seconds by []
        is "Time since the sockets, settings and counters were read and evaluated that the following families come from.";
    EVALUATED = Gauge "tcptrace_evaluated_span_seconds" in Seconds by []
        is "Time that this evaluation is about.";
    FINDINGS = Gauge "tcptrace_findings" by ["rule", "level"]
        is "Findings by rule and level.";
    LEAKED_SOCKETS = Gauge "tcptrace_leaked_sockets" by ["process", "verdict"]
        is "Sockets that their peers have closed and their process has not, past the threshold, by verdict.";
    LEAKED_AGE = Gauge "tcptrace_leaked_oldest_age_seconds" in Seconds by ["process"]
        is "How long the oldest leaked socket has been in CLOSE_WAIT, at least.";
    DESCRIPTORS = Gauge "tcptrace_process_descriptors" by ["process"]
        is "Open descriptors of the process of each name that has the least left.";
    DESCRIPTORS_LIMIT = Gauge "tcptrace_process_descriptors_limit" by ["process"]
        is "Limit of descriptors (soft RLIMIT_NOFILE) of the same process.";
    EXHAUSTION = Gauge "tcptrace_descriptors_exhaustion_seconds" in Seconds by ["process"]
        is "Time until a process that leaks sockets has no descriptor left, at the present growth.";
    PORTS_USED = Gauge "tcptrace_ephemeral_ports_used" by ["netns", "local", "remote", "port"]
        is "Local ports that connect cannot choose towards a destination, of the destinations with the fewest left.";
    PORTS_AVAILABLE = Gauge "tcptrace_ephemeral_ports" by ["netns", "local", "remote", "port"]
        is "Local ports that connect chooses from towards a destination.";
    ACCEPT_QUEUE = Gauge "tcptrace_accept_queue_connections" by ["netns", "process", "address", "port"]
        is "Connections that wait for accept, by listener; of several sockets that listen there, the fullest queue.";
    ACCEPT_QUEUE_LIMIT = Gauge "tcptrace_accept_queue_limit" by ["netns", "process", "address", "port"]
        is "Connections that this accept queue holds.";
    LISTENER_DROPS = Counter "tcptrace_listener_drops" by ["netns", "process", "address", "port"]
        is "Segments that the kernel dropped at a listener since tcptrace was ready (sk_drops), by listener that has dropped any: SYNs and last ACKs, and also what healthy handshakes drop, such as the bare ACKs of TCP_DEFER_ACCEPT and repeated SYNs.";
    LISTEN_OVERFLOWS = Counter "tcptrace_netns_listen_overflows" by ["netns"]
        is "Connections that arrived at a full accept queue (ListenOverflows), whatever the filter.";
    LISTEN_DROPS = Counter "tcptrace_netns_listen_drops" by ["netns"]
        is "SYNs and last ACKs that listeners dropped for any reason (ListenDrops), whatever the filter.";
    TIME_WAIT_OVERFLOWS = Counter "tcptrace_netns_time_wait_overflows" by ["netns"]
        is "TIME_WAITs that were skipped because there are too many (TCPTimeWaitOverflow), whatever the filter.";
    SYN_COOKIES = Counter "tcptrace_netns_syn_cookies_sent" by ["netns"]
        is "SYN cookies sent because the SYN backlog is full (SyncookiesSent), whatever the filter.";
    RETRANS_SEGS = Counter "tcptrace_netns_retransmitted_segments" by ["netns"]
        is "Segments that were sent again (RetransSegs), whatever the filter.";
    MEMORY = Gauge "tcptrace_memory_bytes" in Bytes by []
        is "Memory of the queues of all TCP sockets of the host.";
    MEMORY_THRESHOLD = Gauge "tcptrace_memory_threshold_bytes" in Bytes by ["threshold"]
        is "Memory of TCP sockets at which pressure ends (low), begins (pressure), and segments are dropped (limit).";

    LOST_RECORDS = Counter "tcptrace_lost_records" by ["kind"]
        is "Records that the kernel could not deliver.";
    REPAIRED_RECORDS = Counter "tcptrace_repaired_records" by []
        is "Lost records that a later snapshot has made up for.";
    RECORDS = Counter "tcptrace_records" by []
        is "Records read from the kernel.";
    UNDECODED = Counter "tcptrace_undecoded_records" by []
        is "Records of an unknown layout.";
    UNKNOWN = Counter "tcptrace_unknown_events" by []
        is "Events of sockets that neither an event nor a snapshot had shown before.";
    IMPOSSIBLE = Counter "tcptrace_impossible_events" by []
        is "Events in an impossible order.";
    EVICTED = Counter "tcptrace_evicted_connections" by []
        is "Connections evicted because the table was full.";
    UNSEEN_ENDS = Counter "tcptrace_unseen_ends" by []
        is "Connections whose end was found by a snapshot.";
    TRACKED = Gauge "tcptrace_tracked_connections" by []
        is "Connections in the table.";
    KERNEL_TRANSITIONS = Counter "tcptrace_kernel_transitions" by []
        is "Transitions that the kernel programs counted, lost ones included.";
    AUDIT_COMPARED = Gauge "tcptrace_audit_compared_sockets" by []
        is "Sockets of the kernel that the latest audit compared with the table.";
    AUDIT_DIFFERENCES = Gauge "tcptrace_audit_differences" by []
        is "Sockets in which they differed, before they were corrected.";
    AUDIT_AGE = Gauge "tcptrace_audit_age_seconds" in Seconds by []
        is "Time since the latest audit.";
    UNSEEN = Gauge "tcptrace_unseen" by ["kind"]
        is "What could not be seen: limitations by kind, each of which `tcptrace watch` describes.";
    CPU = Counter "tcptrace_cpu_seconds" in Seconds by []
        is "CPU time of tcptrace.";
    KERNEL_CPU = Gauge "tcptrace_kernel_cpu_ratio" in Ratio by []
        is "Share of one CPU that the kernel programs took, measured in one collection of ten.";
    RESIDENT = Gauge "tcptrace_resident_memory_bytes" in Bytes by []
        is "Memory of tcptrace.";
    PEAK = Gauge "tcptrace_peak_memory_bytes" in Bytes by []
        is "The most memory that tcptrace had.";
    SCANS = Counter "tcptrace_scans" by []
        is "Scans of open files for the holders of sockets.";
    SCAN_CPU = Counter "tcptrace_scan_cpu_seconds" in Seconds by []
        is "CPU time of these scans.";
    COLLECTION = Gauge "tcptrace_collection_duration_seconds" in Seconds by []
        is "Time that the latest collection of metrics before this one took.";
    BUDGET = Gauge "tcptrace_series_limit" by []
        is "Maximum number of series (--max-series).";
    SERIES = Gauge "tcptrace_series" by []
        is "Series of this collection.";
    FOLDED = Gauge "tcptrace_folded_keys" by ["dimension"]
        is "Keys without series of their own, which are counted under other or left out, by dimension.";
    EVICTED_KEYS = Counter "tcptrace_evicted_keys" by ["dimension"]
        is "Keys of counters whose series went away for want of room, by dimension.";
    OTLP_EXPORTS = Counter "tcptrace_otlp_exports" by ["signal", "outcome"]
        is "Requests to an OpenTelemetry collector, by signal and outcome.";
    OTLP_REJECTED = Counter "tcptrace_otlp_rejected_items" by ["signal"]
        is "Data points or log records that the collector rejected of requests that it took.";
    OTLP_DROPPED = Counter "tcptrace_otlp_dropped_log_records" by []
        is "Log records that were not pushed, because too many waited or the collector refused them.";
    BUILD = Gauge "tcptrace_build_info" by ["version"]
        is "The version of tcptrace; always 1.";
    KERNEL = Gauge "tcptrace_kernel_info" by ["release", "machine"]
        is "The kernel; always 1.";
    HOOKS = Gauge "tcptrace_hook_info" by ["feature", "mechanism"]
        is "The mechanism of each feature; always 1.";
    START_TIME = Gauge "tcptrace_start_time_seconds" in Seconds by []
        is "When tcptrace was ready, in seconds since 1970.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_prometheus_s_conventions() {
        let mut names = std::collections::HashSet::new();
        for family in ALL {
            let name = family.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.starts_with("tcptrace_"), "{name}");
            assert!(!name.ends_with("_total"), "{name}: outputs add it");
            assert!(
                !["_count", "_sum", "_bucket"]
                    .iter()
                    .any(|end| name.ends_with(end)),
                "{name}"
            );
            if let Some(unit) = family.unit {
                assert!(name.ends_with(unit.name()), "{name}");
            }
            assert!(family.help.ends_with('.'), "{name}");
            let forbidden = ["pid", "peer", "remote_port", "le"];
            assert!(
                family.labels.iter().all(|label| !forbidden.contains(label)),
                "{name}"
            );
        }
    }
}
