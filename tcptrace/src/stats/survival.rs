//! The share that is still there after a given time: the product-limit estimate of E. L. Kaplan and P. Meier,
//! "Nonparametric Estimation from Incomplete Observations", Journal of the American Statistical Association 53
//! (1958), 457-481. Knows durations and counts, and not what they are of.

use crate::event::Nanos;

/// What was watched, in three lists of (age, how many), each in order of age.
///
/// What is still there counts as long as it was watched and no longer (right-censored). What was already there when
/// the watching began counts from the age that it had then (left-truncated, entering late): it would not have been
/// seen, had it left before. This estimate is valid if the time of the start is independent of the duration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    /// Those that left, at this age.
    pub(crate) left: Vec<(Nanos, u64)>,
    /// Those that have not, at the age that they have.
    pub(crate) still: Vec<(Nanos, u64)>,
    /// Those among both that came under watch late, at this age; the others did at their beginning.
    pub(crate) late: Vec<(Nanos, u64)>,
}

/// The curve after an age at which at least one ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) age: Nanos,
    /// How many were under watch just before.
    pub(crate) at_risk: u64,
    /// The share that is still there just after, 0 to 1.
    pub(crate) share: f64,
}

/// The estimate: a staircase from 1 down.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Curve {
    /// Its steps, in order of age.
    pub(crate) steps: Vec<Step>,
    /// The greatest age that anything was watched at; beyond it nothing is known.
    pub(crate) watched_to: Nanos,
}

/// Estimates the curve. Ages at which some leave and others are last seen: those last seen were there still.
pub(crate) fn curve(watched: &Watched) -> Curve {
    let Watched { left, still, late } = watched;
    let ages_to = |list: &[(Nanos, u64)]| list.last().map_or(Nanos(0), |(age, _)| *age);
    let mut gone = Below::of(left);
    let mut censored = Below::of(still);
    let mut entered = Below::of(late);
    let everybody = total(left) + total(still);
    let from_the_start = everybody.saturating_sub(total(late));
    let mut share = 1.0;
    let mut steps: Vec<Step> = Vec::new();
    for group in left.chunk_by(|a, b| a.0 == b.0) {
        let age = group[0].0;
        let leaving = total(group);
        let here = from_the_start + entered.below(age);
        let at_risk = here.saturating_sub(gone.below(age) + censored.below(age));
        if at_risk == 0 || leaving == 0 {
            continue;
        }
        share *= 1.0 - ratio(leaving.min(at_risk), at_risk);
        steps.push(Step { age, at_risk, share });
    }
    Curve {
        steps,
        watched_to: ages_to(left).max(ages_to(still)),
    }
}

impl Curve {
    /// The share that is still there after `age`, and how many were watched up to the last step before; `None`
    /// where nothing was watched for that long.
    pub(crate) fn share_after(&self, age: Nanos) -> Option<f64> {
        if age > self.watched_to {
            return None;
        }
        let passed = self.steps.partition_point(|step| step.age <= age);
        Some(passed.checked_sub(1).map_or(1.0, |last| self.steps[last].share))
    }

    /// The age after which at most half remain; `None` if more do at the greatest observed age.
    pub(crate) fn median(&self) -> Option<Nanos> {
        let step = self.steps.iter().find(|step| step.share <= 0.5)?;
        Some(step.age)
    }
}

impl Watched {
    /// How many were under watch at `age`.
    pub(crate) fn at_risk(&self, age: Nanos) -> u64 {
        let reached = |list: &[(Nanos, u64)]| {
            let from = list.partition_point(|(other, _)| *other < age);
            total(&list[from..])
        };
        (reached(&self.left) + reached(&self.still)).saturating_sub(reached(&self.late))
    }
}

fn total(list: &[(Nanos, u64)]) -> u64 {
    list.iter().map(|(_, count)| count).sum()
}

#[expect(clippy::cast_precision_loss, reason = "the share is an estimate")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Adds up a list up to each requested age; ages are ascending.
struct Below<'a> {
    rest: &'a [(Nanos, u64)],
    sum: u64,
}

