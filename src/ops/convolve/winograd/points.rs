//! Transforms between inputs, products and results along one axis.
//!
//! Winograd's algorithms (Lavin and Gray, arXiv 1509.09308) at the four points 0, +-1 and infinity, at the six points 0,
//! +-3/4, +-3/2 and infinity, and at the eight points 0, +-1/2, +-1, +-2 and infinity. With six, single precision rounds
//! hardly worse than the plain sum does, for four results of three taps; with eight, for four results of five taps along both
//! axes, four times as coarsely. What products take from the inputs depends on the points alone.

use super::factors::{Factors, MOST};
use crate::ops::lanes::Lanes;

/// The six points, beside zero and infinity.
const NEAR: f64 = 0.75;
const FAR: f64 = 1.5;
const NEAR2: f64 = NEAR * NEAR;
const FAR2: f64 = FAR * FAR;

/// The eight points, beside zero and infinity.
const THREE: [f64; 3] = [0.5, 1.0, 2.0];
/// Their squares, and the sums of one, two and all three of them multiplied.
const SQUARES: [f64; 3] = [0.25, 1.0, 4.0];
const SUMS: [f64; 3] = [5.25, 5.25, 1.0];

#[inline(always)]
const fn power(base: f64, exponent: usize) -> f64 {
    let mut power = 1.0;
    let mut k = 0;
    while k < exponent {
        power *= base;
        k += 1;
    }
    power
}

/// Factors of so many taps in the products at some points, each with its scale, and at infinity.
const fn factors<const POINTS: usize>(points: [(f64, f64); POINTS], taps: usize) -> Factors {
    let mut at = [[0.0; MOST]; MOST];
    let mut k = 0;
    while k < POINTS {
        let (scale, point) = points[k];
        let mut tap = 0;
        while tap < taps {
            at[k][tap] = scale * power(point, tap);
            tap += 1;
        }
        k += 1;
    }
    at[POINTS][taps - 1] = 1.0;
    Factors {
        rows: POINTS + 1,
        columns: taps,
        at,
    }
}

/// Factors of three taps in the four products of two results.
pub(super) const fn factors_of_four() -> Factors {
    factors([(-1.0, 0.0), (0.5, 1.0), (0.5, -1.0)], 3)
}

/// Factors of three taps in the six products of four results.
pub(super) const fn factors_of_six() -> Factors {
    let near = 0.5 / (NEAR2 * (NEAR2 - FAR2));
    let far = 0.5 / (FAR2 * (FAR2 - NEAR2));
    let points = [
        (1.0 / (NEAR2 * FAR2), 0.0),
        (near, NEAR),
        (near, -NEAR),
        (far, FAR),
        (far, -FAR),
    ];
    factors(points, 3)
}

/// Factors of five taps in the eight products of four results.
pub(super) const fn factors_of_eight() -> Factors {
    let mut points = [(-1.0 / SUMS[2], 0.0); 7];
    let mut pair = 0;
    while pair < 3 {
        let square = SQUARES[pair];
        let (one, other) = (SQUARES[(pair + 1) % 3], SQUARES[(pair + 2) % 3]);
        let scale = 0.5 / (square * (square - one) * (square - other));
        points[2 * pair + 1] = (scale, THREE[pair]);
        points[2 * pair + 2] = (scale, -THREE[pair]);
        pair += 1;
    }
    factors(points, 5)
}

/// What `N` products, four, six or eight, take from as many inputs.
#[inline(always)]
pub(super) unsafe fn inputs<L: Lanes, const N: usize>(d: [L; MOST]) -> [L; MOST] {
    // SAFETY: the caller's promise.
    unsafe {
        if N == 4 {
            [
                d[2].sub(d[0]),
                d[2].add(d[1]),
                d[2].sub(d[1]),
                d[3].sub(d[1]),
                d[4],
                d[5],
                d[6],
                d[7],
            ]
        } else if N == 6 {
            inputs_of_six(d)
        } else {
            inputs_of_eight(d)
        }
    }
}

/// `N` results from their products, of which there are as many as the points.
#[inline(always)]
pub(super) unsafe fn results<L: Lanes, const POINTS: usize, const N: usize>(
    m: [L; MOST],
) -> [L; N] {
    // SAFETY: the caller's promise.
    unsafe {
        if POINTS == 4 {
            let mut y = [m[0].add(m[1].add(m[2])); N];
            y[1 % N] = m[1].sub(m[2]).add(m[3]);
            y
        } else if POINTS == 6 {
            results_of_six(m)
        } else if POINTS == 8 {
            results_of_eight(m)
        } else {
            [m[0]; N]
        }
    }
}

