//! U-Nets.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::base::{base_features, BaseFeatures};
use super::config::{scale_of, Architecture, Downsampling, NetworkConfig};
use super::layers::{Block, Head};
use super::parameters::{Maker, Parameters};
use super::scales::Scales;
use super::{check_images, FeatureNetwork};
use crate::ops::{average_pool, resize};
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

    /// Activations of every scale, fine to coarse; only as fine as a head needs them.
    fn activations(&self, images: &Tensor, scales: &Scales) -> Result<Vec<Tensor>> {
        let unit = vec![1; self.config.rank];
        let mut maps: Vec<Tensor> = Vec::new();
        for (scale, [first, second]) in self.encoder.iter().enumerate() {
            let half = if scale == 0 {
                first.apply(images, &unit)?
            } else {
                let step = scales.step(scale);
                let finer = &maps[scale - 1];
                match self.config.downsampling {
                    Downsampling::Average => first.apply(&average_pool(finer, &step)?, &unit)?,
                    Downsampling::Stride => first.apply(finer, &step)?,
                }
            };
            maps.push(second.apply(&half, &unit)?);
        }
        for (place, [first, second]) in self.decoder.iter().enumerate().rev() {
            let scale = self.config.finest() + place;
            let coarser = scales.finer(&maps[scale + 1], scale + 1)?;
            let joined = first.apply_joined(&maps[scale], &coarser)?;
            maps[scale] = second.apply(&joined, &unit)?;
        }
        Ok(maps)
    }
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

    fn maps(&self, images: &Tensor, grid: &Grid, targets: &[Grid]) -> Result<Vec<Tensor>> {
        check_images(self, images, grid, targets)?;
        let scales = Scales::new(grid, self.config.widths.len());
        let activations = self.activations(images, &scales)?;
        let base = self
            .base
            .as_ref()
            .map(|base| base_features(&**base, images, grid))
            .transpose()?;
        let levels = self.config.shrinks.iter().zip(&self.heads).zip(targets);
        levels
            .map(|((&shrink, head), target)| {
                let scale = scale_of(shrink);
                let map = scales.on(&head.apply(&activations[scale])?, scale, target)?;
                match &base {
                    Some(base) => Ok((map + resize(base, target.size())?)?),
                    None => Ok(map),
                }
            })
            .collect()
    }
}
