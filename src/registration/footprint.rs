//! What a registration takes in memory, estimated before it runs.

use super::plan::region;
use super::{Deformation, Registration};
use crate::features::{foreground_box, level_grid, matched_grid};
use crate::ops::Interleaved;
use crate::prompt::PromptKind;
use crate::solver::AlignmentStart;
use crate::{Affine, Grid, Image, Result};

/// The memory of a registration, stage by stage: an estimate.
///
/// It is a model of what is alive at once, made of the sizes of grids and tensors; what an allocator and threads add to that is not
/// part of it. The largest stage counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Footprint {
    stages: Vec<FootprintStage>,
}

/// What is alive at once in a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct FootprintStage {
    /// What is done in it.
    pub name: String,
    /// What takes memory, and how many bytes.
    pub parts: Vec<(&'static str, u64)>,
}

impl FootprintStage {
    /// Bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl Footprint {
    /// The stages, in order.
    pub fn stages(&self) -> &[FootprintStage] {
        &self.stages
    }

    /// The stage that takes most; none where there is no stage.
    pub fn peak(&self) -> Option<&FootprintStage> {
        self.stages.iter().max_by_key(|stage| stage.bytes())
    }

    /// Adds a stage.
    pub fn add(&mut self, name: impl Into<String>, parts: Vec<(&'static str, u64)>) {
        self.stages.push(FootprintStage {
            name: name.into(),
            parts,
        });
    }

    /// Adds what is there in all stages.
    pub fn hold(&mut self, part: &'static str, bytes: u64) {
        for stage in &mut self.stages {
            stage.parts.push((part, bytes));
        }
    }
}

/// Bytes of single precision, in which images and features are.
const SINGLE: u64 = 4;

/// Fields that the flow of a velocity takes, squaring after squaring, with what their derivatives need: in a fast run, and in a
/// certified one.
const FLOW: [u64; 2] = [10, 42];

/// Fields that the diagonal of a lattice of control points takes.
const LATTICE: u64 = 2;

/// Elements that filters work on at a time at least.
const FILTERED: u64 = 1 << 20;

impl Registration {
    /// The memory that [`Registration::run`] takes beside its arguments, an estimate: stages that deform, and the features of a
    /// network. What linear stages take is less than the results of any registration, and is left out.
    ///
    /// Where the start is not given, the images are taken to lie on each other. A GPU's memory is not part of it, and another
    /// solver than the mode's own is not known.
    ///
    /// # Errors
    /// As [`Registration::run`], for images and settings that contradict each other.
    pub fn footprint(&self, fixed: &Image, moving: &Image) -> Result<Footprint> {
        let mut footprint = Footprint::default();
        let scaled = SINGLE * (fixed.values().len() + moving.values().len()) as u64;
        let masks = |grid: &Grid, mask: bool| SINGLE * u64::from(mask) * voxels(grid);
        let masks = masks(fixed.grid(), self.fixed_mask.is_some())
            + masks(moving.grid(), self.moving_mask.is_some());
        let Some(network) = &self.network else {
            let Some(deformation) = &self.deformation else {
                return Ok(footprint);
            };
            let shrinks = deformation.shrinks(fixed.grid())?;
            let affine = self.guess(fixed, moving);
            let (corner, size) = region(fixed, moving, &self.prompts, &affine, &shrinks)?;
            let part = fixed.grid().cropped(&corner, &size)?;
            let kept = SINGLE * fixed.channels() as u64 * voxels(&part)
                + SINGLE * moving.values().len() as u64;
            let level = LevelFootprint {
                deformation,
                registration: self,
                images: vec![("images on one scale", kept), ("masks", masks)],
            };
            for (number, &shrink) in shrinks.iter().enumerate() {
                let grid = level_grid(&part, shrink)?;
                let grids = [&grid, &matched_grid(moving.grid(), &grid)?];
                let [plain, described] =
                    deformation
                        .features
                        .channels(shrink, fixed.channels(), fixed.grid().rank());
                level.made(shrink, described, plain, grids, &mut footprint);
                // intensities of full resolution are those of the images
                let own = match (described, shrink) {
                    (0, 1) => 0,
                    _ => plain + described,
                };
                let last = number + 1 == shrinks.len();
                level.solved(
                    shrink,
                    [own, plain + described],
                    grids,
                    last,
                    &mut footprint,
                )?;
            }
            return Ok(footprint);
        };
        let own = network.shrinks();
        let named = self.deformation.as_ref().and_then(|d| d.levels.as_deref());
        let shrinks = named.unwrap_or(own);
        let mut maps = [0, 0];
        let mut grids = Vec::new();
        for &shrink in shrinks {
            let grid = level_grid(fixed.grid(), shrink)?;
            let other = matched_grid(moving.grid(), &grid)?;
            for (maps, grid) in maps.iter_mut().zip([&grid, &other]) {
                *maps += SINGLE * network.channels() as u64 * voxels(grid);
            }
            grids.push([grid, other]);
        }
        let working = matched_grid(moving.grid(), fixed.grid())?;
        for (name, held, grid) in [
            ("features of the fixed image", 0, fixed.grid()),
            ("features of the moving image", maps[0], &working),
        ] {
            footprint.add(
                name,
                vec![
                    ("images on one scale", scaled),
                    ("masks", masks),
                    ("feature maps", held),
                    ("network", network.workspace(grid)),
                ],
            );
        }
        if let Some(deformation) = &self.deformation {
            let level = LevelFootprint {
                deformation,
                registration: self,
                images: vec![("feature maps", maps[0] + maps[1]), ("masks", masks)],
            };
            for (number, (&shrink, [grid, other])) in shrinks.iter().zip(&grids).enumerate() {
                let last = number + 1 == shrinks.len();
                let channels = [0, network.channels()];
                level.solved(shrink, channels, [grid, other], last, &mut footprint)?;
            }
        }
        Ok(footprint)
    }

