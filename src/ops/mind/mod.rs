//! Self-similarity descriptors.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

use candle_core::Tensor;

use super::device::twin;
use super::diffusion::size;
use super::separable::smooth_in_place;
use super::storage::{read, with_real, write};
use crate::{Error, Result};

/// The noise that counts everywhere, as a share of the typical one: what keeps flat regions from showing structure.
const FLOOR: f64 = 0.02;

/// The modality independent neighbourhood descriptor in its self-similarity form (MIND-SSC) of each channel of an image.
///
/// A voxel `x` has the neighbours `x - o_a` and `x + o_a`, one pair an axis. For each two of them that do not lie opposite
/// each other, `D_ij(x) = G (I(x + o_i) - I(x + o_j))^2` with a Gaussian `G`, and the descriptor is
///
/// `exp(-(D_ij - min D) / (V + e))`, `V` the mean of `D - min D` over the pairs, `e` 0.02 of its mean over the image, each
/// voxel weighted by `V` itself.
///
/// So it is 1 for the most similar pair and falls with dissimilarity, and does not change with the gain, the offset or the
/// sign of the contrast. `image` is `[channels, (nz,) ny, nx]`; `offsets` holds `o_a` for each axis and `sigma` the width of
/// `G`, both in voxels, fastest axis first; offsets need not follow the axes nor be whole. The result is
/// `[channels * pairs, (nz,) ny, nx]` with 4 pairs in two dimensions and 12 in three, in the order of
/// `(-o_0, +o_0, -o_1, ...)`, the first of a pair slowest. Beyond its border the image continues by its nearest value. A
/// constant image gives ones. After Heinrich et al. 2013, doi:10.1007/978-3-642-40811-3_24.
///
/// # Errors
/// [`Error::Shape`] when `offsets` or `sigma` do not have one entry an axis.
pub fn mind(image: &Tensor, offsets: &[[f64; 3]], sigma: &[f64]) -> Result<Tensor> {
    let rank = image.rank().saturating_sub(1);
    for got in [offsets.len(), sigma.len()] {
        if got != rank || !(2..=3).contains(&rank) {
            return Err(Error::Shape {
                what: "offsets and widths, one an axis",
                expected: vec![rank],
                got: vec![got],
            });
        }
    }
    let image = image.contiguous()?;
    let channels = image.dims()[0];
    let pairs = 2 * rank * (rank - 1);
    let mut shape = image.dims().to_vec();
    shape[0] = channels * pairs;
    let size = size(&image);
    twin!(&image, launcher => {
        let out = cuda::differences(&launcher, &image, &size, offsets, &shape)?;
        smooth_in_place(&out, sigma)?;
        cuda::describe(&launcher, &out, channels, FLOOR)?;
        Ok(out)
    });
    let out = Tensor::zeros(shape, image.dtype(), image.device())?;
    with_real!(image.dtype(), T => {
        read::<T, _>(&image, |image| {
            write::<T, _>(&out, |out| cpu::differences(image, &size, offsets, out))
        })?
    })?;
    smooth_in_place(&out, sigma)?;
    with_real!(out.dtype(), T => {
        write::<T, _>(&out, |out| cpu::describe(out, &size, pairs, FLOOR))
    })?;
    Ok(out)
}
