//! The scales inside a network, and where their voxels lie.

use candle_core::Tensor;

use crate::ops::rescale;
use crate::{Grid, Result};

/// How many voxels of the images a voxel of a scale takes along each axis (fastest first), for scale after scale.
///
/// A scale doubles the one before, except along axes that are coarse already: the powers of two nearest to what
/// [`level_grid`](crate::level_grid) shrinks by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scales {
    factors: Vec<Vec<usize>>,
    size: Vec<usize>,
}

impl Scales {
    pub(super) fn new(grid: &Grid, count: usize) -> Self {
        let finest = grid.finest_spacing();
        let factors = (0..count)
            .map(|scale| {
                let shrink = (1usize << scale) as f64;
                grid.spacing()
                    .iter()
                    .map(|spacing| {
                        1 << (shrink * finest / spacing).max(1.0).log2().round() as usize
                    })
                    .collect()
            })
            .collect();
        Self {
            factors,
            size: grid.size().to_vec(),
        }
    }

    /// Voxels of scale `scale - 1` in one of `scale`, 1 or 2 along each axis.
    pub(super) fn step(&self, scale: usize) -> Vec<usize> {
        let (fine, coarse) = (&self.factors[scale - 1], &self.factors[scale]);
        fine.iter().zip(coarse).map(|(f, c)| c / f).collect()
    }

    /// Voxels of a scale along each axis.
    pub(super) fn size(&self, scale: usize) -> Vec<usize> {
        let factors = self.factors[scale].iter();
        self.size
            .iter()
            .zip(factors)
            .map(|(n, f)| n.div_ceil(*f))
            .collect()
    }

    /// A map of a scale on a grid over the same field of view as the images'.
    pub(super) fn on(&self, x: &Tensor, scale: usize, target: &Grid) -> Result<Tensor> {
        let ratio: Vec<f64> = (0..self.size.len())
            .map(|a| self.size[a] as f64 / (target.size()[a] * self.factors[scale][a]) as f64)
            .collect();
        rescale(x, &ratio, target.size())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::features::level_grid;
    use crate::ops::average_pool;

    /// World coordinate `axis` of every voxel.
    fn coordinate(grid: &Grid, axis: usize) -> Tensor {
        let map = grid.index_to_world();
        let size = grid.size();
        let values: Vec<f64> = (0..grid.voxels())
            .map(|v| {
                let third = if size.len() == 3 {
                    v / size[0] / size[1]
                } else {
                    0
                };
                let at = [v % size[0], v / size[0] % size[1], third];
                map.apply(at.map(|i| i as f64))[axis]
            })
            .collect();
        let shape = [&[1], grid.shape().as_slice()].concat();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Whether maps agree but for a border of a voxel and a half of the coarser scale, where cells are not full.
    fn agree(got: &Tensor, expected: &Tensor, size: &[usize]) -> bool {
        let (got, expected) = (got.flatten_all().unwrap(), expected.flatten_all().unwrap());
        let (got, expected) = (
            got.to_vec1::<f64>().unwrap(),
            expected.to_vec1::<f64>().unwrap(),
        );
        got.iter().zip(expected).enumerate().all(|(v, (a, b))| {
            let mut rest = v;
            let border = size.iter().any(|&n| {
                let i = rest % n;
                rest /= n;
                n > 1 && (i < 3 || i + 3 >= n)
            });
            border || (a - b).abs() < 1e-9
        })
    }

    #[test]
    fn maps_lie_where_their_grids_say() {
        for (size, spacing) in [
            (&[64, 48][..], &[1.0, 1.0][..]),
            (&[61, 43], &[0.9, 1.4]),
            (&[40, 33, 27], &[1.0, 1.0, 1.0]),
            (&[41, 38, 16], &[0.8, 0.8, 3.0]),
            (&[30, 30, 9], &[1.0, 1.2, 5.0]),
        ] {
            let grid = Grid::axis_aligned(size, spacing).unwrap();
            let scales = Scales::new(&grid, 4);
            for axis in 0..size.len() {
                let mut maps = vec![coordinate(&grid, axis)];
                for scale in 1..4 {
                    let finer = &maps[scale - 1];
                    maps.push(average_pool(finer, &scales.step(scale)).unwrap());
                }
                for (scale, map) in maps.iter().enumerate() {
                    assert_eq!(
                        map.dims()[1..],
                        *scales.size(scale).iter().rev().copied().collect::<Vec<_>>()
                    );
                    let target = level_grid(&grid, 1 << scale).unwrap();
                    let on = scales.on(map, scale, &target).unwrap();
                    let what = format!("{size:?} {spacing:?} {axis} {scale}");
                    assert!(
                        agree(&on, &coordinate(&target, axis), target.size()),
                        "{what}"
                    );
                    if scale > 0 {
                        let half: Vec<f64> =
                            scales.step(scale).iter().map(|&s| 1.0 / s as f64).collect();
                        let finer = rescale(map, &half, &scales.size(scale - 1)).unwrap();
                        assert!(
                            agree(&finer, &maps[scale - 1], &scales.size(scale - 1)),
                            "{what}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn thick_axes_wait_for_the_others() {
        let grid = Grid::axis_aligned(&[64, 64, 20], &[1.0, 1.0, 4.0]).unwrap();
        let scales = Scales::new(&grid, 5);
        let steps: Vec<_> = (1..5).map(|s| scales.step(s)).collect();
        assert_eq!(steps, [[2, 2, 1], [2, 2, 1], [2, 2, 2], [2, 2, 2]]);
    }
}
