//! Order statistics of many values.

use rayon::prelude::*;

/// Values that one task takes.
const CHUNK: usize = 1 << 18;

/// Low bits that values of one bin differ in: bins are a thirty-second of an octave wide.
const LOW: u32 = 18;

const BINS: usize = 1 << (31 - LOW);

/// Non-negative values by size, to be asked for one by one.
pub(super) struct Ranks<'a> {
    values: &'a [f32],
    /// How many values lie in the bins before each bin.
    before: Vec<usize>,
}

fn bin(value: f32) -> usize {
    (value.to_bits() >> LOW) as usize
}

impl<'a> Ranks<'a> {
    /// Of values that are all positive or zero, and not NaN.
    pub fn new(values: &'a [f32]) -> Self {
        let counts = values
            .par_chunks(CHUNK)
            .map(|chunk| {
                let mut counts = vec![0usize; BINS];
                for &value in chunk {
                    counts[bin(value)] += 1;
                }
                counts
            })
            .reduce(
                || vec![0; BINS],
                |mut a, b| {
                    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                    a
                },
            );
        let mut sum = 0;
        let before = counts
            .iter()
            .map(|count| {
                sum += count;
                sum - count
            })
            .collect();
        Self { values, before }
    }

    /// A percentile (0 to 100) with linear interpolation between order statistics, at place `percent / 100 * (n - 1)` of
    /// the ascending values; there is one at least.
    pub fn percentile(&self, percent: f64) -> f64 {
        let place = percent / 100.0 * (self.values.len() - 1) as f64;
        let (below, part) = (place.floor() as usize, place.fract());
        let low = self.at(below);
        if part == 0.0 {
            return low;
        }
        low + part * (self.at(below + 1) - low)
    }

    /// The value at a place in ascending order.
    fn at(&self, place: usize) -> f64 {
        let wanted = self.before.partition_point(|&before| before <= place) - 1;
        let mut inside: Vec<f32> = self
            .values
            .par_chunks(CHUNK)
            .flat_map_iter(|chunk| chunk.iter().copied().filter(|&v| bin(v) == wanted))
            .collect();
        let (_, value, _) =
            inside.select_nth_unstable_by(place - self.before[wanted], f32::total_cmp);
        f64::from(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::percentile;
    use crate::Rng;

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        let mut rng = Rng::new(1);
        for count in [1, 2, 3, 10, 1000, CHUNK + 5] {
            let values: Vec<f32> = (0..count)
                .map(|_| (rng.uniform() * 4.0).floor() as f32 * (rng.uniform() as f32).powi(9))
                .collect();
            let wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
            let ranks = Ranks::new(&values);
            for percent in [0.0, 12.5, 50.0, 95.0, 100.0] {
                assert_eq!(ranks.percentile(percent), percentile(&wide, percent));
            }
        }
        assert_eq!(Ranks::new(&[0.0; 9]).percentile(50.0), 0.0);
        assert_eq!(
            Ranks::new(&[f32::MAX, 0.0]).percentile(100.0),
            f64::from(f32::MAX)
        );
    }
}
