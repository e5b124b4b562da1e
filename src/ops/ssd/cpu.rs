//! The fused pass over rows of the fixed grid.

use super::interleaved;
use super::output::{pull_hessian, Model, Output, Sink, Smoothness};
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::near::Near;
use crate::ops::real::Real;
use crate::ops::rows::sum_over_rows;
use crate::ops::sample::{cubic, vectors, Frame, Interpolation, RUN};
use crate::Affine;

/// What a pass reads.
pub(super) struct Input<'a, T> {
    pub fixed: &'a [T],
    /// Channel by channel, or in octets.
    pub moving: &'a [T],
    pub octets: bool,
    pub mask: Option<&'a [T]>,
    pub u: Option<&'a [T]>,
    pub weights: &'a [T],
    pub interpolation: Interpolation,
    pub smoothness: Smoothness,
}

/// Runs the pass: energy of the data and of the differences; sizes fastest axis first.
pub(super) fn pass<T: Real>(
    input: &Input<'_, T>,
    (fixed, moving, map): (&[usize], &[usize], &Affine),
    output: Output<'_, T>,
) -> [f64; 2] {
    if fixed.len() == 2 {
        ranked::<T, 2>(input, Frame::new(fixed, moving, map), output)
    } else {
        ranked::<T, 3>(input, Frame::new(fixed, moving, map), output)
    }
}

fn ranked<T: Real, const D: usize>(
    input: &Input<'_, T>,
    frame: Frame<T, D>,
    output: Output<'_, T>,
) -> [f64; 2] {
    // every pointer below stays within these lengths
    let (n, channels) = (frame.voxels(), input.weights.len());
    let planes = if input.octets {
        interleaved::planes(channels)
    } else {
        channels
    };
    assert!(channels > 0, "no channel");
    assert_eq!(input.fixed.len(), n * channels, "fixed features");
    assert_eq!(
        input.moving.len(),
        frame.moving.iter().product::<usize>() * planes,
        "moving features"
    );
    assert!(input.mask.is_none_or(|m| m.len() == n), "mask");
    assert!(input.u.is_none_or(|u| u.len() == n * D), "displacement");
    let sink = Sink::new(&frame, input.smoothness, output);
    let (frame, sink) = (&frame, &sink);
    let sums = sum_over_rows(frame.rows(), frame.fixed[0], |rows| {
        if input.octets {
            dispatch(interleaved::Pass::<'_, T, D> {
                input,
                frame,
                sink,
                rows,
            })
        } else {
            dispatch(Pass::<'_, T, D> {
                input,
                frame,
                sink,
                rows,
            })
        }
    });
    sums.map(|sum| 0.5 * sum)
}

struct Pass<'a, T, const D: usize> {
    input: &'a Input<'a, T>,
    frame: &'a Frame<T, D>,
    sink: &'a Sink<'a, T, D>,
    rows: std::ops::Range<usize>,
}

impl<T: Real, const D: usize> Kernel<T> for Pass<'_, T, D> {
    type Output = [f64; 2];

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) -> [f64; 2] {
        // SAFETY: lengths were checked in `ranked`; each task writes its own rows.
        unsafe {
            match (self.input.interpolation, self.sink.mode) {
                (Interpolation::Linear, None) => self.rows::<L, false, 0>(),
                (Interpolation::Linear, Some(Model::Vector)) => self.rows::<L, false, 1>(),
                (Interpolation::Linear, Some(Model::Blocks)) => self.rows::<L, false, 2>(),
                (Interpolation::Linear, Some(Model::Newton)) => self.rows::<L, false, 3>(),
                (Interpolation::Cubic, None) => self.rows::<L, true, 0>(),
                (Interpolation::Cubic, Some(Model::Vector)) => self.rows::<L, true, 1>(),
                (Interpolation::Cubic, Some(Model::Blocks)) => self.rows::<L, true, 2>(),
                (Interpolation::Cubic, Some(Model::Newton)) => self.rows::<L, true, 3>(),
            }
        }
    }
}

