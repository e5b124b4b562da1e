//! A map joined with a coarser one.

use std::ops::Range;

use candle_core::Tensor;

use crate::ops::{
    convolve_adjoint, convolve_joined, convolve_weight_gradient, rescale, rescale_adjoint, spatial,
};
use crate::Result;

/// The channels of a map and, after them, those of the next coarser scale, interpolated to its voxels.
pub(super) struct Joined {
    pub fine: Tensor,
    pub coarse: Tensor,
    /// Voxels of the fine map in one of the coarse map along each axis, fastest first: 1 or 2.
    pub step: Vec<usize>,
}

/// Voxels of a slab: the interpolated map of one is small beside the maps of an image, and what is computed twice, three planes a
/// slab, small beside the slab.
const SLAB: usize = 1 << 20;

/// Slabs begin at multiples of this, so that convolutions group their planes as they would without slabs.
const PLANES: usize = 4;

/// The dimension of tensors along which slabs lie: the slowest axis.
const DIM: usize = 2;

impl Joined {
    /// The convolution of all channels with a kernel of three voxels.
    ///
    /// It is made slab by slab, so that the interpolated map, the largest of a network, is never there as a whole.
    pub(super) fn convolved(&self, weight: &Tensor) -> Result<Tensor> {
        let slabs = slabs(self.fine.dims(), SLAB);
        if slabs.len() == 1 {
            return self.slab(0..self.fine.dims()[DIM], weight);
        }
        self.by_slabs(&slabs, weight)
    }

    /// The gradient of the kernel and the cotangents of both maps, from the cotangent of [`convolved`](Self::convolved).
    pub(super) fn pull_back(
        self,
        weight: &Tensor,
        cotangent: &Tensor,
    ) -> Result<(Tensor, [Tensor; 2])> {
        let (size, coarse_size) = (spatial(&self.fine), spatial(&self.coarse));
        let rank = size.len();
        let (unit, kernel, shrink) = (vec![1; rank], vec![3; rank], self.shrink());
        let channels = [self.fine.dims()[1], self.coarse.dims()[1]];
        let of_weights = |x: &Tensor| convolve_weight_gradient(x, cotangent, &unit, &kernel);
        let of_fine = of_weights(&self.fine)?;
        drop(self.fine);
        let of_coarse = of_weights(&rescale(&self.coarse, &shrink, &size)?)?;
        drop(self.coarse);
        let gradient = Tensor::cat(&[of_fine, of_coarse], 1)?;
        let back = |first: usize, count: usize| {
            let weight = weight.narrow(1, first, count)?.contiguous()?;
            convolve_adjoint(cotangent, &weight, &unit, &size)
        };
        let fine = back(0, channels[0])?;
        let coarse = rescale_adjoint(&back(channels[0], channels[1])?, &shrink, &coarse_size)?;
        Ok((gradient, [fine, coarse]))
    }

    /// Voxels of the coarse map in one of the fine map along each axis.
    fn shrink(&self) -> Vec<f64> {
        self.step.iter().map(|&s| 1.0 / s as f64).collect()
    }

    /// Elements that a convolution takes beside maps of this shape `[(nz,) ny, nx]` and its result, for so many channels of the
    /// fine map (and of the result) and of the coarse one.
    pub(super) fn workspace(space: &[usize], [fine, coarse]: [usize; 2]) -> usize {
        let plane: usize = space[1..].iter().product();
        match slabs(&[&[1, 1], space].concat(), SLAB).as_slice() {
            [whole] => whole.len() * plane * coarse,
            slabs => (slabs[0].len() + 3) * plane * (2 * fine + coarse),
        }
    }

    fn by_slabs(&self, slabs: &[Range<usize>], weight: &Tensor) -> Result<Tensor> {
        let mut shape = self.fine.dims().to_vec();
        shape[1] = weight.dims()[0];
        let out = Tensor::zeros(shape, self.fine.dtype(), self.fine.device())?;
        for slab in slabs {
            let part = self.slab(slab.clone(), weight)?;
            out.slice_set(&part, DIM, slab.start)?;
        }
        Ok(out)
    }

