//! Prompts on the grids of a level.

use std::sync::Arc;

use candle_core::Tensor;

use super::{Prompt, PromptKind};
use crate::image::{label_shares, share_of};
use crate::ops::{smooth, LandmarkData};
use crate::{Affine, Grid, Labels, Result};

/// Soft labels of both images on one level, single precision.
#[derive(Debug)]
pub(crate) struct PromptMaps {
    /// `[channels, (nz,) ny, nx]`, one channel a structure.
    pub fixed: Tensor,
    /// Of as many channels.
    pub moving: Tensor,
    /// Weight of each fixed voxel; none is one everywhere.
    pub mask: Option<Tensor>,
    /// The squared slope of a straight border in them, per squared voxel.
    pub edge: f64,
}

/// Standard deviation of the smoothing of labels on coarse levels and on the finest, in voxels of the finest axis of the
/// level.
const SOFTNESS: [f64; 2] = [1.5, 1.0];

/// Standard deviation of the neighbourhood that a point pulls, likewise.
const SPREAD: [f64; 2] = [2.5, 0.5];

/// The share of marks in a level's voxel at which it counts half.
const PRESENCE: f64 = 0.02;

impl Prompt {
    /// The soft labels on the grids of a level; none where the prompt is of points.
    pub(crate) fn maps(
        &self,
        fixed: &Grid,
        moving: &Grid,
        finest: bool,
    ) -> Result<Option<PromptMaps>> {
        let softness = SOFTNESS[usize::from(finest)];
        let edge = 1.0 / (std::f64::consts::TAU * softness * softness);
        let soft = |map: Tensor, grid: &Grid| {
            let sigma = voxels(softness, fixed, grid);
            smooth(&map, &sigma[..grid.rank()])
        };
        let mut maps = match &self.kind {
            PromptKind::Labels {
                fixed: a,
                moving: b,
                ids,
            } => PromptMaps {
                fixed: soft(shares(a, ids, fixed)?, fixed)?,
                moving: soft(shares(b, ids, moving)?, moving)?,
                mask: None,
                edge,
            },
            PromptKind::Scribbles {
                fixed: a,
                moving: b,
                ids,
            } => {
                let (marks, all) = with_sum(shares(a, ids, fixed)?)?;
                let (spread, around) = with_sum(soft(shares(b, ids, moving)?, moving)?)?;
                PromptMaps {
                    fixed: marks.broadcast_div(&(&all + 1e-9)?)?,
                    moving: spread.broadcast_div(&(around + PRESENCE)?)?,
                    mask: Some((&all / (&all + PRESENCE)?)?.squeeze(0)?),
                    edge,
                }
            }
            PromptKind::Points { .. } => return Ok(None),
        };
        if let Some(mask) = &self.mask {
            let weight = share_of(mask.values(), |v| v > 0, mask.grid(), fixed)?.squeeze(0)?;
            maps.mask = Some(match maps.mask {
                Some(own) => (own * weight)?,
                None => weight,
            });
        }
        Ok(Some(maps))
    }

    /// The points in voxels of a level's fixed grid, each of weight 1; none where the prompt is of labels. `affine` leads from
    /// fixed to moving world, after the displacement.
    pub(crate) fn landmarks(
        &self,
        grid: &Grid,
        affine: &Affine,
        finest: bool,
    ) -> Result<Option<LandmarkData>> {
        let PromptKind::Points { fixed, moving } = &self.kind else {
            return Ok(None);
        };
        let rank = grid.rank();
        let into_moving = affine.compose(&grid.index_to_world());
        let (index, back) = (grid.world_to_index(), into_moving.inverse()?);
        let voxel: f64 = grid.spacing().iter().product::<f64>();
        let squared = voxel.powf(2.0 / rank as f64);
        let column = |a: usize, b: usize| -> f64 {
            let m = &into_moving.matrix;
            (0..3).map(|r| m[r][a] * m[r][b]).sum::<f64>() / squared
        };
        Ok(Some(LandmarkData {
            points: fixed.iter().map(|p| index.apply(*p)).collect(),
            targets: moving.iter().map(|p| back.apply(*p)).collect(),
            metric: std::array::from_fn(|a| {
                std::array::from_fn(|b| {
                    if a < rank && b < rank {
                        column(a, b)
                    } else {
                        0.0
                    }
                })
            }),
            spread: voxels(SPREAD[usize::from(finest)], grid, grid),
            weight: 1.0,
        }))
    }