    /// Where the moving image will lie, as far as that can be said beforehand.
    fn guess(&self, fixed: &Image, moving: &Image) -> Affine {
        match &self.start {
            AlignmentStart::Identity => Affine::identity(),
            AlignmentStart::Affine(affine) => *affine,
            _ => {
                let [from, to] = [fixed, moving].map(|image| {
                    let mut middle = [0.0; 3];
                    let bounds = foreground_box(image.channel(0), image.grid().size());
                    for (middle, (low, high)) in middle.iter_mut().zip(bounds) {
                        *middle = 0.5 * (low + high) as f64;
                    }
                    image.grid().index_to_world().apply(middle)
                });
                Affine::shift(std::array::from_fn(|a| to[a] - from[a]))
            }
        }
    }
}

fn voxels(grid: &Grid) -> u64 {
    grid.voxels() as u64
}

/// What levels take.
struct LevelFootprint<'a> {
    deformation: &'a Deformation,
    registration: &'a Registration,
    /// What is there on all levels.
    images: Vec<(&'static str, u64)>,
}

impl LevelFootprint<'_> {
    /// Adds the making of descriptors and prompts, where a level has them.
    fn made(
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

    /// Adds the solve of a level; of channels those that are tensors of the level's own, and all.
    fn solved(
        &self,
        shrink: usize,
        [own, channels]: [usize; 2],
        [fixed, moving]: [&Grid; 2],
        last: bool,
        footprint: &mut Footprint,
    ) -> Result<()> {
        let deformation = self.deformation;
        let transform = &deformation.transform;
        let (rank, n, m) = (fixed.rank() as u64, voxels(fixed), voxels(moving));
        let full = deformation.dtype().size_in_bytes() as u64;
        let certify = deformation.certify;
        let mut features = SINGLE * own as u64 * (n + m);
        if certify {
            features += full * channels as u64 * (n + m);
        }
        let octets = match certify {
            true => 0,
            false => SINGLE * Interleaved::elements(channels, m),
        };
        let mut prompted = 0;
        let mut points = false;
        for prompt in &self.registration.prompts {
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
        // systems, and five vectors each, of the grids below: of the search's precision at last
        let below = (rank * (rank + 1) / 2 + 5 * rank) * n / ((1 << rank) - 1);
        let corrected = certify && field && deformation.regulariser.extra_diagonal(fixed).is_none();
        let velocity = transform.is_velocity();
        let fields = match (field, velocity) {
            (true, _) => 0,
            (false, true) => 2 + FLOW[usize::from(certify)],
            (false, false) => 2 + LATTICE,
        };
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
            ("features in octets", octets),
            ("prompts", prompted),
            ("solver's vectors", vectors),
            ("fields of the transform", fields * rank * n * full),
            ("curvature", entries * n * block),
            ("coarser grids", u64::from(corrected) * below * full),
            ("weights of voxels", n * full),
            // of the level before
            ("coarser displacement", rank * n * full / (1 << rank)),
        ]);
        footprint.add(format!("level {shrink} of {}", transform.name()), parts);
        Ok(())
    }
}
