//! Minimal filtering of three taps along one axis: two results from four products, or four from six.
//!
//! Winograd's algorithms (Lavin and Gray, arXiv 1509.09308) at the points 0, +-1 and infinity, and 0, +-3/4, +-3/2 and
//! infinity: with these, single precision rounds no worse than the plain sum does.

use crate::ops::lanes::Lanes;

/// The points of four results, beside zero and infinity.
const NEAR: f64 = 0.75;
const FAR: f64 = 1.5;
const NEAR2: f64 = NEAR * NEAR;
const FAR2: f64 = FAR * FAR;

/// Factors of the taps in the four products of two results.
pub(super) const TAPS_OF_TWO: [[f64; 3]; 4] = [
    [-1.0, 0.0, 0.0],
    [0.5, 0.5, 0.5],
    [0.5, -0.5, 0.5],
    [0.0, 0.0, 1.0],
];

/// Factors of the taps in the six products of four results.
pub(super) const TAPS_OF_FOUR: [[f64; 3]; 6] = {
    let near = 0.5 / (NEAR2 * (NEAR2 - FAR2));
    let far = 0.5 / (FAR2 * (FAR2 - NEAR2));
    [
        [1.0 / (NEAR2 * FAR2), 0.0, 0.0],
        [near, near * NEAR, near * NEAR2],
        [near, -near * NEAR, near * NEAR2],
        [far, far * FAR, far * FAR2],
        [far, -far * FAR, far * FAR2],
        [0.0, 0.0, 1.0],
    ]
};

/// What the four products of two results take from four inputs.
#[inline(always)]
pub(super) unsafe fn inputs_of_two<L: Lanes>(d: [L; 4]) -> [L; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        [
            d[2].sub(d[0]),
            d[2].add(d[1]),
            d[2].sub(d[1]),
            d[3].sub(d[1]),
        ]
    }
}

/// Two results from their four products.
#[inline(always)]
pub(super) unsafe fn results_of_two<L: Lanes>(m: [L; 4]) -> [L; 2] {
    // SAFETY: the caller's promise.
    unsafe { [m[0].add(m[1].add(m[2])), m[1].sub(m[2]).add(m[3])] }
}

/// The transpose of [`results_of_two`].
#[inline(always)]
pub(super) unsafe fn spread_two<L: Lanes>(y: [L; 2]) -> [L; 4] {
    // SAFETY: the caller's promise.
    unsafe { [y[0], y[0].add(y[1]), y[0].sub(y[1]), y[1]] }
}

/// What the six products of four results take from six inputs.
#[inline(always)]
pub(super) unsafe fn inputs_of_four<L: Lanes>(d: [L; 6]) -> [L; 6] {
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
        ]
    }
}

/// Four results from their six products.
#[inline(always)]
pub(super) unsafe fn results_of_four<L: Lanes>(m: [L; 6]) -> [L; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let (even, odd) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (even_far, odd_far) = (m[3].add(m[4]), m[3].sub(m[4]));
        let third = odd_far.fma(L::constant(FAR2 * FAR), m[5]);
        [
            m[0].add(even).add(even_far),
            odd.fma(L::constant(NEAR), odd_far.mul(L::constant(FAR))),
            even.fma(L::constant(NEAR2), even_far.mul(L::constant(FAR2))),
            odd.fma(L::constant(NEAR2 * NEAR), third),
        ]
    }
}

/// The transpose of [`results_of_four`].
#[inline(always)]
pub(super) unsafe fn spread_four<L: Lanes>(y: [L; 4]) -> [L; 6] {
    // SAFETY: the caller's promise.
    unsafe {
        let even = y[2].fma(L::constant(NEAR2), y[0]);
        let odd = y[3].fma(L::constant(NEAR2), y[1]);
        let even_far = y[2].fma(L::constant(FAR2), y[0]);
        let odd_far = y[3].fma(L::constant(FAR2), y[1]);
        [
            y[0],
            odd.fma(L::constant(NEAR), even),
            odd.fma(L::constant(-NEAR), even),
            odd_far.fma(L::constant(FAR), even_far),
            odd_far.fma(L::constant(-FAR), even_far),
            y[3],
        ]
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

    fn weights<const N: usize>(taps: &[[f64; 3]; N], g: [f64; 3]) -> [f64; N] {
        std::array::from_fn(|k| (0..3).map(|t| taps[k][t] * g[t]).sum())
    }

    const G: [f64; 3] = [0.3, -1.7, 0.9];

    #[test]
    fn two_results_are_their_sums() {
        let d = [0.4, -0.2, 1.3, 0.7];
        let u = weights(&TAPS_OF_TWO, G);
        // SAFETY: plain arrays.
        let y = unsafe {
            let v = inputs_of_two(vectors(d)).map(first);
            results_of_two(vectors(std::array::from_fn(|k| u[k] * v[k]))).map(first)
        };
        for (k, y) in y.into_iter().enumerate() {
            let expected: f64 = (0..3).map(|t| G[t] * d[k + t]).sum();
            approx::assert_relative_eq!(y, expected, max_relative = 1e-14);
        }
    }

    #[test]
    fn four_results_are_their_sums() {
        let d = [0.4, -0.2, 1.3, 0.7, -1.1, 0.25];
        let u = weights(&TAPS_OF_FOUR, G);
        // SAFETY: plain arrays.
        let y = unsafe {
            let v = inputs_of_four(vectors(d)).map(first);
            results_of_four(vectors(std::array::from_fn(|k| u[k] * v[k]))).map(first)
        };
        for (k, y) in y.into_iter().enumerate() {
            let expected: f64 = (0..3).map(|t| G[t] * d[k + t]).sum();
            approx::assert_relative_eq!(y, expected, max_relative = 1e-13);
        }
    }

    #[test]
    fn spreads_are_transposes() {
        let (m, y) = ([0.3, 1.2, -0.7, 0.5, 0.9, -1.4], [0.8, -0.6, 1.1, 0.2]);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        // SAFETY: plain arrays.
        unsafe {
            let four = m[..4].try_into().unwrap();
            let two = y[..2].try_into().unwrap();
            let forward = results_of_two(vectors::<4>(four)).map(first);
            let back = spread_two(vectors::<2>(two)).map(first);
            approx::assert_relative_eq!(
                dot(&forward, &two),
                dot(&back, &four),
                max_relative = 1e-14
            );
            let forward = results_of_four(vectors(m)).map(first);
            let back = spread_four(vectors(y)).map(first);
            approx::assert_relative_eq!(dot(&forward, &y), dot(&back, &m), max_relative = 1e-14);
        }
    }
}
