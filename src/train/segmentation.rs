//! One image on its way through network and classifier.

use candle_core::{Device, Tensor};

use super::classifier::Classifier;
use super::lesson::{gradients, Lesson};
use super::pair::stream;
use super::{DataSet, Subject, TrainingConfig};
use crate::features::{batch_of, FeatureNetwork, Parameters, Unet};
use crate::ops::{on_host, read};
use crate::{Error, Result, Rng};

/// Draws an image of a step of the pretraining; none where none has labels.
fn draw(config: &TrainingConfig, data: Option<&DataSet>, rng: &mut Rng) -> Result<Option<Subject>> {
    let drawn = match config.synthetic(data, rng) {
        Some(synthesis) => {
            let [subject, _] = synthesis.pair(data, rng)?;
            Some(subject)
        }
        None => data.and_then(|data| data.labelled(rng)).cloned(),
    };
    let Some(subject) = drawn else {
        return Ok(None);
    };
    let mut placed = config.augmentation.place_one(&subject, rng)?;
    config.augmentation.recolour(&mut placed, rng)?;
    Ok(Some(placed))
}

/// Forward and back; none where there is no image with labels.
pub(super) fn learn_labels(
    config: &TrainingConfig,
    network: &Unet,
    classifier: &Classifier,
    parameters: &Parameters,
    data: Option<&DataSet>,
    step: usize,
    number: usize,
) -> Result<Option<Lesson>> {
    let mut rng = stream(config.seed, step, number);
    let Some(subject) = draw(config, data, &mut rng)? else {
        return Ok(None);
    };
    learn_subject(config, network, classifier, parameters, &subject)
}

/// What an image teaches; none where no level counts.
pub(super) fn learn_subject(
    config: &TrainingConfig,
    network: &Unet,
    classifier: &Classifier,
    parameters: &Parameters,
    subject: &Subject,
) -> Result<Option<Lesson>> {
    let image = batch_of(network, &subject.image)?;
    let maps = network.fixed_pyramid(&image, &subject.image.grid)?;
    let (mut total, mut levels): (Option<Tensor>, _) = (None, Vec::new());
    for (number, level) in maps.iter().enumerate() {
        let weight = config.loss.level(number);
        if weight == 0.0 {
            levels.push(f64::NAN);
            continue;
        }
        let logits = classifier.logits(number, level)?;
        let host = logits.detach().to_device(&Device::Cpu)?;
        let (loss, slope) = on_host(|| {
            let shares = subject
                .shares(classifier.ids(), &level.grid)?
                .contiguous()?;
            read::<f32, _>(&host, |logits| {
                read::<f32, _>(&shares, |shares| {
                    sorting_loss(logits, shares, classifier.ids().len())
                })
            })?
        })?;
        if !loss.is_finite() {
            return Err(Error::data(&subject.name, format!("its loss is {loss}")));
        }
        levels.push(loss * weight);
        // what has the slope of the loss, so that its gradient is that of the loss
        let slope = Tensor::from_vec(slope, logits.shape(), logits.device())?;
        let linear = ((logits * slope)?.sum_all()? * weight)?;
        total = Some(match total {
            Some(sum) => (sum + linear)?,
            None => linear,
        });
    }
    let Some(total) = total else { return Ok(None) };
    Ok(Some(Lesson {
        gradients: gradients(&total, parameters, &subject.name)?,
        loss: levels.iter().filter(|loss| loss.is_finite()).sum(),
        levels,
        converged: [0, 0],
    }))
}

