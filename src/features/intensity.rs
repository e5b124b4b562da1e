//! Intensities on a common scale.

use rayon::prelude::*;

use crate::{Error, Result};

/// The range of intensities that is mapped to 0..1: background to a high percentile of the foreground.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct IntensityRange {
    /// Mapped to 0: the lowest value of the image after the lowest 0.1 % are left out.
    pub low: f64,
    /// Mapped to 1: the 99th percentile of what lies clearly above the low end.
    pub high: f64,
}

const BINS: usize = 4096;

impl IntensityRange {
    /// The range of an image's values; `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Data`] when a value is not finite or all are the same.
    pub fn of(values: &[f32], name: &str) -> Result<Self> {
        let (low, high) = values
            .par_chunks(1 << 16)
            .map(|chunk| {
                chunk
                    .iter()
                    .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| {
                        // a NaN makes both ends NaN, for good
                        (
                            if v >= l || l.is_nan() { l } else { v },
                            if v <= h || h.is_nan() { h } else { v },
                        )
                    })
            })
            .reduce(
                || (f32::INFINITY, f32::NEG_INFINITY),
                |a, b| {
                    (
                        if b.0 >= a.0 || a.0.is_nan() { a.0 } else { b.0 },
                        if b.1 <= a.1 || a.1.is_nan() { a.1 } else { b.1 },
                    )
                },
            );
        if !(low.is_finite() && high.is_finite()) {
            return Err(Error::data(
                name,
                "holds values that are not finite; replace or mask them first",
            ));
        }
        if low >= high {
            return Err(Error::data(
                name,
                format!("every voxel is {low}: a constant image cannot be registered"),
            ));
        }
        let all = Histogram::of(values, f64::NEG_INFINITY, f64::from(low), f64::from(high));
        let low_end = all.percentile(0.001);
        // the second histogram looks at the foreground alone: above a twentieth of the range so far
        let threshold = low_end + 0.05 * (all.percentile(0.999) - low_end);
        let foreground = Histogram::of(values, threshold, threshold, f64::from(high));
        let high_end = foreground.percentile(0.99);
        Ok(Self {
            low: low_end,
            high: if high_end > low_end {
                high_end
            } else {
                f64::from(high)
            },
        })
    }

    /// `(v - low) / (high - low)`.
    pub fn scaled(&self, value: f32) -> f64 {
        (f64::from(value) - self.low) / (self.high - self.low)
    }

    /// [`IntensityRange::scaled`], for every value.
    pub fn apply(&self, values: &mut [f32]) {
        let scale = (1.0 / (self.high - self.low)) as f32;
        let low = self.low as f32;
        values
            .par_chunks_mut(1 << 16)
            .for_each(|chunk| chunk.iter_mut().for_each(|v| *v = (*v - low) * scale));
    }
}

/// How many values lie in each part of a range.
struct Histogram {
    bins: Vec<u64>,
    low: f64,
    high: f64,
}

impl Histogram {
    /// Of the values above a threshold; those beyond an end of the range count at that end.
    fn of(values: &[f32], threshold: f64, low: f64, high: f64) -> Self {
        let scale = BINS as f64 / (high - low);
        let bins = values
            .par_chunks(1 << 16)
            .map(|chunk| {
                let mut bins = vec![0u64; BINS];
                for v in chunk.iter().map(|&v| f64::from(v)) {
                    if v > threshold {
                        let bin = ((v - low) * scale).clamp(0.0, (BINS - 1) as f64);
                        bins[bin as usize] += 1;
                    }
                }
                bins
            })
            .reduce(
                || vec![0; BINS],
                |mut a, b| {
                    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                    a
                },
            );
        Self { bins, low, high }
    }

    /// The value below which the given share of the values lies; the high end of the range where there are none.
    fn percentile(&self, share: f64) -> f64 {
        let scale = BINS as f64 / (self.high - self.low);
        let target = share * self.bins.iter().sum::<u64>() as f64;
        let mut below = 0.0;
        for (bin, &count) in self.bins.iter().enumerate() {
            if below + count as f64 >= target && count > 0 {
                let part = (target - below) / count as f64;
                return self.low + (bin as f64 + part.clamp(0.0, 1.0)) / scale;
            }
            below += count as f64;
        }
        self.high
    }
}

/// First and last index along each axis of the voxels that differ from a constant background.
///
/// The background is the value of the corner voxel if at least 95 % of the voxels on the faces of the volume have it;
/// without such a background the whole volume is foreground.
pub fn foreground_box(values: &[f32], size: &[usize]) -> Vec<(usize, usize)> {
    let whole = || size.iter().map(|&n| (0, n - 1)).collect();
    let [nx, ny, nz] = [size[0], size[1], size.get(2).copied().unwrap_or(1)];
    let background = values[0];
    let on_face = |x: usize, y: usize, z: usize| {
        x == 0
            || y == 0
            || x == nx - 1
            || y == ny - 1
            || (size.len() == 3 && (z == 0 || z == nz - 1))
    };
    let (mut faces, mut same) = (0usize, 0usize);
    for z in 0..nz {
        for y in 0..ny {
            let all = y == 0 || y == ny - 1 || (size.len() == 3 && (z == 0 || z == nz - 1));
            let step = if all { 1 } else { (nx - 1).max(1) };
            for x in (0..nx).step_by(step) {
                debug_assert!(on_face(x, y, z));
                faces += 1;
                same += usize::from(values[(z * ny + y) * nx + x] == background);
            }
        }
    }
    if (same as f64) < 0.95 * faces as f64 {
        return whole();
    }
    let rows: Vec<Option<(usize, usize)>> = values
        .par_chunks(nx)
        .map(|row| {
            let first = row.iter().position(|v| *v != background)?;
            let last = row.iter().rposition(|v| *v != background)?;
            Some((first, last))
        })
        .collect();
    let mut bounds = vec![(usize::MAX, 0usize); size.len()];
    for (row, ends) in rows.iter().enumerate() {
        if let Some((first, last)) = ends {
            let place = [0, row % ny, row / ny];
            for (a, bound) in bounds.iter_mut().enumerate() {
                let (low, high) = if a == 0 {
                    (*first, *last)
                } else {
                    (place[a], place[a])
                };
                *bound = (bound.0.min(low), bound.1.max(high));
            }
        }
    }
    if bounds[0].0 == usize::MAX {
        return whole();
    }
    bounds
}
