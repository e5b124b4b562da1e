//! Tables that make the factors of products out of the taps of a kernel.

use crate::ops::lanes::{Kernel, Lanes};

/// The most products of an axis.
pub(super) const MOST: usize = 8;
/// Kernels that are taken at once.
pub(super) const ABREAST: usize = 16;

/// Values of as many kernels for each pair of places along planes and rows.
pub(super) type Grid = [[[f64; ABREAST]; MOST]; MOST];

/// A matrix: products from taps, or back.
pub(super) struct Factors {
    pub rows: usize,
    pub columns: usize,
    pub at: [[f64; MOST]; MOST],
}

impl Factors {
    /// One product that is its only tap.
    pub(super) const ONE: Self = Self {
        rows: 1,
        columns: 1,
        at: {
            let mut at = [[0.0; MOST]; MOST];
            at[0][0] = 1.0;
            at
        },
    };

    pub(super) fn transposed(&self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            at: std::array::from_fn(|a| std::array::from_fn(|b| self.at[b][a])),
        }
    }
}

/// `to[a][b] = sum_ij planes[a][i] rows[b][j] from[i][j]`.
pub(super) struct Both<'a> {
    pub planes: &'a Factors,
    pub rows: &'a Factors,
    pub from: &'a Grid,
    pub to: &'a mut Grid,
}

impl Kernel<f64> for Both<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = f64>>(self) {
        let (planes, rows) = (self.planes, self.rows);
        for k in (0..ABREAST).step_by(L::COUNT) {
            // SAFETY: whole vectors of a place lie side by side.
            unsafe {
                let zero = L::splat(0.0);
                let mut half = [[zero; MOST]; MOST];
                for i in 0..planes.columns {
                    for j in 0..rows.columns {
                        let value = L::load(self.from[i][j].as_ptr().add(k));
                        for b in 0..rows.rows {
                            half[i][b] = value.fma(L::splat(rows.at[b][j]), half[i][b]);
                        }
                    }
                }
                for a in 0..planes.rows {
                    let mut sum = [zero; MOST];
                    for i in 0..planes.columns {
                        let factor = L::splat(planes.at[a][i]);
                        for b in 0..rows.rows {
                            sum[b] = half[i][b].fma(factor, sum[b]);
                        }
                    }
                    for b in 0..rows.rows {
                        sum[b].store(self.to[a][b].as_mut_ptr().add(k));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter::Filter;
    use super::*;
    use crate::ops::lanes::dispatch;

    fn applied(planes: &Factors, rows: &Factors, from: &Grid) -> Grid {
        let mut to = [[[0.0; ABREAST]; MOST]; MOST];
        dispatch(Both {
            planes,
            rows,
            from,
            to: &mut to,
        });
        to
    }

    /// Different at each place, zero outside the taps or products.
    fn grid(planes: usize, rows: usize) -> Grid {
        let mut grid = [[[0.0; ABREAST]; MOST]; MOST];
        for (a, row) in grid.iter_mut().enumerate().take(planes) {
            for (b, values) in row.iter_mut().enumerate().take(rows) {
                for (k, value) in values.iter_mut().enumerate() {
                    *value = ((7 * a + 3 * b + 5 * k + a * b * k) % 11) as f64 - 4.5;
                }
            }
        }
        grid
    }

    #[test]
    fn the_way_back_is_the_transpose_for_every_kernel() {
        for (rows, planes) in [(3, 1), (3, 3), (5, 1), (5, 5)] {
            let [rows, planes] = Filter::pair(rows, planes).unwrap();
            let taps = grid(planes.taps, rows.taps);
            let products = grid(planes.products, rows.products);
            let there = applied(&planes.factors, &rows.factors, &taps);
            let back = applied(
                &planes.factors.transposed(),
                &rows.factors.transposed(),
                &products,
            );
            for k in 0..ABREAST {
                let dot = |a: &Grid, b: &Grid| -> f64 {
                    let pairs = a.as_flattened().iter().zip(b.as_flattened());
                    pairs.map(|(a, b)| a[k] * b[k]).sum()
                };
                approx::assert_relative_eq!(
                    dot(&there, &products),
                    dot(&back, &taps),
                    max_relative = 1e-12,
                    epsilon = 1e-12
                );
            }
        }
    }
}
