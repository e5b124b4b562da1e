//! U-Nets.

mod backward;
mod body;
mod elements;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use body::Body;
pub(crate) use body::Trail;

use super::base::{base_features, BaseFeatures, LevelGrids};
use super::config::{scale_of, NetworkConfig};
use super::parameters::{Maker, Parameters};
use super::scales::Scales;
use super::{check_images, FeatureNetwork};
use crate::ops::{combine, record_all, Cotangent};
use crate::{Error, Grid, Result};

/// A network of the U-Net family: see [`Architecture`](super::Architecture) for its kinds.
#[derive(Debug)]
pub struct Unet {
    body: Arc<Body>,
    parameters: Parameters,
    base: Option<Arc<dyn BaseFeatures>>,
    /// Whether gradients flow to the parameters.
    learns: bool,
}

impl Unet {
    /// A network with random weights: the same for the same seed on every machine.
    ///
    /// `base` are the features that its own are added to, where the configuration names some; its heads then start at
    /// zero, and the network with them.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the configuration contradicts itself or the base.
    pub fn new(
        config: &NetworkConfig,
        base: Option<Arc<dyn BaseFeatures>>,
        seed: u64,
        dtype: DType,
    ) -> Result<Self> {
        Self::made(config, base, (seed, dtype, &Device::Cpu), true)
    }

    /// A network outside all graphs: it keeps nothing of its passes, and no gradient flows to its parameters.
    pub(crate) fn still(
        config: &NetworkConfig,
        base: Option<Arc<dyn BaseFeatures>>,
        seed: u64,
        dtype: DType,
    ) -> Result<Self> {
        Self::made(config, base, (seed, dtype, &Device::Cpu), false)
    }

    fn made(
        config: &NetworkConfig,
        base: Option<Arc<dyn BaseFeatures>>,
        (seed, dtype, device): (u64, DType, &Device),
        learns: bool,
    ) -> Result<Self> {
        config.check()?;
        check_base(config, base.as_deref())?;
        let mut maker = Maker::new(seed, dtype, device);
        let body = Arc::new(Body::new(config, &mut maker)?);
        Ok(Self {
            body,
            parameters: maker.done(),
            base,
            learns,
        })
    }

    /// The same network on a device, with weights of its own there.
    ///
    /// # Errors
    /// [`Error::Tensor`] when they find no room.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let dtype = self.parameters.dtype().unwrap_or(DType::F32);
        let made = (0, dtype, device);
        let there = Self::made(self.config(), self.base.clone(), made, self.learns)?;
        let weights = self.parameters.iter();
        let weights = weights.map(|(name, var)| (name.to_owned(), var.as_detached_tensor()));
        let weights: Vec<_> = weights.collect();
        there.parameters.assign("network", &weights)?;
        Ok(there)
    }

    /// What the network is made of.
    pub fn config(&self) -> &NetworkConfig {
        &self.body.config
    }

    fn scales(&self, grid: &Grid) -> Scales {
        Scales::new(grid, self.config().widths.len())
    }

    /// Its own features of every level, coarse first, on the voxels of its scales and outside all graphs, with what the way
    /// back needs.
    pub(crate) fn pass(&self, images: &Tensor, grid: &Grid) -> Result<(Vec<Tensor>, Trail)> {
        let scales = self.scales(grid);
        let images = images.detach().contiguous()?;
        let mut trail = Trail::new(&images, &scales);
        let own = self.body.forward(&images, &scales, Some(&mut trail))?;
        Ok((own, trail))
    }

    /// [`pass`](Self::pass) without a way back.
    pub(crate) fn still_pass(&self, images: &Tensor, grid: &Grid) -> Result<Vec<Tensor>> {
        let images = images.detach().contiguous()?;
        self.body.forward(&images, &self.scales(grid), None)
    }

    /// The gradients of the parameters, from the cotangents of what a pass gave.
    pub(crate) fn pull_back(
        &self,
        trail: Trail,
        cotangents: Vec<Option<Cotangent>>,
    ) -> Result<Vec<Option<Tensor>>> {
        let count = self.parameters.iter().count();
        let pulled = self.body.backward(trail, cotangents, count, false)?;
        Ok(pulled.parameters)
    }

    /// Bytes that the trail of a pass over an image on `grid` takes.
    pub(crate) fn trail_bytes(&self, grid: &Grid) -> u64 {
        self.bytes(self.body.trail_elements(&self.scales(grid)))
    }

    /// Bytes that the way back takes beside the trail, an estimate.
    pub(crate) fn way_back_bytes(&self, grid: &Grid) -> u64 {
        self.bytes(self.body.way_back_elements(&self.scales(grid)))
    }

    fn bytes(&self, elements: usize) -> u64 {
        let element = self.parameters.dtype().map_or(4, |d| d.size_in_bytes());
        (elements * element) as u64
    }

    /// The features of all levels on their grids, of what a pass over the images gave. Gradients flow through it.
    pub(crate) fn placed(
        &self,
        own: Vec<Tensor>,
        images: &Tensor,
        grid: &Grid,
        targets: &[Grid],
    ) -> Result<Vec<Tensor>> {
        let scales = self.scales(grid);
        let config = self.config();
        let base = match &self.base {
            Some(base) => {
                let levels = LevelGrids {
                    shrinks: &config.shrinks,
                    grids: targets,
                };
                let maps = base_features(&**base, images, grid, levels)?;
                maps.into_iter().map(Some).collect()
            }
            None => vec![None; targets.len()],
        };
        let levels = own.into_iter().zip(&config.shrinks).zip(targets).zip(base);
        levels
            .map(|(((map, &shrink), target), base)| {
                let map = scales.on(&map, scale_of(shrink), target)?;
                match &base {
                    Some(base) => sum(base, config.share, map),
                    None => Ok(map),
                }
            })
            .collect()
    }

    /// [`pass`](Self::pass) as a part of the graph.
    fn recorded(&self, images: &Tensor, grid: &Grid) -> Result<Vec<Tensor>> {
        let (own, trail) = self.pass(images, grid)?;
        let (body, of_images) = (self.body.clone(), images.track_op());
        let variables = self.parameters.iter().map(|(_, var)| var.as_tensor());
        let parameters: Vec<&Tensor> = variables.filter(|_| self.learns).collect();
        let (learning, count) = (parameters.len(), self.parameters.iter().count());
        let arguments = [&[images], parameters.as_slice()].concat();
        record_all("unet", &arguments, own, move |features| {
            let pulled = body.backward(trail.clone(), features, count, of_images)?;
            let parameters = pulled.parameters.into_iter().take(learning);
            Ok(std::iter::once(pulled.images).chain(parameters).collect())
        })
    }
}

