//! Runs of vectors, and pairs of them.

use crate::ops::lanes::Lanes;

/// Vectors of a run, which is passed one component after the other: the planes of volumes of even sizes all lie at the same
/// place of the nearest cache, which holds eight lines of one place, and a voxel alone would ask for up to twenty.
pub(super) const RUN: usize = 32;

/// Vectors of a plane that are read together: of halves, they make up a whole line.
pub(super) const PAIR: usize = 2;

/// How many lanes of a pair of vectors lie within the `left` voxels.
#[inline(always)]
pub(super) fn counts<L: Lanes>(left: usize) -> [usize; PAIR] {
    let first = left.min(L::COUNT);
    [first, (left - first).min(L::COUNT)]
}