/// The transpose of [`results`].
#[inline(always)]
pub(super) unsafe fn spread<L: Lanes, const POINTS: usize, const N: usize>(y: [L; N]) -> [L; MOST] {
    // SAFETY: the caller's promise.
    unsafe {
        if POINTS == 6 {
            return spread_six(y);
        }
        if POINTS == 8 {
            return spread_eight(y);
        }
        let (first, second) = (y[0], y[1 % N]);
        let mut m = [first; MOST];
        if POINTS == 4 {
            m[1] = first.add(second);
            m[2] = first.sub(second);
            m[3] = second;
        }
        m
    }
}

#[inline(always)]
unsafe fn inputs_of_six<L: Lanes>(d: [L; MOST]) -> [L; MOST] {
    // SAFETY: the caller's promise.
    unsafe {
        let product = L::constant(NEAR2 * FAR2);
        let sum = L::constant(-NEAR2 - FAR2);
        let even = d[2].fma(L::constant(-FAR2), d[4]);
        let odd = d[1].fma(L::constant(-FAR2), d[3]);
        let even_far = d[2].fma(L::constant(-NEAR2), d[4]);
        let odd_far = d[1].fma(L::constant(-NEAR2), d[3]);
        [
            d[0].fma(product, d[2].fma(sum, d[4])),
            odd.fma(L::constant(NEAR), even),
            odd.fma(L::constant(-NEAR), even),
            odd_far.fma(L::constant(FAR), even_far),
            odd_far.fma(L::constant(-FAR), even_far),
            d[1].fma(product, d[3].fma(sum, d[5])),
            d[6],
            d[7],
        ]
    }
}

#[inline(always)]
unsafe fn inputs_of_eight<L: Lanes>(d: [L; MOST]) -> [L; MOST] {
    // SAFETY: within a kernel.
    unsafe {
        let mut v = d;
        for (place, k) in [(0, 0), (7, 1)] {
            let high = d[k + 4].fma(L::constant(-SUMS[0]), d[k + 6]);
            let low = d[k + 2].fma(L::constant(SUMS[1]), high);
            v[place] = d[k].fma(L::constant(-SUMS[2]), low);
        }
        for pair in 0..3 {
            let (a, b) = (SQUARES[(pair + 1) % 3], SQUARES[(pair + 2) % 3]);
            let (sum, product) = (L::constant(-a - b), L::constant(a * b));
            let even = d[2].fma(product, d[4].fma(sum, d[6]));
            let odd = d[1].fma(product, d[3].fma(sum, d[5]));
            v[2 * pair + 1] = odd.fma(L::constant(THREE[pair]), even);
            v[2 * pair + 2] = odd.fma(L::constant(-THREE[pair]), even);
        }
        v
    }
}

/// Result `k` weighs the product of a point by the point to the power of `k`; that of infinity is part of the last one.
#[inline(always)]
unsafe fn results_of_six<L: Lanes, const N: usize>(m: [L; MOST]) -> [L; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let near = [m[1].add(m[2]), m[1].sub(m[2])];
        let far = [m[3].add(m[4]), m[3].sub(m[4])];
        let mut y = [m[0].add(near[0]).add(far[0]); N];
        for k in 1..N {
            let factor = L::constant(power(FAR, k));
            let rest = if k + 1 < N {
                far[k % 2].mul(factor)
            } else {
                far[k % 2].fma(factor, m[5])
            };
            y[k] = near[k % 2].fma(L::constant(power(NEAR, k)), rest);
        }
        y
    }
}

#[inline(always)]
unsafe fn spread_six<L: Lanes, const N: usize>(y: [L; N]) -> [L; MOST] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut near = [y[0], y[1 % N]];
        let mut far = near;
        for k in 2..N {
            near[k % 2] = y[k].fma(L::constant(power(NEAR, k - k % 2)), near[k % 2]);
            far[k % 2] = y[k].fma(L::constant(power(FAR, k - k % 2)), far[k % 2]);
        }
        [
            y[0],
            near[1].fma(L::constant(NEAR), near[0]),
            near[1].fma(L::constant(-NEAR), near[0]),
            far[1].fma(L::constant(FAR), far[0]),
            far[1].fma(L::constant(-FAR), far[0]),
            y[N - 1],
            y[0],
            y[0],
        ]
    }
}