/// A map and a share of another; in the place of the other where no gradient is asked for.
fn sum(map: &Tensor, share: f64, other: Tensor) -> Result<Tensor> {
    if map.track_op() || other.track_op() {
        // a multiplication by one would be kept for the way back
        let other = if share == 1.0 {
            other
        } else {
            (other * share)?
        };
        return Ok((map + other)?);
    }
    combine(1.0, map, share, &other)?;
    Ok(other)
}

fn check_base(config: &NetworkConfig, base: Option<&dyn BaseFeatures>) -> Result<()> {
    let given = base.map(BaseFeatures::name);
    if given != config.base {
        let name = |n: &Option<String>| n.as_ref().map_or("none".into(), |n| format!("'{n}'"));
        return Err(Error::argument(
            "base",
            format!(
                "the network builds on base features {}, given were {}",
                name(&config.base),
                name(&given)
            ),
        ));
    }
    if let Some(base) = base {
        let channels = base.channels(config.inputs, config.rank);
        if channels != config.outputs {
            return Err(Error::argument(
                "outputs",
                format!(
                    "must be {channels}, the channels of base '{}', got {}",
                    base.name(),
                    config.outputs
                ),
            ));
        }
    }
    Ok(())
}

impl FeatureNetwork for Unet {
    fn rank(&self) -> usize {
        self.config().rank
    }

    fn inputs(&self) -> usize {
        self.config().inputs
    }

    fn channels(&self) -> usize {
        self.config().outputs
    }

    fn shrinks(&self) -> &[usize] {
        &self.config().shrinks
    }

    fn parameters(&self) -> Parameters {
        self.parameters.clone()
    }

    fn workspace(&self, grid: &Grid) -> u64 {
        let elements = self
            .body
            .pass_elements(&self.scales(grid), self.base.is_some());
        self.bytes(elements)
    }

    fn maps(&self, images: &Tensor, grid: &Grid, targets: &[Grid]) -> Result<Vec<Tensor>> {
        check_images(self, images, grid, targets)?;
        let own = if self.learns || images.track_op() {
            self.recorded(images, grid)?
        } else {
            self.still_pass(images, grid)?
        };
        self.placed(own, images, grid, targets)
    }
}
