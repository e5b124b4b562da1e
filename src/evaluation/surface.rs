//! Distances between the surfaces of labels.

use super::distance_map::squared_distances;
use super::labels::{bounds, judged, Bounds};
use super::surfel::{areas, lengths};
use crate::{Error, Grid, Result};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;

/// The robust surface distance of one label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelSurfaceDistance {
    /// The label.
    pub label: u32,
    /// 95th percentile with unit spacing; `None` where the label is absent in the fixed or the moving labels, infinite
    /// where the warping lost it.
    pub hd95_voxels: Option<f64>,
    /// The same in millimetres.
    pub hd95_mm: Option<f64>,
}

/// Robust surface distances of all labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SurfaceDistance {
    /// One entry a label, ascending.
    pub labels: Vec<LabelSurfaceDistance>,
    /// Mean of the defined values with unit spacing; `None` if there are none.
    pub mean_hd95_voxels: Option<f64>,
    /// Mean of the defined values in millimetres; `None` if there are none.
    pub mean_hd95_mm: Option<f64>,
}

/// The 95th percentile of the distance between the surfaces of fixed and warped labels (HD95).
///
/// The surface of a label consists of elements at the corners between voxels, each with its area (its length in 2D),
/// as marching cubes draws them. For every element of one surface the distance to the nearest element of the other is
/// taken; of these distances, weighted with the areas, the 95th percentile; of the two directions the larger one.
/// Given with unit spacing, as Learn2Reg counts, and in millimetres.
///
/// `fixed` and `warped` lie on `grid`, outside of which nothing belongs to a label. `moving` and `labels` as in
/// [`overlap`](crate::overlap). Cost: a distance transform of each label's box.
///
/// Source: Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy", JMIR 2021,
/// doi:10.2196/26151.
///
/// # Errors
/// [`Error::Shape`] when a volume does not have the grid's size, [`Error::Data`] when there is no label to judge.
pub fn surface_distance(
    fixed: &[u32],
    warped: &[u32],
    moving: Option<&[u32]>,
    labels: Option<&[u32]>,
    grid: &Grid,
) -> Result<SurfaceDistance> {
    if fixed.len() != grid.voxels() {
        return Err(Error::Shape {
            what: "fixed labels",
            expected: vec![grid.voxels()],
            got: vec![fixed.len()],
        });
    }
    let judged = judged(fixed, warped, moving, labels)?;
    let size: [usize; 3] = std::array::from_fn(|a| grid.size().get(a).copied().unwrap_or(1));
    let spacing: [f64; 3] = std::array::from_fn(|a| grid.spacing().get(a).copied().unwrap_or(1.0));
    let boxes = bounds([fixed, warped], size, &judged);
    let rank = grid.rank();
    let isotropic = grid.spacing().iter().all(|&s| s == spacing[0]);
    let elements = |spacing: [f64; 3]| {
        if rank == 3 {
            areas(spacing)
        } else {
            lengths([spacing[0], spacing[1]])
        }
    };
    let (unit, real) = (elements([1.0; 3]), elements(spacing));
    let labels: Vec<LabelSurfaceDistance> = judged
        .into_par_iter()
        .zip(boxes)
        .with_max_len(1)
        .map(|((label, defined), bounds)| {
            let (Some(bounds), true) = (bounds, defined) else {
                return LabelSurfaceDistance {
                    label,
                    hd95_voxels: None,
                    hd95_mm: None,
                };
            };
            let surfaces = [fixed, warped].map(|v| Surface::new(v, size, rank, label, bounds));
            let voxels = robust_distance(&surfaces, [1.0; 3], &unit);
            let mm = if isotropic {
                voxels * spacing[0]
            } else {
                robust_distance(&surfaces, spacing, &real)
            };
            LabelSurfaceDistance {
                label,
                hd95_voxels: Some(voxels),
                hd95_mm: Some(mm),
            }
        })
        .collect();
    let mean = |values: Vec<f64>| {
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    Ok(SurfaceDistance {
        mean_hd95_voxels: mean(labels.iter().filter_map(|l| l.hd95_voxels).collect()),
        mean_hd95_mm: mean(labels.iter().filter_map(|l| l.hd95_mm).collect()),
        labels,
    })
}

/// The corners between the voxels of a box, each with the code of the voxels around it.
struct Surface {
    size: [usize; 3],
    codes: Vec<u8>,
    /// The code of a corner deep inside.
    full: u8,
}

impl Surface {
    fn new(volume: &[u32], size: [usize; 3], rank: usize, label: u32, bounds: Bounds) -> Self {
        let corners: [usize; 3] =
            std::array::from_fn(|a| bounds.high[a] - bounds.low[a] + if a < rank { 2 } else { 1 });
        let mut codes = vec![0u8; corners.iter().product()];
        let steps = [1, corners[0], corners[0] * corners[1]];
        for k in bounds.low[2]..=bounds.high[2] {
            for j in bounds.low[1]..=bounds.high[1] {
                let row = size[0] * (j + size[1] * k);
                for i in bounds.low[0]..=bounds.high[0] {
                    if volume[row + i] != label {
                        continue;
                    }
                    let corner = i - bounds.low[0]
                        + (j - bounds.low[1]) * steps[1]
                        + (k - bounds.low[2]) * steps[2];
                    // The voxel is the upper one of its lower corners and the lower one of its upper corners.
                    for side in 0..1usize << rank {
                        let at: usize = (0..rank).map(|a| (side >> a & 1) * steps[a]).sum();
                        codes[corner + at] |= 1 << ((1 << rank) - 1 - side);
                    }
                }
            }
        }
        Self {
            size: corners,
            codes,
            full: if rank == 3 { 255 } else { 15 },
        }
    }

    fn elements(&self) -> Vec<bool> {
        self.codes
            .iter()
            .map(|&code| code != 0 && code != self.full)
            .collect()
    }
}

/// The larger of the two area-weighted 95th percentiles; infinite if one surface is empty.
fn robust_distance(surfaces: &[Surface; 2], spacing: [f64; 3], sizes: &[f64]) -> f64 {
    let elements = [surfaces[0].elements(), surfaces[1].elements()];
    (0..2)
        .map(|from| {
            let to = 1 - from;
            let map = squared_distances(&elements[to], surfaces[to].size, spacing);
            let mut found: Vec<(f64, f64)> = (0..map.len())
                .filter(|&corner| elements[from][corner])
                .map(|corner| {
                    (
                        map[corner],
                        sizes[usize::from(surfaces[from].codes[corner])],
                    )
                })
                .collect();
            found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            let half: f64 = found.iter().map(|(_, area)| area).sum::<f64>() * 0.95;
            let mut sum = 0.0;
            for &(squared, area) in &found {
                sum += area;
                if sum >= half {
                    return squared.sqrt();
                }
            }
            found
                .last()
                .map_or(f64::INFINITY, |(squared, _)| squared.sqrt())
        })
        .fold(0.0, f64::max)
}

impl fmt::Display for SurfaceDistance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.3}"));
        writeln!(f, "{:>8} {:>12} {:>12}", "label", "HD95 voxels", "HD95 mm")?;
        for l in &self.labels {
            writeln!(
                f,
                "{:>8} {:>12} {:>12}",
                l.label,
                value(l.hd95_voxels),
                value(l.hd95_mm)
            )?;
        }
        write!(
            f,
            "{:>8} {:>12} {:>12}",
            "mean",
            value(self.mean_hd95_voxels),
            value(self.mean_hd95_mm)
        )
    }
}
