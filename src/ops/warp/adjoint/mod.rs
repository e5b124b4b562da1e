//! The adjoint of the warp: every fixed voxel hands its cotangent to the moving voxels it was made of.
//!
//! Tasks own slabs of the moving grid and walk over the fixed rows that reach them, in order: whatever the slabs, a
//! moving voxel adds up its shares in the order of the fixed rows, and in one order within a row.

mod reach;
mod runs;

use rayon::prelude::*;

use reach::Reach;
use runs::{in_front, Runs, Taps};

use super::Place;
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, Shared};
use crate::ops::sample::{taps, Frame, Interpolation};
use crate::ops::scratch::with_scratch;

/// Planes of a slab at least: rows on the border of two slabs are walked twice.
const PLANES: usize = 8;
/// Planes of a slab at most where its channels are interleaved in memory of its own.
const INTERLEAVED: usize = 12;
/// From so many channels on they are interleaved.
const MANY: usize = 4;
/// Lanes of the widest vector.
const WIDEST: usize = 16;

/// What a fixed voxel hands on: `cotangent` by the weights of the interpolation and, where `along` gives a step of the
/// displacement and a second cotangent, that one by the derivative of the weights along the step.
#[derive(Clone, Copy)]
pub(super) struct Shares<'a, T> {
    /// What all shares are multiplied by.
    pub factor: T,
    pub cotangent: &'a [T],
    pub along: Option<(&'a [T], &'a [T])>,
}

/// `out` holds zeros before.
pub(super) fn scatter<T: Real>(place: &Place<'_>, u: &[T], shares: Shares<'_, T>, out: &mut [T]) {
    if place.fixed.len() == 2 {
        ranked::<T, 2>(place, u, shares, out);
    } else {
        ranked::<T, 3>(place, u, shares, out);
    }
}

fn ranked<T: Real, const D: usize>(
    place: &Place<'_>,
    u: &[T],
    shares: Shares<'_, T>,
    out: &mut [T],
) {
    let cotangent = shares.cotangent;
    let frame = place.frame::<T, D>();
    let (n, m) = (frame.voxels(), frame.moving.iter().product::<usize>());
    let channels = out.len() / m;
    assert_eq!(u.len(), n * D, "displacement");
    assert!(
        cotangent.len() == channels * n && out.len() == channels * m,
        "cotangent"
    );
    if let Some((step, second)) = shares.along {
        assert_eq!(step.len(), n * D, "step");
        assert_eq!(second.len(), cotangent.len(), "second cotangent");
    }
    let mut reach = vec![[0; 2]; frame.rows()];
    let shared = Shared::new(&mut reach);
    for_rows(frame.rows(), frame.fixed[0], |rows| {
        dispatch(Reach {
            frame: &frame,
            interpolation: place.interpolation,
            u,
            rows,
            out: shared,
        });
    });
    let planes = frame.moving[D - 1];
    let slab = planes.div_ceil(4 * rayon::current_num_threads()).clamp(
        PLANES,
        if channels < MANY { planes } else { INTERLEAVED }.max(PLANES),
    );
    let plane: usize = frame.moving[..D - 1].iter().product();
    let out = Shared::new(out);
    (0..planes.div_ceil(slab)).into_par_iter().for_each(|s| {
        let (first, end) = (s * slab, ((s + 1) * slab).min(planes));
        let interleaved = if channels < MANY {
            0
        } else {
            (end - first) * plane * WIDEST
        };
        with_scratch::<T, _>(interleaved, |slab| {
            dispatch(Scatter {
                frame: &frame,
                interpolation: place.interpolation,
                u,
                shares,
                channels,
                reach: &reach,
                first,
                end,
                slab,
                out,
            });
        });
    });
}

/// One slab of planes `first..end`.
struct Scatter<'a, T, const D: usize> {
    frame: &'a Frame<T, D>,
    interpolation: Interpolation,
    u: &'a [T],
    shares: Shares<'a, T>,
    channels: usize,
    reach: &'a [[usize; 2]],
    first: usize,
    end: usize,
    /// Memory for the slab with a vector of channels interleaved.
    slab: &'a mut [T],
    out: Shared<T>,
}

