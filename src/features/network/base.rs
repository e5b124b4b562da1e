//! Features made by hand: for comparison, and as what a network starts from.

use std::sync::Arc;

use candle_core::Tensor;

use super::super::mind::Neighbourhood;
use super::{check_images, FeatureNetwork, Level, Parameters};
use crate::ops::resize;
use crate::{Error, Grid, Result};

/// A function from images to feature channels of every level, without anything to train.
pub trait BaseFeatures: Send + Sync + std::fmt::Debug {
    /// The name by which weights that were trained on top of these features ask for them.
    fn name(&self) -> String;

    /// Feature channels of every level for images of so many channels and axes.
    fn channels(&self, inputs: usize, rank: usize) -> usize;

    /// Features `[batch, channels, (nz,) ny, nx]` of images `[batch, inputs, (nz,) ny, nx]` that lie on `grid`, a map for each
    /// of `levels`.
    ///
    /// # Errors
    /// Whatever keeps the features from being computed.
    fn features(&self, images: &Tensor, grid: &Grid, levels: LevelGrids) -> Result<Vec<Tensor>>;
}

/// The levels that features are made for, coarse first.
#[derive(Debug, Clone, Copy)]
pub struct LevelGrids<'a> {
    /// How much coarser each is than the finest axis of the fixed images.
    pub shrinks: &'a [usize],
    /// Where the maps of each lie: grids with the field of view of the images'.
    pub grids: &'a [Grid],
}

impl LevelGrids<'_> {
    /// A map on the grid of every level.
    ///
    /// # Errors
    /// As [`resize`](fn@crate::resize).
    pub fn resized(&self, map: &Tensor) -> Result<Vec<Tensor>> {
        let sizes = self.grids.iter().map(Grid::size);
        sizes.map(|size| resize(map, size)).collect()
    }
}

/// The features of a name, `intensities`, `mind` or `coarse-mind`; none where there are none.
pub fn named_base(name: &str) -> Option<Arc<dyn BaseFeatures>> {
    let all: [Arc<dyn BaseFeatures>; 3] =
        [Arc::new(Intensities), Arc::new(Mind), Arc::new(CoarseMind)];
    all.into_iter().find(|base| base.name() == name)
}

/// The images themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Intensities;

impl BaseFeatures for Intensities {
    fn name(&self) -> String {
        "intensities".into()
    }

    fn channels(&self, inputs: usize, _: usize) -> usize {
        inputs
    }

    fn features(&self, images: &Tensor, _: &Grid, levels: LevelGrids) -> Result<Vec<Tensor>> {
        levels.resized(images)
    }
}

/// MIND descriptors ([`mind`](fn@crate::mind)) of each channel, with neighbours along the axes of the *world*, so that images
/// of any orientation are described alike.
///
/// Neighbours are two voxels of the finest axis away, one voxel along an axis where that is more; the window has a standard
/// deviation of one voxel of the finest axis. Levels have the descriptors of the images, resized. No gradient flows through
/// them to the images.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mind;

impl BaseFeatures for Mind {
    fn name(&self) -> String {
        "mind".into()
    }

    fn channels(&self, inputs: usize, rank: usize) -> usize {
        inputs * 2 * rank * (rank - 1)
    }

    fn features(&self, images: &Tensor, grid: &Grid, levels: LevelGrids) -> Result<Vec<Tensor>> {
        levels.resized(&Self::descriptors(images, grid)?)
    }
}

impl Mind {
    /// The descriptors of images on their own grid.
    fn descriptors(images: &Tensor, grid: &Grid) -> Result<Tensor> {
        let neighbourhood = Neighbourhood::along_the_world(grid);
        let described = |item| {
            neighbourhood.descriptors(&Level {
                features: images.get(item)?.detach(),
                grid: grid.clone(),
            })
        };
        let mut described: Vec<Tensor> = (0..images.dims()[0])
            .map(described)
            .collect::<Result<_>>()?;
        match (described.pop(), described.is_empty()) {
            // one image needs no copy
            (Some(only), true) => Ok(only.unsqueeze(0)?),
            (last, _) => {
                described.extend(last);
                Ok(Tensor::stack(&described, 0)?)
            }
        }
    }
}

