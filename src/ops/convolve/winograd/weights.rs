//! The adjoint of minimal filtering with respect to the weights.

use rayon::prelude::*;

use super::filter::{spread_four, spread_two};
use super::{Tiles, Winograd, PLANES, PLANE_PRODUCTS, ROWS, ROW_PRODUCTS};
use crate::ops::convolve::axis::Axis;
use crate::ops::convolve::gather::TOGETHER;
use crate::ops::convolve::weights::Products;
use crate::ops::convolve::window::Block;
use crate::ops::convolve::Channels;
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::scratch::with_scratch;

/// Elements that a block's transformed inputs and cotangents may take: long runs are worth a visit to the third-level cache.
const SCRATCH: usize = 800 << 10;
/// Partial sums at most.
const PARTS: usize = 16;

impl Winograd {
    /// For [`correlate`](Self::correlate), if the taps allow it and products are saved.
    pub(in crate::ops::convolve) fn of_weights(
        axes: &[Axis; 3],
        inputs: usize,
        outputs: usize,
    ) -> Option<Self> {
        Self::new(axes, inputs + outputs.next_multiple_of(TOGETHER), SCRATCH)
    }

    /// `sum cotangent[o] * source[c, tap]` for all output channels `o`, channels `c` and entries of the kernel:
    /// `[outputs, inputs, kernel]`.
    ///
    /// Partial sums belong to fixed runs of blocks and are added in order: the same bits for any number of threads.
    pub(in crate::ops::convolve) fn correlate<T: Real>(
        &self,
        kernel: [usize; 3],
        source: &Channels<'_, T>,
        cotangent: &Channels<'_, T>,
    ) -> Vec<T> {
        let (inputs, outputs) = (source.count(), cotangent.count());
        let padded = outputs.next_multiple_of(TOGETHER);
        let blocks = self.window.blocks(source.batch());
        let most = self.most_elements();
        let taps = inputs * kernel[0];
        // sums: products, output channels, input channels, taps along rows
        let total = self.products() * padded * taps;
        let parts = blocks.len().clamp(1, PARTS);
        let transformed = self.transformed(inputs, most);
        let spread = self.products() * padded * most.next_multiple_of(16);
        let sums: Vec<Vec<T>> = (0..parts)
            .into_par_iter()
            .map(|part| {
                let mut sums = vec![T::of(0.0); total];
                let own = part * blocks.len() / parts..(part + 1) * blocks.len() / parts;
                with_scratch::<T, _>(transformed + spread.max(self.lines()), |scratch| {
                    let (transformed, spread) = scratch.split_at_mut(transformed);
                    for &block in &blocks[own] {
                        let tiles = self.tiles(&block);
                        self.transform(source, block, tiles, spread, transformed);
                        dispatch(Spread {
                            plan: self,
                            block,
                            tiles,
                            cotangent,
                            out: spread,
                        });
                        let run = tiles.elements.next_multiple_of(16);
                        let offsets = self.offsets(inputs, tiles.elements);
                        for (product, sums) in sums.chunks_exact_mut(padded * taps).enumerate() {
                            dispatch(Products {
                                inputs: &transformed[product * inputs * tiles.elements..],
                                plane: 0,
                                cotangent: &spread[product * padded * run..],
                                channel: run,
                                run,
                                offsets: &offsets,
                                planes: 1,
                                outputs: padded,
                                sums,
                            });
                        }
                    }
                });
                sums
            })
            .collect();
        let mut sums = sums.into_iter();
        let mut whole = sums.next().unwrap_or_default();
        for part in sums {
            let add = |(a, b): (&mut T, &T)| *a += *b;
            whole
                .par_iter_mut()
                .with_min_len(1 << 14)
                .zip(&part)
                .for_each(add);
        }
        self.weights_of_products(kernel, outputs, padded, taps, &whole)
    }

