//! Squared differences between neighbours, and descriptors from them.

use std::ops::Range;

use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, sum_over_rows, Shared};
use crate::ops::sample::{Cell, Frame, Multilinear};
use crate::Affine;

/// Neighbours of a voxel at most.
const NEIGHBOURS: usize = 6;

/// The squared difference of each pair of neighbours, pair by pair, for each channel of the image.
pub(super) fn differences<T: Real>(
    image: &[T],
    size: &[usize],
    offsets: &[[f64; 3]],
    out: &mut [T],
) {
    if size.len() == 2 {
        ranked::<T, 2>(image, size, offsets, out);
    } else {
        ranked::<T, 3>(image, size, offsets, out);
    }
}

fn ranked<T: Real, const D: usize>(
    image: &[T],
    size: &[usize],
    offsets: &[[f64; 3]],
    out: &mut [T],
) {
    let neighbours: Vec<Frame<T, D>> = (0..2 * D)
        .map(|k| {
            let sign = if k % 2 == 0 { -1.0 } else { 1.0 };
            let shift = Affine::shift(offsets[k / 2].map(|o| sign * o));
            Frame::new(size, size, &shift)
        })
        .collect();
    let n = neighbours[0].voxels();
    let pairs = 2 * D * (D - 1);
    assert_eq!(out.len(), image.len() * pairs, "descriptors");
    for (image, out) in image.chunks_exact(n).zip(out.chunks_exact_mut(n * pairs)) {
        let out = Shared::new(out);
        for_rows(n / size[0], size[0], |rows| {
            dispatch(Squares::<'_, T, D> {
                image,
                neighbours: &neighbours,
                rows,
                out,
            });
        });
    }
}

struct Squares<'a, T, const D: usize> {
    image: &'a [T],
    neighbours: &'a [Frame<T, D>],
    rows: Range<usize>,
    out: Shared<T>,
}

impl<T: Real, const D: usize> Kernel<T> for Squares<'_, T, D> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        let frame = &self.neighbours[0];
        let (n, width) = (frame.voxels(), frame.fixed[0]);
        let image = self.image.as_ptr();
        // SAFETY: `ranked` has checked the lengths; each task writes its own rows.
        unsafe {
            let zero = L::splat(T::of(0.0));
            for row in self.rows {
                let mut start = [[T::of(0.0); D]; NEIGHBOURS];
                for k in 0..2 * D {
                    start[k] = self.neighbours[k].row_start(row);
                }
                let mut i = 0;
                while i < width {
                    let count = (width - i).min(L::COUNT);
                    let at = row * width + i;
                    let mut value = [zero; NEIGHBOURS];
                    for k in 0..2 * D {
                        let place = self.neighbours[k].positions(&start[k], i, [zero; D]);
                        let cell: Cell<L, D> = Cell::at(place, &frame.moving);
                        let here = Multilinear::of(&cell, &frame.stride);
                        value[k] = here.value(image, &frame.stride);
                    }
                    let mut pair = 0;
                    for a in 0..2 * D {
                        // the one after the opposite neighbour
                        for b in (a / 2 + 1) * 2..2 * D {
                            let difference = value[a].sub(value[b]);
                            difference
                                .mul(difference)
                                .store_some(self.out.at(pair * n + at), count);
                            pair += 1;
                        }
                    }
                    i += L::COUNT;
                }
            }
        }
    }
}

/// Descriptors from smoothed squared differences, in place; `floor` as a share of the typical noise.
pub(super) fn describe<T: Real>(values: &mut [T], size: &[usize], pairs: usize, floor: f64) {
    let n: usize = size.iter().product();
    let rows = n / size[0];
    for channel in values.chunks_exact_mut(n * pairs) {
        let shared = Shared::new(channel);
        let pass = |rows: Range<usize>, noise: Option<f64>| {
            dispatch(Describe::<T> {
                values: shared,
                voxels: n,
                width: size[0],
                pairs,
                rows,
                noise,
            })
        };
        let [first, second] = sum_over_rows(rows, size[0], |rows| pass(rows, None));
        let typical = if first > 0.0 { second / first } else { 0.0 };
        for_rows(rows, size[0], |rows| {
            pass(rows, Some(floor * typical));
        });
    }
}

struct Describe<T> {
    values: Shared<T>,
    voxels: usize,
    width: usize,
    pairs: usize,
    rows: Range<usize>,
    /// What is added to the noise; none only sums the noise and its square.
    noise: Option<f64>,
}

impl<T: Real> Kernel<T> for Describe<T> {
    type Output = [f64; 2];

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) -> [f64; 2] {
        let n = self.voxels;
        let mut sums = [0.0; 2];
        // SAFETY: the volume has `pairs` planes of `voxels`; each task has rows of its own.
        unsafe {
            let share = L::constant(1.0 / self.pairs as f64);
            // where there is no noise at all, every difference is zero too
            let least = L::constant(if T::KIND == candle_core::DType::F32 {
                f64::from(f32::MIN_POSITIVE)
            } else {
                f64::MIN_POSITIVE
            });
            for row in self.rows {
                let (mut first, mut second) = (L::constant(0.0), L::constant(0.0));
                let mut i = 0;
                while i < self.width {
                    let count = (self.width - i).min(L::COUNT);
                    let at = row * self.width + i;
                    let mut low = L::load_some(self.values.at(at), count);
                    let mut sum = low;
                    for k in 1..self.pairs {
                        let value = L::load_some(self.values.at(k * n + at), count);
                        low = low.min(value);
                        sum = sum.add(value);
                    }
                    let noise = sum.mul(share).sub(low).max(L::constant(0.0));
                    if let Some(floor) = self.noise {
                        let scale = L::constant(-1.0).div(noise.add(L::constant(floor)).max(least));
                        for k in 0..self.pairs {
                            let to = self.values.at(k * n + at);
                            let value = L::load_some(to, count).sub(low);
                            exponential(value.mul(scale)).store_some(to, count);
                        }
                    } else {
                        first = first.add(noise);
                        second = noise.fma(noise, second);
                    }
                    i += L::COUNT;
                }
                sums[0] += first.sum();
                sums[1] += second.sum();
            }
        }
        sums
    }
}

/// `e^t` for `t` from -16 to 0: the Taylor polynomial of `e^(t / 64)`, squared six times.
#[inline(always)]
unsafe fn exponential<L: Lanes>(t: L) -> L {
    // SAFETY: within a kernel.
    unsafe {
        let small = t.mul(L::constant(1.0 / 64.0));
        let mut value = L::constant(1.0 / 5040.0);
        value = value.fma(small, L::constant(1.0 / 720.0));
        value = value.fma(small, L::constant(1.0 / 120.0));
        value = value.fma(small, L::constant(1.0 / 24.0));
        value = value.fma(small, L::constant(1.0 / 6.0));
        value = value.fma(small, L::constant(0.5));
        value = value.fma(small, L::constant(1.0));
        value = value.fma(small, L::constant(1.0));
        for _ in 0..6 {
            value = value.mul(value);
        }
        value
    }
}
