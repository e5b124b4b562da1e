//! Every output as the sum of its taps: the convolution and its adjoint with respect to the data.

use rayon::prelude::*;

use super::window::{Block, Window, SLACK};
use super::Channels;
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::Shared;
use crate::ops::scratch::with_scratch;

/// Outputs and planes of a block at most.
pub(super) const MOST: [usize; 2] = [4096, 16];
/// Output channels that share the loaded inputs.
pub(super) const TOGETHER: usize = 4;

/// Weights in the order of the taps, [`TOGETHER`] output channels side by side (two where no more are left).
pub(super) struct PackedWeights<T> {
    values: Vec<T>,
    bias: Vec<T>,
    outputs: usize,
}

impl<T: Real> PackedWeights<T> {
    /// `weight(output, input, entry)`.
    pub(super) fn new(
        outputs: usize,
        inputs: usize,
        entries: &[usize],
        bias: Option<&[T]>,
        weight: impl Fn(usize, usize, usize) -> T,
    ) -> Self {
        let mut values = Vec::with_capacity(outputs * inputs * entries.len() + TOGETHER);
        for first in (0..outputs).step_by(TOGETHER) {
            for input in 0..inputs {
                for &entry in entries {
                    for o in first..first + side_by_side(outputs - first) {
                        values.push(if o < outputs {
                            weight(o, input, entry)
                        } else {
                            T::of(0.0)
                        });
                    }
                }
            }
        }
        let mut padded = vec![T::of(0.0); outputs.next_multiple_of(TOGETHER)];
        if let Some(bias) = bias {
            padded[..outputs].copy_from_slice(bias);
        }
        Self {
            values,
            bias: padded,
            outputs,
        }
    }
}

/// How many channels are computed together when so many are left.
pub(super) fn side_by_side(left: usize) -> usize {
    if left > 2 {
        TOGETHER
    } else {
        2
    }
}

/// Computes the outputs of a window for a batch, into volumes `[batch, outputs, z, y, x]`.
pub(super) fn gather<T: Real>(
    window: &Window,
    offsets: &[u32],
    weights: &PackedWeights<T>,
    source: &Channels<'_, T>,
    out: Shared<T>,
) {
    let packed = source.count() * window.channel() + SLACK;
    let run = window.run().next_multiple_of(16);
    window
        .blocks(source.batch())
        .into_par_iter()
        .for_each(|block| {
            with_scratch::<T, _>(packed + TOGETHER * run, |scratch| {
                let (inputs, buffer) = scratch.split_at_mut(packed);
                window.pack_all(source, block, inputs);
                dispatch(Tiles {
                    window,
                    block,
                    inputs,
                    offsets,
                    weights,
                    buffer,
                    run,
                    out,
                });
            });
        });
}

struct Tiles<'a, T> {
    window: &'a Window,
    block: Block,
    inputs: &'a [T],
    offsets: &'a [u32],
    weights: &'a PackedWeights<T>,
    buffer: &'a mut [T],
    run: usize,
    out: Shared<T>,
}

impl<T: Real> Kernel<T> for Tiles<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        let [x, y, z] = &self.window.axes;
        let volume = x.output * y.output * z.output;
        let vectors = ((self.block.rows - 1) * self.window.pitch + x.count).div_ceil(L::COUNT);
        let mut weights = self.weights.values.as_ptr();
        // SAFETY: the slack after the inputs and the rounded buffer hold the last vector; rows lie inside the output.
        unsafe {
            for first in (0..self.weights.outputs).step_by(TOGETHER) {
                let left = self.weights.outputs - first;
                let together = side_by_side(left);
                let bias = self.weights.bias.as_ptr().add(first);
                for plane in 0..self.block.planes {
                    let inputs = self.inputs.as_ptr().add(plane * self.window.plane());
                    let to = self.buffer.as_mut_ptr();
                    let place = (inputs, self.offsets, weights, bias, to, self.run);
                    run::<L>(place, together, vectors);
                    let oz = z.first + z.step * (self.block.plane + plane);
                    for o in 0..left.min(together) {
                        let channel = (self.block.item * self.weights.outputs + first + o) * volume;
                        for row in 0..self.block.rows {
                            let oy = y.first + y.step * (self.block.row + row);
                            let from = self
                                .buffer
                                .as_ptr()
                                .add(o * self.run + row * self.window.pitch);
                            let to = self
                                .out
                                .at(channel + (oz * y.output + oy) * x.output + x.first);
                            if x.step == 1 {
                                std::ptr::copy_nonoverlapping(from, to, x.count);
                            } else {
                                for j in 0..x.count {
                                    *to.add(j * x.step) = *from.add(j);
                                }
                            }
                        }
                    }
                }
                weights = weights.add(together * self.offsets.len());
            }
        }
    }
}

