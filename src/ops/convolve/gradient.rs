//! Gradients of the convolution as tensors.

use candle_core::Tensor;

#[cfg(any(feature = "cuda", test))]
use super::cuda::{self, Images};
use super::{Channels, Sizes};
use crate::ops::device::twin;
use crate::ops::real::Real;
use crate::ops::rows::sum_over_rows;
use crate::ops::storage::{computed, read, with_real};
use crate::{Error, Result};

/// The adjoint of [`convolve`](crate::convolve) with respect to the images, on a grid of `size` (fastest first).
///
/// # Errors
/// As [`convolve`](crate::convolve), and [`Error::Shape`] when `cotangent` has not the shape of the result.
pub fn convolve_adjoint(
    cotangent: &Tensor,
    weight: &Tensor,
    stride: &[usize],
    size: &[usize],
) -> Result<Tensor> {
    let batch = cotangent.dims().first().copied().unwrap_or(0);
    let inputs = weight.dims().get(1).copied().unwrap_or(0);
    let mut images = vec![batch, inputs];
    images.extend(size.iter().rev());
    let sizes = Sizes::new(&images, inputs, weight.dims(), stride)?;
    sizes.check_cotangent(cotangent)?;
    sizes.images_gradient(&cotangent.contiguous()?, &weight.contiguous()?, 0, &images)
}

/// The gradient of `sum(cotangent * convolve(images, weight))` with respect to the weight, whose kernel has the sizes
/// `kernel` (fastest first).
///
/// # Errors
/// As [`convolve`](crate::convolve), and [`Error::Shape`] when `cotangent` has not the shape of the result.
pub fn convolve_weight_gradient(
    images: &Tensor,
    cotangent: &Tensor,
    stride: &[usize],
    kernel: &[usize],
) -> Result<Tensor> {
    let channels = |x: &Tensor| x.dims().get(1).copied().unwrap_or(0);
    let mut shape = vec![channels(cotangent), channels(images)];
    shape.extend(kernel.iter().rev());
    let sizes = Sizes::new(images.dims(), shape[1], &shape, stride)?;
    sizes.check_cotangent(cotangent)?;
    sizes.weight_gradient(&[&images.contiguous()?], &cotangent.contiguous()?, &shape)
}

/// Voxels that are added up in one piece.
const PIECE: usize = 1024;

/// The gradient of `sum(cotangent * convolve(images, weight, bias))` with respect to the bias: the sum of each channel of a
/// contiguous tensor.
pub(crate) fn convolve_bias_gradient(cotangent: &Tensor) -> Result<Tensor> {
    let dims = cotangent.dims();
    let (batch, channels, voxels) = (dims[0], dims[1], dims[2..].iter().product::<usize>());
    twin!(cotangent, launcher => cuda::to_bias(&launcher, cotangent, [batch, channels, voxels]));
    with_real!(cotangent.dtype(), T => {
        let values: Vec<T> = read::<T, _>(cotangent, |g| {
            let of_volume = |volume: &[T]| {
                let [sum] = sum_over_rows(voxels.div_ceil(PIECE), PIECE, |rows| {
                    let part = &volume[rows.start * PIECE..(rows.end * PIECE).min(voxels)];
                    [part.iter().map(|v| v.wide()).sum()]
                });
                sum
            };
            let of_channel = |channel: usize| {
                let volumes = (0..batch).map(|item| &g[(item * channels + channel) * voxels..][..voxels]);
                T::of(volumes.map(of_volume).sum())
            };
            (0..channels).map(of_channel).collect()
        })?;
        Ok(Tensor::from_vec(values, channels, cotangent.device())?)
    })
}

impl Sizes {
    fn check_cotangent(&self, cotangent: &Tensor) -> Result<()> {
        let expected = self.shape(cotangent.rank());
        if cotangent.dims() == expected {
            return Ok(());
        }
        Err(Error::Shape {
            what: "cotangent of a convolution",
            expected,
            got: cotangent.dims().to_vec(),
        })
    }

    /// The gradient of the input channels from `first` on, in the shape `images`.
    pub(super) fn images_gradient(
        &self,
        cotangent: &Tensor,
        weight: &Tensor,
        first: usize,
        images: &[usize],
    ) -> Result<Tensor> {
        let channels = images[1];
        twin!(cotangent, launcher => {
            cuda::to_images(&launcher, self, cotangent, weight, first, images[1])
        });
        with_real!(cotangent.dtype(), T => {
            let values = read::<T, _>(cotangent, |g| read::<T, _>(weight, |w| {
                let length = self.batch * channels * self.voxels();
                // SAFETY: the classes of inputs cover all of them.
                unsafe { computed(length, |out| self.backward_data(g, w, first, channels, out)) }
            }))??;
            Ok(Tensor::from_vec(values, images, cotangent.device())?)
        })
    }

    /// The gradient of the weight, whose shape is `weight`, from one tensor of images or two joined ones.
    pub(super) fn weight_gradient(
        &self,
        images: &[&Tensor],
        cotangent: &Tensor,
        weight: &[usize],
    ) -> Result<Tensor> {
        twin!(cotangent, launcher => {
            cuda::to_weight(&launcher, self, Images::of(images), cotangent, weight)
        });
        with_real!(cotangent.dtype(), T => {
            let values = read::<T, _>(cotangent, |g| match images {
                [one] => read::<T, _>(one, |a| self.weight_sums(vec![(a, one.dims()[1])], g)),
                [one, two, ..] => read::<T, _>(one, |a| read::<T, _>(two, |b| {
                    self.weight_sums(vec![(a, one.dims()[1]), (b, two.dims()[1])], g)
                }))?,
                [] => unreachable!("a convolution has images"),
            })??;
            Ok(Tensor::from_vec(values, weight, cotangent.device())?)
        })
    }

    fn weight_sums<T: Real>(&self, parts: Vec<(&[T], usize)>, cotangent: &[T]) -> Vec<T> {
        self.backward_weights(&Channels::new(parts, self.batch, self.voxels()), cotangent)
    }
}
