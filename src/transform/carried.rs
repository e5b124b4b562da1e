//! A chain made ready to be applied to many points.

use super::chain::{Chain, Link};
use super::lattice::{flat, Lattice};
use crate::{Affine, DisplacementField, Error, Grid, Result};

/// Voxels by which two grids may differ and still count as the same.
const SAME: f64 = 1e-4;

/// The maps of a chain with neighbouring affine maps joined.
pub(super) struct Carried<'a> {
    start: Affine,
    size: [usize; 3],
    steps: Vec<Step<'a>>,
}

struct Step<'a> {
    field: &'a DisplacementField,
    lattice: Lattice,
    /// World to the field's index.
    index: Affine,
    /// An affine map of the world, after the displacement.
    then: Option<Affine>,
    /// The grid's voxels are the field's.
    aligned: bool,
}

impl<'a> Carried<'a> {
    /// Points of the world into points of the world.
    pub fn points(chain: &'a Chain) -> Self {
        Self::new(chain, Affine::identity(), [1; 3], None)
    }

    /// The voxels of a grid to what `end` makes of their points in the moving space.
    pub fn grid(chain: &'a Chain, grid: &Grid, end: &Affine) -> Result<Self> {
        if grid.rank() != chain.rank() {
            return Err(Error::argument(
                "transforms and reference",
                format!(
                    "have {} and {} dimensions; both must be of one kind",
                    chain.rank(),
                    grid.rank()
                ),
            ));
        }
        let size = std::array::from_fn(|a| grid.size().get(a).copied().unwrap_or(1));
        let mut carried = Self::new(chain, grid.index_to_world(), size, Some(grid));
        carried.then(end);
        Ok(carried)
    }

    fn new(chain: &'a Chain, start: Affine, size: [usize; 3], grid: Option<&Grid>) -> Self {
        let mut carried = Self {
            start,
            size,
            steps: Vec::new(),
        };
        for (n, link) in chain.links().iter().enumerate() {
            match link {
                Link::Affine(map) => carried.then(map),
                Link::Field(field) => carried.steps.push(Step {
                    field,
                    lattice: Lattice::new(field.grid()),
                    index: flat(&field.grid().world_to_index(), chain.rank()),
                    then: None,
                    aligned: n == 0 && grid.is_some_and(|grid| grid.matches(field.grid(), SAME)),
                }),
            }
        }
        carried
    }

    /// Adds an affine map of the world at the end.
    fn then(&mut self, map: &Affine) {
        match self.steps.last_mut() {
            None => self.start = map.compose(&self.start),
            Some(step) => step.then = Some(step.then.map_or(*map, |then| map.compose(&then))),
        }
    }

    /// Fills `points` with what becomes of the voxels of a row, a line along the fastest axis.
    pub fn row(&self, row: usize, points: &mut [[f64; 3]]) {
        let (j, k) = (row % self.size[1], row / self.size[1]);
        for (i, point) in points.iter_mut().enumerate() {
            *point = self.start.apply([i as f64, j as f64, k as f64]);
        }
        for step in &self.steps {
            if step.aligned {
                step.displace_row(row * self.size[0], points);
            } else {
                step.displace(points, None);
            }
        }
    }

    /// Carries points of the world in place and marks those that a field knows nothing of.
    pub fn carry(&self, points: &mut [[f64; 3]], mut outside: Option<&mut [bool]>) {
        for point in points.iter_mut() {
            *point = self.start.apply(*point);
        }
        for step in &self.steps {
            step.displace(points, outside.as_deref_mut());
        }
    }
}

impl Step<'_> {
    fn displace(&self, points: &mut [[f64; 3]], mut outside: Option<&mut [bool]>) {
        let (values, rank) = (self.field.values(), self.field.grid().rank());
        let voxels = self.field.grid().voxels();
        for (n, point) in points.iter_mut().enumerate() {
            let index = self.index.apply(*point);
            if let Some(outside) = outside.as_deref_mut() {
                outside[n] |= !self.lattice.between_centres(index);
            }
            if let Some(cell) = self.lattice.cell(index) {
                for c in 0..rank {
                    point[c] += cell.linear(&values[c * voxels..(c + 1) * voxels]);
                }
            }
            if let Some(then) = &self.then {
                *point = then.apply(*point);
            }
        }
    }

    /// Displaces points that lie at the field's voxels from `first` on.
    fn displace_row(&self, first: usize, points: &mut [[f64; 3]]) {
        let (values, rank) = (self.field.values(), self.field.grid().rank());
        let voxels = self.field.grid().voxels();
        for c in 0..rank {
            let line = &values[c * voxels + first..][..points.len()];
            for (point, value) in points.iter_mut().zip(line) {
                point[c] += f64::from(*value);
            }
        }
        if let Some(then) = &self.then {
            for point in points {
                *point = then.apply(*point);
            }
        }
    }
}
