//! The simplices of the digital criterion, one by one.

use crate::ops::real::Real;
use crate::ops::rows::Shared;

/// Planes (lines in 2D) along the slowest axis that make a slab.
const THICKNESS: usize = 4;

type Vector = [f64; 3];
type Matrix = [Vector; 3];

/// A grid with a third axis of one voxel in 2D.
pub(super) struct Shape {
    pub size: [usize; 3],
    rank: usize,
}

/// The vertices of a simplex as voxels, its edges where nothing moves, and the sign that makes it positive there.
pub(super) struct Corners {
    vertices: [usize; 4],
    edges: Matrix,
    scale: f64,
}

impl Shape {
    pub(super) fn new(size: &[usize]) -> Self {
        Self {
            size: std::array::from_fn(|a| size.get(a).copied().unwrap_or(1)),
            rank: size.len(),
        }
    }

    /// Components and voxels of a field on the grid.
    pub(super) fn field(&self) -> (usize, usize) {
        (self.rank, self.size.iter().product())
    }

    /// Determinants that a cell has.
    pub(super) fn per_cell(&self) -> f64 {
        if self.rank == 3 {
            10.0
        } else {
            4.0
        }
    }

    /// The slowest axis and the lines along the fastest axis that one of its planes has.
    fn planes(&self) -> (usize, usize) {
        if self.size[2] > 1 {
            (self.size[2], self.size[1])
        } else {
            (self.size[1], 1)
        }
    }

    pub(super) fn slabs(&self) -> usize {
        self.planes().0.div_ceil(THICKNESS)
    }

    /// The lines of voxels in a slab.
    pub(super) fn lines(&self, slab: usize) -> std::ops::Range<usize> {
        let (planes, lines) = self.planes();
        slab * THICKNESS * lines..((slab + 1) * THICKNESS).min(planes) * lines
    }

    /// The simplices that belong to a voxel: those with the right angle in it, and in 3D the two diagonal ones of the
    /// cell that begins there. Along an axis of one voxel the edge is the axis itself.
    pub(super) fn simplices(&self, line: usize, x: usize) -> impl Iterator<Item = Corners> + '_ {
        let voxel = [x, line % self.size[1], line / self.size[1]];
        let stride = [1, self.size[0], self.size[0] * self.size[1]];
        let here = line * self.size[0] + x;
        let octants = (0..8usize).filter_map(move |octant| {
            let mut corners = Corners {
                vertices: [here; 4],
                edges: [[0.0; 3]; 3],
                scale: 1.0,
            };
            for a in 0..3 {
                let ahead = octant >> a & 1 == 1;
                let sign = if ahead { 1.0 } else { -1.0 };
                corners.edges[a][a] = sign;
                corners.scale *= sign;
                if self.size[a] == 1 {
                    // counted once
                    if !ahead {
                        return None;
                    }
                } else if ahead {
                    if voxel[a] + 1 == self.size[a] {
                        return None;
                    }
                    corners.vertices[a + 1] = here + stride[a];
                } else {
                    corners.vertices[a + 1] =
                        here.checked_sub(stride[a]).filter(|_| voxel[a] > 0)?;
                }
            }
            Some(corners)
        });
        let cell = self.rank == 3 && (0..3).all(|a| voxel[a] + 1 < self.size[a]);
        let whole: usize = stride.iter().sum();
        let diagonals = [false, true]
            .into_iter()
            .filter(move |_| cell)
            .map(move |high| {
                let sign = if high { -1.0 } else { 1.0 };
                let mut corners = Corners {
                    vertices: [if high { here + whole } else { here }; 4],
                    edges: [[sign; 3]; 3],
                    scale: 0.5 * sign,
                };
                for a in 0..3 {
                    corners.edges[a][a] = 0.0;
                    corners.vertices[a + 1] = if high {
                        here + stride[a]
                    } else {
                        here + whole - stride[a]
                    };
                }
                corners
            });
        octants.chain(diagonals)
    }
}

/// A displaced simplex with the first and second derivative of its penalty with respect to its determinant.
#[derive(Debug)]
pub(super) struct Simplex {
    vertices: [u32; 4],
    edges: Matrix,
    scale: f64,
    slope: f64,
    bend: f64,
}