    /// From the sums of the products to those of the entries of the kernel.
    fn weights_of_products<T: Real>(
        &self,
        kernel: [usize; 3],
        outputs: usize,
        padded: usize,
        taps: usize,
        sums: &[T],
    ) -> Vec<T> {
        let [x, y, z] = std::array::from_fn(|axis| self.entries(axis));
        let factors = self.factors();
        let entries: usize = kernel.iter().product();
        let row = taps / x.len() * entries;
        let mut weights = vec![T::of(0.0); outputs * row];
        let of_output = |(o, weights): (usize, &mut [T])| {
            for tap in 0..taps {
                let mut gradient = [[0.0; 3]; 3];
                for (product, [of_planes, of_rows]) in factors.iter().enumerate() {
                    let sum = sums[(product * padded + o) * taps + tap].wide();
                    for (gradient, plane) in gradient.iter_mut().zip(of_planes) {
                        for (gradient, row) in gradient.iter_mut().zip(of_rows) {
                            *gradient += plane * row * sum;
                        }
                    }
                }
                let (c, x) = (tap / x.len(), x[tap % x.len()]);
                for (gradient, z) in gradient.iter().zip(&z) {
                    for (gradient, y) in gradient.iter().zip(&y) {
                        let entry = (z * kernel[1] + y) * kernel[0] + x;
                        weights[c * entries + entry] = T::of(*gradient);
                    }
                }
            }
        };
        weights.par_chunks_mut(row).enumerate().for_each(of_output);
        weights
    }
}

/// The transpose of the results: cotangents to products, `[products, channels, tiles of planes, of rows, a row]` with zeros
/// after each row and up to whole vectors, and channels of zeros after the last one.
struct Spread<'a, T> {
    plan: &'a Winograd,
    block: Block,
    tiles: Tiles,
    cotangent: &'a Channels<'a, T>,
    out: &'a mut [T],
}

impl<T: Real> Kernel<T> for Spread<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // SAFETY: rows are read inside the volumes, products written inside `out`.
        unsafe {
            if self.plan.deep {
                self.rows::<L, PLANE_PRODUCTS, PLANES>();
            } else {
                self.rows::<L, 1, 1>();
            }
        }
    }
}

impl<T: Real> Spread<'_, T> {
    #[inline(always)]
    unsafe fn rows<L: Lanes<Element = T>, const DEEP: usize, const HIGH: usize>(self) {
        let window = &self.plan.window;
        let [nx, ny, _] = std::array::from_fn(|a| window.axes[a].count);
        let outputs = self.cotangent.count();
        let padded = outputs.next_multiple_of(TOGETHER);
        let run = self.tiles.elements.next_multiple_of(16);
        let product = padded * run;
        for channel in 0..padded {
            for p in 0..DEEP * ROW_PRODUCTS {
                let to = &mut self.out[p * product + channel * run..][..run];
                let end = if channel < outputs {
                    self.tiles.elements
                } else {
                    0
                };
                to[end..].fill(T::of(0.0));
            }
            if channel >= outputs {
                continue;
            }
            let volume = self.cotangent.volume(self.block.item, channel).as_ptr();
            for tile in 0..self.tiles.planes * self.tiles.rows {
                let (tz, ty) = (tile / self.tiles.rows, tile % self.tiles.rows);
                let (plane, row) = (tz * HIGH, ty * ROWS);
                let planes = (self.block.planes - plane).min(HIGH);
                let rows = (self.block.rows - row).min(ROWS);
                let first = ((self.block.plane + plane) * ny + self.block.row + row) * nx;
                // SAFETY: the caller's promise.
                unsafe {
                    let zero = L::splat(T::of(0.0));
                    let to = self
                        .out
                        .as_mut_ptr()
                        .add(channel * run + tile * window.pitch);
                    for p in 0..DEEP * ROW_PRODUCTS {
                        zero.store_part(to.add(p * product + nx), window.pitch - nx);
                    }
                    for x in (0..nx).step_by(L::COUNT) {
                        let count = (nx - x).min(L::COUNT);
                        let mut v = [[zero; ROW_PRODUCTS]; HIGH];
                        for z in 0..planes {
                            let mut y = [zero; ROWS];
                            for k in 0..rows {
                                y[k] =
                                    L::load_some(volume.add(first + (z * ny + k) * nx + x), count);
                            }
                            v[z] = spread_four(y);
                        }
                        for y in 0..ROW_PRODUCTS {
                            let mut column = [v[0][y]; PLANE_PRODUCTS];
                            if DEEP == PLANE_PRODUCTS {
                                column = spread_two([v[0][y], v[HIGH - 1][y]]);
                            }
                            for z in 0..DEEP {
                                let to = to.add((z * ROW_PRODUCTS + y) * product + x);
                                column[z].store_some(to, count);
                            }
                        }
                    }
                }
            }
        }
    }
}
