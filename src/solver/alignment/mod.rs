//! Rigid, similarity and affine alignment of two images by the correlation of their intensities.

mod descent;
mod level;
mod mass;
mod pyramid;
mod report;
mod rotations;
mod start;

use candle_core::Tensor;

use super::Iteration;
use crate::features::Level;
use crate::transform::LinearKind;
use crate::{Affine, Error, Grid, Result};

use descent::{descend, Limits};
use level::AlignmentLevel;

pub use report::{Candidate, ScaleReport, StageReport, StartReport};
pub use start::AlignmentStart;

/// What is aligned: intensities of both images on their own grids, at full resolution.
#[derive(Debug, Clone, Copy)]
pub struct AlignmentPair<'a> {
    /// Fixed intensities.
    pub fixed: &'a Level,
    /// Moving intensities, of as many channels.
    pub moving: &'a Level,
    /// Weight of each fixed voxel, `[(nz,) ny, nx]`.
    pub fixed_mask: Option<&'a Tensor>,
    /// Weight of each moving voxel, on the moving grid.
    pub moving_mask: Option<&'a Tensor>,
    /// What the stages compare in place of the intensities; the start is chosen by intensities all the same.
    pub features: Option<AlignmentFeatures<'a>>,
}

/// Feature maps of both images on one level.
#[derive(Debug, Clone, Copy)]
pub struct AlignmentFeatures<'a> {
    /// How much coarser the level is than the fixed image.
    pub shrink: usize,
    /// Fixed features.
    pub fixed: &'a Level,
    /// Moving features, of as many channels.
    pub moving: &'a Level,
}

/// The map that was found, and how.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Alignment {
    /// Fixed world to moving world, RAS mm.
    #[serde(skip)]
    pub affine: Affine,
    /// Shrink factors of the levels, coarse first.
    pub shrinks: Vec<usize>,
    /// The start.
    pub start: StartReport,
    /// The stages, in order.
    pub stages: Vec<StageReport>,
    /// What the map says about the voxel sizes.
    pub scales: ScaleReport,
    /// One minus the squared correlation of what was compared, on the finest level.
    pub energy: f64,
    /// The volume that both images cover, as a share of the smaller one.
    pub overlap: f64,
}

/// What a stage must gain to be kept, as a share of the energy.
const GAIN: f64 = 1e-3;
/// Below this energy a fit is perfect, and what a stage would gain is rounding.
const PERFECT: f64 = 1e-4;
/// A map that stretches or shrinks by more than this is no alignment.
const STRETCH: f64 = 3.0;

const COARSE: Limits = Limits {
    steps: 40,
    decrease: 1e-4,
};
const FINE: Limits = Limits {
    steps: 15,
    decrease: 2e-4,
};

/// Aligns `moving` to `fixed`: finds the map `y = A x + t` from fixed to moving world points that minimises one minus
/// the squared correlation of the intensities, or of features that are given, averaged over channels, where both images
/// and both masks are.
///
/// Brightness and contrast may differ, even by channel, but must not be inverted. Intensities are clamped to the range
/// of [`IntensityRange`](crate::IntensityRange), features are compared as they are. Each stage descends through all levels by Levenberg-Marquardt steps (Marquardt 1963,
/// doi:10.1137/0111030), its coarsest level through all stiffer kinds first. A stage that gains nothing is dropped, which
/// its report says. From [`AlignmentStart::Moments`] the result never fits worse than the headers as they stand or the
/// centres of mass on each other, where small overlaps count against a fit. `watch` sees every iteration with its stage, the level and the number of levels, and
/// stops the run by an error.
///
/// # Errors
/// [`Error::Data`] when the images do not overlap under the start, when the masks leave nothing, and for images that are
/// constant or not finite; [`Error::Shape`] for masks or channels that do not match; [`Error::InvalidArgument`] for
/// stages that do not rise in freedom and for a given map that is singular; what `watch` returns.
pub fn align(
    pair: &AlignmentPair<'_>,
    start: &AlignmentStart,
    stages: &[LinearKind],
    watch: &mut dyn FnMut(LinearKind, usize, usize, &Iteration) -> Result<()>,
) -> Result<Alignment> {
    if stages.windows(2).any(|w| w[0] >= w[1]) {
        return Err(Error::argument(
            "stages",
            "must rise in freedom: rigid, then similarity, then affine",
        ));
    }
    check(pair)?;
    let mut shrinks = pyramid::shrinks(&pair.fixed.grid)?;
    let mut levels = pyramid::levels(pair, &shrinks)?;
    let freest = stages.last().copied();
    let shown = freest.unwrap_or(LinearKind::Rigid);
    let (start, others) = start::choose(start, &levels, freest, &mut |i| {
        watch(shown, 0, levels.len(), i)
    })?;
    if let (Some(features), Some(_)) = (&pair.features, freest) {
        (shrinks, levels) = pyramid::feature_levels(pair, features)?;
    }
    let mut alignment = run(pair, &shrinks, &levels, start, stages, watch)?;
    let finest = &levels[levels.len() - 1];
    for other in others {
        // a simpler start is worth a run only where it beats, as it stands, what was found
        if start::score(finest, &other.affine)? < start::score(finest, &alignment.affine)? {
            alignment = run(pair, &shrinks, &levels, other, stages, watch)?;
        }
    }
    Ok(alignment)
}

