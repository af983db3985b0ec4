use super::*;
use Preference::{Auto, Fentry, Timers, Tracepoint};

const ALL: Abilities = Abilities {
    has_btf: true,
    has_trampolines: true,
    knows_timer_handlers: true,
    has_cookie: true,
    names_receiver: true,
};

#[test]
fn the_plan_follows_from_the_facts() {
    let hardened = Abilities {
        has_trampolines: false,
        ..ALL
    };
    let hidden = Abilities {
        has_trampolines: false,
        knows_timer_handlers: false,
        ..ALL
    };
    let no_btf = Abilities {
        has_btf: false,
        has_trampolines: false,
        ..ALL
    };
    let table = [
        (ALL, Auto, "tp_btf fentry fentry tp_btf fentry tp_btf"),
        (ALL, Fentry, "tp_btf fentry fentry tp_btf fentry tp_btf"),
        (ALL, Timers, "tp_btf timers timers tp_btf missing tp_btf"),
        (
            ALL,
            Tracepoint,
            "tracepoint missing missing missing missing missing",
        ),
        (hardened, Auto, "tp_btf timers timers tp_btf missing tp_btf"),
        (hardened, Fentry, "tp_btf missing missing tp_btf missing tp_btf"),
        (hidden, Auto, "tp_btf missing missing tp_btf missing tp_btf"),
        (no_btf, Auto, "tracepoint missing missing missing missing missing"),
    ];
    for (abilities, preference, expected) in table {
        let plan = plan(abilities, preference);
        let names: Vec<_> = plan
            .mechanisms
            .iter()
            .map(|(_, mechanism)| mechanism.name())
            .collect();
        assert_eq!(names.join(" "), expected, "{abilities:?} {preference:?}");
    }
}

#[test]
fn who_accepts_is_missing_for_a_reason_of_its_own() {
    let reason = |abilities: Abilities, preference| match plan(abilities, preference).mechanisms[4] {
        (Feature::Accept, Mechanism::Missing(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let no_trampolines = Abilities {
        has_trampolines: false,
        knows_timer_handlers: false,
        ..ALL
    };
    assert_eq!(reason(no_trampolines, Auto), NO_TRAMPOLINES);
    assert_eq!(reason(no_trampolines, Tracepoint), NOT_ASKED);
    assert_eq!(reason(ALL, Timers), NOT_ASKED);
    let no_btf = Abilities {
        has_btf: false,
        ..no_trampolines
    };
    assert_eq!(reason(no_btf, Auto), NO_BTF);
}

#[test]
fn timewait_socks_are_polled_where_a_late_fin_shows_in_no_hook() {
    let older = Abilities {
        names_receiver: false,
        ..ALL
    };
    let plan = plan(older, Timers);
    assert!(
        plan.mechanisms
            .contains(&(Feature::Timewait, Mechanism::PolledTimers))
    );
    assert!(!plan.hooks.contains(&hook::KFREE_SKB));
    assert!(super::plan(ALL, Timers).hooks.contains(&hook::KFREE_SKB));
}

#[test]
fn silent_trampolines_give_way_to_the_timers_where_the_user_leaves_the_choice() {
    let no_handlers = Abilities {
        knows_timer_handlers: false,
        ..ALL
    };
    let older = Abilities {
        names_receiver: false,
        ..ALL
    };
    let table = [
        (ALL, Auto, Mechanism::Fentry, Some(Mechanism::Timers)),
        (older, Auto, Mechanism::Fentry, Some(Mechanism::PolledTimers)),
        (no_handlers, Auto, Mechanism::Fentry, None),
        (ALL, Fentry, Mechanism::Fentry, None),
        (ALL, Auto, Mechanism::Timers, None),
        (ALL, Timers, Mechanism::Timers, None),
    ];
    for (abilities, preference, silent, expected) in table {
        let plan = fallback(abilities, preference, silent);
        let mechanism = plan.as_ref().map(|plan| plan.mechanisms[1].1);
        assert_eq!(mechanism, expected, "{abilities:?} {preference:?} {silent:?}");
        if let Some(plan) = plan {
            assert!(plan.hooks.contains(&hook::ACCEPT));
            assert!(!plan.hooks.contains(&hook::TIMEWAIT_FENTRY[0]));
        }
    }
}

#[test]
fn sockets_get_their_cookies_where_nobody_else_can_ask_for_one() {
    let older = Abilities {
        has_cookie: false,
        ..ALL
    };
    let asks = |abilities, preference| plan(abilities, preference).hooks.contains(&hook::COOKIES[0]);
    assert!(asks(older, Auto));
    assert!(asks(older, Timers));
    assert!(!asks(older, Tracepoint));
    assert!(!asks(ALL, Auto));
}
