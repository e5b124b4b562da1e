//! Features made by hand: for comparison, and as what a network starts from.

use std::sync::Arc;

use candle_core::Tensor;

use super::{check_images, FeatureNetwork, Parameters};
use crate::ops::{mind, resize};
use crate::{Error, Grid, Result};

/// A function from images to feature channels, without anything to train.
pub trait BaseFeatures: Send + Sync + std::fmt::Debug {
    /// The name by which weights that were trained on top of these features ask for them.
    fn name(&self) -> String;

    /// Feature channels for images of so many channels and axes.
    fn channels(&self, inputs: usize, rank: usize) -> usize;

    /// Features `[batch, channels, (nz,) ny, nx]` of images `[batch, inputs, (nz,) ny, nx]` that lie on `grid`.
    ///
    /// # Errors
    /// Whatever keeps the features from being computed.
    fn features(&self, images: &Tensor, grid: &Grid) -> Result<Tensor>;
}

/// The features of a name, `intensities` or `mind`; none where there are none.
pub fn named_base(name: &str) -> Option<Arc<dyn BaseFeatures>> {
    let all: [Arc<dyn BaseFeatures>; 2] = [Arc::new(Intensities), Arc::new(Mind)];
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

    fn features(&self, images: &Tensor, _: &Grid) -> Result<Tensor> {
        Ok(images.clone())
    }
}

/// MIND descriptors ([`mind`](fn@crate::mind)) of each channel, with neighbours along the axes of the *world*, so that images
/// of any orientation are described alike.
///
/// Neighbours are two voxels of the finest axis away, one voxel along an axis where that is more; the window has a standard
/// deviation of one voxel of the finest axis. No gradient flows through them to the images.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mind;

/// Distance of the neighbours and width of the window, in voxels of the finest axis.
const REACH: f64 = 2.0;
const WINDOW: f64 = 1.0;
/// A window narrower than this share of a voxel sees that voxel alone.
const NARROW: f64 = 0.2;

impl BaseFeatures for Mind {
    fn name(&self) -> String {
        "mind".into()
    }

    fn channels(&self, inputs: usize, rank: usize) -> usize {
        inputs * 2 * rank * (rank - 1)
    }

    fn features(&self, images: &Tensor, grid: &Grid) -> Result<Tensor> {
        let finest = grid.spacing().iter().copied().fold(f64::INFINITY, f64::min);
        let into = grid.world_to_index();
        let offsets: Vec<[f64; 3]> = (0..grid.rank())
            .map(|axis| {
                let mut away = [0.0; 3];
                away[axis] = REACH * finest;
                let away = into.apply_vector(away);
                let longest = away.iter().fold(0.0f64, |most, v| most.max(v.abs()));
                away.map(|v| v / longest.min(1.0))
            })
            .collect();
        let widths = grid.spacing().iter().map(|s| WINDOW * finest / s);
        let widths: Vec<f64> = widths.map(|w| if w < NARROW { 0.0 } else { w }).collect();
        let mut described: Vec<Tensor> = (0..images.dims()[0])
            .map(|item| mind(&images.get(item)?.detach(), &offsets, &widths))
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

/// Features made by hand on every level, resized from the finest one: a network without parameters.
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
        let features = base_features(&*self.base, images, grid)?;
        targets
            .iter()
            .map(|t| resize(&features, t.size()))
            .collect()
    }
}

/// The features of a base, with the shape that it promises.
pub(super) fn base_features(
    base: &dyn BaseFeatures,
    images: &Tensor,
    grid: &Grid,
) -> Result<Tensor> {
    let features = base.features(images, grid)?;
    let mut expected = images.dims().to_vec();
    expected[1] = base.channels(expected[1], grid.rank());
    if features.dims() != expected {
        return Err(Error::Shape {
            what: "base features",
            expected,
            got: features.dims().to_vec(),
        });
    }
    Ok(features)
}
