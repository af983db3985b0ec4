//! Number of sockets in each state in the latest frames.

use crate::view::Counts;
use std::collections::VecDeque;

const FRAMES: usize = 60;

/// The latest counts, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trend {
    frames: VecDeque<Counts>,
}

impl Trend {
    pub(crate) fn push(&mut self, counts: Counts) {
        if self.frames.len() == FRAMES {
            self.frames.pop_front();
        }
        self.frames.push_back(counts);
    }

    /// Forgets them, as before a jump in time.
    pub(crate) fn clear(&mut self) {
        self.frames.clear();
    }

    /// Up or down over the latest ten frames, or neither: one character.
    pub(crate) fn arrow(&self, state: usize) -> char {
        let now = self.frames.back().map_or(0, |counts| counts[state]);
        let before = self.frames.len().saturating_sub(10);
        let then = self.frames.get(before).map_or(now, |counts| counts[state]);
        match now.cmp(&then) {
            std::cmp::Ordering::Greater => '↑',
            std::cmp::Ordering::Less => '↓',
            std::cmp::Ordering::Equal => ' ',
        }
    }

    /// The latest `width` frames as bars, from nothing to the most among them.
    pub(crate) fn bars(&self, state: usize, width: usize) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let skip = self.frames.len().saturating_sub(width);
        let values = self.frames.iter().skip(skip).map(|counts| counts[state]);
        let most = values.clone().max().unwrap_or(0);
        let missing = width.saturating_sub(self.frames.len());
        let bar = |value: u64| {
            if value == 0 {
                return ' ';
            }
            let level = u128::from(value) * 8 / u128::from(most.max(1));
            let level = usize::try_from(level).unwrap_or(8).saturating_sub(1).min(7);
            BARS[level]
        };
        std::iter::repeat_n(' ', missing).chain(values.map(bar)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(values: &[u64]) -> Trend {
        let mut trend = Trend::default();
        for value in values {
            let mut counts = Counts::default();
            counts[7] = *value;
            trend.push(counts);
        }
        trend
    }

    #[test]
    fn a_trend_is_drawn_from_its_latest_frames() {
        let rising = trend(&[0, 1, 4, 8]);
        assert_eq!((rising.arrow(7), rising.arrow(0)), ('↑', ' '));
        assert_eq!(rising.bars(7, 6), "   ▁▄█");
        assert_eq!(rising.bars(7, 2), "▄█");
        assert_eq!(trend(&[5, 5]).arrow(7), ' ');
        assert_eq!(trend(&[5, 4]).arrow(7), '↓');
        assert_eq!(Trend::default().bars(0, 3), "   ");
    }

    #[test]
    fn only_so_many_frames_are_remembered() {
        let many = trend(&[9; 1_000]);
        assert_eq!(many.frames.len(), FRAMES);
        assert_eq!(many.bars(7, 100).trim_start().chars().count(), FRAMES);
    }
}