    /// Some planes of the convolution, of which the first is an even one.
    fn slab(&self, planes: Range<usize>, weight: &Tensor) -> Result<Tensor> {
        let (fine, coarse) = (self.fine.dims()[DIM], self.coarse.dims()[DIM]);
        // results take the planes beside them; the first plane of an interpolation is that of a border, and takes another
        let (start, end) = (planes.start.saturating_sub(2), (planes.end + 1).min(fine));
        let step = self.step[self.step.len() - 1];
        let (from, to) = (start / step, ((end - 1) / step + 1).min(coarse));
        let mut size: Vec<usize> = self.fine.dims()[DIM..].iter().rev().copied().collect();
        let last = size.len() - 1;
        size[last] = end - start;
        let coarse = self.coarse.narrow(DIM, from, to - from)?;
        let coarse = rescale(&coarse, &self.shrink(), &size)?;
        let fine = self.fine.narrow(DIM, start, end - start)?;
        let sums = convolve_joined(&fine, &coarse, weight)?;
        let kept = sums.narrow(DIM, planes.start - start, planes.len())?;
        Ok(kept.contiguous()?)
    }
}

/// The planes of slabs of about so many voxels, as even as they can be.
fn slabs(dims: &[usize], voxels: usize) -> Vec<Range<usize>> {
    let planes = dims[DIM];
    let count = (dims[DIM..].iter().product::<usize>() / voxels).max(1);
    let each = planes.div_ceil(count).next_multiple_of(PLANES);
    (0..planes)
        .step_by(each)
        .map(|start| start..(start + each).min(planes))
        .collect()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::rng::Rng;

    fn noise(shape: &[usize], rng: &mut Rng) -> Tensor {
        let count = shape.iter().product();
        let values: Vec<f64> = (0..count).map(|_| rng.normal()).collect();
        let noise = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        noise.to_dtype(DType::F32).unwrap()
    }

    #[test]
    fn slabs_cover_all_planes_once() {
        for (planes, voxels) in [(23, 100), (24, 60), (8, 1000), (5, 1), (41, 400)] {
            let slabs = slabs(&[1, 3, planes, 5, 4], voxels);
            assert_eq!((slabs[0].start, slabs[slabs.len() - 1].end), (0, planes));
            assert!(slabs.windows(2).all(|s| s[0].end == s[1].start));
            assert!(slabs.iter().all(|s| s.start % PLANES == 0));
        }
        assert_eq!(slabs(&[1, 3, 24, 5, 4], 160).len(), 3);
    }

    #[test]
    fn slabs_give_what_the_whole_gives() {
        let mut rng = Rng::new(5);
        for (fine, step) in [
            (&[23usize, 18, 14][..], &[2usize, 2, 2][..]),
            (&[24, 9, 12], &[2, 2, 1]),
            (&[13, 10, 8], &[1, 2, 2]),
            (&[31, 20], &[2, 2]),
        ] {
            let rank = fine.len();
            let coarse: Vec<usize> = (0..rank)
                .map(|d| fine[d].div_ceil(step[rank - 1 - d]))
                .collect();
            let joined = Joined {
                fine: noise(&[&[2, 3], fine].concat(), &mut rng),
                coarse: noise(&[&[2, 5], &coarse[..]].concat(), &mut rng),
                step: step.to_vec(),
            };
            let weight = noise(&[&[6, 8], &vec![3; rank][..]].concat(), &mut rng);
            let whole = joined.convolved(&weight).unwrap();
            for planes in [4, 6] {
                let voxels = planes * fine[1..].iter().product::<usize>();
                let slabs = slabs(joined.fine.dims(), voxels);
                assert!(slabs.len() > 1);
                let parts = joined.by_slabs(&slabs, &weight).unwrap();
                let gap = (parts - &whole).unwrap().abs().unwrap().max_all();
                let gap: f32 = gap.unwrap().to_scalar().unwrap();
                assert!(gap < 2e-5, "{fine:?} {step:?} {planes}: {gap}");
            }
        }
    }
}
