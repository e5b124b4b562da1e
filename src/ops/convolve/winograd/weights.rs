//! The adjoint of minimal filtering with respect to the weights.

use rayon::prelude::*;

use super::factors::{Both, ABREAST, MOST};
use super::filter::ROWS;
use super::points::spread;
use super::{Room, Tiles, Winograd, COTANGENT, DEARER};
use crate::ops::convolve::axis::Axis;
use crate::ops::convolve::gather::TOGETHER;
use crate::ops::convolve::weights::{Products, GROUP};
use crate::ops::convolve::window::Block;
use crate::ops::convolve::Channels;
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::scratch::with_scratch;

/// Elements that a block's transformed inputs and cotangents may take: long runs are worth a visit to the third-level cache.
const SCRATCH: usize = 800 << 10;
/// Elements of tiles that a partial sum is over at least, and partial sums at most.
const PART: usize = 1 << 10;
const PARTS: usize = 16;

impl Winograd {
    /// For [`correlate`](Self::correlate), if the taps allow it and products are saved.
    pub(in crate::ops::convolve) fn of_weights(
        axes: &[Axis; 3],
        inputs: usize,
        outputs: usize,
    ) -> Option<Self> {
        let room = Room {
            channels: inputs + outputs.min(GROUP),
            scratch: SCRATCH,
            few: PART,
            dearer: DEARER * (1.0 + COTANGENT / inputs as f64),
        };
        let plan = Self::new(axes, &room);
        plan.filter(|_| inputs * outputs > 0)
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
        let blocks = self.window.blocks(source.batch());
        let most = self.most_elements();
        let taps = inputs * kernel[0];
        let elements: usize = blocks.iter().map(|b| self.tiles(b).elements).sum();
        let parts = (elements / PART).clamp(1, PARTS.min(blocks.len()).max(1));
        let groups = outputs.div_ceil(GROUP);
        let transformed = self.transformed(inputs, most);
        let spread = self.products() * GROUP * most.next_multiple_of(16);
        let part_of_group = |part: usize, group: usize| {
            let channels = group * GROUP..((group + 1) * GROUP).min(outputs);
            let padded = channels.len().next_multiple_of(TOGETHER);
            // products, channels of cotangents, inputs, taps along rows
            let mut sums = vec![T::of(0.0); self.products() * padded * taps];
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
                        channels: channels.clone(),
                        out: spread,
                    });
                    let run = tiles.elements.next_multiple_of(16);
                    let offsets = self.offsets(inputs, tiles.elements);
                    let spread = &spread[..self.products() * padded * run];
                    let channels: Vec<_> = spread.chunks_exact(run).map(<[T]>::as_ptr).collect();
                    let products = channels.chunks_exact(padded);
                    let products = products.zip(sums.chunks_exact_mut(padded * taps));
                    for (product, (cotangents, sums)) in products.enumerate() {
                        dispatch(Products {
                            inputs: &transformed[product * inputs * tiles.elements..],
                            cotangents,
                            planes: 1,
                            plane: [0, 0],
                            rows: 1,
                            row: [0, 0],
                            length: run,
                            offsets: &offsets,
                            sums,
                        });
                    }
                }
            });
            sums
        };
        let sums: Vec<Vec<T>> = (0..parts * groups)
            .into_par_iter()
            .map(|task| part_of_group(task % parts, task / parts))
            .collect();
        let row = inputs * kernel.iter().product::<usize>();
        let mut weights = vec![T::of(0.0); outputs * row];
        weights
            .par_chunks_mut(row)
            .enumerate()
            .for_each(|(o, weights)| {
                let group = o / GROUP;
                let padded = (outputs - group * GROUP)
                    .min(GROUP)
                    .next_multiple_of(TOGETHER);
                let sums = &sums[group * parts..(group + 1) * parts];
                self.weights_of_products(kernel, sums, (o % GROUP, padded), taps, weights);
            });
        weights
    }

    /// Adds up the partial sums of a channel, one of `padded`, and returns from the products to the entries of the kernel.
    fn weights_of_products<T: Real>(
        &self,
        kernel: [usize; 3],
        sums: &[Vec<T>],
        (channel, padded): (usize, usize),
        taps: usize,
        weights: &mut [T],
    ) {
        let [x, y, z] = std::array::from_fn(|axis| self.entries(axis));
        let entries: usize = kernel.iter().product();
        let (planes, rows) = (
            self.planes.factors.transposed(),
            self.rows.factors.transposed(),
        );
        let mut products = [[[0.0; ABREAST]; MOST]; MOST];
        let mut kernels = products;
        for start in (0..taps).step_by(ABREAST) {
            let count = (taps - start).min(ABREAST);
            for product in 0..self.products() {
                let at = (product * padded + channel) * taps + start;
                let line = self.rows.products;
                let lanes = &mut products[product / line][product % line];
                lanes.fill(0.0);
                for sums in sums {
                    for (lane, sum) in lanes.iter_mut().zip(&sums[at..at + count]) {
                        *lane += sum.wide();
                    }
                }
            }
            dispatch(Both {
                planes: &planes,
                rows: &rows,
                from: &products,
                to: &mut kernels,
            });
            for (z, planes) in z.iter().zip(&kernels) {
                for (y, lanes) in y.iter().zip(planes) {
                    for (tap, &sum) in (start..start + count).zip(lanes) {
                        let (c, x) = (tap / x.len(), x[tap % x.len()]);
                        weights[c * entries + (z * kernel[1] + y) * kernel[0] + x] = T::of(sum);
                    }
                }
            }
        }
    }
}

