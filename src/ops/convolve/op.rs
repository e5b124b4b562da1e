//! The convolution as an operation of the tensor engine.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};

use super::gradient::convolve_bias_gradient;
use super::{Channels, Sizes};
use crate::ops::real::Real;
use crate::ops::storage::{computed, slice, with_real};
use crate::{Error, Result};

/// Convolution with zeros beyond the border (a correlation, as networks have it):
/// `out[n, o, x] = bias[o] + sum_c sum_k weight[o, c, k] images[n, c, stride x + k - kernel / 2]`.
///
/// `images` is `[batch, inputs, (nz,) ny, nx]`, `weight` is `[outputs, inputs, (kz,) ky, kx]` with odd kernel sizes,
/// `bias` is `[outputs]`, `stride` has an entry an axis, fastest first; the result has `ceil(n / stride)` voxels an axis.
/// Output voxel `x` has its centre on input voxel `stride x`. Gradients flow to all three tensors.
///
/// Kernels of three or of five voxels across rows (and planes) are computed by minimal filtering (Lavin and Gray, arXiv
/// 1509.09308) where that saves time; a value that is not finite then spoils results up to four rows and planes away.
///
/// # Errors
/// [`Error::Shape`] when the tensors do not fit together, [`Error::InvalidArgument`] for even kernels or a stride of
/// zero.
pub fn convolve(
    images: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: &[usize],
) -> Result<Tensor> {
    let inputs = images.dims().get(1).copied().unwrap_or(0);
    let sizes = Sizes::new(images.dims(), inputs, weight.dims(), stride)?;
    let (images, weight) = (images.contiguous()?, weight.contiguous()?);
    let op = Convolve { sizes };
    Ok(match bias {
        Some(bias) => {
            if bias.dims() != [sizes.outputs] {
                return Err(Error::Shape {
                    what: "bias",
                    expected: vec![sizes.outputs],
                    got: bias.dims().to_vec(),
                });
            }
            images.apply_op3(&weight, &bias.contiguous()?, op)?
        }
        None => images.apply_op2(&weight, op)?,
    })
}

/// [`convolve`] of the channels of `first` and `second`, one after the other, without bias and with stride one.
///
/// # Errors
/// As [`convolve`], and [`Error::Shape`] when the two differ in more than channels.
pub fn convolve_joined(first: &Tensor, second: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let mut expected = first.dims().to_vec();
    if second.rank() == first.rank() && first.rank() > 1 {
        expected[1] = second.dims()[1];
    }
    if second.dims() != expected || first.rank() < 2 {
        return Err(Error::Shape {
            what: "second images of a convolution",
            expected,
            got: second.dims().to_vec(),
        });
    }
    let inputs = first.dims()[1] + second.dims()[1];
    let stride = vec![1; first.rank() - 2];
    let sizes = Sizes::new(first.dims(), inputs, weight.dims(), &stride)?;
    let op = ConvolveJoined {
        sizes,
        split: first.dims()[1],
    };
    Ok(first
        .contiguous()?
        .apply_op3(&second.contiguous()?, &weight.contiguous()?, op)?)
}

impl Sizes {
    fn run<T: Real>(&self, parts: Vec<(&[T], usize)>, weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        let source = Channels::new(parts, self.batch, self.voxels());
        let length = self.batch * self.outputs * self.result_voxels();
        // SAFETY: every output belongs to one block and is written.
        unsafe { computed(length, |out| self.forward(&source, weight, bias, out)) }
    }
}

struct Convolve {
    sizes: Sizes,
}

impl Convolve {
    fn compute(
        &self,
        images: (&CpuStorage, &Layout),
        weight: (&CpuStorage, &Layout),
        bias: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        let s = &self.sizes;
        let shape = Shape::from(s.shape(images.1.shape().rank()));
        let storage = with_real!(images.0.dtype(), T => {
            let bias = bias.map(|(b, l)| slice::<T>(b, l)).transpose()?;
            let images = slice::<T>(images.0, images.1)?;
            let weight = slice::<T>(weight.0, weight.1)?;
            Ok(T::storage(s.run(vec![(images, s.inputs)], weight, bias)))
        })?;
        Ok((storage, shape))
    }

    fn gradients(
        &self,
        images: &Tensor,
        weight: &Tensor,
        cotangent: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let s = &self.sizes;
        let of_images = images
            .track_op()
            .then(|| s.images_gradient(cotangent, weight, 0, images.dims()))
            .transpose()?;
        let of_weight = weight
            .track_op()
            .then(|| s.weight_gradient(&[images], cotangent, weight.dims()))
            .transpose()?;
        Ok((of_images, of_weight))
    }
}

impl CustomOp2 for Convolve {
    fn name(&self) -> &'static str {
        "convolve"
    }

    fn cpu_fwd(
        &self,
        images: &CpuStorage,
        images_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.compute((images, images_layout), (weight, weight_layout), None)
            .map_err(candle_core::Error::wrap)
    }

    fn bwd(
        &self,
        images: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        cotangent: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(images, weight, &cotangent.contiguous()?)
            .map_err(candle_core::Error::wrap)
    }
}

impl CustomOp3 for Convolve {
    fn name(&self) -> &'static str {
        "convolve"
    }

    fn cpu_fwd(
        &self,
        images: &CpuStorage,
        images_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let bias = Some((bias, bias_layout));
        self.compute((images, images_layout), (weight, weight_layout), bias)
            .map_err(candle_core::Error::wrap)
    }

    fn bwd(
        &self,
        images: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        cotangent: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let cotangent = cotangent.contiguous()?;
        let (of_images, of_weight) = self
            .gradients(images, weight, &cotangent)
            .map_err(candle_core::Error::wrap)?;
        let of_bias = bias
            .track_op()
            .then(|| convolve_bias_gradient(&cotangent))
            .transpose()
            .map_err(candle_core::Error::wrap)?;
        Ok((of_images, of_weight, of_bias))
    }
}

struct ConvolveJoined {
    sizes: Sizes,
    /// Channels of the first tensor.
    split: usize,
}

impl CustomOp3 for ConvolveJoined {
    fn name(&self) -> &'static str {
        "convolve-joined"
    }

    fn cpu_fwd(
        &self,
        first: &CpuStorage,
        first_layout: &Layout,
        second: &CpuStorage,
        second_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let s = &self.sizes;
        let compute = || -> Result<CpuStorage> {
            with_real!(first.dtype(), T => {
                let parts = vec![
                    (slice::<T>(first, first_layout)?, self.split),
                    (slice::<T>(second, second_layout)?, s.inputs - self.split),
                ];
                Ok(T::storage(s.run(parts, slice::<T>(weight, weight_layout)?, None)))
            })
        };
        let storage = compute().map_err(candle_core::Error::wrap)?;
        Ok((storage, Shape::from(s.shape(first_layout.shape().rank()))))
    }

    fn bwd(
        &self,
        first: &Tensor,
        second: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        cotangent: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let s = &self.sizes;
        let cotangent = cotangent.contiguous()?;
        let gradient = |images: &Tensor, from: usize| {
            images
                .track_op()
                .then(|| s.images_gradient(&cotangent, weight, from, images.dims()))
                .transpose()
                .map_err(candle_core::Error::wrap)
        };
        let of_weight = weight
            .track_op()
            .then(|| s.weight_gradient(&[first, second], &cotangent, weight.dims()))
            .transpose()
            .map_err(candle_core::Error::wrap)?;
        Ok((
            gradient(first, 0)?,
            gradient(second, self.split)?,
            of_weight,
        ))
    }
}
