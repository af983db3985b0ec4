//! Finds out hooks that attach and never fire, as where the compiler has inlined what they hook. What connections did
//! is held against what the hooks told, and against the kernel's own counters of the innocent reasons. Pure: counts
//! come in, a verdict goes out.

use super::{hook::Purpose, plan::Way};
use crate::event::Nanos;
use hashbrown::HashMap;
use tcptrace_common::kind;

/// So many connections have to contradict a hook that has never fired, before it counts as silent.
pub const ENOUGH: u64 = 16;

/// By then a timewait sock must have ended: FIN_WAIT2 and TIME_WAIT last a minute each, and one more is for those
/// whose timer was started again.
const LIFETIME: Nanos = Nanos::from_secs(180);

/// Namespaces that are remembered, at most. A hook is silent in all of them or in none.
const NAMESPACES: usize = 1024;

/// Hits by record kind, as in [`tcptrace_common::Counters`].
type Hits = [u64; 32];

/// How often the kernel says, since a namespace was made, that a hidden state was skipped for a good reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Excuses {
    /// The table of timewait socks was full.
    pub timewaits: u64,
    /// A handshake needed no request sock: SYN cookies, Fast Open.
    pub requests: u64,
}

/// How the two hidden states are served.
#[derive(Clone, Copy, Debug)]
pub struct Ways {
    /// Timewait socks.
    pub timewait: Way,
    /// Request socks.
    pub requests: Way,
}

impl Ways {
    /// Both in one way.
    #[must_use]
    pub const fn both(way: Way) -> Self {
        Self {
            timewait: way,
            requests: way,
        }
    }
}

/// What speaks against the hooks of the hidden states so far.
#[derive(Debug, Default)]
pub struct Silence {
    timewaits: Case,
    requests: Case,
    many_began: Option<Nanos>,
}

impl Silence {
    /// A connection of this namespace closed as one with a timewait sock does, and no hook told of one.
    pub fn timewait_skipped(&mut self, netns: u32, at: Nanos) {
        self.timewaits.note(netns, at);
    }

    /// A handshake of this namespace was done, and no hook told of a request sock.
    pub fn request_skipped(&mut self, netns: u32, at: Nanos) {
        self.requests.note(netns, at);
    }

    /// Whether the kernel's excuses are needed to judge.
    #[must_use]
    pub fn needs_excuses(&self, ways: Ways, hits: &Hits) -> bool {
        self.timewaits.is_due() && timewaits_begun(ways.timewait, hits) == 0
            || self.requests.is_due() && requests_begun(ways.requests, hits) == 0
    }

    /// The purpose whose hooks are silent, if one is. `now` is when `excuses` had been read. The first excuses only begin
    /// the count.
    pub fn judge(
        &mut self,
        ways: Ways,
        hits: &Hits,
        excuses: &HashMap<u32, Excuses>,
        now: Nanos,
    ) -> Option<Purpose> {
        let Self {
            timewaits, requests, ..
        } = self;
        if timewaits.is_due()
            && timewaits_begun(ways.timewait, hits) == 0
            && timewaits.judge(now, excuses, |excuses| excuses.timewaits)
        {
            return Some(Purpose::Timewait);
        }
        if requests.is_due()
            && requests_begun(ways.requests, hits) == 0
            && requests.judge(now, excuses, |excuses| excuses.requests)
        {
            return Some(Purpose::Requests);
        }
        self.never_ends(ways.timewait, hits, now)
            .then_some(Purpose::Timewait)
    }

    /// Whether timewait socks began, and none of them has ended long after all of them must have.
    fn never_ends(&mut self, way: Way, hits: &Hits, now: Nanos) -> bool {
        if timewaits_begun(way, hits) < ENOUGH || timewaits_ended(way, hits) > 0 {
            self.many_began = None;
            return false;
        }
        now.since(*self.many_began.get_or_insert(now)) >= LIFETIME
    }
}

/// One purpose's contradictions.
#[derive(Debug, Default)]
struct Case {
    /// By namespace, since it was judged last.
    seen: HashMap<u32, u64>,
    total: u64,
    /// When it was judged last, and how often the kernel had excused it by then, by namespace.
    before: Option<(Nanos, HashMap<u32, u64>)>,
    /// How often it was found innocent: each time doubles what the next judgement needs.
    acquittals: u32,
}

impl Case {
    /// What happened before the kernel was asked may come after that: it is among the excuses already.
    fn note(&mut self, netns: u32, at: Nanos) {
        let is_late = self.before.as_ref().is_some_and(|(asked, _)| at <= *asked);
        let has_room = self.seen.len() < NAMESPACES || self.seen.contains_key(&netns);
        if !is_late && has_room {
            *self.seen.entry(netns).or_default() += 1;
            self.total += 1;
        }
    }

