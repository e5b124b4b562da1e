//! Labels that a displacement carries to others, all of them in one pass: a voxel has one label, not a share of each.

use candle_core::Tensor;
use rayon::prelude::*;

use super::real::Real;
use super::rows::{for_rows, Shared};
use super::sample::Frame;
use super::storage::{computed, read, with_real};
use crate::{Affine, Error, Result};

/// Voxels of a piece, about.
const PIECE: usize = 1 << 14;

/// Two volumes of labels, each a place in a list of `count` labels or `count` itself for none of them, and the map from fixed to
/// moving index.
pub(crate) struct CarriedLabels<'a> {
    pub fixed: &'a [u16],
    pub moving: &'a [u16],
    /// Voxels of the moving labels, fastest axis first.
    pub moving_size: &'a [usize],
    pub map: &'a Affine,
    pub count: usize,
}

/// How much of a label there is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Shares {
    /// Sum over the voxels of the product of both shares.
    pub common: f64,
    /// Sum of both shares.
    pub all: f64,
}

impl CarriedLabels<'_> {
    /// The shares of each label, where the moving labels' indicators are interpolated linearly at `map(x + u(x))`, continued by
    /// the nearest voxel outside. `u` is `[rank, (nz,) ny, nx]` in voxels of the fixed labels.
    pub(crate) fn shares(&self, u: &Tensor) -> Result<Vec<Shares>> {
        self.check(u)?;
        let size = super::size(u);
        with_real!(u.dtype(), T => read::<T, _>(u, |u| match size.len() {
            2 => self.ranked::<T, 2>(&size).shares(u),
            _ => self.ranked::<T, 3>(&size).shares(u),
        }))
    }

    /// The gradient with respect to `u` of the sum over the labels of `common[k] * shares[k].common + all[k] * shares[k].all`.
    pub(crate) fn gradient(&self, u: &Tensor, common: &[f64], all: &[f64]) -> Result<Tensor> {
        self.check(u)?;
        let size = super::size(u);
        with_real!(u.dtype(), T => {
            // what is none of the labels counts for nothing
            let factors = |factors: &[f64]| -> Vec<T> {
                factors.iter().chain(&[0.0]).map(|&f| T::of(f)).collect()
            };
            let (common, all) = (factors(common), factors(all));
            let values = read::<T, _>(u, |u| match size.len() {
                2 => self.ranked::<T, 2>(&size).gradient(u, &common, &all),
                _ => self.ranked::<T, 3>(&size).gradient(u, &common, &all),
            })?;
            Ok(Tensor::from_vec(values, u.dims(), u.device())?)
        })
    }

    fn check(&self, u: &Tensor) -> Result<()> {
        let voxels: usize = u.dims()[1..].iter().product();
        if self.fixed.len() != voxels {
            return Err(Error::Shape {
                what: "labels that a displacement carries others to",
                expected: vec![voxels],
                got: vec![self.fixed.len()],
            });
        }
        // what the passes index by
        let moving = self.moving_size.iter().product::<usize>();
        assert_eq!(self.moving.len(), moving, "moving labels");
        let most = |labels: &[u16]| labels.iter().copied().max().unwrap_or(0);
        assert!(most(self.fixed).max(most(self.moving)) as usize <= self.count);
        Ok(())
    }

    fn ranked<T: Real, const D: usize>(&self, size: &[usize]) -> Ranked<'_, T, D> {
        Ranked {
            labels: self,
            frame: Frame::new(size, self.moving_size, self.map),
        }
    }
}

struct Ranked<'a, T, const D: usize> {
    labels: &'a CarriedLabels<'a>,
    frame: Frame<T, D>,
}

/// Where a position lies among the moving voxels.
struct Cell<T, const D: usize> {
    /// The labels of its corners, the fastest axis' two first.
    corners: [u16; 8],
    part: [T; D],
    /// Whether it was inside along each axis.
    inside: [bool; D],
}

