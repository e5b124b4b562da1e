//! Normalisation of channels with the activation that follows it.

mod cpu;

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};

use super::real::Real;
use super::storage::{computed, read, slice, with_real};
use crate::{Error, Result};
use cpu::Scaling;

/// Added to the variance, so that flat channels stay finite.
const EPSILON: f64 = 1e-5;

/// Group normalisation followed by a leaky rectifier: `y = max(z, slope z)` with
/// `z_c = gain_c (x_c - m) / sqrt(v + 1e-5) + offset_c`, where `m` and `v` are mean and variance over the channels of a
/// group and all voxels, for each item of the batch.
///
/// `images` is `[batch, channels, (nz,) ny, nx]`, `gain` and `offset` are `[channels]`. One group a channel is instance
/// normalisation; a slope of one leaves out the rectifier. Gradients flow to all three tensors. Sums run in a fixed
/// order: the same bits for any number of threads.
///
/// Source: Wu and He 2018, arXiv 1803.08494; Ulyanov et al. 2016, arXiv 1607.08022.
///
/// # Errors
/// [`Error::Shape`] when `gain` or `offset` does not have an element a channel, [`Error::InvalidArgument`] when `groups`
/// does not divide the channels or `slope` is not between 0 and 1.
pub fn normalise(
    images: &Tensor,
    gain: &Tensor,
    offset: &Tensor,
    groups: usize,
    slope: f64,
) -> Result<Tensor> {
    let dims = images.dims();
    if dims.len() < 3 {
        return Err(Error::Shape {
            what: "images of a normalisation (batch, channels, space)",
            expected: vec![0; 4],
            got: dims.to_vec(),
        });
    }
    let channels = dims[1];
    for (what, x) in [("gain", gain), ("offset", offset)] {
        if x.dims() != [channels] {
            return Err(Error::Shape {
                what,
                expected: vec![channels],
                got: x.dims().to_vec(),
            });
        }
    }
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(Error::argument(
            "groups",
            format!("must divide the {channels} channels, got {groups}"),
        ));
    }
    if !(0.0..=1.0).contains(&slope) {
        return Err(Error::argument(
            "slope",
            format!("must lie between 0 and 1, got {slope}"),
        ));
    }
    let op = Normalise {
        voxels: dims[2..].iter().product(),
        channels,
        together: channels / groups,
        slope,
        statistics: OnceLock::new(),
    };
    Ok(images
        .contiguous()?
        .apply_op3(&gain.contiguous()?, &offset.contiguous()?, op)?)
}

struct Normalise {
    voxels: usize,
    channels: usize,
    /// Channels of a group.
    together: usize,
    slope: f64,
    /// Mean and reciprocal deviation of every group of every item, kept for the way back.
    statistics: OnceLock<Vec<[f64; 2]>>,
}

impl Normalise {
    fn statistics<T: Real>(&self, x: &[T]) -> &[[f64; 2]] {
        self.statistics.get_or_init(|| {
            cpu::moments(x, self.together * self.voxels)
                .iter()
                .map(|m| [m.mean, 1.0 / (m.squares / m.count + EPSILON).sqrt()])
                .collect()
        })
    }

    /// What is done to each channel of each item.
    fn scale<T: Real>(&self, statistics: &[[f64; 2]], gain: &[T], offset: &[T]) -> Vec<Scaling> {
        (0..statistics.len() * self.together)
            .map(|run| {
                let [centre, reciprocal] = statistics[run / self.together];
                let c = run % self.channels;
                Scaling {
                    centre,
                    factor: gain[c].wide() * reciprocal,
                    offset: offset[c].wide(),
                }
            })
            .collect()
    }

    fn forward<T: Real>(&self, x: &[T], gain: &[T], offset: &[T]) -> Vec<T> {
        let scale = self.scale(self.statistics(x), gain, offset);
        // SAFETY: every element lies in one chunk.
        unsafe {
            computed(x.len(), |out| {
                cpu::activate(x, self.voxels, &scale, self.slope, out)
            })
        }
    }

