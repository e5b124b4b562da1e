//! Where an alignment starts.

use super::descent::{descend, Limits};
use super::level::AlignmentLevel;
use super::mass::Mass;
use super::report::{Candidate, StartReport};
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
const REFINED: usize = 8;
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

fn score(level: &AlignmentLevel, affine: &Affine) -> Result<f64> {
    let fit = level.fit(affine)?;
    let trust = (fit.overlap / ENOUGH).min(1.0);
    Ok(1.0 - (1.0 - fit.energy) * trust)
}

/// Finds the start. `levels` are coarse first; `freest` is the freest stage to come, none where no linear stage follows.
pub(super) fn choose(
    start: &AlignmentStart,
    levels: &[AlignmentLevel],
    freest: Option<LinearKind>,
    watch: &mut dyn FnMut(&Iteration) -> Result<()>,
) -> Result<StartReport> {
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
        AlignmentStart::Identity => single("identity", Affine::identity()),
        AlignmentStart::Affine(affine) => {
            affine.inverse()?;
            single("given", *affine)
        }
        AlignmentStart::Centres => {
            let [fixed, moving] = masses(coarsest)?;
            single("centres", fixed.shift_to(&moving))
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
) -> Result<StartReport> {
    let coarsest = &levels[0];
    let rank = coarsest.fixed.rank();
    let [fixed, moving] = masses(coarsest)?;
    let mut upright = vec![
        ("identity".to_owned(), Affine::identity()),
        ("centres".to_owned(), fixed.shift_to(&moving)),
        (
            "fields of view".to_owned(),
            Affine::shift(std::array::from_fn(|a| {
                coarsest.moving.centre()[a] - coarsest.fixed.centre()[a]
            })),
        ),
    ];
    upright.dedup_by(|a, b| a.1 == b.1);
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
        refine(&mut runners, coarsest, freest, watch)?;
        let first = best(&runners).map(|b| runners.swap_remove(b));
        runners.sort_by(|a, b| a.score.total_cmp(&b.score));
        runners.splice(0..0, first);
        distinct(&mut runners, coarsest);
        runners.truncate(FURTHER);
        if let (Some(next), true) = (levels.get(1), runners.len() > 1) {
            refine(&mut runners, next, freest, watch)?;
        }
    }
    let Some(chosen) = best(&runners) else {
        return Err(apart(coarsest, "moments"));
    };
    Ok(StartReport {
        name: runners[chosen].name.clone(),
        affine: runners[chosen].start,
        energy: coarsest.fit(&runners[chosen].start)?.energy,
        candidates: runners
            .iter()
            .map(|r| Candidate {
                name: r.name.clone(),
                score: r.score,
            })
            .collect(),
    })
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
    freest: LinearKind,
    watch: &mut dyn FnMut(&Iteration) -> Result<()>,
) -> Result<()> {
    for runner in runners {
        for kind in LinearKind::ALL.into_iter().filter(|k| *k <= freest) {
            let descent = descend(level, kind, &runner.affine, SEARCH, watch)?;
            runner.affine = descent.affine;
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
