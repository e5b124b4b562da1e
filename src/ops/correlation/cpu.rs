//! The pass over rows of the fixed grid.
//!
//! The derivative of the warped intensity with respect to entry `(a, b)` of the map is `g_a x_b`, `g` the gradient of
//! the moving image and `x` the index, one for the translation. Along a row only the first index varies, so each row
//! gathers the products of `g` with powers of that index in vectors; they are spread over all entries once a row.

use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::sum_over_rows;
use crate::ops::sample::{Cell, Frame, Multilinear};
use crate::Affine;

/// Six moments, three sums for each of the 12 entries of a map, and one for each pair of entries.
pub(super) const SUMS: usize = 6 + 3 * 12 + 12 * 13 / 2;

/// What a pass reads.
pub(super) struct Input<'a, T> {
    pub fixed: &'a [T],
    pub moving: &'a [T],
    pub fixed_mask: Option<&'a [T]>,
    pub moving_mask: Option<&'a [T]>,
}

/// Place of a pair among the packed entries of a symmetric matrix of `n` rows.
#[inline(always)]
pub(super) fn packed(n: usize, a: usize, b: usize) -> usize {
    let (a, b) = if a < b { (a, b) } else { (b, a) };
    a * n + b - a * (a + 1) / 2
}

/// Moments; with the derivative also the sums `w q`, `w f q`, `w m q` for each entry of the map about the middle of the
/// fixed grid, row by row, and `w q q'` packed. Sizes fastest axis first.
pub(super) fn pass<T: Real>(
    input: &Input<'_, T>,
    (fixed, moving, map): (&[usize], &[usize], &Affine),
    derivative: bool,
) -> [f64; SUMS] {
    if fixed.len() == 2 {
        ranked::<T, 2>(input, Frame::new(fixed, moving, map), derivative)
    } else {
        ranked::<T, 3>(input, Frame::new(fixed, moving, map), derivative)
    }
}

fn ranked<T: Real, const D: usize>(
    input: &Input<'_, T>,
    frame: Frame<T, D>,
    derivative: bool,
) -> [f64; SUMS] {
    // every pointer below stays within these lengths
    let (n, m) = (frame.voxels(), frame.moving.iter().product::<usize>());
    assert_eq!(input.fixed.len(), n, "fixed features");
    assert_eq!(input.moving.len(), m, "moving features");
    assert!(input.fixed_mask.is_none_or(|w| w.len() == n), "fixed mask");
    assert!(
        input.moving_mask.is_none_or(|w| w.len() == m),
        "moving mask"
    );
    sum_over_rows(frame.rows(), frame.fixed[0], |rows| {
        dispatch(Pass::<'_, T, D> {
            input,
            frame: &frame,
            derivative,
            rows,
        })
    })
}

struct Pass<'a, T, const D: usize> {
    input: &'a Input<'a, T>,
    frame: &'a Frame<T, D>,
    derivative: bool,
    rows: std::ops::Range<usize>,
}

impl<T: Real, const D: usize> Kernel<T> for Pass<'_, T, D> {
    type Output = [f64; SUMS];

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) -> [f64; SUMS] {
        // SAFETY: lengths were checked in `ranked`.
        unsafe {
            if self.derivative {
                self.rows::<L, true>()
            } else {
                self.rows::<L, false>()
            }
        }
    }
}

/// The sums of one row; `[0]` is without the first index, `[1]` with it, `[2]` with its square.
struct Row<L, const D: usize> {
    moments: [L; 6],
    slope: [[L; 2]; D],
    slope_fixed: [[L; 2]; D],
    slope_moving: [[L; 2]; D],
    slope_slope: [[L; 3]; 6],
}

