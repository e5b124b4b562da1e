//! The adjoint of the convolution with respect to the weights: every tap as a sum over the outputs.

use rayon::prelude::*;

use super::gather::{wide, TOGETHER};
use super::window::{Block, Window, SLACK};
use super::Channels;
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;

/// Elements that all partial sums may take together.
const PARTIAL: usize = 8 << 20;
/// Output channels of a task.
const GROUP: usize = 32;

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
    let parts = (PARTIAL / total.max(1)).clamp(1, blocks.len());
    let groups = outputs.div_ceil(GROUP);
    let sums: Vec<Vec<T>> = (0..parts * groups)
        .into_par_iter()
        .map_init(
            || Scratch::new(window, source.count()),
            |scratch, task| {
                let (part, group) = (task / groups, task % groups);
                let (first, end) = (group * GROUP, ((group + 1) * GROUP).min(outputs));
                let padded = (end - first).next_multiple_of(TOGETHER);
                let mut sums = vec![T::of(0.0); padded * offsets.len()];
                for &block in
                    &blocks[part * blocks.len() / parts..(part + 1) * blocks.len() / parts]
                {
                    scratch.fill(window, source, cotangent, block, first, end);
                    dispatch(Products {
                        window,
                        scratch,
                        offsets,
                        planes: block.planes,
                        outputs: padded,
                        sums: &mut sums,
                    });
                }
                sums
            },
        )
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

/// The packed inputs of a block, and its cotangents with zeros between the rows.
struct Scratch<T> {
    inputs: Vec<T>,
    cotangent: Vec<T>,
    run: usize,
    plane: usize,
}

impl<T: Real> Scratch<T> {
    fn new(window: &Window, inputs: usize) -> Self {
        let run = window.run().next_multiple_of(16);
        Self {
            inputs: vec![T::of(0.0); inputs * window.channel() + SLACK],
            cotangent: vec![T::of(0.0); GROUP * window.planes * run],
            run,
            plane: window.plane(),
        }
    }

    fn fill(
        &mut self,
        window: &Window,
        source: &Channels<'_, T>,
        cotangent: &Channels<'_, T>,
        block: Block,
        first: usize,
        end: usize,
    ) {
        let channels = self.inputs.chunks_exact_mut(window.channel());
        for (c, to) in channels.enumerate().take(source.count()) {
            window.pack(source.volume(block.item, c), block, to);
        }
        let (nx, ny) = (window.axes[0].count, window.axes[1].count);
        let padded = (end - first).next_multiple_of(TOGETHER);
        for (o, channel) in self
            .cotangent
            .chunks_exact_mut(window.planes * self.run)
            .enumerate()
            .take(padded)
        {
            channel.fill(T::of(0.0));
            if first + o >= end {
                continue;
            }
            let volume = cotangent.volume(block.item, first + o);
            for (p, plane) in channel
                .chunks_exact_mut(self.run)
                .enumerate()
                .take(block.planes)
            {
                for (r, row) in plane.chunks_mut(window.pitch).enumerate().take(block.rows) {
                    let from = ((block.plane + p) * ny + block.row + r) * nx;
                    row[..nx].copy_from_slice(&volume[from..from + nx]);
                }
            }
        }
    }
}

struct Products<'a, T> {
    window: &'a Window,
    scratch: &'a Scratch<T>,
    offsets: &'a [u32],
    planes: usize,
    outputs: usize,
    sums: &'a mut [T],
}

impl<T: Real> Kernel<T> for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // the registers hold 4 x 6 sums of 512 bits, or 4 x 2 of fewer
        let widest = if L::COUNT * size_of::<T>() == 64 {
            6
        } else {
            2
        };
        let taps = self.offsets.len();
        let place = Place {
            inputs: self.scratch.inputs.as_ptr(),
            cotangent: self.scratch.cotangent.as_ptr(),
            channel: self.window.planes * self.scratch.run,
            plane: self.scratch.plane,
            run: self.scratch.run,
            planes: self.planes,
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
                for o in 0..TOGETHER {
                    let to = sums.as_mut_ptr().add(o * row + k);
                    *to += sum[k][o].total();
                }
            }
        }
    }
}
