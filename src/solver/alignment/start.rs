//! Where an alignment starts.

use super::descent::{descend, Limits};
use super::level::AlignmentLevel;
use super::mass::Mass;
use super::plausible;
use super::report::{Candidate, ScaleReport, StartReport};
use super::rotations::{axis_rotations, spread_rotations};
use crate::solver::Iteration;
use crate::transform::LinearKind;
use crate::{Affine, Error, Result};

/// Where an alignment starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AlignmentStart {
    /// The headers as they stand.
    Identity,
    /// Centres of mass of the foregrounds on each other.
    Centres,
    /// The best of: the headers, centres of mass, centres of the fields of view, principal axes in all orders and
    /// signs, and rotations spread over all orientations.
    Moments,
    /// This map, fixed world to moving world, RAS mm.
    Affine(Affine),
}

/// Rotations about the centres of mass in three dimensions; in two they are 15 degrees apart.
const ROTATIONS: usize = 200;
/// Rotated candidates that are refined on the coarsest level, and of all refined ones those that go one level further.
const REFINED: usize = 12;
const FURTHER: usize = 3;
/// A rotated start must have less than this share of the energy of the best start that keeps the headers' orientation.
const MARGIN: f64 = 0.95;
/// And less by this: where both come to a perfect fit, the rest of the energy is rounding.
const ROUNDING: f64 = 1e-3;
/// Overlap below which a start's energy counts as less good than it is.
const ENOUGH: f64 = 0.8;
/// Overlap below which a start is no start.
const LEAST: f64 = 0.05;

const SEARCH: Limits = Limits {
    steps: 15,
    decrease: 1e-3,
};

/// A start on its way.
#[derive(Debug, Clone)]
struct Runner {
    name: String,
    /// Where it starts.
    start: Affine,
    /// Where it has come to.
    affine: Affine,
    /// Lower is better.
    score: f64,
    /// Keeps the orientation of the headers.
    upright: bool,
}

/// The energy of a map, raised where the images hardly overlap.
pub(super) fn score(level: &AlignmentLevel, affine: &Affine) -> Result<f64> {
    let fit = level.fit(affine)?;
    let trust = (fit.overlap / ENOUGH).min(1.0);
    Ok(1.0 - (1.0 - fit.energy) * trust)
}

/// Finds the start, and simpler ones than which the result must not be worse. `levels` are coarse first; `freest` is the
/// freest stage to come, none where no linear stage follows.
pub(super) fn choose(
    start: &AlignmentStart,
    levels: &[AlignmentLevel],
    freest: Option<LinearKind>,
    watch: &mut dyn FnMut(&Iteration) -> Result<()>,
) -> Result<(StartReport, Vec<StartReport>)> {
    let coarsest = &levels[0];
    let single = |name: &str, affine: Affine| -> Result<StartReport> {
        let fit = coarsest.fit(&affine)?;
        if fit.overlap == 0.0 {
            return Err(apart(coarsest, name));
        }
        Ok(StartReport {
            name: name.into(),
            affine,
            energy: fit.energy,
            candidates: Vec::new(),
        })
    };
    match start {
        AlignmentStart::Identity => Ok((single("identity", Affine::identity())?, Vec::new())),
        AlignmentStart::Affine(affine) => {
            affine.inverse()?;
            Ok((single("given", *affine)?, Vec::new()))
        }
        AlignmentStart::Centres => {
            let [fixed, moving] = masses(coarsest)?;
            Ok((single("centres", fixed.shift_to(&moving))?, Vec::new()))
        }
        AlignmentStart::Moments => search(levels, freest, watch),
    }
}

fn masses(level: &AlignmentLevel) -> Result<[Mass; 2]> {
    let mass = |which: usize, name: &str| {
        let (features, mask, grid) = level.image(which);
        Mass::of(features, mask, grid, name)
    };
    Ok([mass(0, "fixed image")?, mass(1, "moving image")?])
}

fn apart(level: &AlignmentLevel, name: &str) -> Error {
    Error::data(
        "fixed and moving image",
        format!(
            "do not overlap in space under the start '{name}' (fixed {}, moving {}, after shrinking), or the masks leave nothing of the overlap; start with --init centres or --init moments, or mend the headers",
            level.fixed.describe(),
            level.moving.describe()
        ),
    )
}