    fn is_due(&self) -> bool {
        self.total >= ENOUGH << self.acquittals.min(16)
    }

    /// At least half have to be without an excuse: one may be counted a moment before it happens.
    fn judge(&mut self, now: Nanos, excuses: &HashMap<u32, Excuses>, excuse: fn(&Excuses) -> u64) -> bool {
        let mut seen_since = 0;
        let mut unexcused = 0;
        if let Some((_, before)) = &self.before {
            for (netns, seen) in &self.seen {
                // A namespace that is gone has taken its counters along.
                let (Some(before), Some(now)) = (before.get(netns), excuses.get(netns)) else {
                    continue;
                };
                seen_since += seen;
                unexcused += seen.saturating_sub(excuse(now).saturating_sub(*before));
            }
            self.acquittals += 1;
        }
        let counted = excuses.iter().map(|(netns, found)| (*netns, excuse(found)));
        self.before = Some((now, counted.collect()));
        self.seen.clear();
        self.total = 0;
        unexcused >= ENOUGH && unexcused >= seen_since / 2
    }
}

/// How often the hooks told that a timewait sock began, or could not be made. Where there are no hooks, none is silent.
fn timewaits_begun(way: Way, hits: &Hits) -> u64 {
    match way {
        Way::Fentry => sum(&[kind::TIMEWAIT_START, kind::TIMEWAIT_FULL], hits),
        Way::Timers | Way::PolledTimers => sum(&[kind::TIMEWAIT_TIMER_START], hits),
        Way::TpBtf | Way::Classic | Way::Cgroup | Way::Missing(_) => u64::MAX,
    }
}

/// How often they told that one ended, or may have.
fn timewaits_ended(way: Way, hits: &Hits) -> u64 {
    match way {
        Way::Fentry => sum(&[kind::TIMEWAIT_END], hits),
        Way::Timers | Way::PolledTimers => {
            sum(&[kind::TIMEWAIT_TIMER_CANCEL, kind::TIMEWAIT_TIMER_EXPIRE], hits)
        }
        Way::TpBtf | Way::Classic | Way::Cgroup | Way::Missing(_) => u64::MAX,
    }
}

/// How often they told that a request sock began.
fn requests_begun(way: Way, hits: &Hits) -> u64 {
    match way {
        Way::Fentry => sum(&[kind::REQUEST_START], hits),
        Way::Timers | Way::PolledTimers => sum(&[kind::REQUEST_TIMER_START], hits),
        Way::TpBtf | Way::Classic | Way::Cgroup | Way::Missing(_) => u64::MAX,
    }
}