/// Cross-entropy of the labels, its mean over voxels, and one minus their soft Dice, its mean over the labels that occur; with
/// its slope by the logits `[1 + labels, voxels]`. `shares` are those of the labels, `[labels, voxels]`; what they leave of a
/// voxel has none.
fn sorting_loss(logits: &[f32], shares: &[f32], labels: usize) -> (f64, Vec<f32>) {
    let voxels = logits.len() / (labels + 1);
    let mut probability = logits.to_vec();
    let mut highest = vec![f32::NEG_INFINITY; voxels];
    for channel in logits.chunks_exact(voxels) {
        for (highest, &logit) in highest.iter_mut().zip(channel) {
            *highest = highest.max(logit);
        }
    }
    let mut sums = vec![0f32; voxels];
    for channel in probability.chunks_exact_mut(voxels) {
        for v in 0..voxels {
            channel[v] = (channel[v] - highest[v]).exp();
            sums[v] += channel[v];
        }
    }
    for channel in probability.chunks_exact_mut(voxels) {
        for v in 0..voxels {
            channel[v] /= sums[v];
        }
    }
    let mut rest = vec![1f32; voxels];
    for channel in shares.chunks_exact(voxels) {
        for (rest, &share) in rest.iter_mut().zip(channel) {
            *rest -= share;
        }
    }
    let targets = std::iter::once(rest.as_slice()).chain(shares.chunks_exact(voxels));
    let each = 1.0 / voxels as f32;
    let mut slope = vec![0f32; logits.len()];
    let mut along = vec![0f32; voxels];
    let (mut entropy, mut overlaps) = (0.0, Vec::new());
    for (class, target) in targets.clone().enumerate() {
        let channel = class * voxels..(class + 1) * voxels;
        let (p, z) = (&probability[channel.clone()], &logits[channel.clone()]);
        let (mut both, mut all, mut occurs) = (0.0, 0.0, 0.0);
        for v in 0..voxels {
            if target[v] != 0.0 {
                let logarithm = z[v] - highest[v] - sums[v].ln();
                entropy -= f64::from(target[v] * logarithm);
            }
            both += f64::from(p[v] * target[v]);
            all += f64::from(p[v] + target[v]);
            occurs += f64::from(target[v]);
        }
        if class > 0 && occurs > 0.0 {
            overlaps.push((class, both, all));
        }
    }
    // by the probabilities first
    let count = overlaps.len().max(1) as f64;
    let mut loss = entropy / voxels as f64;
    for &(class, both, all) in &overlaps {
        loss += (1.0 - 2.0 * both / all) / count;
        let target = &shares[(class - 1) * voxels..class * voxels];
        let channel = class * voxels..(class + 1) * voxels;
        let p = &probability[channel.clone()];
        let (gain, cost) = (
            (-2.0 / (all * count)) as f32,
            (2.0 * both / (all * all * count)) as f32,
        );
        for (v, slope) in slope[channel].iter_mut().enumerate() {
            *slope = gain * target[v] + cost;
            along[v] += p[v] * *slope;
        }
    }
    // then by the logits
    for (class, target) in targets.enumerate() {
        let channel = class * voxels..(class + 1) * voxels;
        let p = &probability[channel.clone()];
        for (v, slope) in slope[channel].iter_mut().enumerate() {
            *slope = p[v] * (*slope - along[v]) + each * (p[v] - target[v]);
        }
    }
    (loss, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_loss() {
        let (labels, voxels) = (3, 7);
        let mut rng = Rng::new(4);
        let logits: Vec<f32> = (0..(labels + 1) * voxels)
            .map(|_| rng.normal() as f32)
            .collect();
        // the last label does not occur
        let mut shares = vec![0f32; labels * voxels];
        for v in 0..voxels {
            let share = rng.uniform() as f32;
            shares[v % 2 * voxels + v] = share;
            shares[(v + 1) % 2 * voxels + v] = 0.5 * (1.0 - share);
        }
        let (_, slope) = sorting_loss(&logits, &shares, labels);
        let h = 1e-2;
        for place in 0..logits.len() {
            let at = |by: f32| {
                let mut moved = logits.clone();
                moved[place] += by;
                sorting_loss(&moved, &shares, labels).0
            };
            let difference = (at(h) - at(-h)) / f64::from(2.0 * h);
            let gap = (f64::from(slope[place]) - difference).abs();
            assert!(gap < 2e-5, "{place}: {} {difference}", slope[place]);
        }
    }

    #[test]
    fn labels_that_are_found_cost_nothing() {
        let shares = [1f32, 0., 0., 0., 0., 1.];
        let sure = |on: [usize; 3]| {
            let mut logits = vec![0f32; 9];
            for (v, class) in on.into_iter().enumerate() {
                logits[class * 3 + v] = 40.0;
            }
            sorting_loss(&logits, &shares, 2).0
        };
        assert!(sure([1, 0, 2]) < 1e-6);
        // half of the Dice and a third of the voxels are wrong
        assert!((sure([1, 0, 0]) - (0.5 + 40.0 / 3.0)).abs() < 1e-4);
    }
}