/// Runs the stages from a start; returns the alignment.
fn run(
    pair: &AlignmentPair<'_>,
    shrinks: &[usize],
    levels: &[AlignmentLevel],
    start: StartReport,
    stages: &[LinearKind],
    watch: &mut dyn FnMut(LinearKind, usize, usize, &Iteration) -> Result<()>,
) -> Result<Alignment> {
    let mut affine = start.affine;
    let mut reports = Vec::new();
    for &kind in stages {
        let (report, reached) = stage(levels, kind, &affine, &mut |level, i| {
            watch(kind, level, levels.len(), i)
        })?;
        affine = reached;
        reports.push(report);
    }
    let fit = levels[levels.len() - 1].fit(&affine)?;
    Ok(Alignment {
        affine,
        shrinks: shrinks.to_vec(),
        start,
        stages: reports,
        scales: ScaleReport::of(&affine, &pair.moving.grid)?,
        energy: fit.energy,
        overlap: fit.overlap,
    })
}

/// Runs one stage; returns its report and the map to go on from.
fn stage(
    levels: &[AlignmentLevel],
    kind: LinearKind,
    start: &Affine,
    watch: &mut dyn FnMut(usize, &Iteration) -> Result<()>,
) -> Result<(StageReport, Affine)> {
    let finest = &levels[levels.len() - 1];
    let before = finest.fit(start)?;
    let mut affine = *start;
    let mut iterations = Vec::new();
    let mut status = super::Status::Converged;
    for (number, level) in levels.iter().enumerate() {
        let mut count = 0;
        let last = number + 1 == levels.len();
        let limits = if last { FINE } else { COARSE };
        for step in LinearKind::ALL {
            if step == kind || (number == 0 && step < kind) {
                let descent = descend(level, step, &affine, limits, &mut |i| watch(number, i))?;
                affine = descent.affine;
                count += descent.iterations;
                status = descent.status;
            }
        }
        iterations.push(count);
    }
    let after = finest.fit(&affine)?;
    let stretch = ScaleReport::stretch(&affine, &finest.moving);
    let reason = if after.energy >= before.energy - GAIN * before.energy.max(PERFECT) {
        Some(format!(
            "it does not lower the energy: {:.5} before, {:.5} after",
            before.energy, after.energy
        ))
    } else if !plausible(&stretch) {
        Some(format!(
            "its map stretches by {stretch:.2?}, which is no alignment of two images of one kind; too few slices, perhaps"
        ))
    } else {
        None
    };
    let kept = reason.is_none();
    let used = if kept { affine } else { *start };
    let report = StageReport {
        kind,
        energy_before: before.energy,
        energy_after: after.energy,
        iterations,
        status,
        kept,
        reason,
        affine: used,
        overlap: if kept { after.overlap } else { before.overlap },
    };
    Ok((report, used))
}

/// Whether a map with these singular values aligns anything. Images of few slices let a map press them flat.
fn plausible(stretch: &[f64]) -> bool {
    stretch
        .iter()
        .all(|s| (1.0 / STRETCH..=STRETCH).contains(s))
}

fn check(pair: &AlignmentPair<'_>) -> Result<()> {
    let expect = |what: &'static str, expected: Vec<usize>, tensor: &Tensor| {
        if tensor.dims() == expected {
            Ok(())
        } else {
            Err(Error::Shape {
                what,
                expected,
                got: tensor.dims().to_vec(),
            })
        }
    };
    let with_channels = |grid: &Grid| {
        let channels = pair.fixed.features.dims().first().copied().unwrap_or(1);
        [&[channels.max(1)], grid.shape().as_slice()].concat()
    };
    let (fixed, moving) = (&pair.fixed.grid, &pair.moving.grid);
    expect("fixed image", with_channels(fixed), &pair.fixed.features)?;
    expect("moving image", with_channels(moving), &pair.moving.features)?;
    if let Some(AlignmentFeatures { fixed, moving, .. }) = pair.features {
        let channels = fixed.features.dims().first().copied().unwrap_or(1).max(1);
        for (what, level) in [("fixed features", fixed), ("moving features", moving)] {
            let expected = [&[channels], level.grid.shape().as_slice()].concat();
            expect(what, expected, &level.features)?;
        }
    }
    if let Some(mask) = pair.fixed_mask {
        expect("fixed mask", fixed.shape(), mask)?;
    }
    if let Some(mask) = pair.moving_mask {
        expect("moving mask", moving.shape(), mask)?;
    }
    Ok(())
}
