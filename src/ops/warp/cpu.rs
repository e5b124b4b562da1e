//! Rows of the warp and of its gradient with respect to the displacement.

use super::Place;
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, Shared};
use crate::ops::sample::{cubic, linear, linear_value, Cell, Frame, Interpolation};

pub(super) fn forward<T: Real>(place: &Place<'_>, image: &[T], u: Option<&[T]>, out: &mut [T]) {
    if place.fixed.len() == 2 {
        ranked::<T, 2>(place, image, u, None, out);
    } else {
        ranked::<T, 3>(place, image, u, None, out);
    }
}

pub(super) fn gradient<T: Real>(
    place: &Place<'_>,
    image: &[T],
    u: &[T],
    cotangent: &[T],
    out: &mut [T],
) {
    if place.fixed.len() == 2 {
        ranked::<T, 2>(place, image, Some(u), Some(cotangent), out);
    } else {
        ranked::<T, 3>(place, image, Some(u), Some(cotangent), out);
    }
}

fn ranked<T: Real, const D: usize>(
    place: &Place<'_>,
    image: &[T],
    u: Option<&[T]>,
    cotangent: Option<&[T]>,
    out: &mut [T],
) {
    let frame = place.frame::<T, D>();
    // every pointer below stays within these lengths
    let (n, m) = (frame.voxels(), frame.moving.iter().product::<usize>());
    let channels = image.len() / m;
    assert_eq!(image.len(), channels * m, "image");
    assert!(u.is_none_or(|u| u.len() == n * D), "displacement");
    assert!(
        cotangent.is_none_or(|g| g.len() == n * channels),
        "cotangent"
    );
    let planes = if cotangent.is_some() { D } else { channels };
    assert_eq!(out.len(), n * planes, "output");
    let out = Shared::new(out);
    for_rows(frame.rows(), frame.fixed[0], |rows| {
        dispatch(Warp {
            frame: &frame,
            interpolation: place.interpolation,
            continued: place.continued,
            image,
            channels,
            u,
            cotangent,
            rows,
            out,
        });
    });
}

struct Warp<'a, T, const D: usize> {
    frame: &'a Frame<T, D>,
    interpolation: Interpolation,
    continued: bool,
    image: &'a [T],
    channels: usize,
    u: Option<&'a [T]>,
    cotangent: Option<&'a [T]>,
    rows: std::ops::Range<usize>,
    out: Shared<T>,
}

impl<T: Real, const D: usize> Kernel<T> for Warp<'_, T, D> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // SAFETY: lengths were checked; each task writes its own rows.
        unsafe {
            match (self.interpolation, self.cotangent) {
                (Interpolation::Linear, None) => self.rows::<L, false>(),
                (Interpolation::Cubic, None) => self.rows::<L, true>(),
                (Interpolation::Linear, Some(g)) => self.gradients::<L, false>(g),
                (Interpolation::Cubic, Some(g)) => self.gradients::<L, true>(g),
            }
        }
    }
}

impl<T: Real, const D: usize> Warp<'_, T, D> {
    /// The cell of the lanes that start at voxel `i` of a row, which is voxel `at` of the grid.
    #[inline(always)]
    unsafe fn cell<L: Lanes<Element = T>>(
        &self,
        start: &[T; D],
        (i, at, count): (usize, usize, usize),
    ) -> Cell<L, D> {
        // SAFETY: as in `run`.
        unsafe {
            let mut u = [L::splat(T::of(0.0)); D];
            if let Some(field) = self.u {
                for a in 0..D {
                    u[a] = L::load_some(field.as_ptr().add(a * self.frame.voxels() + at), count);
                }
            }
            Cell::at(self.frame.positions(start, i, u), &self.frame.moving)
        }
    }

    #[inline(always)]
    unsafe fn rows<L: Lanes<Element = T>, const CUBIC: bool>(&self) {
        let frame = self.frame;
        let (n, width) = (frame.voxels(), frame.fixed[0]);
        let m: usize = frame.moving.iter().product();
        // SAFETY: as in `run`.
        unsafe {
            for row in self.rows.clone() {
                let start = frame.row_start(row);
                let mut i = 0;
                while i < width {
                    let count = (width - i).min(L::COUNT);
                    let at = row * width + i;
                    let cell: Cell<L, D> = self.cell(&start, (i, at, count));
                    let offset = cell.offset(&frame.stride);
                    let inside = cell.within(&frame.moving, 0.5);
                    for c in 0..self.channels {
                        let image = self.image.as_ptr().add(c * m);
                        let mut value = if CUBIC {
                            cubic::<L, D, 0>(image, &cell, &frame.moving, &frame.stride).0
                        } else {
                            linear_value(image, &cell, offset, &frame.stride)
                        };
                        if !self.continued {
                            value = value.mul(inside);
                        }
                        value.store_some(self.out.at(c * n + at), count);
                    }
                    i += count;
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
            for row in self.rows.clone() {
                let start = frame.row_start(row);
                let mut i = 0;
                while i < width {
                    let count = (width - i).min(L::COUNT);
                    let at = row * width + i;
                    let cell: Cell<L, D> = self.cell(&start, (i, at, count));
                    let offset = cell.offset(&frame.stride);
                    let mut sum = [L::splat(T::of(0.0)); D];
                    for c in 0..self.channels {
                        let image = self.image.as_ptr().add(c * m);
                        let (_, slope, _) = if CUBIC {
                            cubic::<L, D, 1>(image, &cell, &frame.moving, &frame.stride)
                        } else {
                            linear(image, &cell, offset, &frame.stride)
                        };
                        let g = L::load_some(cotangent.as_ptr().add(c * n + at), count);
                        for a in 0..D {
                            sum[a] = g.fma(slope[a], sum[a]);
                        }
                    }
                    let sum = frame.pull_gradient(sum);
                    for a in 0..D {
                        sum[a].store_some(self.out.at(a * n + at), count);
                    }
                    i += count;
                }
            }
        }
    }
}
