//! Between a grid and one of half the resolution: the transfers of multigrid methods.

mod blocks;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod prolong;
mod restrict;
mod taps;

use candle_core::Tensor;

use super::blocks::BlockSystem;
use super::device::twin;
use super::diffusion::{size, Differences};
use super::storage::{read, with_real, write};
use crate::Result;

/// Axes are halved whose coupling is at least this share of the strongest one: across others, errors that a point smoother
/// leaves are not smooth.
const STRONG: f64 = 0.3;

/// Coarse voxels of a row that are worked on together.
const RUN: usize = 256;

/// How a grid lies in the next finer one, of which a voxel takes two along every halved axis; the last takes one where their
/// number is odd.
///
/// Fields are prolonged linearly from the centres of coarse voxels, and nothing crosses the border; restriction is the
/// transpose of that. See Trottenberg, Oosterlee and Schueller, Multigrid, 2001, sections 2.8 and 5.1 (semicoarsening).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transfer {
    /// Voxels along the axes of the finer grid, fastest first; 1 for an axis that is not there.
    fine: [usize; 3],
    coarse: [usize; 3],
    rank: usize,
}

impl Transfer {
    /// From a grid of a size, fastest first, to the one below: axes of strong coupling are halved. None where there is no axis
    /// of more than one voxel.
    pub(crate) fn below(size: &[usize], differences: &Differences) -> Option<Self> {
        let rank = size.len();
        let coupling = |b: usize| {
            let weights = differences.weight.iter().take(rank).map(|row| row[b]);
            weights.fold(0.0, f64::max)
        };
        let axes = || (0..rank).filter(|&b| size[b] > 1);
        let strongest = axes().map(coupling).fold(0.0, f64::max);
        let mut fine = [1; 3];
        fine[..rank].copy_from_slice(size);
        let mut coarse = fine;
        for b in axes().filter(|&b| coupling(b) >= STRONG * strongest) {
            coarse[b] = fine[b].div_ceil(2);
        }
        (coarse != fine).then_some(Self { fine, coarse, rank })
    }

    /// The size of the coarse grid, fastest first.
    pub(crate) fn size(&self) -> &[usize] {
        &self.coarse[..self.rank]
    }

    /// `coarse = P' fine` on fields `[k, (nz,) ny, nx]`.
    pub(crate) fn restrict(&self, fine: &Tensor, coarse: &Tensor) -> Result<()> {
        twin!(fine, launcher => cuda::restrict(&launcher, self, fine, coarse));
        with_real!(fine.dtype(), T => {
            read::<T, _>(fine, |f| write::<T, _>(coarse, |c| restrict::restrict(self, f, c)))?
        })
    }

    /// `fine = P coarse`.
    pub(crate) fn prolong(&self, coarse: &Tensor, fine: &Tensor) -> Result<()> {
        twin!(fine, launcher => cuda::prolong(&launcher, self, false, coarse, fine));
        with_real!(fine.dtype(), T => {
            read::<T, _>(coarse, |c| write::<T, _>(fine, |f| prolong::prolong::<T, false>(self, c, f)))?
        })
    }

    /// `fine += P coarse`.
    pub(crate) fn add_prolonged(&self, coarse: &Tensor, fine: &Tensor) -> Result<()> {
        twin!(fine, launcher => cuda::prolong(&launcher, self, true, coarse, fine));
        with_real!(fine.dtype(), T => {
            read::<T, _>(coarse, |c| write::<T, _>(fine, |f| prolong::prolong::<T, true>(self, c, f)))?
        })
    }

    /// The system of the coarse grid: sums of blocks, written to packed ones, and differences weighed so that a field that
    /// varies slowly has the energy that it has on the finer grid.
    pub(crate) fn system(&self, fine: &BlockSystem, blocks: &Tensor) -> Result<BlockSystem> {
        assert_eq!(size(&fine.blocks), self.fine[..self.rank], "finer grid");
        self.sums(&fine.blocks, blocks)?;
        let halved = |b: usize| self.fine[b] != self.coarse[b];
        let voxels: f64 = (0..3).map(|b| if halved(b) { 2.0 } else { 1.0 }).product();
        Ok(BlockSystem {
            blocks: blocks.clone(),
            differences: Differences {
                weight: fine.differences.weight.map(|row| {
                    std::array::from_fn(|b| row[b] * voxels * if halved(b) { 0.25 } else { 1.0 })
                }),
            },
            shift: fine.shift * voxels,
            extra_diagonal: [0.0; 3],
        })
    }

