//! Local normalised cross correlation of two images.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod memory;
mod row;
mod stored;
mod tile;

use candle_core::Tensor;
use rayon::prelude::*;

use super::device::twin;
use super::lanes::dispatch;
use super::recorded::record2;
use super::rows::Shared;
use super::scratch::with_scratch;
use super::storage::{read, with_real};
use crate::{Error, Result};
use cpu::{Pair, Pass};
use memory::Layout;
use stored::Stored;
use tile::Tile;

/// Voxels whose mean stands for that of an image.
const SAMPLES: usize = 4096;

/// One minus the squared local correlation of two images, its mean over voxels and channels.
///
/// `1 - mean ab^2 / (aa bb + 1e-5)`, where `ab`, `aa` and `bb` are the covariance and the variances of a channel of the images
/// in a box around each voxel, sums of products over the number of voxels.
///
/// Images are `[..., (nz,) ny, nx]`; `window` holds the sides of the box in voxels, odd numbers, fastest axis first, as many as
/// there are axes of space. At the border a box is what lies within the image of it, so a window may be larger than the image.
/// Intensities are expected to span about one: where both standard deviations are below 0.06 the correlation fades out, and a
/// constant image has none. The result is a scalar, through which gradients flow to both images.
///
/// Sums are of double precision and run across planes and rows, part by part of the volume; those along a row are doubled until
/// they fill the window. So the time grows with the window by its logarithm and by what each part computes beyond its border.
/// The order is fixed: the same bits for any number of threads. A value that is not finite spoils the result. On a GPU windows are
/// added up voxel by voxel, an axis after the other, and the time grows with their sides.
///
/// Source: Avants et al. 2008, doi:10.1016/j.media.2007.06.004.
///
/// # Errors
/// [`Error::Shape`] when the images differ in shape, have no voxels or fewer axes than the window,
/// [`Error::InvalidArgument`] for a window that is not of two or three odd numbers.
pub fn lncc(first: &Tensor, second: &Tensor, window: &[usize]) -> Result<Tensor> {
    let windows = Windows::new(first, second, window)?;
    let images = [first.contiguous()?, second.contiguous()?];
    let detached = images.each_ref().map(Tensor::detach);
    let (value, []) = windows.of(&detached, 1.0)?;
    let value = Tensor::new(value, first.device())?.to_dtype(first.dtype())?;
    let tracked = images.each_ref().map(Tensor::track_op);
    record2("lncc", (&images[0], &images[1]), value, move |cotangent| {
        let factor = cotangent.to_dtype(candle_core::DType::F64)?.to_scalar()?;
        let [first, second] = &detached;
        Ok(match tracked {
            [true, true] => windows.of(&detached, factor)?.1.map(Some),
            [true, false] => {
                let (_, [gradient]) = windows.of(&detached, factor)?;
                [Some(gradient), None]
            }
            [false, _] => {
                let (_, [gradient]) = windows.of(&[second.clone(), first.clone()], factor)?;
                [None, Some(gradient)]
            }
        })
    })
}

/// [`lncc`] and its gradients with respect to both images, outside all graphs and in one pass.
///
/// # Errors
/// As [`lncc`].
pub fn lncc_gradient(
    first: &Tensor,
    second: &Tensor,
    window: &[usize],
) -> Result<(f64, [Tensor; 2])> {
    let windows = Windows::new(first, second, window)?;
    windows.of(&[first.contiguous()?, second.contiguous()?], 1.0)
}

/// The windows on a grid; a third axis of one voxel in two dimensions.
struct Windows {
    size: [usize; 3],
    radius: [usize; 3],
    tiles: Vec<Tile>,
    /// One over the voxels of each window along a row, zeros up to whole lanes.
    shares: Vec<f64>,
}

