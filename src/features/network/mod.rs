//! Networks that make feature maps of images.

mod base;
mod config;
mod joined;
mod layers;
#[cfg(test)]
mod on_device;
mod parameters;
mod scales;
mod shipped;
mod tensor_file;
mod unet;
mod weights;

use candle_core::{Device, Tensor};

pub use base::{named_base, BaseFeatures, CoarseMind, HandMade, Intensities, LevelGrids, Mind};
pub use config::{Architecture, Downsampling, HeadActivation, NetworkConfig, Normalisation};
pub(crate) use parameters::plus;
pub use parameters::Parameters;
pub use shipped::Shipped;
pub(crate) use tensor_file::{difference, read_described};
pub use tensor_file::{read_tensors, write_tensors};
pub(crate) use unet::Trail;
pub use unet::Unet;
pub use weights::{Provenance, Weights};

use super::pyramid::{level_grid, matched_grid, Level};
use crate::ops::{device_name, resize};
use crate::{Error, Grid, Result};

/// Feature maps of a batch of images on one level.
#[derive(Debug, Clone)]
pub struct FeatureLevel {
    /// How much coarser the level is than the finest axis of the fixed images.
    pub shrink: usize,
    /// `[batch, channels, (nz,) ny, nx]`.
    pub features: Tensor,
    /// Where they lie.
    pub grid: Grid,
}

impl FeatureLevel {
    /// The maps of one image of the batch, within the same graph.
    ///
    /// # Errors
    /// [`Error::Tensor`] when there are not so many.
    pub fn item(&self, index: usize) -> Result<Level> {
        Ok(Level {
            features: self.features.get(index)?,
            grid: self.grid.clone(),
        })
    }
}

/// Something that makes a pyramid of feature maps of images.
///
/// One network serves fixed and moving images. It works on any grid: pooling follows the spacing, so that thick slices
/// are not pooled along the thick axis until the other axes are as coarse, and maps are interpolated from the network's
/// own voxels, whose places are known, to the grids they are asked for.
pub trait FeatureNetwork: Send + Sync + std::fmt::Debug {
    /// Axes of the images: 2 or 3.
    fn rank(&self) -> usize;

    /// Channels of the images.
    fn inputs(&self) -> usize;

    /// Channels of the feature maps.
    fn channels(&self) -> usize;

    /// The levels, coarse first: how much coarser each is than the finest axis of the images.
    fn shrinks(&self) -> &[usize];

    /// What is trained.
    fn parameters(&self) -> Parameters;

    /// Where the images must lie; none where that is left to them.
    fn device(&self) -> Option<Device> {
        self.parameters().device().cloned()
    }

    /// The maps `[batch, channels, ...]` of all levels, coarse first, on the grids `targets`, one a level, which have
    /// the same field of view as `grid`, the grid of the images `[batch, inputs, (nz,) ny, nx]`. Gradients flow to the
    /// parameters and the images.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::InvalidArgument`] when images, grid and targets do not fit the network or each
    /// other.
    fn maps(&self, images: &Tensor, grid: &Grid, targets: &[Grid]) -> Result<Vec<Tensor>>;

    /// The most memory that a pass over one image on this grid takes when no gradient is asked for, its results included,
    /// bytes: an estimate. Zero where it is not known.
    fn workspace(&self, _grid: &Grid) -> u64 {
        0
    }

    /// The pyramid of fixed images: every level on its [`level_grid`].
    ///
    /// # Errors
    /// As [`FeatureNetwork::maps`].
    fn fixed_pyramid(&self, images: &Tensor, grid: &Grid) -> Result<Vec<FeatureLevel>> {
        let shrinks = self.shrinks().iter();
        let targets: Vec<Grid> = shrinks
            .map(|&s| level_grid(grid, s))
            .collect::<Result<_>>()?;
        self.pyramid(images, grid, targets)
    }

