//! Whether a prompt fits its pair.

use super::{Prompt, PromptKind};
use crate::{Error, Grid, Labels, Result};

/// The wanted structures, or all, if both sides have them.
pub(super) fn common(
    fixed: &Labels,
    moving: &Labels,
    wanted: &[u32],
    kind: &str,
) -> Result<Vec<u32>> {
    let (in_fixed, in_moving) = (fixed.ids(), moving.ids());
    let mut ids = wanted.to_vec();
    if ids.is_empty() {
        ids.extend(in_fixed.iter().chain(&in_moving));
    }
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() || ids[0] == 0 {
        return Err(Error::data(
            format!("prompted {kind}"),
            "expected numbers of structures, found only 0, which is the background",
        ));
    }
    for (side, found) in [("fixed", &in_fixed), ("moving", &in_moving)] {
        let missing: Vec<u32> = ids
            .iter()
            .filter(|id| found.binary_search(id).is_err())
            .copied()
            .collect();
        if !missing.is_empty() {
            return Err(Error::data(
                format!("{side} {kind} of the prompt"),
                format!(
                    "expected the numbers {}, found no voxel of {}; there are {}; prompt only what both images have",
                    listed(&ids),
                    listed(&missing),
                    listed(found)
                ),
            ));
        }
    }
    Ok(ids)
}

/// Numbers in a row, the first of many.
fn listed(ids: &[u32]) -> String {
    const MOST: usize = 12;
    if ids.is_empty() {
        return "none".into();
    }
    let mut words: Vec<String> = ids.iter().take(MOST).map(u32::to_string).collect();
    if ids.len() > MOST {
        words.push(format!("... ({} in all)", ids.len()));
    }
    words.join(", ")
}

/// As many points on both sides, and some.
pub(super) fn paired(fixed: &[[f64; 3]], moving: &[[f64; 3]]) -> Result<()> {
    if fixed.len() == moving.len() && !fixed.is_empty() {
        return Ok(());
    }
    Err(Error::data(
        "points of the prompt",
        format!(
            "expected as many moving points as fixed ones, and at least one; found {} fixed and {} moving",
            fixed.len(),
            moving.len()
        ),
    ))
}

impl Prompt {
    /// Fails unless the prompt fits images on these grids: labels over the same field of view, with `voxels` on the very
    /// voxels of the fixed image; points inside the images; a positive weight.
    pub(crate) fn check(&self, fixed: &Grid, moving: &Grid, voxels: bool) -> Result<()> {
        if !(self.weight.is_finite() && self.weight > 0.0) {
            return Err(Error::argument(
                "prompt",
                format!("its weight must be positive, got {}", self.weight),
            ));
        }
        match &self.kind {
            PromptKind::Labels {
                fixed: a,
                moving: b,
                ..
            }
            | PromptKind::Scribbles {
                fixed: a,
                moving: b,
                ..
            } => {
                covers(a, fixed, voxels, "fixed labels of the prompt")?;
                covers(b, moving, false, "moving labels of the prompt")?;
            }
            PromptKind::Points {
                fixed: a,
                moving: b,
            } => {
                inside(a, fixed, "fixed points of the prompt")?;
                inside(b, moving, "moving points of the prompt")?;
                if self.mask.is_some() {
                    return Err(Error::argument(
                        "prompt",
                        "a mask has no effect on points; leave points out instead",
                    ));
                }
            }
        }
        match &self.mask {
            Some(mask) if mask.values().iter().all(|&v| v == 0) => Err(Error::data(
                "mask of the prompt",
                "covers no voxel; give one that is not zero where the prompt counts",
            )),
            Some(mask) => covers(mask, fixed, voxels, "mask of the prompt"),
            None => Ok(()),
        }
    }
}

fn covers(labels: &Labels, grid: &Grid, voxels: bool, what: &str) -> Result<()> {
    let own = labels.grid();
    let fits = own.rank() == grid.rank()
        && if voxels {
            own.matches(grid, 0.5)
        } else {
            own.resized(grid.size())?.matches(grid, 0.5)
        };
    if fits {
        return Ok(());
    }
    Err(Error::GridMismatch {
        what: what.into(),
        expected: grid.describe(),
        got: own.describe(),
    })
}

fn inside(points: &[[f64; 3]], grid: &Grid, what: &str) -> Result<()> {
    let index = grid.world_to_index();
    for (number, point) in points.iter().enumerate() {
        let at = index.apply(*point);
        let within = |a: usize| (-0.5..=grid.size()[a] as f64 - 0.5).contains(&at[a]);
        if !(0..grid.rank()).all(within) {
            return Err(Error::data(
                what,
                format!(
                    "expected points inside the image ({}), found point {} at ({:.2}, {:.2}, {:.2}) mm RAS, voxel ({:.1}, {:.1}, \
                     {:.1}); check that the points are world coordinates of this image, or leave it out",
                    grid.describe(),
                    number + 1,
                    point[0],
                    point[1],
                    point[2],
                    at[0],
                    at[1],
                    at[2]
                ),
            ));
        }
    }
    Ok(())
}
