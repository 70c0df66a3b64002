//! Latencies in a fixed number of counters, so that recording one costs nothing next to a request.

use std::time::Duration;

/// Counters a factor of two apart, each split in [`SUB_BUCKETS`]: quantiles are exact to about 3 %.
const SUB_BUCKETS: usize = 32;
const BUCKETS: usize = SUB_BUCKETS * 40;

/// How long requests took.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
        self.max_ns = self.max_ns.max(nanoseconds);
    }

    /// Adds the latencies of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// The latency in microseconds that this share of the requests (0.5, 0.99) did not exceed; 0 without requests.
    pub fn quantile_us(&self, share: f64) -> f64 {
        let mut left = (self.total as f64 * share).ceil();
        for (position, count) in self.counts.iter().enumerate() {
            left -= *count as f64;
            if left <= 0.0 && *count > 0 {
                return upper_bound_ns(position).min(self.max_ns) as f64 / 1000.0;
            }
        }
        self.max_ns as f64 / 1000.0
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let sub = SUB_BUCKETS as u64;
    if nanoseconds < sub {
        return usize::try_from(nanoseconds).expect("below the number of sub-buckets");
    }
    let shift = nanoseconds.ilog2() - sub.ilog2();
    let within = usize::try_from((nanoseconds >> shift) - sub).expect("below the number of sub-buckets");
    ((shift as usize + 1) * SUB_BUCKETS + within).min(BUCKETS - 1)
}

fn upper_bound_ns(bucket: usize) -> u64 {
    if bucket < SUB_BUCKETS {
        return bucket as u64;
    }
    let shift = bucket / SUB_BUCKETS - 1;
    (((SUB_BUCKETS + bucket % SUB_BUCKETS + 1) as u64) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_three_percent() {
        let mut histogram = Histogram::default();
        for microseconds in 1..=10_000 {
            histogram.record(Duration::from_micros(microseconds));
        }
        for (share, expected) in [(0.5, 5000.0), (0.99, 9900.0), (1.0, 10_000.0)] {
            let found = histogram.quantile_us(share);
            assert!((found - expected).abs() / expected < 0.033, "{share}: {found}");
        }
    }

    #[test]
    fn merging_is_recording_both() {
        let mut both = Histogram::default();
        let mut one = Histogram::default();
        one.record(Duration::from_micros(10));
        both.record(Duration::from_micros(20));
        both.merge(&one);
        assert!((both.quantile_us(0.5) - 10.0).abs() < 0.4);
        assert!((both.quantile_us(1.0) - 20.0).abs() < 0.7);
    }

    #[test]
    fn an_endless_wait_stays_in_the_last_bucket() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert!(histogram.quantile_us(0.5) > 1e10);
    }
}
