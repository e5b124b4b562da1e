//! How good the features are on subjects that take no part in the training.

use std::sync::Arc;

use candle_core::Device;

use super::classifier::Classifier;
use super::config::PairStart;
use super::maps::pyramids;
use super::pair::{converged, solve, start};
use super::workers::Workers;
use super::{DataSet, Subject, Validation};
use crate::evaluation::{landmark_errors, mean, overlap, regularity, surface_distance};
use crate::features::{batch_of, FeatureNetwork, Unet};
use crate::image::{DisplacementField, Labels};
use crate::layer::{LayerOutput, RegistrationLayer};
use crate::ops::read;
use crate::registration::total_on;
use crate::transform::{resample_labels, Chain, LabelResampling};
use crate::{Affine, Result};

/// Registers every consecutive pair by a network outside all graphs, and judges it at full resolution; also what is known of each as a CSV table.
pub(super) fn validate(
    network: &Unet,
    layer: &RegistrationLayer,
    begin: PairStart,
    data: &DataSet,
    workers: &Workers,
) -> Result<(Validation, Vec<u8>)> {
    let pairs = data.consecutive();
    let judged = workers.map(pairs.len(), |number| {
        let pair = pairs[number].map(Clone::clone);
        let affine = start(&pair, begin)?;
        let [fixed, moving] = pyramids(network, &pair)?;
        let out = solve(layer, &fixed, &moving, affine)?;
        judge(&pair, &out, affine)
    });
    let mut validation = Validation {
        segmentation: f64::NAN,
        ..Validation::default()
    };
    let (mut dice, mut hd95, mut landmarks) = (Vec::new(), Vec::new(), Vec::new());
    let mut ended = [0, 0];
    let mut table = String::from("fixed,moving,dice,hd95,landmarks,folds,error\n");
    for (judged, [fixed, moving]) in judged.into_iter().zip(&pairs) {
        let judged = match judged {
            Ok(judged) => judged,
            Err(error) => {
                validation.failures += 1;
                table.push_str(&format!(
                    "{},{},,,,,\"{}\"\n",
                    fixed.name,
                    moving.name,
                    error.to_string().replace('"', "'")
                ));
                continue;
            }
        };
        let cell = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.6}"));
        table.push_str(&format!(
            "{},{},{},{},{},{},\n",
            fixed.name,
            moving.name,
            cell(judged.dice),
            cell(judged.hd95),
            cell(judged.landmarks),
            judged.folds
        ));
        validation.pairs += 1;
        validation.folds += judged.folds;
        dice.extend(judged.dice);
        hd95.extend(judged.hd95);
        landmarks.extend(judged.landmarks);
        ended = [
            ended[0] + judged.converged[0],
            ended[1] + judged.converged[1],
        ];
    }
    validation.dice = mean(&dice);
    validation.hd95 = mean(&hd95);
    validation.landmarks = mean(&landmarks);
    validation.converged = ended[0] as f64 / ended[1].max(1) as f64;
    Ok((validation, table.into_bytes()))
}

/// Mean Dice over subjects and labels of what a classifier takes the voxels for.
pub(super) fn segmentation(
    network: &Unet,
    classifier: &Classifier,
    data: &DataSet,
    workers: &Workers,
) -> Result<f64> {
    let subjects: Vec<&Subject> = data.subjects().filter(|s| s.labels.is_some()).collect();
    let judged = workers.map(subjects.len(), |number| {
        let subject = subjects[number];
        let image = batch_of(network, &subject.image)?;
        let levels = network.fixed_pyramid(&image, &subject.image.grid)?;
        let found = classifier.labels(subject, &levels)?;
        let truth = subject.labels.as_deref().unwrap_or(&[]);
        Ok(overlap(truth, &found, None, Some(&subject.ids()))?.mean_dice)
    });
    let dice = judged.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(mean(&dice.into_iter().flatten().collect::<Vec<_>>()))
}

struct Judged {
    dice: Option<f64>,
    hd95: Option<f64>,
    landmarks: Option<f64>,
    folds: u64,
    converged: [usize; 2],
}

fn judge(pair: &[Subject; 2], out: &LayerOutput, affine: Affine) -> Result<Judged> {
    let [fixed, moving] = pair;
    let grid = &fixed.image.grid;
    let u = out.finest().displacement_on(grid)?.get(0)?;
    let u = u
        .detach()
        .to_device(&Device::Cpu)?
        .to_dtype(candle_core::DType::F32)?
        .contiguous()?;
    let field = DisplacementField::new(grid.clone(), total_on(grid, Some(&u), &affine)?)?;
    let chain = Chain::new(grid.rank())?.then_field(Arc::new(field))?;
    let (dice, hd95) = match (&fixed.labels, &moving.labels) {
        (Some(labels), Some(others)) => {
            let source = Labels::new(moving.image.grid.clone(), others.clone())?;
            let warped = resample_labels(&source, &chain, grid, LabelResampling::Nearest, 0)?;
            let (warped, moving) = (warped.values(), Some(others.as_slice()));
            (
                overlap(labels, warped, moving, None)?.mean_dice,
                surface_distance(labels, warped, moving, None, grid)?.mean_hd95_mm,
            )
        }
        _ => (None, None),
    };
    let landmarks = match (&fixed.landmarks, &moving.landmarks) {
        (Some(from), Some(to)) => Some(landmark_errors(&chain.apply_all(from), to)?.summary.mean),
        _ => None,
    };
    let folds = read(&u, |u| regularity(u, grid.size()))??.non_positive;
    Ok(Judged {
        dice,
        hd95,
        landmarks,
        folds,
        converged: converged(out),
    })
}
