//! What is said about an alignment.

use crate::solver::Status;
use crate::transform::LinearKind;
use crate::{Affine, Grid, Result};

/// A start that was tried.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Candidate {
    /// What it is.
    pub name: String,
    /// Its energy after a short descent on a coarse level, raised where the images hardly overlap.
    pub score: f64,
}

/// The start that was chosen.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StartReport {
    /// What it is.
    pub name: String,
    /// Fixed world to moving world, RAS mm.
    #[serde(serialize_with = "four_by_four")]
    pub affine: Affine,
    /// Its energy on the coarsest level.
    pub energy: f64,
    /// The starts that were compared to the end, the chosen one included; empty where there was no choice.
    pub candidates: Vec<Candidate>,
}

/// How a linear stage went.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StageReport {
    /// How free its maps are.
    pub kind: LinearKind,
    /// Its energy at the start, on its finest level: one minus the squared correlation of the intensities, 0 to 1.
    pub energy_before: f64,
    /// At the end.
    pub energy_after: f64,
    /// Iterations on each level, coarse first.
    pub iterations: Vec<usize>,
    /// How the finest level ended.
    pub status: Status,
    /// Whether its map is used.
    pub kept: bool,
    /// Why not, where it is not.
    pub reason: Option<String>,
    /// The map after the stage (that before it where it was dropped): fixed world to moving world, RAS mm.
    #[serde(serialize_with = "four_by_four")]
    pub affine: Affine,
    /// The volume that both images cover, as a share of the smaller one.
    pub overlap: f64,
}

/// What a linear map says about the two images.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ScaleReport {
    /// For each axis of the moving image, by which factor its voxels would have to be longer to match the fixed image
    /// without a change of scale.
    pub axes: Vec<f64>,
    /// The lengths into which the map carries three perpendicular unit vectors: its singular values, largest first.
    pub singular_values: Vec<f64>,
    /// A sentence when one axis alone looks as if a header had the wrong voxel size.
    pub suspicion: Option<String>,
}

/// An axis is suspected beyond this deviation, while all others stay below it by this factor.
const SUSPECT: f64 = 0.10;
const CLEAR: f64 = 2.5;

impl ScaleReport {
    /// Of a map from fixed world to the world of an image on `moving`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error) for a singular map.
    pub fn of(affine: &Affine, moving: &Grid) -> Result<Self> {
        let back = affine.inverse()?;
        let direction = moving.direction();
        let length = |v: [f64; 3]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let axes: Vec<f64> = (0..moving.rank())
            .map(|a| length(back.apply_vector(direction.map(|row| row[a]))))
            .collect();
        Ok(Self {
            suspicion: suspicion(&axes, moving),
            axes,
            singular_values: Self::stretch(affine, moving),
        })
    }

    /// The singular values of a map to the world of an image on `moving`, largest first.
    pub(super) fn stretch(affine: &Affine, moving: &Grid) -> Vec<f64> {
        let m = &affine.matrix;
        let square: [[f64; 3]; 3] = std::array::from_fn(|r| {
            std::array::from_fn(|c| (0..3).map(|k| m[k][r] * m[k][c]).sum())
        });
        let mut singular_values: Vec<f64> = crate::linear::symmetric_eigen(&square)
            .0
            .iter()
            .map(|v| v.max(0.0).sqrt())
            .collect();
        if moving.rank() == 2 {
            // the third direction, which a map of the plane leaves alone
            let third = (0..3)
                .min_by(|&a, &b| {
                    let off = |k: usize| (singular_values[k] - 1.0).abs();
                    off(a).total_cmp(&off(b))
                })
                .unwrap_or(2);
            singular_values.remove(third);
        }
        singular_values
    }
}

fn suspicion(axes: &[f64], moving: &Grid) -> Option<String> {
    let off = |a: usize| (axes[a] - 1.0).abs();
    let worst = (0..axes.len()).max_by(|&a, &b| off(a).total_cmp(&off(b)))?;
    let others_clear =
        (0..axes.len()).all(|a| a == worst || CLEAR * off(a) <= off(worst).min(CLEAR * SUSPECT));
    (off(worst) > SUSPECT && others_clear).then(|| {
        let spacing = moving.spacing()[worst];
        format!(
            "along axis {} alone the moving image is longer or shorter than the fixed one: its header says {:.4} mm a voxel, {:.4} mm ({:.2} times as much) would fit; unless the subjects differ that much, one of the headers has a wrong voxel size",
            ["i", "j", "k"][worst],
            spacing,
            spacing * axes[worst],
            axes[worst]
        )
    })
}

fn four_by_four<S: serde::Serializer>(affine: &Affine, to: S) -> Result<S::Ok, S::Error> {
    let mut rows = [[0.0, 0.0, 0.0, 1.0]; 4];
    for r in 0..3 {
        rows[r][..3].copy_from_slice(&affine.matrix[r]);
        rows[r][3] = affine.translation[r];
    }
    serde::Serialize::serialize(&rows, to)
}
