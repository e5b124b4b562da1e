//! Parts of a volume that tasks take, whole rows each.

use std::ops::Range;

/// Voxels of a plane of a tile and planes of a tile at least, where the volume has them: its sums stay in the nearer caches.
const PLANE: usize = 8192;
const PLANES: usize = 24;

/// How many times the window a tile is wide at least: what it computes beyond its border stays a share of it.
const WINDOWS: usize = 2;

/// Rows along the second axis and planes along the third.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tile {
    pub rows: Range<usize>,
    pub planes: Range<usize>,
}

impl Tile {
    /// All of a volume, in an order that does not depend on the number of threads.
    pub fn all(size: &[usize; 3], radius: &[usize; 3]) -> Vec<Self> {
        let least = |axis: usize| WINDOWS * (2 * radius[axis] + 1);
        let rows = parts(size[1], least(1).max(PLANE / size[0]));
        let planes = parts(size[2], least(2).max(PLANES));
        let tile = |planes: &Range<usize>, rows: &Range<usize>| Self {
            rows: rows.clone(),
            planes: planes.clone(),
        };
        let of_planes = |planes| rows.iter().map(move |rows| tile(planes, rows));
        planes.iter().flat_map(of_planes).collect()
    }

    /// With all that lies within `radius`, inside the volume.
    pub fn grown(&self, size: &[usize; 3], radius: &[usize; 3]) -> Self {
        let grow = |range: &Range<usize>, axis: usize| {
            range.start.saturating_sub(radius[axis])..(range.end + radius[axis]).min(size[axis])
        };
        Self {
            rows: grow(&self.rows, 1),
            planes: grow(&self.planes, 2),
        }
    }
}

/// Equal parts of `0..length`, none shorter than `least` unless it is all.
fn parts(length: usize, least: usize) -> Vec<Range<usize>> {
    let count = (length / least.max(1)).max(1);
    let start = |part: usize| part * length / count;
    (0..count).map(|k| start(k)..start(k + 1)).collect()
}
