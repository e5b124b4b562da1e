//! The planes of a task.

use super::channels::Channels;
use super::runs::Runs;
use super::taps::{Line, Taps};
use super::{Shares, MANY, WIDEST};
use crate::ops::lanes::{Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::Shared;
use crate::ops::sample::{Frame, Interpolation};

/// One slab of planes `first..end`.
pub(super) struct Slab<'a, T, const D: usize> {
    pub frame: &'a Frame<T, D>,
    pub interpolation: Interpolation,
    pub u: &'a [T],
    pub shares: Shares<'a, T>,
    pub channels: usize,
    pub reach: &'a [[usize; 2]],
    pub first: usize,
    pub end: usize,
    /// Memory for the slab with a vector of channels interleaved.
    pub memory: &'a mut [T],
    pub out: Shared<T>,
}

/// Some fixed voxels of a row: the first, and how many.
type Voxels = (usize, usize);

impl<T: Real, const D: usize> Kernel<T> for Slab<'_, T, D> {
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

impl<T: Real, const D: usize> Slab<'_, T, D> {
    #[inline(always)]
    unsafe fn channels<L: Lanes<Element = T>, const CUBIC: bool, const ALONG: bool>(&mut self) {
        // SAFETY: as in `run`.
        unsafe {
            if self.channels < MANY {
                self.rows::<L, CUBIC, ALONG, false>(0, &mut []);
                return;
            }
            let m = self.frame.moving.iter().product::<usize>();
            let start = self.first * self.frame.moving[..D - 1].iter().product::<usize>();
            let memory = std::mem::take(&mut self.memory);
            let length = memory.len() / WIDEST * L::COUNT;
            for channel in (0..self.channels).step_by(L::COUNT) {
                let memory = &mut memory[..length];
                memory.fill(T::of(0.0));
                self.rows::<L, CUBIC, ALONG, true>(channel, memory);
                let to = self.out.at(channel * m + start);
                self.vector::<L>(channel, m)
                    .part::<L>(memory.as_ptr(), length / L::COUNT, to);
            }
        }
    }

    /// The channels from `channel` on that make a vector, of planes of so many voxels.
    #[inline(always)]
    fn vector<L: Lanes>(&self, channel: usize, step: usize) -> Channels {
        Channels {
            count: (self.channels - channel).min(L::COUNT),
            step,
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
        memory: &mut [T],
    ) {
        let (n, width) = (self.frame.voxels(), self.frame.fixed[0]);
        let (mut taps, mut runs) = (Taps::room(), Runs::room());
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
                    let mut step = [L::constant(0.0); D];
                    if let (true, Some((q, _))) = (ALONG, self.shares.along) {
                        for a in 0..D {
                            step[a] = L::load_some(q.as_ptr().add(a * n + at), count);
                        }
                        step = self.frame.push_step(step);
                    }
                    taps.fill::<L, D, CUBIC, ALONG>(self.frame, &cell, &step, self.shares.factor);
                    if MANY {
                        self.vectors::<L, CUBIC, ALONG>(&taps, (at, count), channel, memory);
                    } else {
                        runs.find::<L, D>(&cell.base);
                        self.runs::<L, CUBIC, ALONG>(&taps, &runs, (at, count));
                    }
                    i += count;
                }
            }
        }
    }

    /// Adds the shares of some fixed voxels that fall into the slab, a vector of channels at a time.
    #[inline(always)]
    unsafe fn vectors<L: Lanes<Element = T>, const CUBIC: bool, const ALONG: bool>(
        &self,
        taps: &Taps<T>,
        (at, count): Voxels,
        channel: usize,
        memory: &mut [T],
    ) {
        let reach = if CUBIC { 4 } else { 2 };
        let n = self.frame.voxels();
        // SAFETY: taps lie inside the volume, and those of other planes are left out.
        unsafe {
            let none = [L::constant(0.0); 16];
            let (mut first, mut second) = (none, none);
            let (vector, within) = (self.vector::<L>(channel, n), (count, n - at));
            let from = self.shares.cotangent.as_ptr();
            vector.load(from.add(channel * n + at), within, &mut first);
            if let (true, Some((_, along))) = (ALONG, self.shares.along) {
                vector.load(along.as_ptr().add(channel * n + at), within, &mut second);
            }
            for lane in 0..count {
                let (cotangent, along) = (first[lane], second[lane]);
                for kz in 0..if D == 3 { reach } else { 1 } {
                    for ky in 0..reach {
                        let Some(line) = self.line(taps, lane, (kz, ky)) else {
                            continue;
                        };
                        let (weight, slope) = (line.share.weight[lane], line.share.slope[lane]);
                        for kx in 0..reach {
                            let (wx, sx) = (taps.weight[kx][lane], taps.slope[kx][lane]);
                            let voxel = line.start + taps.voxel[kx].words()[lane] as usize;
                            let to = memory.as_mut_ptr().add(voxel * L::COUNT);
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

    /// Adds the shares of some fixed voxels that fall into the slab. Where the cells of neighbours follow each other along a
    /// row, the shares of all of them are added to a line of the moving grid at a time.
    #[inline(always)]
    unsafe fn runs<L: Lanes<Element = T>, const CUBIC: bool, const ALONG: bool>(
        &self,
        taps: &Taps<T>,
        runs: &Runs<T>,
        (at, count): Voxels,
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
            let end = runs.end(taps, lane, most, reach);
            if end == lane {
                // SAFETY: as in `run`.
                unsafe { self.voxel::<CUBIC, ALONG>(taps, at, lane) };
                lane += 1;
                continue;
            }
            let length = end - lane;
            // SAFETY: taps lie inside the volume, and these planes belong to this task.
            unsafe {
                let mut across = [[L::constant(0.0); 2]; 4];
                for k in 0..reach {
                    across[k] = [
                        in_front(&taps.weight[k], lane, length),
                        in_front(&taps.slope[k], lane, length),
                    ];
                }
                for kz in 0..if D == 3 { reach } else { 1 } {
                    for ky in 0..reach {
                        let Some(line) = self.line(taps, lane, (kz, ky)) else {
                            continue;
                        };
                        let weight: L = in_front(&line.share.weight, lane, length);
                        let slope = in_front(&line.share.slope, lane, length);
                        let first = start + line.start + taps.voxel[0].words()[lane] as usize;
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
                            let to = self.out.at(c * m + first);
                            let reached = length + reach - 1;
                            sum.add(L::load_part(to, reached)).store_part(to, reached);
                        }
                    }
                }
            }
            lane = end;
        }
    }

    /// Adds the shares of the fixed voxel `lane` after `at` that fall into the slab.
    #[inline(always)]
    unsafe fn voxel<const CUBIC: bool, const ALONG: bool>(
        &self,
        taps: &Taps<T>,
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
                let Some(line) = self.line(taps, lane, (kz, ky)) else {
                    continue;
                };
                let (weight, slope) = (line.share.weight[lane], line.share.slope[lane]);
                for c in 0..self.channels {
                    let voxel = c * n + at + lane;
                    let mut share = self.shares.cotangent[voxel] * weight;
                    let mut second = T::of(0.0);
                    if let (true, Some((_, along))) = (ALONG, self.shares.along) {
                        share += along[voxel] * slope;
                        second = along[voxel] * weight;
                    }
                    for kx in 0..reach {
                        let to = start + line.start + taps.voxel[kx].words()[lane] as usize;
                        let mut add = share * taps.weight[kx][lane];
                        if ALONG {
                            add += second * taps.slope[kx][lane];
                        }
                        // SAFETY: taps lie inside the volume, and this plane belongs to this task.
                        unsafe { *self.out.at(c * m + to) += add };
                    }
                }
            }
        }
    }

    /// The line at taps `kz` and `ky` of a voxel; none outside the slab.
    #[inline(always)]
    fn line<'t>(&self, taps: &'t Taps<T>, lane: usize, at: (usize, usize)) -> Option<Line<'t, T>> {
        taps.line(self.frame, (self.first, self.end), lane, at)
    }
}

/// Some lanes in the front of a vector whose others are zero.
///
/// # Safety
/// Within a kernel only; there are as many from `first` on.
#[inline(always)]
unsafe fn in_front<L: Lanes>(lanes: &[L::Element; 16], first: usize, count: usize) -> L {
    // SAFETY: the caller's promise.
    unsafe { L::load_part(lanes.as_ptr().add(first), count) }
}
