//! Overlap of label volumes.

use super::labels::{judged, Places};
use crate::Result;
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;

/// Voxels and Dice of one label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelOverlap {
    /// The label.
    pub label: u32,
    /// `2 |A and B| / (|A| + |B|)`; `None` where the label is absent in the fixed or the moving labels.
    pub dice: Option<f64>,
    /// Voxels `|A|` of the fixed labels.
    pub fixed: u64,
    /// Voxels `|B|` of the warped labels.
    pub warped: u64,
    /// Voxels `|A and B|` of both.
    pub both: u64,
}

/// Overlap of fixed and warped labels: Dice a label, and the measures pooled over labels.
///
/// With `A` the fixed and `B` the warped voxels of a label and sums over labels; a pooled measure is `None` where its
/// denominator is zero.
///
/// Source: Klein et al., "Evaluation of 14 nonlinear deformation algorithms applied to human brain MRI registration",
/// NeuroImage 2009, doi:10.1016/j.neuroimage.2008.12.037.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overlap {
    /// One entry a label, ascending.
    pub labels: Vec<LabelOverlap>,
    /// Mean of the defined Dice values; `None` if there are none.
    pub mean_dice: Option<f64>,
    /// `sum |A and B| / sum |A|`.
    pub total_overlap: Option<f64>,
    /// `2 sum |A and B| / sum (|A| + |B|)`.
    pub mean_overlap: Option<f64>,
    /// `sum |A without B| / sum |A|`.
    pub false_negative: Option<f64>,
    /// `sum |B without A| / sum |B|`.
    pub false_positive: Option<f64>,
    /// `2 sum (|B| - |A|) / sum (|A| + |B|)`: 0 for equal volumes, positive where the warped labels are too large.
    pub volume_similarity: Option<f64>,
}

/// Overlap of labels on one grid, as Learn2Reg counts it.
///
/// `fixed` and `warped` lie on one grid, one label a voxel, 0 for none. `moving`, on its own grid, only tells which
/// labels the moving subject has; without it the warped labels do. `labels` chooses the labels to judge; without it
/// all that occur in the fixed or moving labels are.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when the two volumes differ in length, [`Error::Data`](crate::Error::Data)
/// when there is no label to judge.
pub fn overlap(
    fixed: &[u32],
    warped: &[u32],
    moving: Option<&[u32]>,
    labels: Option<&[u32]>,
) -> Result<Overlap> {
    let judged = judged(fixed, warped, moving, labels)?;
    let none = || vec![[0u64; 3]; judged.len()];
    let counts = fixed
        .par_chunks(1 << 16)
        .zip(warped.par_chunks(1 << 16))
        .map(|(fixed, warped)| {
            let mut counts = none();
            let (mut places_fixed, mut places_warped) =
                (Places::new(&judged), Places::new(&judged));
            for (&a, &b) in fixed.iter().zip(warped) {
                if a == 0 && b == 0 {
                    continue;
                }
                if let Some(place) = places_fixed.of(a) {
                    counts[place][0] += 1;
                    counts[place][2] += u64::from(a == b);
                }
                if let Some(place) = places_warped.of(b) {
                    counts[place][1] += 1;
                }
            }
            counts
        })
        .reduce(none, |mut a, b| {
            for (a, b) in a.iter_mut().flatten().zip(b.into_iter().flatten()) {
                *a += b;
            }
            a
        });
    let labels: Vec<LabelOverlap> = judged
        .into_iter()
        .zip(counts)
        .map(|((label, defined), [fixed, warped, both])| LabelOverlap {
            label,
            dice: defined.then(|| 2.0 * both as f64 / (fixed + warped) as f64),
            fixed,
            warped,
            both,
        })
        .collect();
    let sum = |count: fn(&LabelOverlap) -> u64| labels.iter().map(count).sum::<u64>() as f64;
    let (a, b, both) = (sum(|l| l.fixed), sum(|l| l.warped), sum(|l| l.both));
    let ratio =
        |numerator: f64, denominator: f64| (denominator > 0.0).then(|| numerator / denominator);
    let dice: Vec<f64> = labels.iter().filter_map(|l| l.dice).collect();
    Ok(Overlap {
        mean_dice: ratio(dice.iter().sum(), dice.len() as f64),
        total_overlap: ratio(both, a),
        mean_overlap: ratio(2.0 * both, a + b),
        false_negative: ratio(a - both, a),
        false_positive: ratio(b - both, b),
        volume_similarity: ratio(2.0 * (b - a), a + b),
        labels,
    })
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.4}"));
        writeln!(
            f,
            "{:>8} {:>8} {:>10} {:>10}",
            "label", "Dice", "fixed", "warped"
        )?;
        for l in &self.labels {
            writeln!(
                f,
                "{:>8} {:>8} {:>10} {:>10}",
                l.label,
                value(l.dice),
                l.fixed,
                l.warped
            )?;
        }
        writeln!(f, "mean Dice          {:>8}", value(self.mean_dice))?;
        writeln!(f, "total overlap      {:>8}", value(self.total_overlap))?;
        writeln!(f, "mean overlap       {:>8}", value(self.mean_overlap))?;
        writeln!(f, "false negative     {:>8}", value(self.false_negative))?;
        writeln!(f, "false positive     {:>8}", value(self.false_positive))?;
        write!(f, "volume similarity  {:>8}", value(self.volume_similarity))
    }
}
