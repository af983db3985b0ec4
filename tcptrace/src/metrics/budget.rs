//! The budget of series. What varies from host to host gets a bounded part of it, and five families share what is left:
//! each gets as many keys as it has, or else an equal share.

/// Default number of series: at 1,000 hosts five million, which one Prometheus holds. A host has some 700 without any
/// sockets, and eleven more for each process name, unit, container, pod and network namespace.
pub(crate) const DEFAULT: usize = 5_000;

/// The least budget that has room for what varies, beside some 700 series that every host has and the parts of each group.
pub(crate) const LEAST: usize = 2_000;

/// Maximum number of series of each family or group of families whose keys vary, but for sockets.
pub(crate) const fn part(max_series: usize) -> usize {
    max_series / 25
}

/// Divides `available` by max-min fairness: each gets what it wants, or else an equal share of what the smaller wants leave.
pub(super) fn divide(available: usize, wanted: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|at| wanted[*at]);
    let mut shares = vec![0; wanted.len()];
    let mut left = available;
    for (done, at) in order.iter().enumerate() {
        let share = wanted[*at].min(left / (wanted.len() - done));
        shares[*at] = share;
        left -= share;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_one_does_not_want_the_others_get() {
        assert_eq!(divide(100, &[10, 200, 30]), [10, 60, 30]);
        assert_eq!(divide(100, &[1, 2, 3]), [1, 2, 3]);
        assert_eq!(divide(9, &[100, 100]), [4, 5]);
    }

    proptest! {
        #[test]
        fn never_more_than_there_is(available in 0..10_000_usize, wanted in prop::collection::vec(0..5_000_usize, 1..8)) {
            let shares = divide(available, &wanted);
            prop_assert!(shares.iter().sum::<usize>() <= available);
            prop_assert!(shares.iter().zip(&wanted).all(|(share, wanted)| share <= wanted));
        }
    }
}
