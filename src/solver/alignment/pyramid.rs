//! The levels of an alignment.

use candle_core::{DType, Device, Tensor};

use super::level::AlignmentLevel;
use super::{AlignmentFeatures, AlignmentPair};
use crate::features::{level_grid, matched_grid, IntensityRange, Level};
use crate::ops::{convert, resize, smooth, zeros};
use crate::{Error, Grid, Result};

/// Voxels that the finest level has at most, and what the longest axis keeps on the coarsest.
const MOST: usize = 1_200_000;
const FEWEST: usize = 20;
/// How far masked voxels are filled from their neighbours where nothing shrinks, voxels.
const FILL: f64 = 1.0;
/// Weights below this share of a voxel count as none.
const TINY: f64 = 1e-3;

/// Shrink factors, coarse first: the finest has about a million voxels at most, the longest axis of the coarsest 20 to
/// 40 where the image has them.
pub(super) fn shrinks(grid: &Grid) -> Result<Vec<usize>> {
    let longest = |shrink: usize| -> Result<usize> {
        let level = level_grid(grid, shrink)?;
        Ok(level.size().iter().copied().max().unwrap_or(1))
    };
    let mut finest = 1;
    while level_grid(grid, finest)?.voxels() > MOST {
        finest += 1;
    }
    let mut shrinks = vec![finest];
    while longest(2 * shrinks[0])? >= FEWEST {
        shrinks.insert(0, 2 * shrinks[0]);
    }
    Ok(shrinks)
}

/// The levels of the intensities, coarse first; each is made from the next finer one.
pub(super) fn levels(pair: &AlignmentPair<'_>, shrinks: &[usize]) -> Result<Vec<AlignmentLevel>> {
    let fixed = Masked::new(pair.fixed, pair.fixed_mask)?;
    let moving = Masked::new(pair.moving, pair.moving_mask)?;
    levels_of(fixed, moving, shrinks, true)
}

/// The levels of features, with their shrink factors against the fixed image.
pub(super) fn feature_levels(
    pair: &AlignmentPair<'_>,
    features: &AlignmentFeatures<'_>,
) -> Result<(Vec<usize>, Vec<AlignmentLevel>)> {
    let masked = |level: &Level, mask: Option<&Tensor>| -> Result<Masked> {
        let mask = match mask {
            Some(mask) => Some(resize(&mask.unsqueeze(0)?, level.grid.size())?.squeeze(0)?),
            None => None,
        };
        Masked::new(level, mask.as_ref())
    };
    // linear stages run on the CPU
    let [fixed, moving] = [features.fixed, features.moving].map(|map| map.to_device(&Device::Cpu));
    let shrinks = shrinks(&features.fixed.grid)?;
    let levels = levels_of(
        masked(&fixed?, pair.fixed_mask)?,
        masked(&moving?, pair.moving_mask)?,
        &shrinks,
        false,
    )?;
    let shrinks = shrinks.iter().map(|s| s * features.shrink).collect();
    Ok((shrinks, levels))
}

/// The levels of two images; `clamp` is for intensities.
fn levels_of(
    mut fixed: Masked,
    mut moving: Masked,
    shrinks: &[usize],
    clamp: bool,
) -> Result<Vec<AlignmentLevel>> {
    let (fixed_grid, moving_grid) = (fixed.image.grid.clone(), moving.image.grid.clone());
    let mut levels: Vec<AlignmentLevel> = Vec::new();
    for &shrink in shrinks.iter().rev() {
        let grid = level_grid(&fixed_grid, shrink)?;
        moving = moving.resized(&matched_grid(&moving_grid, &grid)?)?;
        fixed = fixed.resized(&grid)?;
        if clamp && levels.is_empty() {
            fixed = fixed.clamped("fixed image")?;
            moving = moving.clamped("moving image")?;
        }
        levels.push(AlignmentLevel::new(
            fixed.image.clone(),
            moving.image.clone(),
            fixed.mask.clone(),
            moving.mask.clone(),
        )?);
    }
    levels.reverse();
    Ok(levels)
}

