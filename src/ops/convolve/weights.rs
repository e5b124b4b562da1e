//! The adjoint of the convolution with respect to the weights: every tap as a sum over the outputs.

use rayon::prelude::*;

use super::gather::{wide, TOGETHER};
use super::window::{Block, Window, SLACK};
use super::Channels;
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::scratch::with_scratch;

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
    let layout = Layout {
        run: window.run().next_multiple_of(16),
        packed: source.count() * window.channel() + SLACK,
    };
    let sums: Vec<Vec<T>> = (0..parts * groups)
        .into_par_iter()
        .map(|task| {
            let (part, group) = (task / groups, task % groups);
            let (first, end) = (group * GROUP, ((group + 1) * GROUP).min(outputs));
            let padded = (end - first).next_multiple_of(TOGETHER);
            let mut sums = vec![T::of(0.0); padded * offsets.len()];
            let own = part * blocks.len() / parts..(part + 1) * blocks.len() / parts;
            let length = layout.packed + padded * window.planes * layout.run;
            with_scratch::<T, _>(length, |scratch| {
                let (inputs, factors) = scratch.split_at_mut(layout.packed);
                for &block in &blocks[own] {
                    window.pack_all(source, block, inputs);
                    layout.pack_cotangent(window, cotangent, block, first..end, factors);
                    dispatch(Products {
                        inputs,
                        plane: window.plane(),
                        cotangent: factors,
                        channel: window.planes * layout.run,
                        run: layout.run,
                        offsets,
                        planes: block.planes,
                        outputs: padded,
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

/// The scratch of a task: packed inputs, then cotangents with zeros between the rows.
struct Layout {
    /// Length of a plane of cotangents, whole vectors.
    run: usize,
    packed: usize,
}

impl Layout {
    fn pack_cotangent<T: Real>(
        &self,
        window: &Window,
        cotangent: &Channels<'_, T>,
        block: Block,
        outputs: std::ops::Range<usize>,
        to: &mut [T],
    ) {
        let (nx, ny) = (window.axes[0].count, window.axes[1].count);
        let zero = T::of(0.0);
        let channels = to.chunks_exact_mut(window.planes * self.run);
        for (o, channel) in channels.enumerate() {
            let planes = channel.chunks_exact_mut(self.run).take(block.planes);
            if outputs.start + o >= outputs.end {
                planes.for_each(|plane| plane.fill(zero));
                continue;
            }
            let volume = cotangent.volume(block.item, outputs.start + o);
            for (p, plane) in planes.enumerate() {
                let from = ((block.plane + p) * ny + block.row) * nx;
                let rows = volume[from..from + block.rows * nx].chunks_exact(nx);
                for (row, to) in rows.zip(plane.chunks_mut(window.pitch)) {
                    to[..nx].copy_from_slice(row);
                    to[nx..].fill(zero);
                }
                plane[block.rows * window.pitch..].fill(zero);
            }
        }
    }
}

/// Adds to `sums`, `[outputs, offsets]`, the products of cotangents with the inputs that lie ahead of them.
pub(super) struct Products<'a, T> {
    pub inputs: &'a [T],
    /// From one plane of inputs to the next.
    pub plane: usize,
    pub cotangent: &'a [T],
    /// From one channel of cotangents to the next.
    pub channel: usize,
    /// Length of a plane of cotangents, whole vectors.
    pub run: usize,
    pub offsets: &'a [u32],
    pub planes: usize,
    /// Channels of cotangents, a multiple of [`TOGETHER`].
    pub outputs: usize,
    pub sums: &'a mut [T],
}

impl<T: Real> Kernel<T> for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // the registers hold 4 x 6 sums of 512 bits, or 4 x 2 of fewer
        let widest = if wide::<L>() { 6 } else { 2 };
        let taps = self.offsets.len();
        let run = self.run;
        let together = (STEP / run).max(1);
        for plane in (0..self.planes).step_by(together) {
            let place = Place {
                // SAFETY: the plane lies inside the scratch.
                inputs: unsafe { self.inputs.as_ptr().add(plane * self.plane) },
                // SAFETY: as above.
                cotangent: unsafe { self.cotangent.as_ptr().add(plane * run) },
                channel: self.channel,
                plane: self.plane,
                run,
                planes: together.min(self.planes - plane),
            };
            for first in (0..self.outputs).step_by(TOGETHER) {
                let mut at = 0;
                while at < taps {
                    let count = (taps - at).min(widest);
                    let offsets = &self.offsets[at..at + count];
                    let sums = &mut self.sums[first * taps + at..];
                    // SAFETY: all lie inside the scratch; `sums` has a row of `taps` for each of the four channels.
                    unsafe {
                        match count {
                            1 => place.add_products::<L, 1>(first, offsets, sums, taps),
                            2 => place.add_products::<L, 2>(first, offsets, sums, taps),
                            // no code for what shorter vectors do not reach
                            _ if !wide::<L>() => {}
                            3 => place.add_products::<L, 3>(first, offsets, sums, taps),
                            4 => place.add_products::<L, 4>(first, offsets, sums, taps),
                            5 => place.add_products::<L, 5>(first, offsets, sums, taps),
                            _ => place.add_products::<L, 6>(first, offsets, sums, taps),
                        }
                    }
                    at += count;
                }
            }
        }
    }
}

/// Where the factors of a block lie.
struct Place<T> {
    inputs: *const T,
    cotangent: *const T,
    /// From one channel of cotangents to the next.
    channel: usize,
    /// From one plane of inputs to the next.
    plane: usize,
    /// Length of a plane of cotangents, whole vectors.
    run: usize,
    planes: usize,
}

impl<T: Real> Place<T> {
    /// Adds the products of four channels of cotangents with `N` taps.
    #[inline(always)]
    unsafe fn add_products<L: Lanes<Element = T>, const N: usize>(
        &self,
        first: usize,
        offsets: &[u32],
        sums: &mut [T],
        row: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sum = [[L::splat(T::of(0.0)); TOGETHER]; N];
            for plane in 0..self.planes {
                let inputs = self.inputs.add(plane * self.plane);
                let cotangent = self.cotangent.add(first * self.channel + plane * self.run);
                let mut from = [inputs; N];
                for k in 0..N {
                    from[k] = inputs.add(offsets[k] as usize);
                }
                let mut at = 0;
                while at < self.run {
                    let mut g = [L::load(cotangent.add(at)); TOGETHER];
                    for o in 1..TOGETHER {
                        g[o] = L::load(cotangent.add(o * self.channel + at));
                    }
                    for k in 0..N {
                        let v = L::load(from[k].add(at));
                        for o in 0..TOGETHER {
                            sum[k][o] = g[o].fma(v, sum[k][o]);
                        }
                    }
                    at += L::COUNT;
                }
            }
            for k in 0..N {
                let totals = L::totals(sum[k]);
                for o in 0..TOGETHER {
                    *sums.as_mut_ptr().add(o * row + k) += totals[o];
                }
            }
        }
    }
}