impl Windows {
    fn new(first: &Tensor, second: &Tensor, window: &[usize]) -> Result<Self> {
        let dims = first.dims();
        if !(2..=3).contains(&window.len()) || window.iter().any(|side| side % 2 == 0) {
            return Err(Error::argument(
                "window",
                format!("expected two or three odd numbers of voxels, got {window:?}"),
            ));
        }
        if second.dims() != dims {
            return Err(Error::Shape {
                what: "second image of a local correlation",
                expected: dims.to_vec(),
                got: second.dims().to_vec(),
            });
        }
        if dims.len() < window.len() || dims.contains(&0) {
            return Err(Error::Shape {
                what: "images of a local correlation, an axis for each side of the window",
                expected: window.iter().rev().copied().collect(),
                got: dims.to_vec(),
            });
        }
        let (mut size, mut radius) = ([1; 3], [0; 3]);
        for (axis, side) in window.iter().enumerate() {
            size[axis] = dims[dims.len() - 1 - axis];
            radius[axis] = (side / 2).min(size[axis] - 1);
        }
        let [nx, rx] = [size[0], radius[0]];
        let mut shares = vec![0.0; nx.next_multiple_of(Layout::LANES)];
        for (x, share) in shares[..nx].iter_mut().enumerate() {
            *share = 1.0 / ((x + rx + 1).min(nx) - x.saturating_sub(rx)) as f64;
        }
        Ok(Self {
            tiles: Tile::all(&size, &radius),
            size,
            radius,
            shares,
        })
    }

    /// One minus the mean, and the gradients of `factor` times that with respect to the first `OF` of two contiguous images.
    fn of<const OF: usize>(
        &self,
        images: &[Tensor; 2],
        factor: f64,
    ) -> Result<(f64, [Tensor; OF])> {
        let [first, second] = images;
        twin!(first, launcher => cuda::of(&launcher, self, images, factor));
        with_real!(first.dtype(), T => {
            let (value, gradients) = read::<T, _>(first, |first| {
                read::<T, _>(second, |second| self.run::<T, OF>([first, second], factor))
            })??;
            let tensors = gradients
                .into_iter()
                .map(|gradient| Tensor::from_vec(gradient, first.dims(), first.device()))
                .collect::<candle_core::Result<Vec<_>>>()?;
            Ok((value, std::array::from_fn(|k| tensors[k].clone())))
        })
    }

    fn run<T: Stored, const OF: usize>(
        &self,
        images: [&[T]; 2],
        factor: f64,
    ) -> (f64, [Vec<T>; OF]) {
        let volume: usize = self.size.iter().product();
        let count = images[0].len();
        assert_eq!(images[1].len(), count, "images");
        assert_eq!(count % volume, 0, "whole volumes");
        let pairs: Vec<Pair<'_, T>> = (0..count / volume)
            .map(|k| {
                let images = images.map(|image| &image[k * volume..(k + 1) * volume]);
                Pair {
                    images,
                    centre: images.map(centre),
                    size: self.size,
                    radius: self.radius,
                    shares: &self.shares,
                }
            })
            .collect();
        let mut gradients: [Vec<T>; OF] = std::array::from_fn(|_| Vec::with_capacity(count));
        let written = gradients.each_mut().map(|g| Shared::of(g.as_mut_ptr()));
        let sums: Vec<f64> = (0..pairs.len() * self.tiles.len())
            .into_par_iter()
            .with_max_len(1)
            .map(|task| {
                let (k, tile) = (
                    task / self.tiles.len(),
                    &self.tiles[task % self.tiles.len()],
                );
                let layout = Layout::new(&self.size, &self.radius, tile, OF);
                with_scratch(layout.length::<T>(), |memory| {
                    dispatch(Pass::<'_, T, OF> {
                        pair: pairs[k],
                        tile,
                        memory: layout.split(memory),
                        layout: &layout,
                        factor: -factor / count as f64,
                        // SAFETY: each volume lies within the images, whose length the gradients have.
                        gradients: written.map(|g| unsafe { g.skip(k * volume) }),
                    })
                })
            })
            .collect();
        for gradient in &mut gradients {
            // SAFETY: every voxel belongs to one tile and is written.
            unsafe { gradient.set_len(count) };
        }
        (1.0 - sums.iter().sum::<f64>() / count as f64, gradients)
    }
}

/// About the mean of an image.
fn centre<T: Stored>(image: &[T]) -> f64 {
    let step = image.len().div_ceil(SAMPLES);
    let samples = image.iter().step_by(step).map(|v| v.wide());
    samples.sum::<f64>() / image.len().div_ceil(step) as f64
}
