//! Rows of the warp, of its derivative along a displacement, and of its gradient with respect to the displacement.

use super::Place;
use crate::ops::lanes::{dispatch, Kernel, Lanes, Stores};
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, Shared};
use crate::ops::sample::{cubic, vectors, Frame, Interpolation, Multilinear, RUN};
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
                (Interpolation::Linear, Task::Values) => self.rows::<L, false>(),
                (Interpolation::Cubic, Task::Values) => self.rows::<L, true>(),
                (Interpolation::Linear, Task::Along(q)) => self.slopes::<L, false>(q),
                (Interpolation::Cubic, Task::Along(q)) => self.slopes::<L, true>(q),
                (Interpolation::Linear, Task::Gradient(g)) => self.gradients::<L, false>(g),
                (Interpolation::Cubic, Task::Gradient(g)) => self.gradients::<L, true>(g),
            }
            stores.settle();
        }
    }
}

impl<T: Real, const D: usize> Warp<'_, T, D> {
    /// The gradient of one channel with respect to the position.
    #[inline(always)]
    unsafe fn slope<L: Lanes<Element = T>, const CUBIC: bool>(
        &self,
        image: *const T,
        start: &[T; D],
        place: (usize, usize, usize),
        between: &Multilinear<L, D>,
    ) -> [L; D] {
        let frame = self.frame;
        // SAFETY: as in `run`.
        unsafe {
            if CUBIC {
                let cell = frame.cell::<L, CUBIC>(self.u, start, place);
                cubic::<L, D, 1>(image, &cell, &frame.moving, &frame.stride).1
            } else {
                between.slope(image, &frame.stride).1
            }
        }
    }

    #[inline(always)]
    unsafe fn rows<L: Lanes<Element = T>, const CUBIC: bool>(&self) {
        let frame = self.frame;
        let (n, width) = (frame.voxels(), frame.fixed[0]);
        let m: usize = frame.moving.iter().product();
        // SAFETY: as in `run`.
        unsafe {
            let mut run = frame.room::<L>();
            for row in self.rows.clone() {
                let start = frame.row_start(row);
                for begin in (0..width).step_by(RUN * L::COUNT) {
                    if !CUBIC {
                        frame.run(self.u, &start, (row, begin), &mut run);
                    }
                    for c in 0..self.channels {
                        let image = self.image.as_ptr().add(c * m);
                        for k in 0..vectors::<L>(width - begin) {
                            let i = begin + k * L::COUNT;
                            let (at, count) = (row * width + i, (width - i).min(L::COUNT));
                            let cell = frame.cell::<L, CUBIC>(self.u, &start, (i, at, count));
                            let mut value = if CUBIC {
                                cubic::<L, D, 0>(image, &cell, &frame.moving, &frame.stride).0
                            } else {
                                run[k].value(image, &frame.stride)
                            };
                            if !self.continued {
                                value = value.mul(cell.within(&frame.moving, 0.5));
                            }
                            self.stores.put(value, self.out.at(c * n + at), count);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn slopes<L: Lanes<Element = T>, const CUBIC: bool>(&self, step: &[T]) {
        let frame = self.frame;
        let (n, width) = (frame.voxels(), frame.fixed[0]);
        let m: usize = frame.moving.iter().product();
        // SAFETY: as in `run`.
        unsafe {
            let mut run = frame.room::<L>();
            for row in self.rows.clone() {
                let start = frame.row_start(row);
                for begin in (0..width).step_by(RUN * L::COUNT) {
                    if !CUBIC {
                        frame.run(self.u, &start, (row, begin), &mut run);
                    }
                    for c in 0..self.channels {
                        let image = self.image.as_ptr().add(c * m);
                        for k in 0..vectors::<L>(width - begin) {
                            let i = begin + k * L::COUNT;
                            let (at, count) = (row * width + i, (width - i).min(L::COUNT));
                            let mut q = [L::constant(0.0); D];
                            for a in 0..D {
                                q[a] = L::load_some(step.as_ptr().add(a * n + at), count);
                            }
                            let q = frame.push_step(q);
                            let place = (i, at, count);
                            let slope = self.slope::<L, CUBIC>(image, &start, place, &run[k]);
                            let mut sum = q[0].mul(slope[0]);
                            for a in 1..D {
                                sum = q[a].fma(slope[a], sum);
                            }
                            self.stores.put(sum, self.out.at(c * n + at), count);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn gradients<L: Lanes<Element = T>, const CUBIC: bool>(&self, cotangent: &[T]) {
        let frame = self.frame;
        let (n, width) = (frame.voxels(), frame.fixed[0]);
        let m: usize = frame.moving.iter().product();
        // SAFETY: as in `run`.
        unsafe {
            let mut sums = [[L::constant(0.0); D]; RUN];
            let mut run = frame.room::<L>();
            for row in self.rows.clone() {
                let start = frame.row_start(row);
                for begin in (0..width).step_by(RUN * L::COUNT) {
                    if !CUBIC {
                        frame.run(self.u, &start, (row, begin), &mut run);
                    }
                    for c in 0..self.channels {
                        let image = self.image.as_ptr().add(c * m);
                        for k in 0..vectors::<L>(width - begin) {
                            let i = begin + k * L::COUNT;
                            let (at, count) = (row * width + i, (width - i).min(L::COUNT));
                            let place = (i, at, count);
                            let slope = self.slope::<L, CUBIC>(image, &start, place, &run[k]);
                            let g = L::load_some(cotangent.as_ptr().add(c * n + at), count);
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