/// As [`results_of_six`].
#[inline(always)]
unsafe fn results_of_eight<L: Lanes, const N: usize>(m: [L; MOST]) -> [L; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut y = [m[0]; N];
        y[N - 1] = m[7];
        y[0] = m[0];
        for pair in 0..3 {
            let both = [
                m[2 * pair + 1].add(m[2 * pair + 2]),
                m[2 * pair + 1].sub(m[2 * pair + 2]),
            ];
            y[0] = y[0].add(both[0]);
            for k in 1..N {
                let value = both[k % 2];
                let factor = power(THREE[pair], k);
                let first = pair == 0 && k + 1 < N;
                y[k] = if first {
                    value.mul(L::constant(factor))
                } else {
                    value.fma(L::constant(factor), y[k])
                };
            }
        }
        y
    }
}

/// The transpose of [`results_of_eight`].
#[inline(always)]
unsafe fn spread_eight<L: Lanes, const N: usize>(y: [L; N]) -> [L; MOST] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut m = [y[0]; MOST];
        m[7] = y[N - 1];
        for (pair, &point) in THREE.iter().enumerate() {
            let mut both = [y[0], y[1 % N]];
            for k in 2..N {
                both[k % 2] = y[k].fma(L::constant(power(point, k - k % 2)), both[k % 2]);
            }
            m[2 * pair + 1] = both[1].fma(L::constant(point), both[0]);
            m[2 * pair + 2] = both[1].fma(L::constant(-point), both[0]);
        }
        m
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain arrays of doubles need no instruction set.
    type Double = <f64 as crate::ops::real::Real>::Portable;

    fn vectors<const N: usize>(values: [f64; N]) -> [Double; N] {
        // SAFETY: plain arrays.
        values.map(|v| unsafe { Double::constant(v) })
    }

    fn first(vector: Double) -> f64 {
        let mut lanes = [0.0; 16];
        // SAFETY: no vector has more than 16 lanes.
        unsafe { vector.store(lanes.as_mut_ptr()) };
        lanes[0]
    }

    const G: [f64; 5] = [0.3, -1.7, 0.9, 1.1, -0.6];
    const D: [f64; MOST] = [0.4, -0.2, 1.3, 0.7, -1.1, 0.25, 0.8, -0.9];
    const M: [f64; MOST] = [0.3, 1.2, -0.7, 0.5, 0.9, -1.4, 0.6, 1.1];
    const Y: [f64; 4] = [0.8, -0.6, 1.1, 0.2];

    fn results_are_sums<const POINTS: usize, const N: usize>(factors: &Factors) {
        let taps = factors.columns;
        assert_eq!((factors.rows, POINTS + 1 - taps), (POINTS, N));
        // SAFETY: plain arrays.
        let y = unsafe {
            let v = inputs::<_, POINTS>(vectors(D)).map(first);
            let product = |k: usize| (0..taps).map(|t| factors.at[k][t] * G[t]).sum::<f64>() * v[k];
            results::<_, POINTS, N>(vectors(std::array::from_fn(product))).map(first)
        };
        for (k, y) in y.into_iter().enumerate() {
            let expected: f64 = (0..taps).map(|t| G[t] * D[k + t]).sum();
            approx::assert_relative_eq!(y, expected, max_relative = 1e-13);
        }
    }

    #[test]
    fn results_are_their_sums() {
        results_are_sums::<4, 2>(&factors_of_four());
        results_are_sums::<6, 4>(&factors_of_six());
        results_are_sums::<8, 4>(&factors_of_eight());
    }

    fn spread_is_the_transpose<const POINTS: usize, const N: usize>() {
        let y: [f64; N] = std::array::from_fn(|k| Y[k]);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        // SAFETY: plain arrays.
        let (forward, back) = unsafe {
            (
                results::<_, POINTS, N>(vectors(M)).map(first),
                spread::<_, POINTS, N>(vectors(y)).map(first),
            )
        };
        approx::assert_relative_eq!(
            dot(&forward, &y),
            dot(&back[..POINTS], &M[..POINTS]),
            max_relative = 1e-14
        );
    }

    #[test]
    fn spreads_are_transposes() {
        spread_is_the_transpose::<1, 1>();
        spread_is_the_transpose::<4, 2>();
        spread_is_the_transpose::<6, 4>();
        spread_is_the_transpose::<8, 4>();
    }
}