impl<'a> Below<'a> {
    const fn of(list: &'a [(Nanos, u64)]) -> Self {
        Self { rest: list, sum: 0 }
    }

    /// How many have an age below this one.
    fn below(&mut self, age: Nanos) -> u64 {
        let passed = self.rest.partition_point(|(other, _)| *other < age);
        self.sum += total(&self.rest[..passed]);
        self.rest = &self.rest[passed..];
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ages(list: &[u64]) -> Vec<(Nanos, u64)> {
        list.iter().map(|age| (Nanos(*age), 1)).collect()
    }

    /// Age, number at risk and share of each step, the share as tables print it.
    fn printed(curve: &Curve) -> Vec<(u64, u64, String)> {
        let shown = |step: &Step| (step.age.0, step.at_risk, format!("{:.3}", step.share));
        curve.steps.iter().map(shown).collect()
    }

    fn table(rows: &[(u64, u64, &str)]) -> Vec<(u64, u64, String)> {
        let owned = |(age, at_risk, share): &(u64, u64, &str)| (*age, *at_risk, (*share).to_owned());
        rows.iter().map(owned).collect()
    }

    /// Weeks of remission under 6-mercaptopurine, Freireich and others 1963, in the worked form of Cox and Oakes,
    /// "Analysis of Survival Data" (1984), table 1.1 and section 4.2.
    #[test]
    fn the_textbook_example_comes_out_as_printed() {
        let watched = Watched {
            left: ages(&[6, 6, 6, 7, 10, 13, 16, 22, 23]),
            still: ages(&[6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]),
            late: Vec::new(),
        };
        let curve = curve(&watched);
        let expected = table(&[
            (6, 21, "0.857"),
            (7, 17, "0.807"),
            (10, 15, "0.753"),
            (13, 12, "0.690"),
            (16, 11, "0.627"),
            (22, 7, "0.538"),
            (23, 6, "0.448"),
        ]);
        assert_eq!(printed(&curve), expected);
        assert_eq!(curve.median(), Some(Nanos(23)));
        assert_eq!(curve.share_after(Nanos(5)), Some(1.0));
        assert_eq!(
            curve.share_after(Nanos(36)),
            None,
            "nobody was watched for 36 weeks"
        );
        assert_eq!(watched.at_risk(Nanos(32)), 4);
    }

    #[test]
    fn what_was_there_before_counts_from_the_age_that_it_had() {
        // Three from their beginning leave at 2, 4 and 8; one that was 3 old when the watching began leaves at 6.
        let watched = Watched {
            left: ages(&[2, 4, 6, 8]),
            still: Vec::new(),
            late: ages(&[3]),
        };
        // At 2 three are watched, at 4 the late one too: 2/3, 2/3 · 2/3, 2/3 · 2/3 · 1/2, 0.
        assert_eq!(
            printed(&curve(&watched)),
            table(&[(2, 3, "0.667"), (4, 3, "0.444"), (6, 2, "0.222"), (8, 1, "0.000")])
        );
    }

    #[test]
    fn a_leak_keeps_the_curve_up() {
        let watched = Watched {
            left: vec![(Nanos(1), 62)],
            still: vec![(Nanos(60), 38)],
            late: Vec::new(),
        };
        let curve = curve(&watched);
        assert_eq!(curve.share_after(Nanos(60)), Some(0.38));
        assert_eq!(curve.median(), Some(Nanos(1)));
    }

    #[test]
    fn nothing_watched_is_nothing_known() {
        let curve = curve(&Watched::default());
        assert_eq!(curve.steps, []);
        assert_eq!(curve.median(), None);
    }

    #[test]
    fn without_the_censored_it_is_the_plain_share() {
        let watched = Watched {
            left: ages(&[1, 2, 3, 4]),
            ..Watched::default()
        };
        assert_eq!(
            printed(&curve(&watched)),
            table(&[(1, 4, "0.750"), (2, 3, "0.500"), (3, 2, "0.250"), (4, 1, "0.000")])
        );
    }
}
