//! Two displacements one after the other: what is left of the way.

use super::lanes::{dispatch, Kernel, Lanes};
use super::rows::{for_rows, Shared};
use super::sample::{Cell, Frame, Multilinear};
use crate::Affine;

/// A point may lie this far beyond the outer voxels of the inverse, in voxels: rounding must not push one outside.
const SLACK: f64 = 1e-3;

/// A displacement on one grid and one on another that should undo it, both planar, in units of the world.
pub(crate) struct RoundTrip<'a> {
    /// The displacement.
    pub forward: &'a [f32],
    /// Sizes of its grid, fastest axis first.
    pub size: &'a [usize],
    /// What should undo it.
    pub inverse: &'a [f32],
    /// Sizes of the inverse's grid.
    pub inverse_size: &'a [usize],
    /// Indices of the forward grid to those of the inverse's.
    pub map: Affine,
    /// Vectors of the world to indices of the inverse's grid.
    pub into_voxels: [[f64; 3]; 3],
}

impl RoundTrip<'_> {
    /// The length of `f(x) + g(x + f(x))` at every voxel, interpolated linearly; -1 where the point lies beyond the
    /// inverse's grid.
    pub fn errors(&self) -> Vec<f32> {
        if self.size.len() == 2 {
            self.ranked::<2>()
        } else {
            self.ranked::<3>()
        }
    }

    fn ranked<const D: usize>(&self) -> Vec<f32> {
        let frame = Frame::<f32, D>::new(self.size, self.inverse_size, &self.map);
        let voxels: usize = frame.moving.iter().product();
        assert!(
            self.forward.len() == frame.voxels() * D && self.inverse.len() == voxels * D,
            "fields"
        );
        let mut out = vec![0.0; frame.voxels()];
        let shared = Shared::new(&mut out);
        for_rows(frame.rows(), frame.fixed[0], |rows| {
            dispatch(Errors {
                trip: self,
                frame: &frame,
                rows,
                out: shared,
            });
        });
        out
    }
}

struct Errors<'a, const D: usize> {
    trip: &'a RoundTrip<'a>,
    frame: &'a Frame<f32, D>,
    rows: std::ops::Range<usize>,
    out: Shared<f32>,
}

impl<const D: usize> Kernel<f32> for Errors<'_, D> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = f32>>(self) {
        let (frame, trip) = (self.frame, self.trip);
        let (n, width) = (frame.voxels(), frame.fixed[0]);
        let m: usize = frame.moving.iter().product();
        // SAFETY: lengths were checked; each task writes its own rows.
        unsafe {
            let zero = L::constant(0.0);
            let one = L::constant(1.0);
            for row in self.rows.clone() {
                let start = frame.row_start(row);
                let mut i = 0;
                while i < width {
                    let count = (width - i).min(L::COUNT);
                    let at = row * width + i;
                    let mut step = [zero; D];
                    for a in 0..D {
                        step[a] = L::load_some(trip.forward.as_ptr().add(a * n + at), count);
                    }
                    let mut position = frame.positions(&start, i, [zero; D]);
                    for a in 0..D {
                        for b in 0..D {
                            let entry = L::constant(trip.into_voxels[a][b]);
                            position[a] = step[b].fma(entry, position[a]);
                        }
                    }
                    let cell = Cell::at(position, &frame.moving);
                    let here = Multilinear::of(&cell, &frame.stride);
                    let mut square = zero;
                    for a in 0..D {
                        let back = trip.inverse.as_ptr().add(a * m);
                        let rest = step[a].add(here.value(back, &frame.stride));
                        square = rest.fma(rest, square);
                    }
                    let inside = cell.within(&frame.moving, SLACK);
                    let error = inside.where_equal(one, square.sqrt());
                    let error = error.add(inside.sub(one));
                    error.store_some(self.out.at(at), count);
                    i += count;
                }
            }
        }
    }
}
