//! One pair on its way through network, solver and losses.

use candle_core::{DType, Tensor};

use super::config::PairStart;
use super::lesson::Lesson;
use super::loss::GradientSide;
use super::maps::Maps;
use super::{DataSet, Subject, TrainingConfig};
use crate::features::{FeatureLevel, Unet};
use crate::layer::{LayerInput, LayerOutput, RegistrationLayer};
use crate::solver::{align, AlignmentPair, AlignmentStart, Status};
use crate::transform::LinearKind;
use crate::{Affine, Error, Result, Rng};

/// Where the moving image lies before it is deformed.
pub(super) fn start(pair: &[Subject; 2], start: PairStart) -> Result<Affine> {
    let [fixed, moving] = pair;
    let (start, stages): (_, &[LinearKind]) = match start {
        PairStart::Identity => return Ok(Affine::identity()),
        PairStart::Centres => (AlignmentStart::Centres, &[]),
        PairStart::Affine => (AlignmentStart::Moments, &[LinearKind::Affine]),
    };
    let images = AlignmentPair {
        fixed: &fixed.image,
        moving: &moving.image,
        fixed_mask: None,
        moving_mask: None,
        features: None,
    };
    Ok(align(&images, &start, stages, &mut |_, _, _, _| Ok(()))?.affine)
}

/// Registers a pair; a failure of the solve is an error.
pub(super) fn solve(
    layer: &RegistrationLayer,
    fixed: &[FeatureLevel],
    moving: &[FeatureLevel],
    affine: Affine,
) -> Result<LayerOutput> {
    let affine = [affine];
    let mut input = LayerInput::new(fixed, moving);
    input.affine = Some(&affine);
    let mut out = layer.forward(&input)?;
    match out.failures.pop() {
        Some(failure) => Err(failure.error),
        None => Ok(out),
    }
}

/// Level solves that ended of their own accord, and all.
pub(super) fn converged(out: &LayerOutput) -> [usize; 2] {
    let ended = |status: Status| status != Status::MaxSteps && status != Status::NonFinite;
    let reports = out
        .levels
        .iter()
        .flat_map(|level| level.reports.iter().flatten());
    reports.fold([0, 0], |[done, all], report| {
        [done + usize::from(ended(report.status)), all + 1]
    })
}

/// The random numbers of one pair of one step: a stream of its own, so that a training can be taken up at any step.
pub(super) fn stream(seed: u64, step: usize, pair: usize) -> Rng {
    // the odd constants are those of SplitMix64
    let step = (step as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let pair = (pair as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Rng::new(seed ^ step ^ pair.rotate_left(29))
}

/// Draws the pair of a step.
pub(super) fn draw(
    config: &TrainingConfig,
    data: Option<&DataSet>,
    step: usize,
    number: usize,
) -> Result<([Subject; 2], Affine, Rng)> {
    let mut rng = stream(config.seed, step, number);
    let synthesis = config.synthetic(data, &mut rng);
    let drawn = match (synthesis, data) {
        (Some(synthesis), data) => synthesis.pair(data, &mut rng)?,
        (None, Some(data)) => data.pair(&mut rng).map(Clone::clone),
        (None, None) => return Err(Error::argument("data", "there is nothing to train on")),
    };
    let [fixed, moving] = &drawn;
    let mut pair = config.augmentation.place([fixed, moving], &mut rng)?;
    // synthetic pairs lie on each other but for how they were moved, and their contrasts may have nothing in common
    let affine = if synthesis.is_some() {
        Affine::identity()
    } else {
        start(&pair, config.registration.start)?
    };
    for subject in &mut pair {
        config.augmentation.recolour(subject, &mut rng)?;
    }
    Ok((pair, affine, rng))
}

/// Forward and back; none where no loss applies to the pair.
pub(super) fn learn(
    config: &TrainingConfig,
    network: &Unet,
    layer: &RegistrationLayer,
    recompute: bool,
    data: Option<&DataSet>,
    step: usize,
    number: usize,
) -> Result<Option<Lesson>> {
    let drawn = draw(config, data, step, number)?;
    learn_pair(config, network, layer, recompute, drawn, step)
}

/// What a pair that was drawn for a step teaches.
pub(super) fn learn_pair(
    config: &TrainingConfig,
    network: &Unet,
    layer: &RegistrationLayer,
    recompute: bool,
    (pair, affine, mut rng): ([Subject; 2], Affine, Rng),
    step: usize,
) -> Result<Option<Lesson>> {
    let still = match config.loss.through {
        GradientSide::Both => None,
        GradientSide::Either => Some(usize::from(rng.uniform() >= 0.5)),
    };
    let steps = step - config.pretraining_steps();
    let maps = Maps::new(network, &pair, still, recompute, |levels| {
        config.loss.active(steps, levels)
    })?;
    let [fixed, moving] = &maps.levels;
    let mut layer = layer.clone();
    if let Some(iterations) = &mut layer.deformation.iterations {
        iterations.truncate(fixed.len());
    }
    let out = solve(&layer, fixed, moving, affine)?;
    let ids = config.loss.labels_of(&pair, &mut rng);
    let (mut total, mut levels): (Option<Tensor>, _) = (None, Vec::new());
    for (number, (level, moving)) in out.levels.iter().zip(moving).enumerate() {
        let Some(loss) = config.loss.of_level(&pair, &ids, number, level, moving)? else {
            levels.push(f64::NAN);
            continue;
        };
        let loss = loss.to_dtype(DType::F64)?;
        levels.push(loss.to_scalar::<f64>()?);
        total = Some(match total {
            Some(sum) => (sum + loss)?,
            None => loss,
        });
    }
    let Some(total) = total else { return Ok(None) };
    let loss = total.to_scalar::<f64>()?;
    let names = format!("{} and {}", pair[0].name, pair[1].name);
    if !loss.is_finite() {
        return Err(Error::data(names, format!("their loss is {loss}")));
    }
    let converged = converged(&out);
    // the graph of the solver goes with the loss
    drop(out);
    Ok(Some(Lesson {
        gradients: maps.gradients(total, &names)?,
        loss,
        levels,
        converged,
    }))
}
