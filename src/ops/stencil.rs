//! Neighbours along the axes of a volume, row by row.

/// A run of voxels within a row whose neighbours along the row can be loaded at once.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    /// Its length, at most the lanes asked for.
    pub count: usize,
    /// How far back the left neighbours lie: 0 for the first voxel of a row, which is its own neighbour.
    pub left: usize,
    /// How far ahead the right neighbours lie: 0 for the last voxel of a row.
    pub right: usize,
}

/// Cuts a row into segments: its two ends alone, the rest in vectors.
#[inline(always)]
pub(crate) fn segment(width: usize, start: usize, lanes: usize) -> Segment {
    if width == 1 {
        Segment {
            count: 1,
            left: 0,
            right: 0,
        }
    } else if start == 0 {
        Segment {
            count: 1,
            left: 0,
            right: 1,
        }
    } else if start == width - 1 {
        Segment {
            count: 1,
            left: 1,
            right: 0,
        }
    } else {
        Segment {
            count: lanes.min(width - 1 - start),
            left: 1,
            right: 1,
        }
    }
}

/// Distances in memory to the previous and the next row along each slower axis; 0 at the border, where a row is its
/// own neighbour. Entry 0 is unused.
#[inline(always)]
pub(crate) fn row_neighbours<const D: usize>(size: &[usize; D], row: usize) -> [(usize, usize); D] {
    let mut result = [(0, 0); D];
    let (mut rest, mut stride) = (row, size[0]);
    for a in 1..D {
        let index = rest % size[a];
        rest /= size[a];
        result[a] = (
            if index > 0 { stride } else { 0 },
            if index + 1 < size[a] { stride } else { 0 },
        );
        stride *= size[a];
    }
    result
}
