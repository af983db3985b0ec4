//! What a histogram costs: memory by precision and form, and time a value. Dwells are drawn as a busy server's are:
//! most of microseconds, some of milliseconds, a few of a minute. A batch is 1,000 values, so microseconds a batch
//! are nanoseconds a value.

use divan::{Bencher, counter::ItemsCount};
use hdrhistogram::Histogram;
use tcptrace::{
    event::{Nanos, TcpState},
    stats::{
        bins::Bins,
        measure::{Kind, Measure},
        totals::{self, LONGEST},
    },
};

const BATCH: usize = 1_000;

const DWELL: Measure = Measure::Dwell(TcpState::CloseWait);

fn main() {
    print_memory();
    divan::main();
}

fn print_memory() {
    println!("memory of one histogram of nanoseconds up to a year:");
    for digits in 1..=3 {
        let histogram = Histogram::<u64>::new_with_bounds(1, LONGEST.0, digits)
            .expect("bounds and digits that HdrHistogram takes");
        let kib = histogram.distinct_values() * size_of::<u64>() / 1_024;
        println!("  HdrHistogram, {digits} digits: {kib} KiB");
    }
    for count in [10, 1_000, 100_000] {
        let mut random = Random(1);
        let mut cells = Bins::default();
        for _ in 0..count {
            cells.record(DWELL, Kind::Finished, random.dwell());
        }
        println!("  cells, 2 digits, {count} values: {} bytes", cells.heap_bytes());
    }
}

#[divan::bench(sample_size = 1, sample_count = 3_000)]
fn record_in_hdrhistogram(bencher: Bencher<'_, '_>) {
    let mut histogram = totals::empty();
    let mut random = Random(1);
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| random.batch())
        .bench_local_values(|batch| {
            for span in &batch {
                histogram.saturating_record(span.0);
            }
            batch
        });
}

#[divan::bench(sample_size = 1, sample_count = 3_000)]
fn record_in_cells(bencher: Bencher<'_, '_>) {
    let mut cells = Bins::default();
    let mut random = Random(1);
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| random.batch())
        .bench_local_values(|batch| {
            for span in &batch {
                cells.record(DWELL, Kind::Finished, *span);
            }
            batch
        });
}

/// xorshift64*, Vigna 2016.
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    fn dwell(&mut self) -> Nanos {
        let spread = self.number();
        match self.number() % 100 {
            0..80 => Nanos(20_000 + spread % 180_000),
            80..99 => Nanos(200_000 + spread % 20_000_000),
            _ => Nanos(60_000_000_000 + spread % 300_000_000),
        }
    }

    fn batch(&mut self) -> Vec<Nanos> {
        (0..BATCH).map(|_| self.dwell()).collect()
    }
}