fn cross(a: &Vector, b: &Vector) -> Vector {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

fn dot(a: &Vector, b: &Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn sum(a: &Vector, b: &Vector) -> Vector {
    std::array::from_fn(|c| a[c] + b[c])
}

/// The derivative of the determinant with respect to each edge.
fn cofactors(e: &Matrix) -> Matrix {
    [
        cross(&e[1], &e[2]),
        cross(&e[2], &e[0]),
        cross(&e[0], &e[1]),
    ]
}

/// The edges' differences of a field: each vertex less the first.
#[inline(always)]
fn differences<T: Real>(p: &[T], vertices: &[u32; 4], (rank, voxels): (usize, usize)) -> Matrix {
    let mut edges = [[0.0; 3]; 3];
    for (k, edge) in edges.iter_mut().enumerate() {
        for (c, entry) in edge.iter_mut().enumerate().take(rank) {
            let plane = &p[c * voxels..(c + 1) * voxels];
            *entry = plane[vertices[k + 1] as usize].wide() - plane[vertices[0] as usize].wide();
        }
    }
    edges
}

impl Simplex {
    /// The simplex displaced by `u` (`rank` planes of `voxels` elements), without a penalty yet.
    pub(super) fn new<T: Real>(u: &[T], corners: &Corners, field: (usize, usize)) -> Self {
        let vertices = corners.vertices.map(|v| v as u32);
        let moved = differences(u, &vertices, field);
        Self {
            vertices,
            edges: std::array::from_fn(|k| sum(&moved[k], &corners.edges[k])),
            scale: corners.scale,
            slope: 0.0,
            bend: 0.0,
        }
    }

    /// One where nothing moves.
    pub(super) fn determinant(&self) -> f64 {
        self.scale * dot(&self.edges[0], &cross(&self.edges[1], &self.edges[2]))
    }

    /// With the derivatives of its penalty by the determinant.
    pub(super) fn weighted(mut self, slope: f64, bend: f64) -> Self {
        self.slope = slope;
        self.bend = bend;
        self
    }

    /// Leaves the second derivative of the determinant out of the curvature.
    pub(super) fn straighten(&mut self) {
        self.slope = 0.0;
    }

    /// Adds forces on the edges to the vertices.
    #[inline(always)]
    unsafe fn scatter<T: Real>(
        &self,
        force: &Matrix,
        out: Shared<T>,
        (rank, voxels): (usize, usize),
    ) {
        for c in 0..rank {
            // SAFETY: the caller's promise: vertices lie inside the field.
            let at = |k: usize| unsafe { out.at(c * voxels + self.vertices[k] as usize) };
            let mut rest = 0.0;
            for (k, force) in force.iter().enumerate() {
                // SAFETY: as above.
                unsafe { *at(k + 1) += T::of(force[c]) };
                rest += force[c];
            }
            // SAFETY: as above.
            unsafe { *at(0) += T::of(-rest) };
        }
    }

    /// # Safety
    /// The vertices lie inside the field, and no other task writes to them.
    pub(super) unsafe fn add_gradient<T: Real>(&self, out: Shared<T>, field: (usize, usize)) {
        let force = cofactors(&self.edges).map(|row| row.map(|v| v * self.scale * self.slope));
        // SAFETY: the caller's promise.
        unsafe { self.scatter(&force, out, field) };
    }

    /// Adds `factor C p`; returns `factor p' C p`.
    ///
    /// # Safety
    /// As [`Simplex::add_gradient`].
    pub(super) unsafe fn add_product<T: Real>(
        &self,
        p: &[T],
        factor: f64,
        out: Shared<T>,
        field: (usize, usize),
    ) -> f64 {
        let (e, d) = (&self.edges, differences(p, &self.vertices, field));
        let normal = cofactors(e);
        let change = self.scale * (0..3).map(|k| dot(&normal[k], &d[k])).sum::<f64>();
        let along = factor * self.scale * self.bend * change;
        let turn = factor * self.scale * self.slope;
        let mut force = [[0.0; 3]; 3];
        let mut curvature = 0.0;
        for k in 0..3 {
            let (i, j) = ((k + 1) % 3, (k + 2) % 3);
            let turned = sum(&cross(&d[i], &e[j]), &cross(&e[i], &d[j]));
            force[k] = std::array::from_fn(|c| along * normal[k][c] + turn * turned[c]);
            curvature += dot(&force[k], &d[k]);
        }
        // SAFETY: the caller's promise.
        unsafe { self.scatter(&force, out, field) };
        curvature
    }

    /// Adds `factor` times the diagonal blocks: a determinant is linear in each vertex, so they are outer products.
    ///
    /// # Safety
    /// As [`Simplex::add_gradient`].
    pub(super) unsafe fn add_blocks<T: Real>(
        &self,
        factor: f64,
        out: Shared<T>,
        (rank, voxels): (usize, usize),
    ) {
        let mut normal = cofactors(&self.edges).map(|row| row.map(|v| v * self.scale));
        for (k, normal) in normal.iter_mut().enumerate() {
            // an edge along an axis of one voxel does not move
            if self.vertices[k + 1] == self.vertices[0] {
                *normal = [0.0; 3];
            }
        }
        let own = sum(&sum(&normal[0], &normal[1]), &normal[2]);
        let all = [&own, &normal[0], &normal[1], &normal[2]];
        for (vertex, normal) in self.vertices.iter().zip(all) {
            let mut entry = 0;
            for a in 0..rank {
                for b in a..rank {
                    // SAFETY: the caller's promise.
                    unsafe {
                        *out.at(entry * voxels + *vertex as usize) +=
                            T::of(factor * self.bend * normal[a] * normal[b]);
                    }
                    entry += 1;
                }
            }
        }
    }
}
