//! U-Nets.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::base::{base_features, BaseFeatures};
use super::config::{scale_of, Architecture, Downsampling, NetworkConfig};
use super::joined::Joined;
use super::layers::{Block, Head};
use super::parameters::{Maker, Parameters};
use super::scales::Scales;
use super::{check_images, FeatureNetwork};
use crate::ops::{average_pool, combine, resize};
use crate::{Error, Grid, Result};

/// A network of the U-Net family: see [`Architecture`] for its kinds.
#[derive(Debug)]
pub struct Unet {
    config: NetworkConfig,
    parameters: Parameters,
    base: Option<Arc<dyn BaseFeatures>>,
    /// Two blocks a scale, fine to coarse.
    encoder: Vec<[Block; 2]>,
    /// Two blocks a scale, from the finest that features are made for to the coarsest but one.
    decoder: Vec<[Block; 2]>,
    /// One a level, coarse first.
    heads: Vec<Head>,
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
        Self::made(config, base, Maker::new(seed, dtype))
    }

    /// A network outside all graphs: it keeps nothing of its passes, and no gradient flows to its parameters.
    pub(crate) fn still(
        config: &NetworkConfig,
        base: Option<Arc<dyn BaseFeatures>>,
        seed: u64,
        dtype: DType,
    ) -> Result<Self> {
        Self::made(config, base, Maker::new(seed, dtype).untracked())
    }

    /// The same network outside all graphs: what changes its weights changes those of both.
    pub(crate) fn twin(&self) -> Result<Self> {
        let maker = Maker::over(self.parameters.clone()).untracked();
        Self::made(&self.config, self.base.clone(), maker)
    }

    fn made(
        config: &NetworkConfig,
        base: Option<Arc<dyn BaseFeatures>>,
        mut maker: Maker,
    ) -> Result<Self> {
        config.check()?;
        check_base(config, base.as_deref())?;
        let make = &mut maker;
        let large = config.architecture == Architecture::LargeKernelUnet;
        let widths = &config.widths;
        let mut encoder = Vec::new();
        for (scale, &width) in widths.iter().enumerate() {
            let inputs = if scale == 0 {
                config.inputs
            } else {
                widths[scale - 1]
            };
            let first = Block::plain(make, &format!("encoder{scale}.0"), config, inputs, width)?;
            let name = format!("encoder{scale}.1");
            let second = if large {
                Block::large(make, &name, config, width)?
            } else {
                Block::plain(make, &name, config, width, width)?
            };
            encoder.push([first, second]);
        }
        let mut decoder = Vec::new();
        if config.architecture != Architecture::EncoderUnet {
            for scale in config.finest()..widths.len() - 1 {
                let (width, inputs) = (widths[scale], widths[scale] + widths[scale + 1]);
                decoder.push([
                    Block::plain(make, &format!("decoder{scale}.0"), config, inputs, width)?,
                    Block::plain(make, &format!("decoder{scale}.1"), config, width, width)?,
                ]);
            }
        }
        let mut heads = Vec::new();
        for &shrink in &config.shrinks {
            let width = widths[scale_of(shrink)];
            heads.push(Head::new(make, &format!("head{shrink}"), config, width)?);
        }
        Ok(Self {
            config: config.clone(),
            parameters: maker.done(),
            base,
            encoder,
            decoder,
            heads,
        })
    }

    /// What the network is made of.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// What the encoder makes of every scale, fine to coarse.
    fn encoded(&self, images: &Tensor, scales: &Scales) -> Result<Vec<Tensor>> {
        let unit = vec![1; self.config.rank];
        let mut maps: Vec<Tensor> = Vec::new();
        for (scale, [first, second]) in self.encoder.iter().enumerate() {
            let half = match maps.last() {
                None => first.apply(images.clone(), &unit)?,
                Some(finer) => {
                    let step = scales.step(scale);
                    match self.config.downsampling {
                        Downsampling::Average => first.apply(average_pool(finer, &step)?, &unit)?,
                        Downsampling::Stride => first.apply(finer.clone(), &step)?,
                    }
                }
            };
            maps.push(second.apply(half, &unit)?);
        }
        Ok(maps)
    }

    /// The network's own features of every level, coarse first, on `targets`. Maps of a scale go as soon as nothing reads them.
    fn own(&self, images: &Tensor, grid: &Grid, targets: &[Grid]) -> Result<Vec<Tensor>> {
        let scales = Scales::new(grid, self.config.widths.len());
        let (unit, finest) = (vec![1; self.config.rank], self.config.finest());
        let mut maps = self.encoded(images, &scales)?;
        maps.drain(..finest);
        let levels = self.config.shrinks.iter().zip(&self.heads).zip(targets);
        let mut levels = levels.peekable();
        let mut features = Vec::with_capacity(targets.len());
        let mut coarser: Option<Tensor> = None;
        while let Some(map) = maps.pop() {
            let scale = finest + maps.len();
            let map = match (coarser.take(), self.decoder.get(maps.len())) {
                (Some(coarse), Some([first, second])) => {
                    let joined = first.apply_joined(Joined {
                        fine: map,
                        coarse,
                        step: scales.step(scale + 1),
                    })?;
                    second.apply(joined, &unit)?
                }
                _ => map,
            };
            if scale > finest {
                coarser = Some(map.clone());
            }
            if let Some(((_, head), target)) = levels.next_if(|((&s, _), _)| scale_of(s) == scale) {
                features.push(scales.on(&head.apply(map)?, scale, target)?);
            }
        }
        Ok(features)
    }
}

