//! The fused pass over rows of the fixed grid.

use super::output::{pull_hessian, Model, Output, Sink, Smoothness};
use crate::ops::lanes::{dispatch, Kernel, Lanes, Source};
use crate::ops::near::Near;
use crate::ops::real::Real;
use crate::ops::rows::sum_over_rows;
use crate::ops::sample::{cubic, vectors, Frame, Interpolation, RUN, RUNS};
use crate::Affine;

/// What a pass reads; features may be stored otherwise than they are computed with.
#[derive(Clone, Copy)]
pub(super) struct Input<'a, T, S> {
    pub fixed: &'a [S],
    pub moving: &'a [S],
    pub mask: Option<&'a [T]>,
    pub u: Option<&'a [T]>,
    pub weights: &'a [T],
    pub interpolation: Interpolation,
    pub smoothness: Smoothness,
}

/// Runs the pass: energy of the data and of the differences; sizes fastest axis first.
///
/// Features that are stored otherwise are interpolated linearly.
pub(super) fn pass<T: Real, S: Source<T>>(
    input: &Input<'_, T, S>,
    (fixed, moving, map): (&[usize], &[usize], &Affine),
    output: Output<'_, T>,
) -> [f64; 2] {
    if fixed.len() == 2 {
        ranked::<T, S, 2>(input, Frame::new(fixed, moving, map), output)
    } else {
        ranked::<T, S, 3>(input, Frame::new(fixed, moving, map), output)
    }
}

fn ranked<T: Real, S: Source<T>, const D: usize>(
    input: &Input<'_, T, S>,
    frame: Frame<T, D>,
    output: Output<'_, T>,
) -> [f64; 2] {
    // every pointer below stays within these lengths
    let (n, channels) = (frame.voxels(), input.weights.len());
    assert!(channels > 0, "no channel");
    assert_eq!(input.fixed.len(), n * channels, "fixed features");
    assert_eq!(
        input.moving.len(),
        frame.moving.iter().product::<usize>() * channels,
        "moving features"
    );
    assert!(input.mask.is_none_or(|m| m.len() == n), "mask");
    assert!(input.u.is_none_or(|u| u.len() == n * D), "displacement");
    let sink = Sink::new(&frame, input.smoothness, output);
    let (frame, sink) = (&frame, &sink);
    let cubic = match input.interpolation {
        Interpolation::Linear => None,
        Interpolation::Cubic => Some(input.own().expect("halves are interpolated linearly")),
    };
    let sums = sum_over_rows(frame.rows(), frame.fixed[0], |rows| match &cubic {
        Some(input) => dispatch(Cubic(Pass::new(input, frame, sink, rows))),
        None => dispatch(Linear(Pass::new(input, frame, sink, rows))),
    });
    sums.map(|sum| 0.5 * sum)
}

impl<'a, T: Real, S: Source<T>> Input<'a, T, S> {
    /// With features as they are computed with, where they are stored so.
    fn own(&self) -> Option<Input<'a, T, T>> {
        Some(Input {
            fixed: S::own(self.fixed)?,
            moving: S::own(self.moving)?,
            mask: self.mask,
            u: self.u,
            weights: self.weights,
            interpolation: self.interpolation,
            smoothness: self.smoothness,
        })
    }
}

struct Pass<'a, T, S, const D: usize> {
    input: &'a Input<'a, T, S>,
    frame: &'a Frame<T, D>,
    sink: &'a Sink<'a, T, D>,
    rows: std::ops::Range<usize>,
}

struct Linear<'a, T, S, const D: usize>(Pass<'a, T, S, D>);

struct Cubic<'a, T, const D: usize>(Pass<'a, T, T, D>);

impl<T: Real, S: Source<T>, const D: usize> Kernel<T> for Linear<'_, T, S, D> {
    type Output = [f64; 2];

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) -> [f64; 2] {
        let Self(pass) = self;
        // SAFETY: lengths were checked in `ranked`; each task writes its own rows.
        unsafe {
            match pass.sink.mode {
                None if pass.input.weights.len() > 1 => pass.rows::<L, false, 0, RUNS>(),
                None => pass.rows::<L, false, 0, 1>(),
                Some(Model::Vector) => pass.rows::<L, false, 1, 1>(),
                Some(Model::Blocks) => pass.rows::<L, false, 2, RUNS>(),
                Some(Model::Newton) => pass.rows::<L, false, 3, RUNS>(),
            }
        }
    }
}

impl<T: Real, const D: usize> Kernel<T> for Cubic<'_, T, D> {
    type Output = [f64; 2];

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) -> [f64; 2] {
        let Self(pass) = self;
        // SAFETY: as for `Linear`.
        unsafe {
            match pass.sink.mode {
                None => pass.rows::<L, true, 0, 1>(),
                Some(Model::Vector) => pass.rows::<L, true, 1, 1>(),
                Some(Model::Blocks) => pass.rows::<L, true, 2, 1>(),
                Some(Model::Newton) => pass.rows::<L, true, 3, 1>(),
            }
        }
    }
}

impl<'a, T: Real, S: Source<T>, const D: usize> Pass<'a, T, S, D> {
    fn new(
        input: &'a Input<'a, T, S>,
        frame: &'a Frame<T, D>,
        sink: &'a Sink<'a, T, D>,
        rows: std::ops::Range<usize>,
    ) -> Self {
        Self {
            input,
            frame,
            sink,
            rows,
        }
    }

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

