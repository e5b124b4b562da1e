//! Images and labels carried onto another grid, with a single interpolation.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::carried::Carried;
use super::chain::{lines, Chain};
use super::lattice::{flat, Lattice};
use crate::ops::spline_coefficients;
use crate::{Grid, Image, Labels, Result};

/// How values between the voxels of an image are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resampling {
    /// The nearest voxel's value; halfway between two voxels the upper one's.
    Nearest,
    /// Multilinear between the nearest voxels.
    Linear,
    /// Cubic B-spline through the voxels' values, mirrored at the border; it overshoots at sharp edges.
    Cubic,
}

/// How labels between voxels are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelResampling {
    /// The nearest voxel's label; halfway between two voxels the upper one's.
    Nearest,
    /// The label with the largest share among the neighbours, each voxel counting by its weight in linear
    /// interpolation; of equal shares the smallest label. The same as linear interpolation of every label's indicator,
    /// but at a cost that does not depend on the number of labels.
    Vote,
}

/// An image carried onto `reference` through a chain of transforms, with a single interpolation.
///
/// The value at a voxel `x` of `reference` is that of `image` at `chain(x)`, in the world. Up to half a voxel beyond the
/// image's outer voxel centres its border continues (by its nearest value; for cubic interpolation mirrored), farther
/// outside the value is `background`. In 2D the third coordinate is ignored. All channels are carried alike; the result
/// has no header of a file.
///
/// # Errors
/// [`Error::InvalidArgument`](crate::Error::InvalidArgument) when image, chain and reference differ in rank.
pub fn resample_image(
    image: &Image,
    chain: &Chain,
    reference: &Grid,
    resampling: Resampling,
    background: f32,
) -> Result<Image> {
    let (lattice, carried) = prepare(image.grid(), chain, reference)?;
    let coefficients = match resampling {
        Resampling::Cubic => Some(coefficients(image)?),
        _ => None,
    };
    let voxels = image.grid().voxels();
    let source = coefficients.as_deref().unwrap_or(image.values());
    let channels: Vec<&[f32]> = source.chunks(voxels).collect();
    let values = carry(
        &carried,
        reference,
        channels.len(),
        |position, channel| match resampling {
            Resampling::Nearest => lattice.nearest(position).map(|at| channels[channel][at]),
            Resampling::Linear => lattice
                .cell(position)
                .map(|cell| cell.linear(channels[channel]) as f32),
            Resampling::Cubic => lattice.cubic(channels[channel], position),
        },
        background,
    );
    Image::new(reference.clone(), channels.len(), values)
}

/// Labels carried onto `reference` through a chain of transforms, with a single interpolation; no new labels arise.
///
/// Where and how as in [`resample_image`]; outside the labels' image there is `background`.
///
/// # Errors
/// As [`resample_image`].
pub fn resample_labels(
    labels: &Labels,
    chain: &Chain,
    reference: &Grid,
    resampling: LabelResampling,
    background: u32,
) -> Result<Labels> {
    let (lattice, carried) = prepare(labels.grid(), chain, reference)?;
    let source = labels.values();
    let values = carry(
        &carried,
        reference,
        1,
        |position, _| match resampling {
            LabelResampling::Nearest => lattice.nearest(position).map(|at| source[at]),
            LabelResampling::Vote => lattice.cell(position).map(|cell| cell.vote(source)),
        },
        background,
    );
    Labels::new(reference.clone(), values)
}

fn prepare<'a>(from: &Grid, chain: &'a Chain, reference: &Grid) -> Result<(Lattice, Carried<'a>)> {
    if from.rank() != chain.rank() {
        return Err(crate::Error::argument(
            "image and transforms",
            format!(
                "have {} and {} dimensions; both must be of one kind",
                from.rank(),
                chain.rank()
            ),
        ));
    }
    let end = flat(&from.world_to_index(), from.rank());
    Ok((Lattice::new(from), Carried::grid(chain, reference, &end)?))
}

/// The values at all voxels of a grid, planar: what `value` gives for the carried position and the channel.
fn carry<T: Copy + Send + Sync>(
    carried: &Carried<'_>,
    reference: &Grid,
    channels: usize,
    value: impl Fn([f64; 3], usize) -> Option<T> + Sync,
    background: T,
) -> Vec<T> {
    let (voxels, width) = (reference.voxels(), reference.size()[0]);
    let mut values = vec![background; channels * voxels];
    lines(&mut values, voxels, width)
        .into_par_iter()
        .enumerate()
        .for_each_init(
            || vec![[0.0; 3]; width],
            |positions, (row, mut line)| {
                carried.row(row, positions);
                for (channel, line) in line.iter_mut().enumerate() {
                    for (out, position) in line.iter_mut().zip(&*positions) {
                        *out = value(*position, channel).unwrap_or(background);
                    }
                }
            },
        );
    values
}

fn coefficients(image: &Image) -> Result<Vec<f32>> {
    let mut shape = vec![image.channels()];
    shape.extend(image.grid().shape());
    let values = Tensor::from_slice(image.values(), shape, &Device::Cpu)?;
    Ok(spline_coefficients(&values)?.flatten_all()?.to_vec1()?)
}