impl<T: Real, const D: usize> Pass<'_, T, D> {
    /// A block with the share of a channel with slopes `j`.
    #[inline(always)]
    unsafe fn block_with<L: Lanes<Element = T>, const WHAT: usize>(
        &self,
        mut block: [L; 6],
        j: [L; D],
        weight: L,
    ) -> [L; 6] {
        // SAFETY: the contract of `run`.
        unsafe {
            if WHAT == 1 {
                // one channel: the block is the outer product of sqrt(weight) j
                let root = weight.sqrt();
                for a in 0..D {
                    block[a] = root.mul(j[a]);
                }
                return block;
            }
            let mut e = 0;
            for a in 0..D {
                let wj = weight.mul(j[a]);
                for b in a..D {
                    block[e] = wj.fma(j[b], block[e]);
                    e += 1;
                }
            }
            block
        }
    }

    /// `WHAT`: 0 value, 1 gradient and vector, 2 gradient and blocks, 3 gradient and Hessian.
    #[inline(always)]
    unsafe fn rows<L: Lanes<Element = T>, const CUBIC: bool, const WHAT: usize>(&self) -> [f64; 2] {
        // SAFETY: the contract of `run`.
        unsafe {
            let Self {
                input, frame, sink, ..
            } = self;
            let (n, width) = (frame.voxels(), frame.fixed[0]);
            let moving_voxels: usize = frame.moving.iter().product();
            let zero = L::splat(T::of(0.0));
            let ones = [T::of(1.0); 16];
            let near = sink.near::<L>(input.u);
            let (mut between, mut nears) = (frame.room::<L>(), Near::room());
            let (mut gradients, mut blocks) = ([[zero; D]; RUN], [[zero; 6]; RUN]);
            let channels = input.weights.len();
            let (mut total, mut total_near) = (0.0, 0.0);
            for row in self.rows.clone() {
                let start = frame.row_start(row);
                let (mut energy, mut energy_near) = (zero, zero);
                for begin in (0..width).step_by(RUN * L::COUNT) {
                    let vectors = vectors::<L>(width - begin);
                    if !CUBIC {
                        frame.run(input.u, &start, (row, begin), &mut between);
                    }
                    if let Some(near) = near {
                        near.run(WHAT > 0, (row, begin), &mut nears);
                        for near in &nears[..vectors] {
                            energy_near = energy_near.add(near.energy);
                        }
                    }
                    for c in 0..channels {
                        let image = input.moving.as_ptr().add(c * moving_voxels);
                        let channel_weight = L::splat(input.weights[c]);
                        for k in 0..vectors {
                            let i = begin + k * L::COUNT;
                            let count = (width - i).min(L::COUNT);
                            let at = row * width + i;
                            let cell = frame.cell::<L, CUBIC>(input.u, &start, (i, at, count));
                            let between = &between[k];
                            let fixed = L::load_some(input.fixed.as_ptr().add(c * n + at), count);
                            let mask = match input.mask {
                                Some(m) => L::load_some(m.as_ptr().add(at), count),
                                // lanes beyond the row count for nothing
                                None => L::load_some(ones.as_ptr(), count),
                            };
                            let weight = mask.mul(channel_weight);
                            if WHAT == 0 {
                                let value = if CUBIC {
                                    cubic::<L, D, 0>(image, &cell, &frame.moving, &frame.stride).0
                                } else {
                                    between.value(image, &frame.stride)
                                };
                                let r = value.sub(fixed);
                                energy = r.mul(weight).fma(r, energy);
                                continue;
                            }
                            let (value, slope, bend) = if CUBIC && WHAT == 3 {
                                cubic::<L, D, 2>(image, &cell, &frame.moving, &frame.stride)
                            } else if CUBIC {
                                cubic::<L, D, 1>(image, &cell, &frame.moving, &frame.stride)
                            } else {
                                between.bend(image, &frame.stride)
                            };
                            let r = value.sub(fixed);
                            let j = frame.pull_gradient(slope);
                            let wr = r.mul(weight);
                            energy = wr.fma(r, energy);
                            let (mut gradient, mut block) = ([zero; D], [zero; 6]);
                            // a vector is of one channel
                            if WHAT > 1 && c > 0 {
                                (gradient, block) = (gradients[k], blocks[k]);
                            }
                            for a in 0..D {
                                gradient[a] = wr.fma(j[a], gradient[a]);
                            }
                            block = self.block_with::<L, WHAT>(block, j, weight);
                            if WHAT == 3 {
                                let pulled = pull_hessian::<L, D>(frame, bend);
                                for e in 0..D * (D + 1) / 2 {
                                    block[e] = wr.fma(pulled[e], block[e]);
                                }
                            }
                            if WHAT > 1 && c + 1 < channels {
                                (gradients[k], blocks[k]) = (gradient, block);
                                continue;
                            }
                            let near = near.map(|_| &nears[k]);
                            sink.put::<L, WHAT>(near, (at, count), gradient, block);
                        }
                    }
                }
                total += energy.sum();
                total_near += energy_near.sum();
            }
            sink.settle();
            [total, total_near]
        }
    }
}
