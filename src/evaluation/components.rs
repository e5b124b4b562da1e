//! The leading principal components of feature maps.

use rayon::prelude::*;

/// Directions in the space of channels along which feature maps vary most.
#[derive(Debug, Clone, PartialEq)]
pub struct PrincipalComponents {
    /// Mean of each channel.
    mean: Vec<f64>,
    /// Unit vectors, the leading one first; at most three.
    axes: Vec<Vec<f64>>,
    /// The share of the variance along each of them.
    pub shares: Vec<f64>,
}

/// Components that are kept.
const KEPT: usize = 3;
const ITERATIONS: usize = 500;
const CHUNK: usize = 1 << 14;

impl PrincipalComponents {
    /// Of all voxels of some maps, each planar with the same number of channels.
    ///
    /// Three at most, as many as there are channels otherwise; channels that do not vary have no component.
    pub fn of(maps: &[&[f32]], channels: usize) -> Self {
        let mean = average(maps, channels, channels, &|voxel, sum| {
            sum.iter_mut().zip(voxel).for_each(|(s, x)| *s += x);
        });
        let mut covariance = average(maps, channels, channels * channels, &|voxel, sum| {
            for (i, row) in sum.chunks_exact_mut(channels).enumerate() {
                let off = voxel[i] - mean[i];
                for (j, s) in row.iter_mut().enumerate() {
                    *s += off * (voxel[j] - mean[j]);
                }
            }
        });
        let trace: f64 = (0..channels).map(|c| covariance[c * channels + c]).sum();
        let (mut axes, mut shares) = (Vec::new(), Vec::new());
        for _ in 0..KEPT.min(channels) {
            let (value, axis) = leading(&covariance, channels);
            if value <= 1e-12 * trace || value.is_nan() {
                break;
            }
            for (i, a) in axis.iter().enumerate() {
                for (j, b) in axis.iter().enumerate() {
                    covariance[i * channels + j] -= value * a * b;
                }
            }
            shares.push(value / trace);
            axes.push(axis);
        }
        Self { mean, axes, shares }
    }

    /// The components of every voxel of a planar map, as three channels: red, green, blue.
    ///
    /// Where there is one component alone it takes all three places; missing ones are 0.
    pub fn project(&self, map: &[f32]) -> [Vec<f32>; KEPT] {
        let voxels = map.len() / self.mean.len();
        std::array::from_fn(|k| {
            let k = if self.axes.len() == 1 { 0 } else { k };
            let Some(axis) = self.axes.get(k) else {
                return vec![0.0; voxels];
            };
            (0..voxels)
                .into_par_iter()
                .map(|v| {
                    let sum: f64 = axis
                        .iter()
                        .enumerate()
                        .map(|(c, a)| a * (f64::from(map[c * voxels + v]) - self.mean[c]))
                        .sum();
                    sum as f32
                })
                .collect()
        })
    }
}

/// The average over all voxels of what `add` adds for each, `length` numbers; summed in a fixed order.
fn average(
    maps: &[&[f32]],
    channels: usize,
    length: usize,
    add: &(dyn Fn(&[f64], &mut [f64]) + Sync),
) -> Vec<f64> {
    let mut total = vec![0.0; length];
    let mut count = 0;
    for map in maps {
        let voxels = map.len() / channels;
        count += voxels;
        let parts: Vec<Vec<f64>> = (0..voxels.div_ceil(CHUNK))
            .into_par_iter()
            .map(|chunk| {
                let (mut sum, mut voxel) = (vec![0.0; length], vec![0.0; channels]);
                for v in chunk * CHUNK..((chunk + 1) * CHUNK).min(voxels) {
                    for (c, x) in voxel.iter_mut().enumerate() {
                        *x = f64::from(map[c * voxels + v]);
                    }
                    add(&voxel, &mut sum);
                }
                sum
            })
            .collect();
        for part in parts {
            total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
        }
    }
    total.iter().map(|t| t / count.max(1) as f64).collect()
}

/// The largest eigenvalue of a positive semidefinite matrix and its unit vector, whose largest entry is positive; by
/// power iterations.
fn leading(matrix: &[f64], n: usize) -> (f64, Vec<f64>) {
    // the column of the largest diagonal entry leans towards the leading vector
    let first = (0..n)
        .max_by(|&a, &b| matrix[a * n + a].total_cmp(&matrix[b * n + b]))
        .unwrap_or(0);
    let mut v: Vec<f64> = (0..n).map(|i| matrix[i * n + first]).collect();
    let mut value = 0.0;
    for _ in 0..ITERATIONS {
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length == 0.0 {
            return (0.0, v);
        }
        v.iter_mut().for_each(|x| *x /= length);
        let next: Vec<f64> = matrix
            .chunks_exact(n)
            .map(|row| row.iter().zip(&v).map(|(a, b)| a * b).sum())
            .collect();
        value = next.iter().zip(&v).map(|(a, b)| a * b).sum();
        let length = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length == 0.0 {
            return (0.0, v);
        }
        v = next.iter().map(|x| x / length).collect();
    }
    let largest = v
        .iter()
        .fold(0.0f64, |m, x| if x.abs() > m.abs() { *x } else { m });
    if largest < 0.0 {
        v.iter_mut().for_each(|x| *x = -*x);
    }
    (value, v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn directions_of_known_variance_are_found() {
        let mut rng = Rng::new(3);
        let n = 20_000;
        // variance 9 along (1, 1, 0, 0) / sqrt 2, 4 along the third channel, 1 along (1, -1, 0, 0), none along the fourth
        let mut map = vec![0.0f32; 4 * n];
        for v in 0..n {
            let (a, b, c) = (3.0 * rng.normal(), 2.0 * rng.normal(), rng.normal());
            let half = 0.5f64.sqrt();
            map[v] = (half * (a + c) + 5.0) as f32;
            map[n + v] = (half * (a - c)) as f32;
            map[2 * n + v] = b as f32;
        }
        let found = PrincipalComponents::of(&[&map[..]], 4);
        for (share, expected) in found.shares.iter().zip([9.0, 4.0, 1.0]) {
            assert!((share - expected / 14.0).abs() < 0.02, "{share}");
        }
        let along = |k: usize, axis: [f64; 4]| -> f64 {
            found.axes[k].iter().zip(axis).map(|(a, b)| a * b).sum()
        };
        let half = 0.5f64.sqrt();
        assert!(along(0, [half, half, 0.0, 0.0]) > 0.999);
        assert!(along(1, [0.0, 0.0, 1.0, 0.0]) > 0.999);
        assert!(along(2, [half, -half, 0.0, 0.0]).abs() > 0.999);
        let projected = found.project(&map);
        let variance = |x: &[f32]| x.iter().map(|v| f64::from(v * v)).sum::<f64>() / n as f64;
        assert!((variance(&projected[0]) - 9.0).abs() < 0.3);
        assert!((variance(&projected[1]) - 4.0).abs() < 0.2);
    }

    #[test]
    fn one_channel_is_grey_and_a_constant_is_nothing() {
        let map = [1.0f32, 2.0, 4.0];
        let found = PrincipalComponents::of(&[&map[..]], 1);
        assert_eq!(found.shares, [1.0]);
        let [red, green, blue] = found.project(&map);
        assert!(red == green && green == blue && red[2] > red[0]);
        let found = PrincipalComponents::of(&[&[2.0f32; 8][..]], 2);
        assert!(found.shares.is_empty());
        assert!(found.project(&[2.0; 8]).iter().all(|c| c[..] == [0.0; 4]));
    }
}
