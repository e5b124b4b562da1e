//! Normalisation of channels with the activation that follows it.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

use candle_core::Tensor;

use super::device::twin;
use super::junction::record_one;
use super::real::Real;
use super::separable::spatial;
use super::storage::{computed, read, with_real};
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
    let still = |x: &Tensor| x.detach().contiguous();
    let normalised = Normalised::new(still(images)?, still(gain)?, still(offset)?, groups, slope)?;
    let value = normalised.value()?;
    record_one("normalise", &[images, gain, offset], value, move |g| {
        Ok(normalised.pull_back(g)?.map(Some).into())
    })
}

/// Maps and what a normalisation makes of them, outside all graphs: either is computed from the maps when it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Normalised {
    maps: Tensor,
    gain: Tensor,
    offset: Tensor,
    voxels: usize,
    /// Channels of a group.
    together: usize,
    slope: f64,
    /// Mean and reciprocal deviation of every group of every item, doubles `[items * groups, 2]`.
    statistics: Tensor,
}

impl Normalised {
    /// Of contiguous tensors that fit each other; see [`normalise`].
    pub(crate) fn new(
        maps: Tensor,
        gain: Tensor,
        offset: Tensor,
        groups: usize,
        slope: f64,
    ) -> Result<Self> {
        let (channels, voxels) = (maps.dims()[1], maps.dims()[2..].iter().product());
        let together = channels / groups;
        let statistics = statistics(&maps, together * voxels)?;
        Ok(Self {
            maps,
            gain,
            offset,
            voxels,
            together,
            slope,
            statistics,
        })
    }

    /// Sizes of the maps, fastest axis first.
    pub(crate) fn size(&self) -> Vec<usize> {
        spatial(&self.maps)
    }

    /// What is done to each channel of each item.
    fn scale<T: Real>(&self, statistics: &[[f64; 2]], gain: &[T], offset: &[T]) -> Vec<Scaling> {
        (0..statistics.len() * self.together)
            .map(|run| {
                let [centre, reciprocal] = statistics[run / self.together];
                let c = run % gain.len();
                Scaling {
                    centre,
                    factor: gain[c].wide() * reciprocal,
                    offset: offset[c].wide(),
                }
            })
            .collect()
    }

    /// The normalised maps.
    pub(crate) fn value(&self) -> Result<Tensor> {
        twin!(&self.maps, launcher => cuda::value(&launcher, self));
        let statistics = self.statistics_on_host()?;
        with_real!(self.maps.dtype(), T => {
            let scale = read::<T, _>(&self.gain, |a| {
                read::<T, _>(&self.offset, |b| self.scale(&statistics, a, b))
            })??;
            let values = read::<T, _>(&self.maps, |x| {
                // SAFETY: every element lies in one chunk.
                unsafe { computed(x.len(), |out| cpu::activate(x, self.voxels, &scale, self.slope, out)) }
            })?;
            Ok(Tensor::from_vec(values, self.maps.dims(), self.maps.device())?)
        })
    }

    /// The cotangents of maps, gain and offset from that of the normalised maps, which is contiguous.
    pub(crate) fn pull_back(&self, cotangent: &Tensor) -> Result<[Tensor; 3]> {
        twin!(&self.maps, launcher => cuda::pull_back(&launcher, self, cotangent));
        let statistics = self.statistics_on_host()?;
        with_real!(self.maps.dtype(), T => {
            let [x, a, b] = read::<T, _>(&self.maps, |x| read::<T, _>(&self.gain, |a| {
                read::<T, _>(&self.offset, |b| read::<T, _>(cotangent, |g| self.cotangents(&statistics, x, a, b, g)))
            }))????;
            let device = self.maps.device();
            let channels = a.len();
            Ok([
                Tensor::from_vec(x, self.maps.dims(), device)?,
                Tensor::from_vec(a, channels, device)?,
                Tensor::from_vec(b, channels, device)?,
            ])
        })
    }

    fn statistics_on_host(&self) -> Result<Vec<[f64; 2]>> {
        let pairs = |all: &[f64]| all.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
        read::<f64, _>(&self.statistics, pairs)
    }

    fn cotangents<T: Real>(
        &self,
        statistics: &[[f64; 2]],
        x: &[T],
        gain: &[T],
        offset: &[T],
        g: &[T],
    ) -> [Vec<T>; 3] {
        let channels = gain.len();
        let scale = self.scale(statistics, gain, offset);
        let sums = cpu::cotangent_sums(x, g, self.voxels, &scale, self.slope);
        let mut of_gain = vec![0.0; channels];
        let mut of_offset = vec![0.0; channels];
        // means over each group of the cotangent of the normalised image, and of its product with that image
        let mut means = vec![[0.0; 2]; statistics.len()];
        let share = 1.0 / (self.together * self.voxels) as f64;
        for (run, [plain, with_x]) in sums.into_iter().enumerate() {
            let (group, c) = (run / self.together, run % channels);
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
        let of_maps = unsafe {
            computed(x.len(), |out| {
                cpu::cotangent(x, g, self.voxels, &scale, self.slope, &factors, out)
            })
        };
        let rounded = |v: Vec<f64>| v.into_iter().map(T::of).collect();
        [of_maps, rounded(of_gain), rounded(of_offset)]
    }
}

/// Mean and reciprocal deviation of each run of `length` elements, doubles `[runs, 2]`.
fn statistics(maps: &Tensor, length: usize) -> Result<Tensor> {
    twin!(maps, launcher => cuda::statistics(&launcher, maps, length));
    let found: Vec<f64> = with_real!(maps.dtype(), T => {
        read::<T, _>(maps, |x| {
            let moments = cpu::moments(x, length);
            let one = |m: &cpu::Moments| [m.mean, 1.0 / (m.squares / m.count + EPSILON).sqrt()];
            moments.iter().flat_map(one).collect()
        })
    })?;
    Ok(Tensor::from_vec(
        found,
        (maps.elem_count() / length, 2),
        maps.device(),
    )?)
}
