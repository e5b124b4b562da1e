//! The convolution as an operation of the tensor engine.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};

#[cfg(any(feature = "cuda", test))]
use super::cuda::{self, Images};
use super::gradient::convolve_bias_gradient;
use super::{Channels, Sizes};
use crate::ops::device::twin;
#[cfg(any(feature = "cuda", test))]
use crate::ops::junction::record_one;
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
    let bias = bias.map(Tensor::contiguous).transpose()?;
    if let Some(bias) = bias.as_ref().filter(|b| b.dims() != [sizes.outputs]) {
        return Err(Error::Shape {
            what: "bias",
            expected: vec![sizes.outputs],
            got: bias.dims().to_vec(),
        });
    }
    let op = Convolve { sizes };
    twin!(&images, launcher => {
        let of = Images::of(&[&images]);
        let value = cuda::forward(&launcher, &sizes, of, &weight, bias.as_ref())?;
        let arguments = [&images, &weight].into_iter().chain(&bias);
        let arguments: Vec<&Tensor> = arguments.collect();
        let (images, weight, bias) = (images.clone(), weight.clone(), bias.clone());
        record_one("convolve", &arguments, value, move |g| {
            Ok(op.gradients(&images, &weight, bias.as_ref(), g)?.into())
        })
    });
    Ok(match bias {
        Some(bias) => images.apply_op3(&weight, &bias, op)?,
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
    let [first, second, weight] = [
        first.contiguous()?,
        second.contiguous()?,
        weight.contiguous()?,
    ];
    twin!(&first, launcher => {
        let of = Images::of(&[&first, &second]);
        let value = cuda::forward(&launcher, &op.sizes, of, &weight, None)?;
        let arguments = [first.clone(), second.clone(), weight.clone()];
        record_one("convolve-joined", &[&first, &second, &weight], value, move |g| {
            let [first, second, weight] = &arguments;
            Ok(op.gradients(first, second, weight, g)?.into())
        })
    });
    Ok(first.apply_op3(&second, &weight, op)?)
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

    /// The cotangents of those that are tracked, from a contiguous one of the result.
    fn gradients(
        &self,
        images: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        cotangent: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let s = &self.sizes;
        let of_images = images
            .track_op()
            .then(|| s.images_gradient(cotangent, weight, 0, images.dims()))
            .transpose()?;
        let of_weight = weight
            .track_op()
            .then(|| s.weight_gradient(&[images], cotangent, weight.dims()))
            .transpose()?;
        let of_bias = bias
            .filter(|bias| bias.track_op())
            .map(|_| convolve_bias_gradient(cotangent))
            .transpose()?;
        Ok([of_images, of_weight, of_bias])
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
        let gradients = self.gradients(images, weight, None, &cotangent.contiguous()?);
        let [of_images, of_weight, _] = gradients.map_err(candle_core::Error::wrap)?;
        Ok((of_images, of_weight))
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
        let gradients = self.gradients(images, weight, Some(bias), &cotangent.contiguous()?);
        let [of_images, of_weight, of_bias] = gradients.map_err(candle_core::Error::wrap)?;
        Ok((of_images, of_weight, of_bias))
    }
}

struct ConvolveJoined {
    sizes: Sizes,
    /// Channels of the first tensor.
    split: usize,
}

impl ConvolveJoined {
    fn gradients(
        &self,
        first: &Tensor,
        second: &Tensor,
        weight: &Tensor,
        cotangent: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let s = &self.sizes;
        let of_images = |images: &Tensor, from: usize| {
            images
                .track_op()
                .then(|| s.images_gradient(cotangent, weight, from, images.dims()))
                .transpose()
        };
        let of_weight = weight
            .track_op()
            .then(|| s.weight_gradient(&[first, second], cotangent, weight.dims()))
            .transpose()?;
        Ok([
            of_images(first, 0)?,
            of_images(second, self.split)?,
            of_weight,
        ])
    }
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
        let gradients = self.gradients(first, second, weight, &cotangent.contiguous()?);
        let [of_first, of_second, of_weight] = gradients.map_err(candle_core::Error::wrap)?;
        Ok((of_first, of_second, of_weight))
    }
}