impl<T: Real, const D: usize> Pass<'_, T, D> {
    #[inline(always)]
    unsafe fn rows<L: Lanes<Element = T>, const DERIVATIVE: bool>(&self) -> [f64; SUMS] {
        // SAFETY: the contract of `run`.
        unsafe {
            let Self { input, frame, .. } = self;
            let width = frame.fixed[0];
            let (zero, one) = (L::constant(0.0), L::constant(1.0));
            let ones = [T::of(1.0); 16];
            let mut total = [0.0; SUMS];
            for row in self.rows.clone() {
                let start = frame.row_start(row);
                let mut sums = Row::<L, D> {
                    moments: [zero; 6],
                    slope: [[zero; 2]; D],
                    slope_fixed: [[zero; 2]; D],
                    slope_moving: [[zero; 2]; D],
                    slope_slope: [[zero; 3]; 6],
                };
                let mut i = 0;
                while i < width {
                    let count = (width - i).min(L::COUNT);
                    let at = row * width + i;
                    let position = frame.positions(&start, i, [zero; D]);
                    let cell = Cell::at(position, &frame.moving);
                    let here = Multilinear::of(&cell, &frame.stride);
                    let mut w = match input.fixed_mask {
                        Some(m) => L::load_some(m.as_ptr().add(at), count),
                        // lanes beyond the row count for nothing
                        None => L::load_some(ones.as_ptr(), count),
                    };
                    for a in 0..D {
                        let low = position[a].add(L::constant(0.5));
                        let high = L::constant(frame.moving[a] as f64 - 0.5).sub(position[a]);
                        w = w.mul(low.min(high).min(one).max(zero));
                    }
                    if let Some(mask) = input.moving_mask {
                        w = w.mul(here.value(mask.as_ptr(), &frame.stride));
                    }
                    let f = L::load_some(input.fixed.as_ptr().add(at), count);
                    let image = input.moving.as_ptr();
                    let (m, g) = if DERIVATIVE {
                        {
                            let (value, slope) = here.slope(image, &frame.stride);
                            (value, slope)
                        }
                    } else {
                        let m = here.value(image, &frame.stride);
                        (m, [zero; D])
                    };
                    let (wf, wm) = (w.mul(f), w.mul(m));
                    sums.moments[0] = sums.moments[0].add(w);
                    sums.moments[1] = sums.moments[1].add(wf);
                    sums.moments[2] = sums.moments[2].add(wm);
                    sums.moments[3] = wf.fma(f, sums.moments[3]);
                    sums.moments[4] = wf.fma(m, sums.moments[4]);
                    sums.moments[5] = wm.fma(m, sums.moments[5]);
                    if DERIVATIVE {
                        let middle = i as f64 - (width - 1) as f64 / 2.0;
                        let x = L::ramp().add(L::constant(middle));
                        let mut k = 0;
                        for a in 0..D {
                            let wg = w.mul(g[a]);
                            let gx = g[a].mul(x);
                            let wgx = w.mul(gx);
                            sums.slope[a][0] = sums.slope[a][0].add(wg);
                            sums.slope[a][1] = sums.slope[a][1].add(wgx);
                            sums.slope_fixed[a][0] = wf.fma(g[a], sums.slope_fixed[a][0]);
                            sums.slope_fixed[a][1] = wf.fma(gx, sums.slope_fixed[a][1]);
                            sums.slope_moving[a][0] = wm.fma(g[a], sums.slope_moving[a][0]);
                            sums.slope_moving[a][1] = wm.fma(gx, sums.slope_moving[a][1]);
                            for b in a..D {
                                let gbx = g[b].mul(x);
                                let s = &mut sums.slope_slope[k];
                                s[0] = wg.fma(g[b], s[0]);
                                s[1] = wg.fma(gbx, s[1]);
                                s[2] = wgx.fma(gbx, s[2]);
                                k += 1;
                            }
                        }
                    }
                    i += L::COUNT;
                }
                for k in 0..6 {
                    total[k] += sums.moments[k].sum();
                }
                if DERIVATIVE {
                    self.spread(row, &sums, &mut total);
                }
            }
            total
        }
    }

    /// Adds a row's sums to those of all entries of the map.
    #[inline(always)]
    unsafe fn spread<L: Lanes<Element = T>>(
        &self,
        row: usize,
        sums: &Row<L, D>,
        total: &mut [f64; SUMS],
    ) {
        let entries = D * (D + 1);
        // what the row's sums are multiplied by: nothing for the first axis and the translation, else the slower index
        let mut basis = [1.0; 4];
        let mut rest = row;
        for a in 1..D {
            let n = self.frame.fixed[a];
            basis[a] = (rest % n) as f64 - (n - 1) as f64 / 2.0;
            rest /= n;
        }
        // SAFETY: within a kernel.
        unsafe {
            for a in 0..D {
                let linear = [
                    [sums.slope[a][0].sum(), sums.slope[a][1].sum()],
                    [sums.slope_fixed[a][0].sum(), sums.slope_fixed[a][1].sum()],
                    [sums.slope_moving[a][0].sum(), sums.slope_moving[a][1].sum()],
                ];
                for (kind, linear) in linear.iter().enumerate() {
                    for b in 0..=D {
                        let power = usize::from(b == 0);
                        total[6 + kind * entries + a * (D + 1) + b] += basis[b] * linear[power];
                    }
                }
            }
            let mut k = 0;
            for a in 0..D {
                for b in a..D {
                    let square = [
                        sums.slope_slope[k][0].sum(),
                        sums.slope_slope[k][1].sum(),
                        sums.slope_slope[k][2].sum(),
                    ];
                    k += 1;
                    for c in 0..=D {
                        // with a == b each pair of entries once
                        let from = if a == b { c } else { 0 };
                        for d in from..=D {
                            let power = usize::from(c == 0) + usize::from(d == 0);
                            let at = packed(entries, a * (D + 1) + c, b * (D + 1) + d);
                            total[6 + 3 * entries + at] += basis[c] * basis[d] * square[power];
                        }
                    }
                }
            }
        }
    }
}