    /// The pyramid of moving images that lie on `grid`: every level on the [`matched_grid`] of the fixed images' level.
    /// Images finer than the fixed ones are resized first, so that the network sees both at about one spacing.
    ///
    /// # Errors
    /// As [`FeatureNetwork::maps`].
    fn moving_pyramid(
        &self,
        images: &Tensor,
        grid: &Grid,
        fixed: &Grid,
    ) -> Result<Vec<FeatureLevel>> {
        let shrinks = self.shrinks().iter();
        let targets: Vec<Grid> = shrinks
            .map(|&s| matched_grid(grid, &level_grid(fixed, s)?))
            .collect::<Result<_>>()?;
        let working = matched_grid(grid, fixed)?;
        if working.size() == grid.size() {
            return self.pyramid(images, grid, targets);
        }
        check_images_on(self.inputs(), images, grid)?;
        self.pyramid(&resize(images, working.size())?, &working, targets)
    }

    /// [`FeatureNetwork::maps`] with the grids they lie on.
    ///
    /// # Errors
    /// As [`FeatureNetwork::maps`].
    fn pyramid(
        &self,
        images: &Tensor,
        grid: &Grid,
        targets: Vec<Grid>,
    ) -> Result<Vec<FeatureLevel>> {
        let maps = self.maps(images, grid, &targets)?;
        Ok(maps
            .into_iter()
            .zip(targets)
            .zip(self.shrinks())
            .map(|((features, grid), &shrink)| FeatureLevel {
                shrink,
                features,
                grid,
            })
            .collect())
    }
}

/// An image as a batch of one, where the network lies.
pub(crate) fn batch_of(network: &dyn FeatureNetwork, image: &Level) -> Result<Tensor> {
    let batch = image.features.unsqueeze(0)?;
    match network.device() {
        Some(device) => Ok(batch.to_device(&device)?),
        None => Ok(batch),
    }
}

fn check_images_on(inputs: usize, images: &Tensor, grid: &Grid) -> Result<()> {
    let batch = images.dims().first().copied().unwrap_or(1);
    let mut expected = vec![batch, inputs];
    expected.extend(grid.shape());
    if images.dims() == expected {
        return Ok(());
    }
    Err(Error::Shape {
        what: "images of a feature network",
        expected,
        got: images.dims().to_vec(),
    })
}

/// Whether images, their grid and the targets fit each other and the network.
pub(crate) fn check_images(
    network: &dyn FeatureNetwork,
    images: &Tensor,
    grid: &Grid,
    targets: &[Grid],
) -> Result<()> {
    if grid.rank() != network.rank() {
        return Err(Error::argument(
            "grid",
            format!(
                "has {} axes, the network is made for {}",
                grid.rank(),
                network.rank()
            ),
        ));
    }
    check_images_on(network.inputs(), images, grid)?;
    let parameters = network.parameters();
    if let Some(device) = parameters.device() {
        if !device.same_device(images.device()) {
            let [here, there] = [device, images.device()].map(device_name);
            return Err(Error::argument(
                "images",
                format!("lie on {there}, the network on {here}; carry one to the other"),
            ));
        }
    }
    if let Some(dtype) = parameters.dtype() {
        if dtype != images.dtype() {
            return Err(Error::argument(
                "images",
                format!(
                    "have elements of {:?}, the network of {dtype:?}; convert one to the other",
                    images.dtype()
                ),
            ));
        }
    }
    if targets.len() != network.shrinks().len() {
        return Err(Error::argument(
            "targets",
            format!(
                "expected a grid for each of the levels {:?}, got {}",
                network.shrinks(),
                targets.len()
            ),
        ));
    }
    for target in targets {
        let same =
            target.rank() == grid.rank() && target.matches(&grid.resized(target.size())?, 0.01);
        if !same {
            return Err(Error::GridMismatch {
                what: "target of a feature network".into(),
                expected: format!("the field of view of {}", grid.describe()),
                got: target.describe(),
            });
        }
    }
    Ok(())
}