impl<T: Real, const D: usize> Ranked<'_, T, D> {
    #[inline(always)]
    fn cell(&self, u: &[T], start: &[T; D], i: usize, at: usize) -> Cell<T, D> {
        let (frame, voxels) = (&self.frame, self.frame.voxels());
        let mut moved = [T::of(0.0); D];
        for a in 0..D {
            moved[a] = u[a * voxels + at];
        }
        moved[0] += T::of(i as f64);
        let zero = T::of(0.0);
        let (mut part, mut inside, mut base, mut step) = ([zero; D], [true; D], 0, 1);
        let mut next = [0; D];
        for a in 0..D {
            let mut p = start[a];
            for (b, &moved) in moved.iter().enumerate() {
                p += frame.matrix[a][b] * moved;
            }
            let size = frame.moving[a];
            let last = T::of((size - 1) as f64);
            // NaN becomes 0, never an index outside
            inside[a] = p >= zero && p <= last;
            let p = if p > zero { p } else { zero };
            let p = if p < last { p } else { last };
            let cell = (p.wide() as usize).min(size.saturating_sub(2));
            part[a] = p - T::of(cell as f64);
            base += cell * step;
            next[a] = frame.stride[a];
            step *= size;
        }
        let mut corners = [0; 8];
        for (k, corner) in corners.iter_mut().take(1 << D).enumerate() {
            let beside = (0..D).map(|a| (k >> a & 1) * next[a]).sum::<usize>();
            *corner = self.labels.moving[base + beside];
        }
        Cell {
            corners,
            part,
            inside,
        }
    }

    fn shares(&self, u: &[T]) -> Vec<Shares> {
        let (nx, count) = (self.frame.fixed[0], self.labels.count);
        let (rows, run) = (self.frame.rows(), (PIECE / nx).max(1));
        let pieces = (0..rows.div_ceil(run)).into_par_iter();
        let parts = pieces.map(|piece| {
            let mut sums = vec![Shares::default(); count + 1];
            for row in piece * run..((piece + 1) * run).min(rows) {
                let start = self.frame.row_start(row);
                for i in 0..nx {
                    let at = row * nx + i;
                    let fixed = self.labels.fixed[at];
                    let cell = self.cell(u, &start, i, at);
                    sums[usize::from(fixed)].all += 1.0;
                    let corners = &cell.corners[..1 << D];
                    if corners.iter().all(|&c| c == corners[0]) {
                        let label = &mut sums[usize::from(corners[0])];
                        label.all += 1.0;
                        label.common += f64::from(u8::from(corners[0] == fixed));
                        continue;
                    }
                    for (k, &corner) in corners.iter().enumerate() {
                        let weight: f64 = (0..D)
                            .map(|a| {
                                let part = cell.part[a].wide();
                                if k >> a & 1 == 1 {
                                    part
                                } else {
                                    1.0 - part
                                }
                            })
                            .product();
                        let label = &mut sums[usize::from(corner)];
                        label.all += weight;
                        if corner == fixed {
                            label.common += weight;
                        }
                    }
                }
            }
            sums
        });
        // in order, whatever the threads
        let parts: Vec<Vec<Shares>> = parts.collect();
        let mut sums = vec![Shares::default(); count];
        for part in &parts {
            for (sum, part) in sums.iter_mut().zip(part) {
                sum.common += part.common;
                sum.all += part.all;
            }
        }
        sums
    }

    fn gradient(&self, u: &[T], common: &[T], all: &[T]) -> Vec<T> {
        let (nx, voxels) = (self.frame.fixed[0], self.frame.voxels());
        let pass = |out: Shared<T>| {
            for_rows(self.frame.rows(), nx, |rows| {
                for row in rows {
                    let start = self.frame.row_start(row);
                    for i in 0..nx {
                        let at = row * nx + i;
                        let cell = self.cell(u, &start, i, at);
                        let slope = self.slope(&cell, self.labels.fixed[at], common, all);
                        for a in 0..D {
                            let mut sum = T::of(0.0);
                            for (b, &slope) in slope.iter().enumerate() {
                                sum += self.frame.matrix[b][a] * slope;
                            }
                            // SAFETY: the pieces part the voxels of the fixed grid.
                            unsafe { *out.at(a * voxels + at) = sum };
                        }
                    }
                }
            });
        };
        // SAFETY: every voxel of every component is written.
        unsafe { computed(D * voxels, pass) }
    }

    /// The derivative with respect to the position.
    #[inline(always)]
    fn slope(&self, cell: &Cell<T, D>, fixed: u16, common: &[T], all: &[T]) -> [T; D] {
        let mut slope = [T::of(0.0); D];
        let corners = &cell.corners[..1 << D];
        if corners.iter().all(|&c| c == corners[0]) {
            return slope;
        }
        for (k, &corner) in corners.iter().enumerate() {
            let label = usize::from(corner);
            let mut value = all[label];
            if corner == fixed {
                value += common[label];
            }
            for (a, slope) in slope.iter_mut().enumerate() {
                let weights = (0..D).map(|b| match (b == a, k >> b & 1 == 1) {
                    (true, true) => T::of(1.0),
                    (true, false) => T::of(-1.0),
                    (false, true) => cell.part[b],
                    (false, false) => T::of(1.0) - cell.part[b],
                });
                *slope += weights.fold(value, |product, weight| product * weight);
            }
        }
        for (slope, inside) in slope.iter_mut().zip(cell.inside) {
            if !inside {
                *slope = T::of(0.0);
            }
        }
        slope
    }
}