/// The sum of two maps; in the place of the first where no gradient is asked for.
fn sum(map: Tensor, other: &Tensor) -> Result<Tensor> {
    if map.track_op() || other.track_op() {
        return Ok((map + other)?);
    }
    combine(1.0, other, 1.0, &map)?;
    Ok(map)
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
        self.config.rank
    }

    fn inputs(&self) -> usize {
        self.config.inputs
    }

    fn channels(&self) -> usize {
        self.config.outputs
    }

    fn shrinks(&self) -> &[usize] {
        &self.config.shrinks
    }

    fn parameters(&self) -> Parameters {
        self.parameters.clone()
    }

    fn workspace(&self, grid: &Grid) -> u64 {
        let (config, scales) = (&self.config, Scales::new(grid, self.config.widths.len()));
        let shape = |scale| -> Vec<usize> { scales.size(scale).into_iter().rev().collect() };
        let voxels = |scale| shape(scale).iter().product::<usize>();
        let map = |scale: usize| config.widths[scale] * voxels(scale);
        let finer = |scale| (0..scale).map(map).sum::<usize>();
        let outputs = |shrink: &usize| config.outputs * voxels(scale_of(*shrink));
        let made = |above: usize| -> usize {
            let shrinks = config.shrinks.iter();
            shrinks.filter(|&&s| scale_of(s) > above).map(outputs).sum()
        };
        // a block reads one map and writes another
        let encoded = (0..config.widths.len()).map(|scale| finer(scale) + 2 * map(scale));
        let decoded = (0..self.decoder.len()).map(|place| {
            let scale = config.finest() + place;
            let channels = [config.widths[scale], config.widths[scale + 1]];
            let slab = Joined::workspace(&shape(scale), channels);
            let read = finer(scale + 1) - finer(config.finest()) + map(scale + 1);
            read + map(scale) + slab + made(scale)
        });
        let finest = config.finest();
        let all = config.shrinks.iter().map(outputs).sum::<usize>();
        let last = match &self.base {
            Some(base) => all + base.channels(config.inputs, config.rank) * voxels(0),
            None => made(finest) + map(finest) + 2 * config.outputs * voxels(finest),
        };
        let most = encoded.chain(decoded).max().unwrap_or(0).max(last);
        let element = self.parameters.dtype().map_or(4, |d| d.size_in_bytes());
        (most * element) as u64
    }

    fn maps(&self, images: &Tensor, grid: &Grid, targets: &[Grid]) -> Result<Vec<Tensor>> {
        check_images(self, images, grid, targets)?;
        let own = self.own(images, grid, targets)?;
        let Some(base) = &self.base else {
            return Ok(own);
        };
        let base = base_features(&**base, images, grid)?;
        own.into_iter()
            .zip(targets)
            .map(|(map, target)| sum(map, &resize(&base, target.size())?))
            .collect()
    }
}
