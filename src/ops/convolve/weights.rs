//! The adjoint of the convolution with respect to the weights: every tap as a sum over the outputs.

use rayon::prelude::*;

use super::gather::{wide, TOGETHER};
use super::window::{Window, SLACK};
use super::Channels;
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::scratch::with_scratch;

/// Outputs and planes of a block at most: rows that follow each other in memory come faster.
pub(super) const MOST: [usize; 2] = [8192, 2];
/// Elements that all partial sums may take together.
const PARTIAL: usize = 8 << 20;
/// Output channels of a task.
pub(super) const GROUP: usize = 32;
/// Outputs after which the sums of vectors are totalled: four channels of cotangents then stay in the first-level cache.
const STEP: usize = 1280;

/// `sum cotangent[o] * inputs[c, tap]` for all output channels `o` and all `offsets`, `[outputs, offsets]`.
///
/// Partial sums belong to fixed runs of blocks and are added in order: the same bits for any number of threads.
pub(super) fn correlate<T: Real>(
    window: &Window,
    offsets: &[u32],
    source: &Channels<'_, T>,
    cotangent: &Channels<'_, T>,
) -> Vec<T> {
    let outputs = cotangent.count();
    let blocks = window.blocks(source.batch());
    let total = outputs * offsets.len();
    let parts = (PARTIAL / total.max(1)).clamp(1, blocks.len().max(1));
    let groups = outputs.div_ceil(GROUP);
    let packed = source.count() * window.channel() + SLACK;
    let (nx, ny) = (window.axes[0].count, window.axes[1].count);
    let sums: Vec<Vec<T>> = (0..parts * groups)
        .into_par_iter()
        .map(|task| {
            let (part, group) = (task / groups, task % groups);
            let (first, end) = (group * GROUP, ((group + 1) * GROUP).min(outputs));
            let padded = (end - first).next_multiple_of(TOGETHER);
            let mut sums = vec![T::of(0.0); padded * offsets.len()];
            let own = part * blocks.len() / parts..(part + 1) * blocks.len() / parts;
            with_scratch::<T, _>(packed, |inputs| {
                for &block in &blocks[own] {
                    window.pack_all(source, block, inputs);
                    let from = (block.plane * ny + block.row) * nx;
                    // what has no channel is added to sums that nobody reads
                    let channel = |o: usize| {
                        let volume = cotangent.volume(block.item, (first + o).min(end - 1));
                        volume[from..].as_ptr()
                    };
                    dispatch(Products {
                        inputs,
                        cotangents: &(0..padded).map(channel).collect::<Vec<_>>(),
                        planes: block.planes,
                        plane: [window.plane(), ny * nx],
                        rows: block.rows,
                        row: [window.pitch, nx],
                        length: nx,
                        offsets,
                        sums: &mut sums,
                    });
                }
            });
            sums
        })
        .collect();
    let m = offsets.len();
    (0..total)
        .into_par_iter()
        .with_min_len(1024)
        .map(|at| {
            let (o, tap) = (at / m, at % m);
            let group = o / GROUP;
            let parts = (0..parts).map(|p| sums[p * groups + group][(o % GROUP) * m + tap].wide());
            T::of(parts.sum())
        })
        .collect()
}

/// Adds to `sums`, `[cotangents, offsets]`, the products of rows of cotangents with the inputs that lie ahead of them.
pub(super) struct Products<'a, T> {
    pub inputs: &'a [T],
    /// Where each channel starts, a multiple of [`TOGETHER`] of them.
    pub cotangents: &'a [*const T],
    pub planes: usize,
    /// From one plane to the next, of inputs and of cotangents.
    pub plane: [usize; 2],
    pub rows: usize,
    /// From one row to the next.
    pub row: [usize; 2],
    /// Length of a row.
    pub length: usize,
    pub offsets: &'a [u32],
    pub sums: &'a mut [T],
}

impl<T: Real> Kernel<T> for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // the registers hold 4 x 6 sums of 512 bits, or 4 x 2 of fewer
        let widest = if wide::<L>() { 6 } else { 2 };
        let taps = self.offsets.len();
        let together = (STEP / self.length).max(1);
        let lines = self.planes * self.rows;
        for line in (0..lines).step_by(together) {
            let place = Place {
                inputs: self.inputs.as_ptr(),
                plane: self.plane,
                rows: self.rows,
                row: self.row,
                length: self.length,
                lines: line..(line + together).min(lines),
            };
            for (first, channels) in self.cotangents.chunks_exact(TOGETHER).enumerate() {
                let mut cotangents = [channels[0]; TOGETHER];
                cotangents.copy_from_slice(channels);
                let mut at = 0;
                while at < taps {
                    let count = (taps - at).min(widest);
                    let offsets = &self.offsets[at..at + count];
                    let sums = &mut self.sums[first * TOGETHER * taps + at..];
                    // SAFETY: rows lie inside the channels and the inputs ahead of them inside the scratch; `sums` has a row
                    // of `taps` for each of the four channels.
                    unsafe {
                        match count {
                            1 => place.add_products::<L, 1>(cotangents, offsets, sums, taps),
                            2 => place.add_products::<L, 2>(cotangents, offsets, sums, taps),
                            // no code for what shorter vectors do not reach
                            _ if !wide::<L>() => {}
                            3 => place.add_products::<L, 3>(cotangents, offsets, sums, taps),
                            4 => place.add_products::<L, 4>(cotangents, offsets, sums, taps),
                            5 => place.add_products::<L, 5>(cotangents, offsets, sums, taps),
                            _ => place.add_products::<L, 6>(cotangents, offsets, sums, taps),
                        }
                    }
                    at += count;
                }
            }
        }
    }
}

/// Where the factors of some rows lie.
struct Place<T> {
    inputs: *const T,
    plane: [usize; 2],
    rows: usize,
    row: [usize; 2],
    length: usize,
    /// The rows, counted from the first one of the first plane.
    lines: std::ops::Range<usize>,
}

impl<T: Real> Place<T> {
    /// Adds the products of four channels of cotangents with `N` taps.
    #[inline(always)]
    unsafe fn add_products<L: Lanes<Element = T>, const N: usize>(
        &self,
        cotangents: [*const T; TOGETHER],
        offsets: &[u32],
        sums: &mut [T],
        taps: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sum = [[L::splat(T::of(0.0)); TOGETHER]; N];
            for line in self.lines.clone() {
                let (plane, row) = (line / self.rows, line % self.rows);
                let inputs = self.inputs.add(plane * self.plane[0] + row * self.row[0]);
                let ahead = plane * self.plane[1] + row * self.row[1];
                let mut from = [inputs; N];
                for k in 0..N {
                    from[k] = inputs.add(offsets[k] as usize);
                }
                let mut of = cotangents;
                for o in 0..TOGETHER {
                    of[o] = of[o].add(ahead);
                }
                for at in (0..self.length).step_by(L::COUNT) {
                    let count = (self.length - at).min(L::COUNT);
                    let mut g = [L::load_some(of[0].add(at), count); TOGETHER];
                    for o in 1..TOGETHER {
                        g[o] = L::load_some(of[o].add(at), count);
                    }
                    for k in 0..N {
                        let v = L::load_some(from[k].add(at), count);
                        for o in 0..TOGETHER {
                            sum[k][o] = g[o].fma(v, sum[k][o]);
                        }
                    }
                }
            }
            for k in 0..N {
                let totals = L::totals(sum[k]);
                for o in 0..TOGETHER {
                    *sums.as_mut_ptr().add(o * taps + k) += totals[o];
                }
            }
        }
    }
}
