//! Files of every format are read by this version.

use super::*;

/// Every kind of entry of a format, fixed for good: what its file holds.
#[expect(clippy::too_many_lines, reason = "a list of values")]
fn one_of_each(format: u32) -> Vec<Entry> {
    let has_evidence = format >= 3;
    let at = |ms: u64| Nanos::from_millis(1_000 + ms);
    let endpoints = endpoints("10.0.0.1:443", "[2001:db8::2]:50000");
    let event = |ms, what| {
        Entry::Event(Event {
            time: at(ms),
            sock: SockRef::new(77, 0),
            endpoints,
            netns: 4_026_531_840,
            protocol: 6,
            data: what,
            task: Some(Task {
                process: ProcessKey::new(42, 9),
                comm: comm("server"),
                cgroup: 3,
                uid: None,
                is_kernel_thread: true,
            }),
            is_kernel_socket: true,
            lost: 2,
        })
    };
    let state = EventData::State {
        old: TcpState::LastAck,
        new: TcpState::Close,
        error: 104,
        fin_received: true,
        is_orphan: true,
        bytes: Bytes {
            acked: 5,
            received: 6,
        },
        path: PathStats {
            retransmits_total: has_evidence.then_some(3),
            srtt: NonZeroU32::new(361).filter(|_| has_evidence),
        },
    };
    let substate = TcpState::FinWait2;
    let row = Row {
        time: at(20),
        read_by: at(20),
        sock: SockRef::new(0, u64::MAX - 1),
        endpoints,
        netns: 7,
        kind: SockKind::Request,
        state: TcpState::SynRecv,
        uid: 1,
        is_orphan: true,
        is_kernel_socket: true,
        unread: 2,
        unsent: 3,
        listener: 4,
        entry_stamp_ms: 5,
        expires_in_ns: Some(-6),
        idle: Some(Nanos(7)),
        flow: crate::socket::Flow::default(),
        inode: 8,
    };
    let network = Network {
        rtt_us: Some(300),
        rto: Some(Nanos(204_000_000)),
        retransmits: Some(0),
        timer: Some(Timer::Running {
            purpose: TimerPurpose::KeepAlive,
            expires_in: Nanos(7_200_000_000_000),
        }),
        congestion: Some(Congestion::Recovery),
        ..Network::default()
    };
    let network = Entry::Network(Box::new(SocketNetwork { cookie: 77, network }));
    let options = SocketOptions {
        user_timeout_ms: 30_000,
        rto_max_ms: None,
        has_keepalive: true,
        keepalive_time_ms: 0,
        keepalive_interval_ms: 0,
        keepalive_probes: 3,
        port_range: None,
    };
    let entries = vec![
        Entry::Blindspots(Blindspots {
            segments: true,
            requests: false,
            timewaits: false,
        }),
        event(1, state),
        event(2, EventData::ResetReceived),
        event(
            3,
            EventData::ResetSent(ResetReason::from_kernel(11).filter(|_| has_evidence)),
        ),
        event(4, EventData::TimewaitStart(substate)),
        event(5, EventData::TimewaitFull),
        event(
            6,
            EventData::TimewaitSegment {
                substate,
                is_reset: true,
            },
        ),
        event(
            7,
            EventData::TimewaitEnd {
                substate,
                cause: EndCause::ReusedBySyn,
            },
        ),
        event(
            8,
            EventData::TimewaitTimer {
                step: TimerStep::Cancel,
                substate,
            },
        ),
        event(9, EventData::RequestStart { listener: 11 }),
        event(10, EventData::RequestEnd),
        event(
            11,
            EventData::RequestTimer {
                step: TimerStep::Expire,
                listener: 12,
            },
        ),
        event(12, EventData::Accept),
        event(13, EventData::TaskRename),
        Entry::Settled(at(14)),
        Entry::Clock(ClockPair {
            mono_ns: 1_015_000_000,
            wall_ns: 1_795_300_000_000_000_001,
        }),
        Entry::Lost {
            time: at(16),
            total: 17,
        },
        Entry::Gap {
            time: at(18),
            entries: 19,
        },
        Entry::SnapshotBegun(at(20)),
        Entry::Covered(7),
        Entry::Row(row),
        network,
        Entry::SnapshotDone,
        Entry::PollBegun(at(21)),
        Entry::Polled(at(21)),
        Entry::Note {
            time: at(22),
            text: "é".into(),
        },
        Entry::ScanBegun {
            started: at(23),
            mechanism: ScanMechanism::Proc,
        },
        Entry::Holder(Holder {
            options: Some(options).filter(|_| has_evidence),
            ..holder(77)
        }),
        Entry::ScanDone { cost: Nanos(24) },
        Entry::Stopped(at(25)),
        Entry::Summary("{\"events\":1}".into()),
    ];
    let is_of_format = |entry: &Entry| has_evidence || !matches!(entry, Entry::Network(_));
    entries.into_iter().filter(is_of_format).collect()
}

/// The same for the origin.
fn origin_of(format: u32) -> Origin {
    let names = [
        ("SK_RST_REASON_NOT_SPECIFIED", 0),
        ("SK_RST_REASON_TCP_ABORT_ON_CLOSE", 11),
    ];
    Origin {
        reset_reasons: ResetReasons::new(names.into_iter().filter(|_| format >= 3)),
        ..example()
    }
}

#[test]
fn a_file_of_each_format_is_read_by_every_later_version() {
    let files: [&[u8]; 3] = [
        include_bytes!("../fixtures/format-1.arrows"),
        include_bytes!("../fixtures/format-2.arrows"),
        include_bytes!("../fixtures/format-3.arrows"),
    ];
    for (format, file) in (1..=FORMAT).zip(files) {
        let (entries, reader) = read(file.to_vec()).unwrap();
        assert_eq!(entries, one_of_each(format), "format {format}");
        assert_eq!(reader.origin, origin_of(format));
        assert!(reader.is_whole);
    }
    assert_eq!(files.len(), FORMAT as usize, "each format has a file");
}

#[test]
fn the_user_of_a_process_is_kept_or_unknown() {
    let of = |uid| Entry::Holder(Holder { uid, ..holder(77) });
    let mut live = Live::new(10);
    live.entries = vec![of(Some(0)), of(None), of(Some(33))];
    let (entries, _) = read(live.file(9).concat()).unwrap();
    assert_eq!(entries, live.entries);
}