impl<T: Real, const D: usize> Kernel<T> for Scatter<'_, T, D> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(mut self) {
        // SAFETY: lengths were checked; each task writes its own planes.
        unsafe {
            match (self.interpolation, self.shares.along.is_some()) {
                (Interpolation::Linear, false) => self.channels::<L, false, false>(),
                (Interpolation::Linear, true) => self.channels::<L, false, true>(),
                (Interpolation::Cubic, false) => self.channels::<L, true, false>(),
                (Interpolation::Cubic, true) => self.channels::<L, true, true>(),
            }
        }
    }
}

impl<T: Real, const D: usize> Scatter<'_, T, D> {
    #[inline(always)]
    unsafe fn channels<L: Lanes<Element = T>, const CUBIC: bool, const ALONG: bool>(&mut self) {
        // SAFETY: as in `run`.
        unsafe {
            if self.channels < MANY {
                self.rows::<L, CUBIC, ALONG, false>(0, &mut []);
                return;
            }
            let slab = std::mem::take(&mut self.slab);
            let length = slab.len() / WIDEST * L::COUNT;
            for channel in (0..self.channels).step_by(L::COUNT) {
                let slab = &mut slab[..length];
                slab.fill(T::of(0.0));
                self.rows::<L, CUBIC, ALONG, true>(channel, slab);
                self.part::<L>(channel, slab);
            }
        }
    }

    /// Takes a slab of interleaved channels, from `channel` on, to the planar result.
    #[inline(always)]
    unsafe fn part<L: Lanes<Element = T>>(&self, channel: usize, slab: &[T]) {
        let m = self.frame.moving.iter().product::<usize>();
        let start = self.first * self.frame.moving[..D - 1].iter().product::<usize>();
        let count = (self.channels - channel).min(L::COUNT);
        for (run, values) in slab.chunks(16 * L::COUNT).enumerate() {
            for c in 0..count {
                let to = (channel + c) * m + start + 16 * run;
                for (v, voxel) in values.chunks(L::COUNT).enumerate() {
                    // SAFETY: these planes belong to this task.
                    unsafe { *self.out.at(to + v) = voxel[c] };
                }
            }
        }
    }

    /// Walks over the fixed rows that reach the slab; where `MANY`, for the interleaved channels from `channel` on.
    #[inline(always)]
    unsafe fn rows<
        L: Lanes<Element = T>,
        const CUBIC: bool,
        const ALONG: bool,
        const MANY: bool,
    >(
        &self,
        channel: usize,
        slab: &mut [T],
    ) {
        let (n, width) = (self.frame.voxels(), self.frame.fixed[0]);
        let none = [T::of(0.0); 16];
        let empty = Taps {
            place: [none; 4],
            weight: [none; 4],
            slope: [none; 4],
        };
        let mut axes = [empty; D];
        let mut runs = Runs {
            joined: none,
            whole: none,
        };
        // SAFETY: as in `run`.
        unsafe {
            for (row, [low, high]) in self.reach.iter().enumerate() {
                if *high < self.first || *low >= self.end {
                    continue;
                }
                let start = self.frame.row_start(row);
                let mut i = 0;
                while i < width {
                    let count = (width - i).min(L::COUNT);
                    let at = row * width + i;
                    let cell = self
                        .frame
                        .cell::<L, CUBIC>(Some(self.u), &start, (i, at, count));
                    let mut step = [L::splat(T::of(0.0)); D];
                    if let (true, Some((q, _))) = (ALONG, self.shares.along) {
                        for a in 0..D {
                            step[a] = L::load_some(q.as_ptr().add(a * n + at), count);
                        }
                        step = self.frame.push_step(step);
                    }
                    for a in 0..D {
                        let [voxel, weight, slope] =
                            taps::<L, D, CUBIC>(&cell, a, self.frame.moving[a]);
                        for k in 0..if CUBIC { 4 } else { 2 } {
                            voxel[k].store(axes[a].place[k].as_mut_ptr());
                            weight[k].store(axes[a].weight[k].as_mut_ptr());
                            if ALONG {
                                step[a].mul(slope[k]).store(axes[a].slope[k].as_mut_ptr());
                            }
                        }
                    }
                    if MANY {
                        self.vectors::<L, CUBIC, ALONG>(&axes, (at, count), channel, slab);
                    } else {
                        let reach = if CUBIC { 4 } else { 2 };
                        runs.find::<L, D>(&cell.base, &axes[0].place, reach);
                        self.runs::<L, CUBIC, ALONG>(&axes, &runs, (at, count));
                    }
                    i += count;
                }
            }
        }
    }

    /// Adds the shares of `count` fixed voxels from `at` on that fall into the slab, a vector of channels at a time.
    #[inline(always)]
    unsafe fn vectors<L: Lanes<Element = T>, const CUBIC: bool, const ALONG: bool>(
        &self,
        axes: &[Taps<T>; D],
        (at, count): (usize, usize),
        channel: usize,
        slab: &mut [T],
    ) {
        let reach = if CUBIC { 4 } else { 2 };
        let n = self.frame.voxels();
        let none = [[T::of(0.0); 16]; 16];
        // channels of each voxel side by side
        let (mut first, mut second) = (none, none);
        for c in 0..(self.channels - channel).min(L::COUNT) {
            let from = (channel + c) * n + at;
            for (to, value) in first
                .iter_mut()
                .zip(&self.shares.cotangent[from..from + count])
            {
                to[c] = *value;
            }
            if let (true, Some((_, along))) = (ALONG, self.shares.along) {
                for (to, value) in second.iter_mut().zip(&along[from..from + count]) {
                    to[c] = *value;
                }
            }
        }
        for lane in 0..count {
            let mut along_row = [0; 4];
            for (kx, to) in along_row.iter_mut().enumerate().take(reach) {
                *to = axes[0].voxel(kx, lane) * L::COUNT;
            }
            // SAFETY: taps lie inside the volume, and those of other planes are left out.
            unsafe {
                let (cotangent, along) = (
                    L::load(first[lane].as_ptr()),
                    L::load(second[lane].as_ptr()),
                );
                for kz in 0..if D == 3 { reach } else { 1 } {
                    for ky in 0..reach {
                        let Some((line, weight, slope)) = self.line(axes, lane, kz, ky) else {
                            continue;
                        };
                        for kx in 0..reach {
                            let (wx, sx) = (axes[0].weight[kx][lane], axes[0].slope[kx][lane]);
                            let to = slab.as_mut_ptr().add(line * L::COUNT + along_row[kx]);
                            let mut sum = cotangent.fma(L::splat(weight * wx), L::load(to));
                            if ALONG {
                                sum = along.fma(L::splat(slope * wx + weight * sx), sum);
                            }
                            sum.store(to);
                        }
                    }
                }
            }
        }
    }

    /// Adds the shares of `count` fixed voxels from `at` on that fall into the slab. Where the cells of neighbours follow each other
    /// along a row, the shares of all of them are added to a line of the moving grid at a time.
    #[inline(always)]
    unsafe fn runs<L: Lanes<Element = T>, const CUBIC: bool, const ALONG: bool>(
        &self,
        axes: &[Taps<T>; D],
        runs: &Runs<T>,
        (at, count): (usize, usize),
    ) {
        let reach = if CUBIC { 4 } else { 2 };
        let (n, m) = (
            self.frame.voxels(),
            self.frame.moving.iter().product::<usize>(),
        );
        let start = self.first * self.frame.stride[D - 1];
        let mut lane = 0;
        while lane < count {
            // the shares of the last one still fit into a vector
            let most = (lane + L::COUNT + 1 - reach).min(count);
            let end = runs.end(lane, most);
            if end == lane {
                // taps that a border has put elsewhere
                // SAFETY: as in `run`.
                unsafe { self.voxel::<CUBIC, ALONG>(axes, at, lane) };
                lane += 1;
                continue;
            }
            let length = end - lane;
            // SAFETY: taps lie inside the volume, and these planes belong to this task.
            unsafe {
                let mut across = [[L::constant(0.0); 2]; 4];
                for k in 0..reach {
                    across[k] = [
                        in_front(&axes[0].weight[k], lane, length),
                        in_front(&axes[0].slope[k], lane, length),
                    ];
                }
                for kz in 0..if D == 3 { reach } else { 1 } {
                    for ky in 0..reach {
                        let Some((line, ..)) = self.line(axes, lane, kz, ky) else {
                            continue;
                        };
                        let [weight, slope] =
                            self.weights::<L, ALONG>(axes, (lane, length), kz, ky);
                        for c in 0..self.channels {
                            let voxel = c * n + at + lane;
                            let from = self.shares.cotangent.as_ptr().add(voxel);
                            let mut share = L::load_part(from, length).mul(weight);
                            let mut second = share;
                            if let (true, Some((_, along))) = (ALONG, self.shares.along) {
                                let along = L::load_part(along.as_ptr().add(voxel), length);
                                share = along.fma(slope, share);
                                second = along.mul(weight);
                            }
                            let mut sum = L::constant(0.0);
                            for k in (0..reach).rev() {
                                sum = sum.one_back(L::constant(0.0));
                                sum = share.fma(across[k][0], sum);
                                if ALONG {
                                    sum = second.fma(across[k][1], sum);
                                }
                            }
                            let to = self.out.at(c * m + start + line + axes[0].voxel(0, lane));
                            let reached = length + reach - 1;
                            sum.add(L::load_part(to, reached)).store_part(to, reached);
                        }
                    }
                }
            }
            lane = end;
        }
    }

    /// The factor of the shares of a run of voxels on the line at taps `kz` and `ky`, and its derivative along the step.
    #[inline(always)]
    unsafe fn weights<L: Lanes<Element = T>, const ALONG: bool>(
        &self,
        axes: &[Taps<T>; D],
        (lane, length): (usize, usize),
        kz: usize,
        ky: usize,
    ) -> [L; 2] {
        // SAFETY: runs lie within the lanes.
        unsafe {
            let factor = L::splat(self.shares.factor);
            let mut weight = factor.mul(in_front(&axes[1].weight[ky], lane, length));
            let mut slope = factor.mul(in_front(&axes[1].slope[ky], lane, length));
            if D == 3 {
                let deep: L = in_front(&axes[D - 1].weight[kz], lane, length);
                slope = slope.mul(deep);
                if ALONG {
                    slope = weight.fma(in_front(&axes[D - 1].slope[kz], lane, length), slope);
                }
                weight = weight.mul(deep);
            }
            [weight, slope]
        }
    }

    /// The line of the moving grid at taps `kz` and `ky` of a voxel, counted from the slab's first voxel, with its weight and
    /// the derivative of that along the step; none outside the slab.
    #[inline(always)]
    fn line(
        &self,
        axes: &[Taps<T>; D],
        lane: usize,
        kz: usize,
        ky: usize,
    ) -> Option<(usize, T, T)> {
        let tap = if D == 3 { kz } else { ky };
        let plane = axes[D - 1].voxel(tap, lane);
        if plane < self.first || plane >= self.end {
            return None;
        }
        let slice = (plane - self.first) * self.frame.stride[D - 1];
        let factor = self.shares.factor;
        let (wy, sy) = (axes[1].weight[ky][lane], axes[1].slope[ky][lane]);
        if D == 2 {
            return Some((slice, factor * wy, factor * sy));
        }
        let across = factor * axes[D - 1].weight[kz][lane];
        let bend = factor * axes[D - 1].slope[kz][lane];
        let from = slice + axes[1].voxel(ky, lane) * self.frame.stride[1];
        Some((from, across * wy, bend * wy + across * sy))
    }

    /// Adds the shares of the fixed voxel `lane` after `at` that fall into the slab.
    #[inline(always)]
    unsafe fn voxel<const CUBIC: bool, const ALONG: bool>(
        &self,
        axes: &[Taps<T>; D],
        at: usize,
        lane: usize,
    ) {
        let reach = if CUBIC { 4 } else { 2 };
        let (n, m) = (
            self.frame.voxels(),
            self.frame.moving.iter().product::<usize>(),
        );
        let start = self.first * self.frame.stride[D - 1];
        for kz in 0..if D == 3 { reach } else { 1 } {
            for ky in 0..reach {
                let Some((line, weight, slope)) = self.line(axes, lane, kz, ky) else {
                    continue;
                };
                for c in 0..self.channels {
                    let voxel = c * n + at + lane;
                    let mut share = self.shares.cotangent[voxel] * weight;
                    let mut second = T::of(0.0);
                    if let (true, Some((_, along))) = (ALONG, self.shares.along) {
                        share += along[voxel] * slope;
                        second = along[voxel] * weight;
                    }
                    for kx in 0..reach {
                        let to = c * m + start + line + axes[0].voxel(kx, lane);
                        let mut add = share * axes[0].weight[kx][lane];
                        if ALONG {
                            add += second * axes[0].slope[kx][lane];
                        }
                        // SAFETY: taps lie inside the volume, and this plane belongs to this task.
                        unsafe { *self.out.at(to) += add };
                    }
                }
            }
        }
    }
}
