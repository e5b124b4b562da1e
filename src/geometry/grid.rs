//! Regular grids of voxels in the world.

use super::affine::distance;
use super::Affine;
use crate::{Error, Result};

/// A regular grid of voxels: size, spacing, origin and direction.
///
/// Index space has voxel centres at integers, first index `i` fastest in memory. World space is NIfTI RAS+
/// millimetres: `world = direction * (spacing .* index) + origin`. ITK uses LPS instead, `LPS = diag(-1, -1, 1) RAS`;
/// the conversion happens where such files are read and written.
///
/// A two-dimensional grid lives in the world's x-y plane: its third size is 1, its third spacing 1 and the third row
/// and column of its direction those of the identity.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    rank: usize,
    size: [usize; 3],
    spacing: [f64; 3],
    origin: [f64; 3],
    direction: [[f64; 3]; 3],
}

impl Grid {
    /// A grid of rank 2 or 3, by the length of `size`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the rank is not 2 or 3, a size is zero, a spacing is not positive and finite,
    /// or the direction is not orthonormal to 1e-3.
    pub fn new(
        size: &[usize],
        spacing: &[f64],
        origin: [f64; 3],
        direction: [[f64; 3]; 3],
    ) -> Result<Self> {
        let rank = size.len();
        if !(2..=3).contains(&rank) || spacing.len() != rank {
            return Err(Error::argument(
                "grid",
                format!(
                    "rank must be 2 or 3 with one spacing an axis, got size {size:?} and spacing {spacing:?}"
                ),
            ));
        }
        if size.contains(&0) {
            return Err(Error::argument(
                "grid",
                format!("every size must be at least 1, got {size:?}"),
            ));
        }
        if !spacing.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err(Error::argument(
                "grid",
                format!("every spacing must be positive and finite, got {spacing:?} mm"),
            ));
        }
        if !origin.iter().all(|v| v.is_finite()) {
            return Err(Error::argument(
                "grid",
                format!("the origin must be finite, got {origin:?}"),
            ));
        }
        for a in 0..3 {
            for b in 0..3 {
                let dot: f64 = (0..3).map(|r| direction[r][a] * direction[r][b]).sum();
                let target = f64::from(u8::from(a == b));
                if (dot - target).abs() > 1e-3 || !dot.is_finite() {
                    return Err(Error::argument(
                        "grid",
                        format!("the direction must be orthonormal, got {direction:?}"),
                    ));
                }
            }
        }
        Ok(Self {
            rank,
            size: std::array::from_fn(|a| size.get(a).copied().unwrap_or(1)),
            spacing: std::array::from_fn(|a| spacing.get(a).copied().unwrap_or(1.0)),
            origin,
            direction,
        })
    }

    /// A grid at the origin, axes along the world's, with this spacing.
    ///
    /// # Errors
    /// As [`Grid::new`].
    pub fn axis_aligned(size: &[usize], spacing: &[f64]) -> Result<Self> {
        Self::new(size, spacing, [0.0; 3], Affine::identity().matrix)
    }

    /// 2 or 3.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Voxels along each of the `rank` axes, fastest first.
    pub fn size(&self) -> &[usize] {
        &self.size[..self.rank]
    }

    /// Millimetres between voxel centres along each of the `rank` axes.
    pub fn spacing(&self) -> &[f64] {
        &self.spacing[..self.rank]
    }

    /// The smallest [`spacing`](Self::spacing), mm.
    pub fn finest_spacing(&self) -> f64 {
        self.spacing().iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// World position of voxel 0, RAS mm.
    pub fn origin(&self) -> [f64; 3] {
        self.origin
    }

    /// Direction cosines; column `a` is the world direction of axis `a`.
    pub fn direction(&self) -> [[f64; 3]; 3] {
        self.direction
    }

    /// Number of voxels.
    pub fn voxels(&self) -> usize {
        self.size.iter().product()
    }

    /// The index along each axis of a voxel, counted with the first axis fastest; 0 along axes that are missing.
    pub(crate) fn index_of(&self, voxel: usize) -> [usize; 3] {
        let [nx, ny, _] = self.size;
        [voxel % nx, voxel / nx % ny, voxel / (nx * ny)]
    }

    /// The voxels around a point (in voxels of this grid) and their shares in linear interpolation, which beyond the border
    /// goes on with the nearest value.
    pub(crate) fn around(&self, at: [f64; 3]) -> Vec<(usize, f64)> {
        let (mut corners, mut stride) = (vec![(0, 1.0)], 1);
        for (a, &n) in self.size().iter().enumerate() {
            let x = at[a].clamp(0.0, (n - 1) as f64);
            let low = (x as usize).min(n.saturating_sub(2));
            let (share, high) = (x - low as f64, (low + 1).min(n - 1));
            corners = corners
                .iter()
                .flat_map(|&(corner, weight)| {
                    [
                        (corner + low * stride, weight * (1.0 - share)),
                        (corner + high * stride, weight * share),
                    ]
                })
                .collect();
            stride *= n;
        }
        corners
    }

    /// The spatial shape of a tensor on this grid: slowest axis first.
    pub fn shape(&self) -> Vec<usize> {
        self.size().iter().rev().copied().collect()
    }

    /// The map from index to world (RAS mm).
    pub fn index_to_world(&self) -> Affine {
        Affine::new(
            std::array::from_fn(|r| {
                std::array::from_fn(|c| self.direction[r][c] * self.spacing[c])
            }),
            self.origin,
        )
    }

    /// The map from world (RAS mm) to index.
    pub fn world_to_index(&self) -> Affine {
        // A direction is orthonormal only to the precision of a header: invert, do not transpose.
        self.index_to_world()
            .inverse()
            .unwrap_or_else(|_| unreachable!("a checked grid is invertible"))
    }

    /// World positions of the corner voxels' centres (8, or 4 in 2D).
    pub fn corners(&self) -> Vec<[f64; 3]> {
        let map = self.index_to_world();
        (0..1usize << self.rank)
            .map(|bits| {
                map.apply(std::array::from_fn(|a| {
                    if a < self.rank && bits >> a & 1 == 1 {
                        (self.size[a] - 1) as f64
                    } else {
                        0.0
                    }
                }))
            })
            .collect()
    }

    /// World position of the middle of the grid.
    pub fn centre(&self) -> [f64; 3] {
        self.index_to_world()
            .apply(std::array::from_fn(|a| (self.size[a] - 1) as f64 / 2.0))
    }

    /// Whether two grids are the same for all purposes: equal size, corners within `tolerance` voxels.
    pub fn matches(&self, other: &Self, tolerance: f64) -> bool {
        let smallest = self.finest_spacing();
        self.rank == other.rank
            && self.size == other.size
            && self
                .corners()
                .iter()
                .zip(other.corners())
                .all(|(a, b)| distance(*a, b) <= tolerance * smallest)
    }

    /// A grid over the same field of view with another number of voxels an axis.
    ///
    /// The outer *edges* of the first and last voxels stay where they are, so spacing becomes `spacing * old / new`
    /// and the origin moves by half the difference of the spacings.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the rank differs or a size is zero.
    pub fn resized(&self, size: &[usize]) -> Result<Self> {
        if size.len() != self.rank {
            return Err(Error::argument(
                "size",
                format!("expected {} sizes, got {size:?}", self.rank),
            ));
        }
        let spacing: Vec<f64> = (0..self.rank)
            .map(|a| self.spacing[a] * self.size[a] as f64 / size[a].max(1) as f64)
            .collect();
        let first = std::array::from_fn(|a| {
            if a < self.rank {
                0.5 * (spacing[a] / self.spacing[a] - 1.0)
            } else {
                0.0
            }
        });
        Self::new(
            size,
            &spacing,
            self.index_to_world().apply(first),
            self.direction,
        )
    }

    /// The part of the grid that starts at voxel `start` and has `size` voxels.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it does not lie inside the grid or is empty.
    pub fn cropped(&self, start: &[usize], size: &[usize]) -> Result<Self> {
        let fits = start.len() == self.rank
            && size.len() == self.rank
            && (0..self.rank).all(|a| start[a] + size[a] <= self.size[a]);
        if !fits {
            return Err(Error::argument(
                "crop",
                format!(
                    "{size:?} voxels from {start:?} do not lie inside {:?}",
                    self.size()
                ),
            ));
        }
        let first = std::array::from_fn(|a| start.get(a).map_or(0.0, |&s| s as f64));
        Self::new(
            size,
            self.spacing(),
            self.index_to_world().apply(first),
            self.direction,
        )
    }

    /// Size, spacing and origin in one line, for messages.
    pub fn describe(&self) -> String {
        let join = |v: &[f64]| {
            v.iter()
                .map(|s| {
                    format!("{s:.4}")
                        .trim_end_matches('0')
                        .trim_end_matches('.')
                        .to_owned()
                })
                .collect::<Vec<_>>()
                .join("x")
        };
        let size: Vec<String> = self.size().iter().map(ToString::to_string).collect();
        format!(
            "{} voxels of {} mm at ({:.2}, {:.2}, {:.2})",
            size.join("x"),
            join(self.spacing()),
            self.origin[0],
            self.origin[1],
            self.origin[2]
        )
    }
}