fn sum(kinds: &[u8], hits: &Hits) -> u64 {
    kinds.iter().map(|kind| hits[usize::from(*kind)]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: u32 = 7;
    const LATER: Nanos = Nanos(1);
    const NO_HITS: Hits = [0; 32];

    fn excused(timewaits: u64, requests: u64) -> HashMap<u32, Excuses> {
        HashMap::from([(HERE, Excuses { timewaits, requests })])
    }

    fn skip_timewaits(silence: &mut Silence, count: u64) {
        for _ in 0..count {
            silence.timewait_skipped(HERE, LATER);
        }
    }

    fn hits(of: &[(u8, u64)]) -> Hits {
        let mut hits = NO_HITS;
        for (kind, count) in of {
            hits[usize::from(*kind)] = *count;
        }
        hits
    }

    fn judge(silence: &mut Silence, hits: &Hits, excuses: &HashMap<u32, Excuses>) -> Option<Purpose> {
        silence.judge(Ways::both(Way::Fentry), hits, excuses, Nanos(0))
    }

    #[test]
    fn hooks_that_never_fire_are_found_out() {
        let mut silence = Silence::default();
        skip_timewaits(&mut silence, ENOUGH - 1);
        assert!(!silence.needs_excuses(Ways::both(Way::Fentry), &NO_HITS));
        skip_timewaits(&mut silence, 1);
        assert!(silence.needs_excuses(Ways::both(Way::Fentry), &NO_HITS));
        // What the kernel had counted before says nothing.
        assert_eq!(judge(&mut silence, &NO_HITS, &excused(1_000, 0)), None);
        assert!(!silence.needs_excuses(Ways::both(Way::Fentry), &NO_HITS));
        skip_timewaits(&mut silence, ENOUGH);
        assert_eq!(
            judge(&mut silence, &NO_HITS, &excused(1_000, 0)),
            Some(Purpose::Timewait)
        );
    }

    #[test]
    fn requests_are_judged_by_themselves() {
        let mut silence = Silence::default();
        let hits = hits(&[(kind::TIMEWAIT_START, 100), (kind::TIMEWAIT_END, 1)]);
        for _ in 0..2 {
            for _ in 0..ENOUGH {
                silence.timewait_skipped(HERE, LATER);
                silence.request_skipped(HERE, LATER);
            }
            assert!(silence.needs_excuses(Ways::both(Way::Fentry), &hits));
            let verdict = judge(&mut silence, &hits, &excused(0, 0));
            if verdict.is_some() {
                assert_eq!(verdict, Some(Purpose::Requests));
                return;
            }
        }
        panic!("the requests' hooks were not found out");
    }

    #[test]
    fn one_hit_is_enough_to_be_believed() {
        let mut silence = Silence::default();
        skip_timewaits(&mut silence, 1_000);
        for (way, kind) in [
            (Way::Fentry, kind::TIMEWAIT_START),
            (Way::Fentry, kind::TIMEWAIT_FULL),
            (Way::Timers, kind::TIMEWAIT_TIMER_START),
            (Way::PolledTimers, kind::TIMEWAIT_TIMER_START),
        ] {
            assert!(!silence.needs_excuses(Ways::both(way), &hits(&[(kind, 1)])));
        }
        assert!(!silence.needs_excuses(Ways::both(Way::Missing("not asked")), &NO_HITS));
    }

    #[test]
    fn what_the_kernel_counts_as_skipped_is_no_contradiction() {
        let mut silence = Silence::default();
        let mut overflows = 50;
        for round in 0..8 {
            skip_timewaits(&mut silence, ENOUGH << round);
            // A tenth was counted a moment before it happened, and before the kernel was asked.
            overflows += (ENOUGH << round) * 9 / 10;
            assert_eq!(
                judge(&mut silence, &NO_HITS, &excused(overflows, 0)),
                None,
                "{round}"
            );
        }
    }

    #[test]
    fn what_happened_before_the_kernel_was_asked_is_no_contradiction() {
        let mut silence = Silence::default();
        skip_timewaits(&mut silence, ENOUGH);
        let asked = Nanos(1_000);
        let verdict = silence.judge(Ways::both(Way::Timers), &NO_HITS, &excused(500, 0), asked);
        assert_eq!(verdict, None);
        // A reader that was kept waiting: the kernel had counted all of these.
        for _ in 0..500 {
            silence.timewait_skipped(HERE, asked);
        }
        assert!(!silence.needs_excuses(Ways::both(Way::Timers), &NO_HITS));
    }

    #[test]
    fn every_acquittal_makes_the_next_judgement_rarer() {
        let mut silence = Silence::default();
        let mut overflows = 0;
        let mut judged = 0;
        for _ in 0..ENOUGH * 1_000 {
            silence.timewait_skipped(HERE, LATER);
            overflows += 1;
            if silence.needs_excuses(Ways::both(Way::Timers), &NO_HITS) {
                judged += 1;
                let verdict = silence.judge(
                    Ways::both(Way::Timers),
                    &NO_HITS,
                    &excused(overflows, 0),
                    Nanos(0),
                );
                assert_eq!(verdict, None);
            }
        }
        assert_eq!(judged, 10);
    }

    #[test]
    fn a_namespace_that_is_gone_is_no_witness() {
        let mut silence = Silence::default();
        for netns in 0..10_000 {
            for _ in 0..ENOUGH {
                silence.timewait_skipped(netns, LATER);
            }
            if silence.needs_excuses(Ways::both(Way::Fentry), &NO_HITS) {
                assert_eq!(judge(&mut silence, &NO_HITS, &HashMap::new()), None);
            }
        }
        assert!(silence.timewaits.seen.len() <= NAMESPACES);
    }

    #[test]
    fn timewait_socks_that_never_end_are_found_out_when_all_must_have() {
        let mut silence = Silence::default();
        let none = HashMap::new();
        let began = hits(&[(kind::TIMEWAIT_START, ENOUGH)]);
        let mut at =
            |hits: &Hits, secs| silence.judge(Ways::both(Way::Fentry), hits, &none, Nanos::from_secs(secs));
        assert_eq!(at(&began, 10), None);
        assert_eq!(at(&began, 189), None);
        assert_eq!(at(&began, 190), Some(Purpose::Timewait));
        let with_end = hits(&[(kind::TIMEWAIT_START, ENOUGH), (kind::TIMEWAIT_END, 1)]);
        assert_eq!(at(&with_end, 400), None);
    }
}
