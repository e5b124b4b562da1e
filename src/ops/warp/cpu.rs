//! Rows of the warp, of its derivative along a displacement, and of its gradient with respect to the displacement.

use super::Place;
use crate::ops::lanes::{dispatch, Kernel, Lanes, Stores};
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, Shared};
use crate::ops::sample::{cubic, vectors, Cell, Frame, Interpolation, Multilinear, RUN, RUNS};
use crate::ops::storage::computed;

/// What a pass computes.
#[derive(Clone, Copy)]
pub(super) enum Task<'a, T> {
    /// The warped image.
    Values,
    /// Its derivative along a step of the displacement.
    Along(&'a [T]),
    /// The gradient of its product with a cotangent, with respect to the displacement.
    Gradient(&'a [T]),
}

pub(super) fn pass<T: Real>(
    place: &Place<'_>,
    image: &[T],
    u: Option<&[T]>,
    task: Task<'_, T>,
) -> Vec<T> {
    if place.fixed.len() == 2 {
        ranked::<T, 2>(place, image, u, task)
    } else {
        ranked::<T, 3>(place, image, u, task)
    }
}

fn ranked<T: Real, const D: usize>(
    place: &Place<'_>,
    image: &[T],
    u: Option<&[T]>,
    task: Task<'_, T>,
) -> Vec<T> {
    let frame = place.frame::<T, D>();
    // every pointer below stays within these lengths
    let (n, m) = (frame.voxels(), frame.moving.iter().product::<usize>());
    let channels = image.len() / m;
    assert_eq!(image.len(), channels * m, "image");
    assert!(u.is_none_or(|u| u.len() == n * D), "displacement");
    let planes = match task {
        Task::Values => channels,
        Task::Along(step) => {
            assert_eq!(step.len(), n * D, "step");
            channels
        }
        Task::Gradient(cotangent) => {
            assert_eq!(cotangent.len(), n * channels, "cotangent");
            D
        }
    };
    let length = n * planes;
    let stores = Stores::of(length * size_of::<T>());
    let work = |out| {
        for_rows(frame.rows(), frame.fixed[0], |rows| {
            dispatch(Warp {
                frame: &frame,
                interpolation: place.interpolation,
                continued: place.continued,
                image,
                channels,
                u,
                task,
                rows,
                out,
                stores,
            });
        });
    };
    // SAFETY: every voxel of every plane is written.
    unsafe { computed(length, work) }
}

const VALUES: usize = 0;
const ALONG: usize = 1;
const GRADIENT: usize = 2;

struct Warp<'a, T, const D: usize> {
    frame: &'a Frame<T, D>,
    interpolation: Interpolation,
    continued: bool,
    image: &'a [T],
    channels: usize,
    u: Option<&'a [T]>,
    task: Task<'a, T>,
    rows: std::ops::Range<usize>,
    out: Shared<T>,
    stores: Stores,
}

impl<T: Real, const D: usize> Kernel<T> for Warp<'_, T, D> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // SAFETY: lengths were checked; each task writes its own rows.
        unsafe {
            let stores = self.stores;
            match (self.interpolation, self.task) {
                (Interpolation::Linear, Task::Values) => self.rows::<L, false, VALUES>(&[]),
                (Interpolation::Cubic, Task::Values) => self.rows::<L, true, VALUES>(&[]),
                (Interpolation::Linear, Task::Along(q)) => self.rows::<L, false, ALONG>(q),
                (Interpolation::Cubic, Task::Along(q)) => self.rows::<L, true, ALONG>(q),
                (Interpolation::Linear, Task::Gradient(g)) => self.rows::<L, false, GRADIENT>(g),
                (Interpolation::Cubic, Task::Gradient(g)) => self.rows::<L, true, GRADIENT>(g),
            }
            stores.settle();
        }
    }
}

/// A vector of voxels: its row, its first voxel in the row and in the fixed grid, and how many there are.
#[derive(Clone, Copy)]
struct Vector {
    row: usize,
    i: usize,
    at: usize,
    count: usize,
}