    /// Of some voxels of a row, by cubic interpolation.
    #[inline(always)]
    unsafe fn cubic<L: Lanes<Element = T>, const ORDER: usize>(
        &self,
        coefficients: *const T,
        row: usize,
        place: (usize, usize, usize),
    ) -> (L, [L; D], [L; 6]) {
        let frame = self.frame;
        // SAFETY: the contract of `run`.
        unsafe {
            let cell = frame.cell::<L, true>(self.input.u, &frame.row_start(row), place);
            cubic::<L, D, ORDER>(coefficients, &cell, &frame.moving, &frame.stride)
        }
    }

    /// `WHAT`: 0 value, 1 gradient and vector, 2 gradient and blocks, 3 gradient and Hessian.
    #[inline(always)]
    unsafe fn rows<
        L: Lanes<Element = T>,
        const CUBIC: bool,
        const WHAT: usize,
        const GROUP: usize,
    >(
        &self,
    ) -> [f64; 2] {
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
            let (mut runs, mut nears) = ([frame.room::<L>(); GROUP], Near::room());
            let (mut gradients, mut blocks) =
                ([[[zero; D]; RUN]; GROUP], [[[zero; 6]; RUN]; GROUP]);
            // a vector is of one channel
            let channels = if WHAT == 1 { 1 } else { input.weights.len() };
            let (mut energies, mut energy_near) = ([zero; GROUP], zero);
            let (mut total, mut total_near) = (0.0, 0.0);
            let all = frame.runs::<L>(self.rows.len());
            for first in (0..all).step_by(GROUP) {
                let group = first..(first + GROUP).min(all);
                if !CUBIC {
                    for s in group.clone() {
                        frame.run(input.u, (self.rows.start, s), &mut runs[s - first]);
                    }
                }
                for c in 0..channels {
                    let image = input.moving.as_ptr().add(c * moving_voxels);
                    // of a cubic pass, whose features are stored as they are computed with
                    let coefficients = image.cast::<T>();
                    let channel_weight = L::splat(input.weights[c]);
                    for s in group.clone() {
                        let (row, begin) = frame.run_at::<L>(self.rows.start, s);
                        let vectors = vectors::<L>(width - begin);
                        let run = &runs[s - first];
                        let (gradients, blocks) =
                            (&mut gradients[s - first], &mut blocks[s - first]);
                        let mut energy = energies[s - first];
                        if let Some(near) = near.filter(|_| c + 1 == channels) {
                            near.run(WHAT > 0, (row, begin), &mut nears);
                            for near in &nears[..vectors] {
                                energy_near = energy_near.add(near.energy);
                            }
                        }
                        for k in 0..vectors {
                            let i = begin + k * L::COUNT;
                            let count = (width - i).min(L::COUNT);
                            let at = row * width + i;
                            let between = &run[k];
                            let place = (i, at, count);
                            let fixed = S::load::<L>(input.fixed.as_ptr().add(c * n + at), count);
                            let mask = match input.mask {
                                Some(m) => L::load_some(m.as_ptr().add(at), count),
                                // lanes beyond the row count for nothing
                                None => L::load_some(ones.as_ptr(), count),
                            };
                            let weight = mask.mul(channel_weight);
                            if WHAT == 0 {
                                let value = if CUBIC {
                                    self.cubic::<L, 0>(coefficients, row, place).0
                                } else {
                                    between.value(image, &frame.stride)
                                };
                                let r = value.sub(fixed);
                                energy = r.mul(weight).fma(r, energy);
                                continue;
                            }
                            let (value, slope, bend) = if CUBIC && WHAT == 3 {
                                self.cubic::<L, 2>(coefficients, row, place)
                            } else if CUBIC {
                                self.cubic::<L, 1>(coefficients, row, place)
                            } else {
                                between.bend(image, &frame.stride)
                            };
                            // by the displacement: of one channel each slope, else the sums over all channels in the end
                            let slope = if WHAT == 1 {
                                frame.pull_gradient(slope)
                            } else {
                                slope
                            };
                            let r = value.sub(fixed);
                            let wr = r.mul(weight);
                            energy = wr.fma(r, energy);
                            let (mut gradient, mut block) = ([zero; D], [zero; 6]);
                            if c > 0 {
                                (gradient, block) = (gradients[k], blocks[k]);
                            }
                            for a in 0..D {
                                gradient[a] = wr.fma(slope[a], gradient[a]);
                            }
                            block = self.block_with::<L, WHAT>(block, slope, weight);
                            if WHAT == 3 {
                                for e in 0..D * (D + 1) / 2 {
                                    block[e] = wr.fma(bend[e], block[e]);
                                }
                            }
                            if c + 1 < channels {
                                (gradients[k], blocks[k]) = (gradient, block);
                                continue;
                            }
                            if WHAT > 1 {
                                gradient = frame.pull_gradient(gradient);
                                block = pull_hessian::<L, D>(frame, block);
                            }
                            let near = near.map(|_| &nears[k]);
                            sink.put::<L, WHAT>(near, (at, count), gradient, block);
                        }
                        energies[s - first] = energy;
                    }
                }
                // a single channel's sums go on to the end of the row
                let (_, next) = frame.run_at::<L>(self.rows.start, group.end);
                if GROUP == 1 && next > 0 {
                    continue;
                }
                for energy in &mut energies {
                    total += energy.sum();
                    *energy = zero;
                }
                total_near += energy_near.sum();
                energy_near = zero;
            }
            sink.settle();
            [total, total_near]
        }
    }
}