/// An image and its weights, single precision; features may be halves until they are first resized.
struct Masked {
    image: Level,
    mask: Option<Tensor>,
}

impl Masked {
    fn new(image: &Level, mask: Option<&Tensor>) -> Result<Self> {
        Ok(Self {
            image: Level {
                features: match image.features.dtype() {
                    DType::F16 => image.features.clone(),
                    _ => image.features.to_dtype(DType::F32)?,
                },
                grid: image.grid.clone(),
            },
            mask: mask.map(|m| m.to_dtype(DType::F32)).transpose()?,
        })
    }

    /// On another grid over the same field of view. What is masked leaves no trace in what is not: values are weighted
    /// means of the weighted voxels around, also in masked voxels beside them, between which and their neighbours the
    /// images are interpolated.
    fn resized(&self, grid: &Grid) -> Result<Self> {
        if self.image.features.dtype() == DType::F16 {
            return self.widened(grid);
        }
        let Some(mask) = &self.mask else {
            return Ok(Self {
                image: self.image.on(grid)?,
                mask: None,
            });
        };
        let mask = mask.unsqueeze(0)?;
        let weighted = self.image.features.broadcast_mul(&mask)?;
        let same = grid.size() == self.image.grid.size();
        let change = |x: &Tensor| -> Result<Tensor> {
            if same {
                smooth(x, &vec![FILL; grid.rank()])
            } else {
                resize(x, grid.size())
            }
        };
        let weights = change(&mask)?;
        let mut features = change(&weighted)?.broadcast_div(&weights.maximum(TINY)?)?;
        let mut resized = weights;
        if same {
            // weighted voxels stay as they are
            let rest = (1.0 - &mask)?;
            features = (weighted + features.broadcast_mul(&rest)?)?;
            resized = mask;
        }
        Ok(Self {
            image: Level {
                features: features.contiguous()?,
                grid: grid.clone(),
            },
            mask: Some(resized.squeeze(0)?.contiguous()?),
        })
    }

    /// [`Masked::resized`] of halves, a channel after the other: there may be no room for all of them in single precision.
    fn widened(&self, grid: &Grid) -> Result<Self> {
        let mut channels = Vec::new();
        let mut mask = None;
        for c in 0..self.image.features.dims()[0] {
            let channel = self.image.features.narrow(0, c, 1)?;
            let wide = zeros(channel.dims(), DType::F32, channel.device())?;
            convert(1.0, &channel, &wide)?;
            let one = Self {
                image: Level {
                    features: wide,
                    grid: self.image.grid.clone(),
                },
                mask: self.mask.clone(),
            };
            let one = one.resized(grid)?;
            channels.push(one.image.features);
            mask = one.mask;
        }
        Ok(Self {
            image: Level {
                features: Tensor::cat(&channels, 0)?,
                grid: grid.clone(),
            },
            mask,
        })
    }

    /// Without outliers: values are clamped to the range of those that count.
    fn clamped(self, name: &str) -> Result<Self> {
        let counts = match &self.mask {
            Some(mask) => Some(mask.flatten_all()?.to_vec1::<f32>()?),
            None => None,
        };
        let mut channels = Vec::new();
        for c in 0..self.image.features.dims()[0] {
            let channel = self.image.features.narrow(0, c, 1)?.contiguous()?;
            let mut values = channel.flatten_all()?.to_vec1::<f32>()?;
            if let Some(counts) = &counts {
                let mut weights = counts.iter();
                values.retain(|_| weights.next().is_some_and(|&w| w > 0.5));
                if values.is_empty() {
                    return Err(Error::data(
                        name,
                        "nothing is left of it within its mask; give a mask that covers a part of the image",
                    ));
                }
            }
            let range = IntensityRange::of(&values, name)?;
            channels.push(channel.clamp(range.low as f32, range.high as f32)?);
        }
        Ok(Self {
            image: Level {
                features: Tensor::cat(&channels, 0)?,
                grid: self.image.grid,
            },
            mask: self.mask,
        })
    }
}