/// Whether vectors have 512 bits: the registers then hold 4 x 6 sums, and 4 x 3 of shorter ones.
#[inline(always)]
pub(super) const fn wide<L: Lanes>() -> bool {
    L::COUNT * size_of::<L::Element>() == 64
}

/// `together` output channels of a run of `vectors` vectors of outputs.
#[inline(always)]
pub(super) unsafe fn run<L: Lanes>(place: Place<'_, L::Element>, together: usize, vectors: usize) {
    let (inputs, offsets, weights, bias, out, stride) = place;
    // the registers hold 4 x 6 sums of 512 bits, or 4 x 3 of fewer
    let tiles = vectors.div_ceil(if wide::<L>() { 6 } else { 3 });
    let mut done = 0;
    for number in 0..tiles {
        let count = (vectors - done).div_ceil(tiles - number);
        // SAFETY: the caller's promise.
        unsafe {
            let (from, to) = (inputs.add(done * L::COUNT), out.add(done * L::COUNT));
            let place = (from, offsets, weights, bias, to, stride);
            match together {
                TOGETHER => tile::<L, TOGETHER>(place, count),
                _ => tile::<L, 2>(place, count),
            }
        }
        done += count;
    }
}

/// `CO` output channels of `count` vectors of outputs.
#[inline(always)]
unsafe fn tile<L: Lanes, const CO: usize>(place: Place<'_, L::Element>, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match count {
            1 => sums::<L, CO, 1>(place),
            2 => sums::<L, CO, 2>(place),
            3 => sums::<L, CO, 3>(place),
            // no code for what shorter vectors do not reach
            _ if !wide::<L>() => {}
            4 => sums::<L, CO, 4>(place),
            5 => sums::<L, CO, 5>(place),
            _ => sums::<L, CO, 6>(place),
        }
    }
}

/// Where a tile reads and writes: inputs, taps, weights, bias, results, and from one channel's results to the next.
pub(super) type Place<'a, T> = (*const T, &'a [u32], *const T, *const T, *mut T, usize);

/// `CO` output channels of `NV` vectors of outputs.
#[inline(always)]
unsafe fn sums<L: Lanes, const CO: usize, const NV: usize>(place: Place<'_, L::Element>) {
    let (inputs, offsets, mut weights, bias, out, stride) = place;
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = [[L::splat(*bias); NV]; CO];
        for o in 1..CO {
            sum[o] = [L::splat(*bias.add(o)); NV];
        }
        for &offset in offsets {
            let from = inputs.add(offset as usize);
            let mut v = [L::load(from); NV];
            for n in 1..NV {
                v[n] = L::load(from.add(n * L::COUNT));
            }
            for o in 0..CO {
                let w = L::splat(*weights.add(o));
                for n in 0..NV {
                    sum[o][n] = v[n].fma(w, sum[o][n]);
                }
            }
            weights = weights.add(CO);
        }
        for o in 0..CO {
            for n in 0..NV {
                sum[o][n].store(out.add(o * stride + n * L::COUNT));
            }
        }
    }
}
