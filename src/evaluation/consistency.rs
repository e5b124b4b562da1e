//! How well an inverse inverts.

use super::statistics::Summary;
use crate::ops::RoundTrip;
use crate::{Chain, Error, Grid, Result};
use serde::Serialize;
use std::fmt;

/// Inverse consistency of a pair of displacements.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InverseConsistency {
    /// Mean, median, 95th percentile and so on of `||x - psi(phi(x))||`, mm.
    pub summary: Summary,
    /// Voxels of the forward grid whose image lies inside the inverse grid: those that were judged.
    pub inside: u64,
    /// All voxels of the forward grid.
    pub voxels: u64,
}

/// Inverse consistency: `||x - psi(phi(x))||` in mm at the voxels `x` of the forward grid.
///
/// `phi(x) = x + forward(x)` on `forward_grid`, `psi(y) = y + inverse(y)` on `inverse_grid`; both displacements planar,
/// length `rank * voxels`, mm RAS, components (x, y, z). The inverse is sampled by (bi-, tri-) linear interpolation
/// between voxel centres, in single precision; points `phi(x)` outside the box of the inverse grid's voxel centres are left
/// out.
///
/// # Errors
/// [`Error::InvalidArgument`] when the grids differ in rank, [`Error::Shape`] when a displacement does not have its
/// grid's length, [`Error::Data`] when no point is inside or a displacement is not finite.
pub fn inverse_consistency(
    forward: &[f32],
    forward_grid: &Grid,
    inverse: &[f32],
    inverse_grid: &Grid,
) -> Result<InverseConsistency> {
    let rank = forward_grid.rank();
    if inverse_grid.rank() != rank {
        return Err(Error::argument(
            "inverse grid",
            format!(
                "expected rank {rank} as the forward grid, got {}",
                inverse_grid.rank()
            ),
        ));
    }
    for (what, field, grid) in [
        ("forward displacement", forward, forward_grid),
        ("inverse displacement", inverse, inverse_grid),
    ] {
        if field.len() != rank * grid.voxels() {
            return Err(Error::Shape {
                what,
                expected: vec![rank, grid.voxels()],
                got: vec![field.len()],
            });
        }
    }
    let errors = RoundTrip {
        forward,
        size: forward_grid.size(),
        inverse,
        inverse_size: inverse_grid.size(),
        map: inverse_grid
            .world_to_index()
            .compose(&forward_grid.index_to_world()),
        into_voxels: inverse_grid.world_to_index().matrix,
    }
    .errors();
    let voxels = errors.len();
    // points outside are marked by a negative error
    let errors: Vec<f32> = errors
        .into_iter()
        .filter(|e| e.is_nan() || *e >= 0.0)
        .collect();
    if errors.iter().any(|e| !e.is_finite()) {
        return Err(not_finite());
    }
    let summary = Summary::of_sizes(&errors).ok_or_else(apart)?;
    Ok(InverseConsistency {
        summary,
        inside: errors.len() as u64,
        voxels: voxels as u64,
    })
}

/// Inverse consistency of chains of transforms: `||x - psi(phi(x))||` in mm at the voxels `x` of a grid in the fixed space.
///
/// `phi` is `forward`, `psi` is `inverse`. Points that come to lie beyond the voxel centres of one of the inverse's
/// displacement fields are left out.
///
/// # Errors
/// [`Error::InvalidArgument`] when chains and grid differ in rank, [`Error::Data`] when no point is inside.
pub fn chain_consistency(
    forward: &Chain,
    inverse: &Chain,
    grid: &Grid,
) -> Result<InverseConsistency> {
    if forward.rank() != grid.rank() || inverse.rank() != grid.rank() {
        return Err(Error::argument(
            "transforms",
            format!(
                "expected rank {} as the grid, got {} and {}",
                grid.rank(),
                forward.rank(),
                inverse.rank()
            ),
        ));
    }
    let world = grid.index_to_world();
    let mut errors = Vec::new();
    for first in (0..grid.voxels()).step_by(1 << 18) {
        let points: Vec<[f64; 3]> = (first..grid.voxels().min(first + (1 << 18)))
            .map(|v| world.apply(grid.index_of(v).map(|i| i as f64)))
            .collect();
        let back = inverse.apply_inside(&forward.apply_all(&points));
        errors.extend(points.iter().zip(back).filter_map(|(x, back)| {
            let back = back?;
            Some((0..3).map(|c| (back[c] - x[c]).powi(2)).sum::<f64>().sqrt())
        }));
    }
    summarised(errors, grid.voxels())
}

fn summarised(errors: Vec<f64>, voxels: usize) -> Result<InverseConsistency> {
    if errors.iter().any(|e| !e.is_finite()) {
        return Err(not_finite());
    }
    let summary = Summary::of(&errors).ok_or_else(apart)?;
    Ok(InverseConsistency {
        summary,
        inside: errors.len() as u64,
        voxels: voxels as u64,
    })
}

fn not_finite() -> Error {
    Error::data(
        "displacement",
        "expected finite values, found NaN or infinity",
    )
}

fn apart() -> Error {
    Error::data(
        "inverse displacement",
        "no point of the forward grid is mapped into the inverse grid; check that the two grids belong together",
    )
}

impl fmt::Display for InverseConsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "inverse consistency, mm: {} ({:.1} % of the voxels)",
            self.summary,
            100.0 * self.inside as f64 / self.voxels as f64
        )
    }
}