/// Intensities and, on the coarse levels, [`Mind`] beside them, for images of one contrast: about what
/// [`Features::CoarseMind`](crate::Features) compares.
///
/// Descriptors are those of the images resized to a level, multiplied by a constant which gives them about their weight
/// there on images of brains. At full resolution their channels are zero: a network on top has them for itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct CoarseMind;

/// What descriptors are multiplied by.
const AMPLITUDE: f64 = 0.5;

impl BaseFeatures for CoarseMind {
    fn name(&self) -> String {
        "coarse-mind".into()
    }

    fn channels(&self, inputs: usize, rank: usize) -> usize {
        inputs + Mind.channels(inputs, rank)
    }

    fn features(&self, images: &Tensor, _: &Grid, levels: LevelGrids) -> Result<Vec<Tensor>> {
        let resized = levels.resized(images)?.into_iter();
        let places = levels.grids.iter().zip(levels.shrinks);
        resized
            .zip(places)
            .map(|(images, (grid, &shrink))| {
                let described = if shrink > 1 {
                    (Mind::descriptors(&images, grid)? * AMPLITUDE)?
                } else {
                    let mut shape = images.dims().to_vec();
                    shape[1] = Mind.channels(shape[1], grid.rank());
                    // one zero, not as many as there are voxels
                    let zero =
                        Tensor::zeros(vec![1; shape.len()], images.dtype(), images.device())?;
                    zero.broadcast_as(shape)?
                };
                Ok(Tensor::cat(&[images, described], 1)?)
            })
            .collect()
    }
}

/// Features made by hand on every level: a network without parameters.
#[derive(Debug, Clone)]
pub struct HandMade {
    base: Arc<dyn BaseFeatures>,
    rank: usize,
    inputs: usize,
    shrinks: Vec<usize>,
}

impl HandMade {
    /// For images of so many axes and channels; `shrinks` coarse first.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the shrink factors do not fall.
    pub fn new(
        base: Arc<dyn BaseFeatures>,
        rank: usize,
        inputs: usize,
        shrinks: &[usize],
    ) -> Result<Self> {
        if shrinks.is_empty() || shrinks.contains(&0) || shrinks.windows(2).any(|w| w[0] <= w[1]) {
            return Err(Error::argument(
                "shrinks",
                format!("must be falling and at least 1, got {shrinks:?}"),
            ));
        }
        Ok(Self {
            base,
            rank,
            inputs,
            shrinks: shrinks.to_vec(),
        })
    }
}

impl FeatureNetwork for HandMade {
    fn rank(&self) -> usize {
        self.rank
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn channels(&self) -> usize {
        self.base.channels(self.inputs, self.rank)
    }

    fn shrinks(&self) -> &[usize] {
        &self.shrinks
    }

    fn parameters(&self) -> Parameters {
        Parameters::default()
    }

    fn workspace(&self, grid: &Grid) -> u64 {
        let shares = self
            .shrinks
            .iter()
            .map(|&s| 1.0 / s.pow(self.rank as u32) as f64);
        let maps = 1.0 + shares.sum::<f64>();
        (maps * (4 * self.channels() * grid.voxels()) as f64) as u64
    }

    fn maps(&self, images: &Tensor, grid: &Grid, targets: &[Grid]) -> Result<Vec<Tensor>> {
        check_images(self, images, grid, targets)?;
        let levels = LevelGrids {
            shrinks: &self.shrinks,
            grids: targets,
        };
        base_features(&*self.base, images, grid, levels)
    }
}

/// The features of a base, with the shapes that it promises.
pub(super) fn base_features(
    base: &dyn BaseFeatures,
    images: &Tensor,
    grid: &Grid,
    levels: LevelGrids,
) -> Result<Vec<Tensor>> {
    let maps = base.features(images, grid, levels)?;
    let (batch, inputs) = (images.dims()[0], images.dims()[1]);
    let channels = base.channels(inputs, grid.rank());
    let expected: Vec<Vec<usize>> = levels
        .grids
        .iter()
        .map(|grid| [&[batch, channels], grid.shape().as_slice()].concat())
        .collect();
    let got: Vec<Vec<usize>> = maps.iter().map(|map| map.dims().to_vec()).collect();
    if got != expected {
        return Err(Error::Shape {
            what: "base features",
            expected: expected.concat(),
            got: got.concat(),
        });
    }
    Ok(maps)
}
