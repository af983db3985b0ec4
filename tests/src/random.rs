//! Pseudorandom numbers from a seed, which is printed: `TCPTRACE_TEST_SEED` repeats a failure.

use crate::clock::monotonic_ns;
use std::env;

/// A generator of 64-bit numbers: xorshift64* (Vigna, 2016).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Seeds it by `TCPTRACE_TEST_SEED`, or else by the clock, and prints the seed.
    #[must_use]
    pub fn announced(who: &str) -> Self {
        let seed = match env::var("TCPTRACE_TEST_SEED") {
            Ok(text) => text.parse().expect("TCPTRACE_TEST_SEED is a number"),
            Err(_) => monotonic_ns(),
        };
        println!("{who}: TCPTRACE_TEST_SEED={seed}");
        Self::seeded(seed)
    }

    /// Returns the same numbers for the same seed.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        match seed ^ 0x9e37_79b9_7f4a_7c15 {
            // The generator never leaves zero.
            0 => Self(1),
            state => Self(state),
        }
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a number of things");
        usize::try_from(self.next() % bound).expect("less than a number of things")
    }

    /// True in one of `times` cases.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        // The low bits are of lower quality.
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_numbers(seed: u64) -> Vec<usize> {
        let mut random = Random::seeded(seed);
        (0..100).map(|_| random.below(1000)).collect()
    }

    #[test]
    fn numbers_depend_on_the_seed_alone() {
        assert_eq!(first_numbers(2), first_numbers(2));
        assert_ne!(first_numbers(2), first_numbers(3));
    }
}
