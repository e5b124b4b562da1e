//! The blocks of a U-Net, and a pass through them.

use candle_core::Tensor;

use crate::features::network::config::{scale_of, Architecture, Downsampling, NetworkConfig};
use crate::features::network::joined::Joined;
use crate::features::network::layers::{Block, Head};
use crate::features::network::parameters::Maker;
use crate::features::network::scales::Scales;
use crate::ops::{average_pool, Normalised};
use crate::Result;

/// The blocks, outside all graphs.
#[derive(Debug)]
pub(super) struct Body {
    pub config: NetworkConfig,
    /// Two blocks a scale, fine to coarse.
    pub encoder: Vec<[Block; 2]>,
    /// Two blocks a scale, from the finest that features are made for to the coarsest but one.
    pub decoder: Vec<[Block; 2]>,
    /// One a level, coarse first.
    pub heads: Vec<Head>,
}

/// What a pass leaves for the way back: of each block the sums of its convolution. Everything else is computed from them.
#[derive(Debug, Clone)]
pub(crate) struct Trail {
    pub(super) images: Tensor,
    pub(super) scales: Scales,
    /// As the blocks of the encoder.
    pub(super) encoder: Vec<[Normalised; 2]>,
    /// As the blocks of the decoder, coarse first.
    pub(super) decoder: Vec<[Normalised; 2]>,
}

impl Trail {
    /// The beginning of one.
    pub(super) fn new(images: &Tensor, scales: &Scales) -> Self {
        Self {
            images: images.clone(),
            scales: scales.clone(),
            encoder: Vec::new(),
            decoder: Vec::new(),
        }
    }
}

impl Body {
    pub(super) fn new(config: &NetworkConfig, make: &mut Maker) -> Result<Self> {
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
            encoder,
            decoder,
            heads,
        })
    }

    /// The features of every level, coarse first, each on the voxels of its scale.
    ///
    /// Maps go as soon as nothing reads them; where there is a trail it takes what the way back needs.
    pub(super) fn forward(
        &self,
        images: &Tensor,
        scales: &Scales,
        mut trail: Option<&mut Trail>,
    ) -> Result<Vec<Tensor>> {
        let (unit, finest) = (vec![1; self.config.rank], self.config.finest());
        let mut maps: Vec<Tensor> = Vec::new();
        for (scale, [first, second]) in self.encoder.iter().enumerate() {
            let step = self.step(scales, scale);
            let input = match maps.last() {
                None => images.clone(),
                Some(finer) => self.down(finer, scales, scale)?,
            };
            let half = first.apply(input, &step)?;
            let whole = second.apply(half.value()?, &unit)?;
            maps.push(whole.value()?);
            if let Some(trail) = &mut trail {
                trail.encoder.push([half, whole]);
            }
        }
        maps.drain(..finest);
        let levels = self.config.shrinks.iter().zip(&self.heads);
        let mut levels = levels.peekable();
        let mut features = Vec::with_capacity(self.heads.len());
        let mut coarser: Option<Tensor> = None;
        while let Some(map) = maps.pop() {
            let scale = finest + maps.len();
            let map = match (coarser.take(), self.decoder.get(maps.len())) {
                (Some(coarse), Some([first, second])) => {
                    let half = first.apply_joined(Joined {
                        fine: map,
                        coarse,
                        step: scales.step(scale + 1),
                    })?;
                    let whole = second.apply(half.value()?, &unit)?;
                    let map = whole.value()?;
                    if let Some(trail) = &mut trail {
                        trail.decoder.push([half, whole]);
                    }
                    map
                }
                _ => map,
            };
            if scale > finest {
                coarser = Some(map.clone());
            }
            if let Some((_, head)) = levels.next_if(|(&s, _)| scale_of(s) == scale) {
                features.push(head.apply(map)?);
            }
        }
        Ok(features)
    }

    /// The strides of a scale's first block.
    pub(super) fn step(&self, scales: &Scales, scale: usize) -> Vec<usize> {
        match self.config.downsampling {
            Downsampling::Stride if scale > 0 => scales.step(scale),
            _ => vec![1; self.config.rank],
        }
    }

    /// What a scale's first block is applied to, of the map of the scale before.
    pub(super) fn down(&self, finer: &Tensor, scales: &Scales, scale: usize) -> Result<Tensor> {
        match self.config.downsampling {
            Downsampling::Average => average_pool(finer, &scales.step(scale)),
            Downsampling::Stride => Ok(finer.clone()),
        }
    }
}