impl<T: Real, const D: usize> Warp<'_, T, D> {
    #[inline(always)]
    unsafe fn cell<L: Lanes<Element = T>, const CUBIC: bool>(&self, v: Vector) -> Cell<L, D> {
        let start = self.frame.row_start(v.row);
        // SAFETY: as in `run`.
        unsafe {
            let place = (v.i, v.at, v.count);
            self.frame.cell::<L, CUBIC>(self.u, &start, place)
        }
    }

    /// One channel.
    #[inline(always)]
    unsafe fn value<L: Lanes<Element = T>, const CUBIC: bool>(
        &self,
        image: *const T,
        v: Vector,
        between: &Multilinear<L, D>,
    ) -> L {
        let (size, stride) = (&self.frame.moving, &self.frame.stride);
        // SAFETY: as in `run`.
        unsafe {
            let value = if CUBIC {
                cubic::<L, D, 0>(image, &self.cell::<L, CUBIC>(v), size, stride).0
            } else {
                between.value(image, stride)
            };
            if self.continued {
                return value;
            }
            value.mul(self.cell::<L, CUBIC>(v).within(size, 0.5))
        }
    }

    /// The gradient of one channel with respect to the position.
    #[inline(always)]
    unsafe fn slope<L: Lanes<Element = T>, const CUBIC: bool>(
        &self,
        image: *const T,
        v: Vector,
        between: &Multilinear<L, D>,
    ) -> [L; D] {
        let (size, stride) = (&self.frame.moving, &self.frame.stride);
        // SAFETY: as in `run`.
        unsafe {
            if CUBIC {
                cubic::<L, D, 1>(image, &self.cell::<L, CUBIC>(v), size, stride).1
            } else {
                between.slope(image, stride).1
            }
        }
    }

    /// A task, with the step or the cotangent that it has.
    #[inline(always)]
    unsafe fn rows<L: Lanes<Element = T>, const CUBIC: bool, const TASK: usize>(
        &self,
        along: &[T],
    ) {
        let frame = self.frame;
        let (n, width) = (frame.voxels(), frame.fixed[0]);
        let m: usize = frame.moving.iter().product();
        // SAFETY: as in `run`.
        unsafe {
            let mut runs = [frame.room::<L>(); RUNS];
            let mut sums = [[[L::constant(0.0); D]; RUN]; RUNS];
            let all = frame.runs::<L>(self.rows.len());
            let together = if self.channels > 1 { RUNS } else { 1 };
            for first in (0..all).step_by(together) {
                let group = first..(first + together).min(all);
                if !CUBIC {
                    for s in group.clone() {
                        frame.run(self.u, (self.rows.start, s), &mut runs[s - first]);
                    }
                }
                for c in 0..self.channels {
                    let image = self.image.as_ptr().add(c * m);
                    for s in group.clone() {
                        let (row, begin) = frame.run_at::<L>(self.rows.start, s);
                        let (run, sums) = (&runs[s - first], &mut sums[s - first]);
                        for k in 0..vectors::<L>(width - begin) {
                            let i = begin + k * L::COUNT;
                            let (at, count) = (row * width + i, (width - i).min(L::COUNT));
                            let v = Vector { row, i, at, count };
                            if TASK == VALUES {
                                let value = self.value::<L, CUBIC>(image, v, &run[k]);
                                self.stores.put(value, self.out.at(c * n + at), count);
                                continue;
                            }
                            let slope = self.slope::<L, CUBIC>(image, v, &run[k]);
                            if TASK == ALONG {
                                let mut q = [L::constant(0.0); D];
                                for a in 0..D {
                                    q[a] = L::load_some(along.as_ptr().add(a * n + at), count);
                                }
                                let q = frame.push_step(q);
                                let mut sum = q[0].mul(slope[0]);
                                for a in 1..D {
                                    sum = q[a].fma(slope[a], sum);
                                }
                                self.stores.put(sum, self.out.at(c * n + at), count);
                                continue;
                            }
                            let g = L::load_some(along.as_ptr().add(c * n + at), count);
                            let mut sum = [L::constant(0.0); D];
                            if c > 0 {
                                sum = sums[k];
                            }
                            for a in 0..D {
                                sum[a] = g.fma(slope[a], sum[a]);
                            }
                            if c + 1 < self.channels {
                                sums[k] = sum;
                                continue;
                            }
                            let sum = frame.pull_gradient(sum);
                            for a in 0..D {
                                self.stores.put(sum[a], self.out.at(a * n + at), count);
                            }
                        }
                    }
                }
            }
        }
    }
}