/// The transpose of the results: cotangents to products, `[products, channels, tiles of planes, of rows, a row]` with zeros
/// after each row and up to whole vectors, and channels of zeros after the last one.
struct Spread<'a, T> {
    plan: &'a Winograd,
    block: Block,
    tiles: Tiles,
    cotangent: &'a Channels<'a, T>,
    channels: std::ops::Range<usize>,
    out: &'a mut [T],
}

impl<T: Real> Kernel<T> for Spread<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // SAFETY: rows are read inside the volumes, products written inside `out`.
        unsafe {
            match (self.plan.planes.products, self.plan.rows.products) {
                (1, 6) => self.rows::<L, 1, 1, 6>(),
                (1, _) => self.rows::<L, 1, 1, 8>(),
                (4, _) => self.rows::<L, 4, 2, 6>(),
                _ => self.rows::<L, 8, 4, 8>(),
            }
        }
    }
}

impl<T: Real> Spread<'_, T> {
    /// Tiles of `HIGH` planes, for `DEEP` products along them, and of four rows, for `LINE` products.
    #[inline(always)]
    unsafe fn rows<
        L: Lanes<Element = T>,
        const DEEP: usize,
        const HIGH: usize,
        const LINE: usize,
    >(
        self,
    ) {
        let window = &self.plan.window;
        let [nx, ny, _] = std::array::from_fn(|a| window.axes[a].count);
        let outputs = self.channels.len();
        let padded = outputs.next_multiple_of(TOGETHER);
        let run = self.tiles.elements.next_multiple_of(16);
        let product = padded * run;
        for channel in 0..padded {
            for p in 0..DEEP * LINE {
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
            let volume = self.channels.start + channel;
            let volume = self.cotangent.volume(self.block.item, volume).as_ptr();
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
                    for p in 0..DEEP * LINE {
                        zero.store_part(to.add(p * product + nx), window.pitch - nx);
                    }
                    for x in (0..nx).step_by(L::COUNT) {
                        let count = (nx - x).min(L::COUNT);
                        let mut v = [[zero; MOST]; HIGH];
                        for z in 0..planes {
                            let mut y = [zero; ROWS];
                            for k in 0..rows {
                                y[k] =
                                    L::load_some(volume.add(first + (z * ny + k) * nx + x), count);
                            }
                            v[z] = spread::<L, LINE, ROWS>(y);
                        }
                        for y in 0..LINE {
                            let mut column = [zero; HIGH];
                            for z in 0..HIGH {
                                column[z] = v[z][y];
                            }
                            let column = spread::<L, DEEP, HIGH>(column);
                            for z in 0..DEEP {
                                let to = to.add((z * LINE + y) * product + x);
                                column[z].store_some(to, count);
                            }
                        }
                    }
                }
            }
        }
    }
}