fn search(
    levels: &[AlignmentLevel],
    freest: Option<LinearKind>,
    watch: &mut dyn FnMut(&Iteration) -> Result<()>,
) -> Result<(StartReport, Vec<StartReport>)> {
    let coarsest = &levels[0];
    let rank = coarsest.fixed.rank();
    let [fixed, moving] = masses(coarsest)?;
    let upright = vec![
        ("identity".to_owned(), Affine::identity()),
        ("centres".to_owned(), fixed.shift_to(&moving)),
        (
            "fields of view".to_owned(),
            Affine::shift(std::array::from_fn(|a| {
                coarsest.moving.centre()[a] - coarsest.fixed.centre()[a]
            })),
        ),
    ];
    let simple = upright[..2].to_vec();
    let mut turned = Vec::new();
    for (k, turn) in axis_rotations(rank).iter().enumerate() {
        turned.push((
            format!("principal axes, order {k}"),
            fixed.turned_axes(&moving, turn),
        ));
    }
    for (k, turn) in spread_rotations(rank, ROTATIONS).iter().enumerate() {
        turned.push((format!("rotation {k}"), fixed.turned(&moving, turn)));
    }
    let runner = |(name, start): (String, Affine), upright: bool| -> Result<Runner> {
        Ok(Runner {
            name,
            start,
            affine: start,
            score: if coarsest.fit(&start)?.overlap < LEAST {
                f64::INFINITY
            } else {
                score(coarsest, &start)?
            },
            upright,
        })
    };
    let mut runners = Vec::new();
    for start in upright {
        runners.push(runner(start, true)?);
    }
    let mut rotated = Vec::new();
    for start in turned {
        rotated.push(runner(start, false)?);
    }
    rotated.sort_by(|a, b| a.score.total_cmp(&b.score));
    rotated.truncate(REFINED);
    runners.append(&mut rotated);
    runners.retain(|r| r.score.is_finite());
    if let Some(freest) = freest {
        let mut kinds = vec![LinearKind::Rigid];
        kinds.extend((freest > LinearKind::Rigid).then_some(freest));
        refine(&mut runners, coarsest, &kinds, watch)?;
        let first = best(&runners).map(|b| runners.swap_remove(b));
        runners.sort_by(|a, b| a.score.total_cmp(&b.score));
        runners.splice(0..0, first);
        distinct(&mut runners, coarsest);
        runners.truncate(FURTHER);
        if let (Some(next), true) = (levels.get(1), runners.len() > 1) {
            refine(&mut runners, next, &[freest], watch)?;
        }
    }
    let Some(chosen) = best(&runners) else {
        return Err(apart(coarsest, "moments"));
    };
    let candidates: Vec<Candidate> = runners
        .iter()
        .map(|r| Candidate {
            name: r.name.clone(),
            score: r.score,
        })
        .collect();
    let report = |name: &str, affine: Affine| -> Result<StartReport> {
        Ok(StartReport {
            name: name.to_owned(),
            affine,
            energy: coarsest.fit(&affine)?.energy,
            candidates: candidates.clone(),
        })
    };
    let mut others = Vec::new();
    for (name, affine) in &simple {
        if *name != runners[chosen].name {
            others.push(report(name, *affine)?);
        }
    }
    Ok((
        report(&runners[chosen].name, runners[chosen].start)?,
        others,
    ))
}

/// The runner that wins: the best one, but a rotated one only by a margin.
fn best(runners: &[Runner]) -> Option<usize> {
    let lowest = |upright: bool| {
        (0..runners.len())
            .filter(|&k| runners[k].upright == upright)
            .min_by(|&a, &b| runners[a].score.total_cmp(&runners[b].score))
    };
    match (lowest(true), lowest(false)) {
        (Some(plain), Some(turned))
            if runners[turned].score
                < (MARGIN * runners[plain].score).min(runners[plain].score - ROUNDING) =>
        {
            Some(turned)
        }
        (Some(plain), _) => Some(plain),
        (None, turned) => turned,
    }
}

fn refine(
    runners: &mut [Runner],
    level: &AlignmentLevel,
    kinds: &[LinearKind],
    watch: &mut dyn FnMut(&Iteration) -> Result<()>,
) -> Result<()> {
    for runner in runners {
        for &kind in kinds {
            let descent = descend(level, kind, &runner.affine, SEARCH, watch)?;
            runner.affine = descent.affine;
        }
        if !plausible(&ScaleReport::stretch(&runner.affine, &level.moving)) {
            runner.affine = runner.start;
        }
        runner.score = score(level, &runner.affine)?;
    }
    Ok(())
}

/// Leaves out runners that have come to the place of an earlier one, within two voxels.
fn distinct(runners: &mut Vec<Runner>, level: &AlignmentLevel) {
    let corners = level.fixed.corners();
    let spacing = level.fixed.spacing().iter().copied().fold(0.0, f64::max);
    let mut kept: Vec<Runner> = Vec::new();
    for runner in runners.drain(..) {
        let twin = kept
            .iter()
            .any(|k| k.affine.distance_over(&runner.affine, &corners) < 2.0 * spacing);
        if !twin {
            kept.push(runner);
        }
    }
    *runners = kept;
}