    /// Sums of packed blocks, or of the outer products of vectors.
    fn sums(&self, fine: &Tensor, coarse: &Tensor) -> Result<()> {
        let vector = fine.dims()[0] == self.rank;
        twin!(fine, launcher => cuda::sums(&launcher, self, vector, fine, coarse));
        with_real!(coarse.dtype(), T => {
            read::<T, _>(fine, |f| write::<T, _>(coarse, |c| blocks::sums(self, vector, f, c)))?
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::Transfer;
    use crate::ops::{dot, noise, zeros, BlockSystem, Differences};

    fn even() -> Differences {
        Differences {
            weight: [[1.0; 3]; 3],
        }
    }

    /// Thick slices.
    fn thick() -> Differences {
        Differences {
            weight: [[1.0, 0.9, 0.04]; 3],
        }
    }

    fn cases() -> Vec<(Vec<usize>, Differences)> {
        vec![
            (vec![64, 48], even()),
            (vec![301, 7], even()),
            (vec![1, 9], even()),
            (vec![13, 11, 7], even()),
            (vec![270, 2, 3], even()),
            (vec![21, 18, 9], thick()),
        ]
    }

    fn shape(planes: usize, size: &[usize]) -> Vec<usize> {
        let mut shape = vec![planes];
        shape.extend(size.iter().rev());
        shape
    }

    #[test]
    fn restriction_is_the_transpose_of_prolongation() {
        for (size, differences) in cases() {
            let transfer = Transfer::below(&size, &differences).unwrap();
            let rank = size.len();
            for dtype in [DType::F32, DType::F64] {
                let fine = noise(rank, &size, 1).to_dtype(dtype).unwrap();
                let coarse = noise(rank, transfer.size(), 2).to_dtype(dtype).unwrap();
                let zero = |size: &[usize]| zeros(shape(rank, size), dtype, &Device::Cpu).unwrap();
                let (up, down) = (zero(&size), zero(transfer.size()));
                transfer.prolong(&coarse, &up).unwrap();
                transfer.restrict(&fine, &down).unwrap();
                let (a, b) = (dot(&fine, &up).unwrap(), dot(&down, &coarse).unwrap());
                let scale = dot(&fine, &fine).unwrap();
                assert!((a - b).abs() < 1e-6 * scale, "{size:?}: {a} {b}");
                let twice = up.copy().unwrap();
                transfer.add_prolonged(&coarse, &twice).unwrap();
                let rest = (twice - (up * 2.0).unwrap()).unwrap();
                assert!(dot(&rest, &rest).unwrap() < 1e-10 * scale);
            }
        }
    }

    #[test]
    fn prolongation_keeps_constants_and_slopes() {
        let transfer = Transfer::below(&[9, 600], &even()).unwrap();
        assert_eq!(transfer.size(), [5, 300]);
        // the second axis: centres of coarse voxels lie at 0.5, 2.5, ...
        let coarse: Vec<f64> = (0..2 * 300 * 5)
            .map(|i| (i / 5 % 300) as f64 * 2.0 + 0.5)
            .collect();
        let coarse = Tensor::from_vec(coarse, (2, 300, 5), &Device::Cpu).unwrap();
        let fine = zeros((2, 600, 9), DType::F64, &Device::Cpu).unwrap();
        transfer.prolong(&coarse, &fine).unwrap();
        for plane in fine.to_vec3::<f64>().unwrap() {
            for (y, row) in plane.iter().enumerate() {
                // beyond the outermost centres the field is constant
                let expected = (y as f64).clamp(0.5, 598.5);
                assert!(row.iter().all(|v| (v - expected).abs() < 1e-12), "{y}");
            }
        }
    }

    #[test]
    fn weak_axes_are_not_halved() {
        let below = Transfer::below(&[21, 18, 9], &thick()).unwrap();
        assert_eq!(below.size(), [11, 9, 9]);
        assert!(Transfer::below(&[1, 1, 1], &even()).is_none());
    }

    #[test]
    fn slow_fields_have_the_same_energy() {
        for (size, differences) in cases() {
            let transfer = Transfer::below(&size, &differences).unwrap();
            let rank = size.len();
            for entries in [rank, rank * (rank + 1) / 2] {
                let fine = BlockSystem {
                    blocks: noise(entries, &size, 3).to_dtype(DType::F64).unwrap(),
                    differences,
                    shift: 0.3,
                    extra_diagonal: [0.0; 3],
                };
                let packed = shape(rank * (rank + 1) / 2, transfer.size());
                let blocks = zeros(packed, DType::F64, &Device::Cpu).unwrap();
                let coarse = transfer.system(&fine, &blocks).unwrap();
                // a constant field feels the blocks and the shift
                let ones = |size: &[usize]| {
                    Tensor::ones(shape(rank, size), DType::F64, &Device::Cpu).unwrap()
                };
                let (p, q) = (ones(&size), ones(&size));
                let here = fine.apply(&p, &q).unwrap() - fine.shift * dot(&p, &p).unwrap();
                let (p, q) = (ones(transfer.size()), ones(transfer.size()));
                let there = coarse.apply(&p, &q).unwrap() - coarse.shift * dot(&p, &p).unwrap();
                assert!(
                    (here - there).abs() < 1e-9 * here.abs().max(1.0),
                    "{here} {there}"
                );
            }
        }
        // a slope along one axis: a difference of 2 between coarse voxels where the fine grid has two of 1
        let size = [32, 32, 32];
        let transfer = Transfer::below(&size, &even()).unwrap();
        let blocks = |size: &[usize]| zeros(shape(6, size), DType::F64, &Device::Cpu).unwrap();
        let fine = BlockSystem {
            blocks: blocks(&size),
            differences: even(),
            shift: 0.0,
            extra_diagonal: [0.0; 3],
        };
        let coarse = transfer.system(&fine, &blocks(transfer.size())).unwrap();
        let slope = |size: &[usize], step: f64| {
            let n: usize = size.iter().product();
            let values: Vec<f64> = (0..3 * n).map(|i| (i % size[0]) as f64 * step).collect();
            Tensor::from_vec(values, shape(3, size), &Device::Cpu).unwrap()
        };
        let energy =
            |system: &BlockSystem, p: &Tensor| system.apply(p, &p.zeros_like().unwrap()).unwrap();
        // there are 31 differences along the fine axis and 15 along the coarse one, for 32 and 16 voxels
        let here = energy(&fine, &slope(&size, 1.0)) / 31.0 * 32.0;
        let there = energy(&coarse, &slope(transfer.size(), 2.0)) / 15.0 * 16.0;
        assert!((here - there).abs() < 1e-9 * here, "{here} {there}");
    }
}