    /// The gradients of images, gain and offset.
    fn backward<T: Real>(&self, x: &[T], gain: &[T], offset: &[T], g: &[T]) -> [Vec<T>; 3] {
        let statistics = self.statistics(x);
        let scale = self.scale(statistics, gain, offset);
        let sums = cpu::cotangent_sums(x, g, self.voxels, &scale, self.slope);
        let mut of_gain = vec![0.0; self.channels];
        let mut of_offset = vec![0.0; self.channels];
        // means over each group of the cotangent of the normalised image, and of its product with that image
        let mut means = vec![[0.0; 2]; statistics.len()];
        let share = 1.0 / (self.together * self.voxels) as f64;
        for (run, [plain, with_x]) in sums.into_iter().enumerate() {
            let (group, c) = (run / self.together, run % self.channels);
            let product = with_x * statistics[group][1];
            of_gain[c] += product;
            of_offset[c] += plain;
            means[group][0] += share * gain[c].wide() * plain;
            means[group][1] += share * gain[c].wide() * product;
        }
        let factors: Vec<[f64; 3]> = (0..scale.len())
            .map(|run| {
                let group = run / self.together;
                let ([_, reciprocal], [plain, product]) = (statistics[group], means[group]);
                [
                    scale[run].factor,
                    -reciprocal * reciprocal * product,
                    -reciprocal * plain,
                ]
            })
            .collect();
        // SAFETY: every element lies in one chunk.
        let of_images = unsafe {
            computed(x.len(), |out| {
                cpu::cotangent(x, g, self.voxels, &scale, self.slope, &factors, out)
            })
        };
        let rounded = |v: Vec<f64>| v.into_iter().map(T::of).collect();
        [of_images, rounded(of_gain), rounded(of_offset)]
    }

    fn gradients(
        &self,
        images: &Tensor,
        gain: &Tensor,
        offset: &Tensor,
        cotangent: &Tensor,
    ) -> Result<[Tensor; 3]> {
        with_real!(images.dtype(), T => {
            let [x, a, b] = read::<T, _>(images, |x| read::<T, _>(gain, |a| read::<T, _>(offset, |b| {
                read::<T, _>(cotangent, |g| self.backward(x, a, b, g))
            })))????;
            let device = images.device();
            Ok([
                Tensor::from_vec(x, images.dims(), device)?,
                Tensor::from_vec(a, self.channels, device)?,
                Tensor::from_vec(b, self.channels, device)?,
            ])
        })
    }
}

impl CustomOp3 for Normalise {
    fn name(&self) -> &'static str {
        "normalise"
    }

    fn cpu_fwd(
        &self,
        images: &CpuStorage,
        images_layout: &Layout,
        gain: &CpuStorage,
        gain_layout: &Layout,
        offset: &CpuStorage,
        offset_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let compute = || -> Result<CpuStorage> {
            with_real!(images.dtype(), T => {
                let x = slice::<T>(images, images_layout)?;
                let gain = slice::<T>(gain, gain_layout)?;
                Ok(T::storage(self.forward(x, gain, slice::<T>(offset, offset_layout)?)))
            })
        };
        let storage = compute().map_err(candle_core::Error::wrap)?;
        Ok((storage, images_layout.shape().clone()))
    }

    fn bwd(
        &self,
        images: &Tensor,
        gain: &Tensor,
        offset: &Tensor,
        _: &Tensor,
        cotangent: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [of_images, of_gain, of_offset] = self
            .gradients(images, gain, offset, &cotangent.contiguous()?)
            .map_err(candle_core::Error::wrap)?;
        Ok((
            images.track_op().then_some(of_images),
            gain.track_op().then_some(of_gain),
            offset.track_op().then_some(of_offset),
        ))
    }
}