    /// What is left of the prompt on a part of the fixed grid.
    pub(crate) fn cropped(&self, start: &[usize], size: &[usize]) -> Result<Self> {
        let crop = |labels: &Arc<Labels>| cropped(labels, start, size).map(Arc::new);
        let kind = match &self.kind {
            PromptKind::Labels { fixed, moving, ids } => PromptKind::Labels {
                fixed: crop(fixed)?,
                moving: moving.clone(),
                ids: ids.clone(),
            },
            PromptKind::Scribbles { fixed, moving, ids } => PromptKind::Scribbles {
                fixed: crop(fixed)?,
                moving: moving.clone(),
                ids: ids.clone(),
            },
            points => points.clone(),
        };
        Ok(Self {
            kind,
            mask: self.mask.as_ref().map(crop).transpose()?,
            ..*self
        })
    }

    /// World points around what is prompted, in the fixed and in the moving image.
    pub(crate) fn reach(&self) -> [Vec<[f64; 3]>; 2] {
        match &self.kind {
            PromptKind::Labels { fixed, moving, ids }
            | PromptKind::Scribbles { fixed, moving, ids } => {
                [fixed, moving].map(|labels| corners(labels, ids))
            }
            PromptKind::Points { fixed, moving } => [fixed.clone(), moving.clone()],
        }
    }
}

fn shares(labels: &Labels, ids: &[u32], grid: &Grid) -> Result<Tensor> {
    label_shares(labels.values(), labels.grid(), ids, grid)
}

/// A length in voxels of the finest axis of a level's fixed grid, in voxels along each axis of `grid`.
fn voxels(length: f64, level: &Grid, grid: &Grid) -> [f64; 3] {
    let finest = level
        .spacing()
        .iter()
        .copied()
        .fold(f64::INFINITY, f64::min);
    std::array::from_fn(|a| grid.spacing().get(a).map_or(0.0, |h| length * finest / h))
}

/// A map with the sum of its channels.
fn with_sum(map: Tensor) -> Result<(Tensor, Tensor)> {
    let sum = map.sum_keepdim(0)?;
    Ok((map, sum))
}

fn cropped(labels: &Labels, start: &[usize], size: &[usize]) -> Result<Labels> {
    let whole = labels.grid().size();
    let part = labels.grid().cropped(start, size)?;
    let at = |a: usize| start.get(a).copied().unwrap_or(0);
    let count = |a: usize| size.get(a).copied().unwrap_or(1);
    let mut values = Vec::with_capacity(part.voxels());
    for k in 0..count(2) {
        for j in 0..count(1) {
            let row = at(0) + whole[0] * (at(1) + j + whole[1] * (at(2) + k));
            values.extend_from_slice(&labels.values()[row..row + count(0)]);
        }
    }
    Labels::new(part, values)
}

/// World positions of the corners of the box around some structures.
fn corners(labels: &Labels, ids: &[u32]) -> Vec<[f64; 3]> {
    let (mut low, mut high) = ([usize::MAX; 3], [0; 3]);
    for (voxel, value) in labels.values().iter().enumerate() {
        if !ids.contains(value) {
            continue;
        }
        let at = labels.grid().index_of(voxel);
        for a in 0..3 {
            low[a] = low[a].min(at[a]);
            high[a] = high[a].max(at[a]);
        }
    }
    if low[0] == usize::MAX {
        return Vec::new();
    }
    let map = labels.grid().index_to_world();
    (0..8)
        .map(|bits: usize| {
            let corner = |a: usize| if bits >> a & 1 == 1 { high[a] } else { low[a] };
            map.apply(std::array::from_fn(|a| corner(a) as f64))
        })
        .collect()
}
