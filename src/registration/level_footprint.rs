//! What a level of a deformation takes in memory.

use super::footprint::{voxels, Footprint, SINGLE};
use super::Deformation;
use crate::prompt::{Prompt, PromptKind};
use crate::solver::{elements_below, fields_of};
use crate::{Grid, Result};

/// Elements that filters work on at a time at least.
const FILTERED: u64 = 1 << 20;

/// What the levels of a deformation take.
pub(crate) struct LevelFootprint<'a> {
    pub deformation: &'a Deformation,
    pub prompts: &'a [Prompt],
    /// What is there on all levels.
    pub images: Vec<(&'static str, u64)>,
}

impl LevelFootprint<'_> {
    /// What the solve of a level is called.
    pub fn name(&self, shrink: usize) -> String {
        format!("level {shrink} of {}", self.deformation.transform.name())
    }

    /// Adds the making of descriptors and prompts, where a level has them.
    pub fn made(
        &self,
        shrink: usize,
        described: usize,
        plain: usize,
        [fixed, moving]: [&Grid; 2],
        footprint: &mut Footprint,
    ) {
        if described == 0 {
            return;
        }
        let (n, m) = (voxels(fixed), voxels(moving));
        let (described, plain) = (described as u64, plain as u64);
        // those of both images, and what is between two passes of a filter or the maps of one image put together
        let between = 2 * (described * n.max(m)).min(FILTERED.max(n.max(m)));
        let together = (described + plain) * n * u64::from(plain > 0);
        let mut parts = self.images.clone();
        parts.push(("intensities", SINGLE * plain * (n + m)));
        parts.push(("descriptors", SINGLE * described * (n + m)));
        parts.push(("work", SINGLE * between.max(together)));
        footprint.add(format!("features of level {shrink}"), parts);
    }

    /// The solve of a level; of channels those that are tensors of the level's own, and all.
    pub fn solve(
        &self,
        [own, channels]: [usize; 2],
        [fixed, moving]: [&Grid; 2],
        last: bool,
    ) -> Result<Vec<(&'static str, u64)>> {
        let deformation = self.deformation;
        let transform = &deformation.transform;
        let (rank, n, m) = (fixed.rank() as u64, voxels(fixed), voxels(moving));
        let full = deformation.dtype().size_in_bytes() as u64;
        let certify = deformation.certify;
        let mut features = SINGLE * own as u64 * (n + m);
        if certify {
            features += full * channels as u64 * (n + m);
        }
        let mut prompted = 0;
        let mut points = false;
        for prompt in self.prompts {
            if last && prompt.off_at_finest {
                continue;
            }
            match &prompt.kind {
                PromptKind::Labels { ids, .. } | PromptKind::Scribbles { ids, .. } => {
                    // shares with their sum, and those of an image once more while they are put together
                    let ids = ids.len() as u64;
                    prompted += full * ((ids + 1) * (n + m) + ids * n.max(m));
                }
                PromptKind::Points { .. } => points = true,
            }
        }
        let steered = prompted > 0 || points;
        let field = transform.is_field();
        let compact = field && !steered && deformation.regulariser.extra_diagonal(fixed).is_none();
        let model = if compact { full / 2 } else { full };
        let shape = transform.identity(fixed, deformation.dtype(), &candle_core::Device::Cpu)?;
        let parameters = shape.elem_count() as u64;
        // beside parameters and trial: gradient and step of the certified solver; the fast one's in the vectors of the inner
        // solver, where those have the type of steps
        let further = match (certify, compact && transform.composes()) {
            (true, _) => 2,
            (false, true) => 0,
            (false, false) => 1,
        };
        let mut vectors = parameters * (full * (2 + further) + 4 * model);
        if certify {
            // the search for negative curvature runs in full precision, from noise
            vectors += parameters * 5 * full;
        }
        // of the search's precision at last
        let below = elements_below(fixed.rank(), fixed.voxels()) as u64;
        let corrected = certify && field && deformation.regulariser.extra_diagonal(fixed).is_none();
        let fields = fields_of(&**transform, certify) as u64;
        let packed = certify || points;
        let entries = if channels == 1 && !packed && !steered {
            rank
        } else {
            rank * (rank + 1) / 2
        };
        // packed ones are there as they come, as they are worked with, and inverted
        let block = match (packed, compact) {
            (false, _) => model,
            (true, true) => model + 2 * full,
            (true, false) => 2 * full,
        };
        let mut parts = self.images.clone();
        parts.extend([
            ("features", features),
            ("prompts", prompted),
            ("solver's vectors", vectors),
            ("fields of the transform", fields * rank * n * full),
            ("curvature", entries * n * block),
            ("coarser grids", u64::from(corrected) * below * full),
            ("weights of voxels", n * full),
            // of the level before
            ("coarser displacement", rank * n * full / (1 << rank)),
        ]);
        Ok(parts)
    }
}
