//! Feature maps that a network makes of both images.

use candle_core::Tensor;

use crate::features::{batch_of, FeatureLevel, FeatureNetwork, Level};
use crate::ops::{check_memory, dot, halves, is_cpu};
use crate::solver::AlignmentFeatures;
use crate::{Error, Result};

/// The feature maps of both images, level by level, coarse first.
pub(super) struct Learned {
    pub shrinks: Vec<usize>,
    pub fixed: Vec<Level>,
    pub moving: Vec<Level>,
}

impl Learned {
    /// Of intensities on the common scale, on `levels` alone where they are given; in half precision where `half` asks for it.
    ///
    /// The network sees whole images, as in training: what it normalises depends on the field of view.
    pub fn of(
        network: &dyn FeatureNetwork,
        fixed: &Level,
        moving: &Level,
        levels: Option<&[usize]>,
        half: bool,
    ) -> Result<Self> {
        check(network, fixed)?;
        let own = network.shrinks();
        let shrinks = levels.unwrap_or(own);
        if let Some(other) = shrinks.iter().find(|shrink| !own.contains(shrink)) {
            return Err(Error::argument(
                "levels",
                format!("the network makes features for levels {own:?} and for none that is {other} times coarser"),
            ));
        }
        let images = |image: &Level| -> Result<Tensor> {
            if let Some(device) = network.device() {
                let remedy = "compare intensities, or --device cpu";
                check_memory(&device, "features", remedy, network.workspace(&image.grid))?;
            }
            batch_of(network, image)
        };
        let maps = network.fixed_pyramid(&images(fixed)?, &fixed.grid)?;
        let fixed_maps = chosen(maps, shrinks, half, "fixed image")?;
        let maps = network.moving_pyramid(&images(moving)?, &moving.grid, &fixed.grid)?;
        Ok(Self {
            shrinks: shrinks.to_vec(),
            fixed: fixed_maps,
            moving: chosen(maps, shrinks, half, "moving image")?,
        })
    }

    /// The level that linear stages align: the finest, of which they make coarser ones themselves. On phantoms it aligns
    /// better than a coarser one.
    pub fn aligned(&self) -> Option<AlignmentFeatures<'_>> {
        let at = self.shrinks.len().checked_sub(1)?;
        Some(AlignmentFeatures {
            shrink: self.shrinks[at],
            fixed: &self.fixed[at],
            moving: &self.moving[at],
        })
    }
}

fn check(network: &dyn FeatureNetwork, image: &Level) -> Result<()> {
    let (rank, channels) = (image.grid.rank(), image.features.dims()[0]);
    if (network.rank(), network.inputs()) == (rank, channels) {
        return Ok(());
    }
    Err(Error::argument(
        "network",
        format!(
            "is made for images of {} axes and {} channels, these have {rank} and {channels}",
            network.rank(),
            network.inputs()
        ),
    ))
}

/// The maps of some levels, outside the graph of the network's parameters.
fn chosen(
    maps: Vec<FeatureLevel>,
    shrinks: &[usize],
    half: bool,
    image: &str,
) -> Result<Vec<Level>> {
    let mut levels = Vec::with_capacity(shrinks.len());
    for map in maps.into_iter().filter(|m| shrinks.contains(&m.shrink)) {
        let mut level = Level {
            features: map.features.detach().get(0)?.contiguous()?,
            grid: map.grid,
        };
        if !dot(&level.features, &level.features)?.is_finite() {
            return Err(Error::data(
                image,
                format!(
                    "the network makes features of it that are not finite, on level {}; train it again",
                    map.shrink
                ),
            ));
        }
        // a device compares them in single precision
        if half && is_cpu(level.features.device()) {
            level.features = halves(&format!("features of the {image}"), &level.features)?;
        }
        levels.push(level);
    }
    Ok(levels)
}
