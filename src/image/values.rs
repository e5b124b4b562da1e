//! What every reader says about values that cannot be used.

use std::path::Path;

use super::element::NonFinite;
use crate::{Error, Grid, Result};

/// Refuses what would take more memory than allowed, before it is taken.
pub(super) fn check_memory(path: &Path, needed: u64, limit: u64) -> Result<()> {
    if needed > limit {
        return Err(Error::Memory {
            what: path.display().to_string(),
            needed,
            limit,
        });
    }
    Ok(())
}

/// The error for NaN and infinite values.
pub(super) fn non_finite(path: &Path, grid: &Grid, found: NonFinite) -> Error {
    Error::data(
        path.display().to_string(),
        format!(
            "{} of its values are NaN or infinite, the first at index {}; replace them (for example by 0) first",
            found.count,
            index_of(grid, found.first)
        ),
    )
}

/// The error for a value that is no label.
pub(super) fn no_label(path: &Path, grid: &Grid, (place, value): (usize, f64)) -> Error {
    Error::data(
        path.display().to_string(),
        format!(
            "labels must be whole numbers from 0 to {}, found {value} at index {}; is this an intensity image?",
            u32::MAX,
            index_of(grid, place)
        ),
    )
}

/// The index (i, j, k) of a place in memory.
fn index_of(grid: &Grid, place: usize) -> String {
    let mut rest = place % grid.voxels();
    let index: Vec<String> = grid
        .size()
        .iter()
        .map(|n| {
            let i = rest % n;
            rest /= n;
            i.to_string()
        })
        .collect();
    format!("({})", index.join(", "))
}
