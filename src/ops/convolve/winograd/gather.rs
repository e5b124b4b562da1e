//! Results of a convolution by minimal filtering: inputs to products, products to results.

use rayon::prelude::*;

use super::factors::{Both, ABREAST, MOST};
use super::filter::ROWS;
use super::points::{inputs, results};
use super::{Room, Tiles, Winograd, DEARER};
use crate::ops::convolve::axis::Axis;
use crate::ops::convolve::gather::{run, side_by_side, TOGETHER};
use crate::ops::convolve::window::{Block, SLACK};
use crate::ops::convolve::Channels;
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::Shared;
use crate::ops::scratch::with_scratch;

/// Elements that a block's transformed inputs and products may take: they stay in the second-level cache.
const SCRATCH: usize = 240 << 10;
/// Elements of a product that keep the vector units busy.
const FEW: usize = 48;

impl Winograd {
    /// For [`gather`](Self::gather), if the taps allow it and products are saved.
    pub(in crate::ops::convolve) fn of_results(axes: &[Axis; 3], inputs: usize) -> Option<Self> {
        let room = Room {
            channels: inputs + TOGETHER,
            scratch: SCRATCH,
            few: FEW,
            dearer: DEARER,
        };
        let plan = Self::new(axes, &room);
        plan.filter(|_| inputs > 0)
    }

    /// `out[o] = bias[o] + sum_c weight[o, c] * source[c]` for a batch, with `weight(o, c, entry of the kernel)`, into
    /// volumes `[batch, outputs, z, y, x]`.
    pub(in crate::ops::convolve) fn gather<T: Real>(
        &self,
        outputs: usize,
        kernel: [usize; 3],
        bias: Option<&[T]>,
        weight: impl Fn(usize, usize, usize) -> T + Sync,
        source: &Channels<'_, T>,
        out: Shared<T>,
    ) {
        let inputs = source.count();
        let weights = self.packed_weights(outputs, inputs, kernel, &weight);
        let bias: Vec<T> = (0..outputs)
            .map(|o| bias.map_or(T::of(0.0), |b| b[o]))
            .collect();
        let most = self.most_elements();
        let transformed = self.transformed(inputs, most);
        // the last vector of results may end after the last sum
        let summed = self.products() * TOGETHER * most.next_multiple_of(16) + SLACK;
        self.window
            .blocks(source.batch())
            .into_par_iter()
            .for_each(|block| {
                let tiles = self.tiles(&block);
                with_scratch::<T, _>(transformed + summed.max(self.lines()), |scratch| {
                    let (transformed, rest) = scratch.split_at_mut(transformed);
                    self.transform(source, block, tiles, rest, transformed);
                    dispatch(Results {
                        plan: self,
                        block,
                        tiles,
                        offsets: &self.offsets(inputs, tiles.elements),
                        weights: &weights,
                        inputs: transformed,
                        product: inputs * tiles.elements,
                        sums: rest,
                        bias: &bias,
                        out,
                    });
                });
            });
    }

    /// The weights of each product: groups of channels, products, inputs, taps along rows, the group's channels.
    fn packed_weights<T: Real>(
        &self,
        outputs: usize,
        inputs: usize,
        kernel: [usize; 3],
        weight: &(impl Fn(usize, usize, usize) -> T + Sync),
    ) -> Vec<T> {
        let [x, y, z] = std::array::from_fn(|axis| self.entries(axis));
        let taps = inputs * x.len();
        let mut packed = vec![T::of(0.0); outputs.div_ceil(TOGETHER) * self.group(taps)];
        let pack_group = |(group, packed): (usize, &mut [T])| {
            let first = group * TOGETHER;
            let together = side_by_side(outputs - first);
            let channels = first..(first + together).min(outputs);
            // lanes as the weights lie: taps along rows, then channels
            let mut kernels = [[[0.0; ABREAST]; MOST]; MOST];
            let mut products = kernels;
            for start in (0..taps).step_by(ABREAST / together) {
                let end = (start + ABREAST / together).min(taps);
                for (z, planes) in z.iter().zip(&mut kernels) {
                    for (y, lanes) in y.iter().zip(planes) {
                        for (tap, lanes) in (start..end).zip(lanes.chunks_exact_mut(together)) {
                            let (c, x) = (tap / x.len(), x[tap % x.len()]);
                            let entry = (z * kernel[1] + y) * kernel[0] + x;
                            for (o, lane) in channels.clone().zip(lanes) {
                                *lane = weight(o, c, entry).wide();
                            }
                        }
                    }
                }
                dispatch(Both {
                    planes: &self.planes.factors,
                    rows: &self.rows.factors,
                    from: &kernels,
                    to: &mut products,
                });
                for (product, to) in packed
                    .chunks_mut(taps * together)
                    .enumerate()
                    .take(self.products())
                {
                    let line = self.rows.products;
                    let from = &products[product / line][product % line];
                    for (to, &from) in to[start * together..end * together].iter_mut().zip(from) {
                        *to = T::of(from);
                    }
                }
            }
        };
        packed
            .par_chunks_mut(self.group(taps))
            .enumerate()
            .for_each(pack_group);
        packed
    }

    /// Elements of the weights of a group of channels.
    fn group(&self, taps: usize) -> usize {
        self.products() * taps * TOGETHER
    }

    /// Elements that the transformed inputs of a block take, with zeros after them that vectors may read.
    pub(super) fn transformed(&self, channels: usize, elements: usize) -> usize {
        self.products() * channels * elements + SLACK
    }

    /// Elements that [`transform`](Self::transform) needs beside its result.
    pub(super) fn lines(&self) -> usize {
        let Tiles { planes, rows, .. } = self.tiles_of(self.window.planes, self.window.rows);
        self.planes.inputs(planes) * self.rows.products * rows * self.window.pitch
    }

    /// What the products of a block take from the inputs: products, channels, tiles of planes, of rows, and a row, which
    /// starts with the zeros before it.
    pub(super) fn transform<T: Real>(
        &self,
        source: &Channels<'_, T>,
        block: Block,
        tiles: Tiles,
        lines: &mut [T],
        out: &mut [T],
    ) {
        let channels = source.count();
        for channel in 0..channels {
            dispatch(Inputs {
                plan: self,
                block,
                tiles,
                volume: source.volume(block.item, channel),
                lines: &mut *lines,
                out: &mut out[channel * tiles.elements..],
                product: channels * tiles.elements,
            });
        }
        out[self.products() * channels * tiles.elements..].fill(T::of(0.0));
    }
}

/// Transforms the inputs of a channel.
struct Inputs<'a, T> {
    plan: &'a Winograd,
    block: Block,
    tiles: Tiles,
    volume: &'a [T],
    /// Planes whose rows are transformed: planes, products of rows, tiles of rows, a row.
    lines: &'a mut [T],
    out: &'a mut [T],
    /// From one product to the next.
    product: usize,
}

impl<T: Real> Kernel<T> for Inputs<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // SAFETY: rows are read inside the volume; lines and products hold what is written.
        unsafe {
            match self.plan.rows.products {
                6 => self.both::<L, 6>(),
                _ => self.both::<L, 8>(),
            }
        }
    }
}

impl<T: Real> Inputs<'_, T> {
    /// Transforms across rows, from which `LINE` products are made, and across planes.
    #[inline(always)]
    unsafe fn both<L: Lanes<Element = T>, const LINE: usize>(&self) {
        let plane = self.tiles.rows * self.plan.window.pitch;
        // SAFETY: the caller's promise.
        unsafe {
            if !self.plan.deep() {
                for tz in 0..self.tiles.planes {
                    let to = self.out.as_ptr().cast_mut().add(tz * plane);
                    self.rows::<L, LINE>(self.block.plane + tz, to, self.product);
                }
                return;
            }
            let to = self.lines.as_ptr().cast_mut();
            let planes = self.plan.planes;
            for z in 0..planes.inputs(self.tiles.planes) {
                let from = (self.block.plane + z).wrapping_sub(planes.before());
                self.rows::<L, LINE>(from, to.add(z * LINE * plane), plane);
            }
            match planes.products {
                4 => self.planes::<L, LINE, 4>(plane),
                _ => self.planes::<L, LINE, 8>(plane),
            }
        }
    }

    /// Transforms the rows of a plane of the volume; zero where there is none.
    #[inline(always)]
    unsafe fn rows<L: Lanes<Element = T>, const LINE: usize>(
        &self,
        plane: usize,
        to: *mut T,
        product: usize,
    ) {
        let window = &self.plan.window;
        let [nx, ny, nz] = std::array::from_fn(|a| window.axes[a].input);
        let before = window.pitch - nx;
        // SAFETY: the caller's promise.
        unsafe {
            let zero = L::splat(T::of(0.0));
            if plane >= nz {
                for p in 0..LINE {
                    std::ptr::write_bytes(to.add(p * product), 0, self.tiles.rows * window.pitch);
                }
                return;
            }
            let volume = self.volume.as_ptr().add(plane * ny * nx);
            for tile in 0..self.tiles.rows {
                let to = to.add(tile * window.pitch);
                for p in 0..LINE {
                    zero.store_part(to.add(p * product), before);
                }
                let to = to.add(before);
                let first = self.block.row + tile * self.plan.rows.results;
                for x in (0..nx).step_by(L::COUNT) {
                    let count = (nx - x).min(L::COUNT);
                    let mut d = [zero; MOST];
                    for y in 0..LINE {
                        let row = (first + y).wrapping_sub(self.plan.rows.before());
                        if row < ny {
                            d[y] = L::load_some(volume.add(row * nx + x), count);
                        }
                    }
                    let d = inputs::<L, LINE>(d);
                    for p in 0..LINE {
                        d[p].store_some(to.add(p * product + x), count);
                    }
                }
            }
        }
    }

    /// Transforms the lines along planes, of which a tile takes `DEEP`.
    #[inline(always)]
    unsafe fn planes<L: Lanes<Element = T>, const LINE: usize, const DEEP: usize>(
        &self,
        plane: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let to = self.out.as_ptr().cast_mut();
            for tz in 0..self.tiles.planes {
                for y in 0..LINE {
                    let from = self.lines.as_ptr();
                    let from = from.add((self.plan.planes.results * tz * LINE + y) * plane);
                    let to = to.add(y * self.product + tz * plane);
                    for x in (0..plane).step_by(L::COUNT) {
                        let count = (plane - x).min(L::COUNT);
                        let mut d = [L::splat(T::of(0.0)); MOST];
                        for z in 0..DEEP {
                            d[z] = L::load_some(from.add(z * LINE * plane + x), count);
                        }
                        let d = inputs::<L, DEEP>(d);
                        for z in 0..DEEP {
                            d[z].store_some(to.add(z * LINE * self.product + x), count);
                        }
                    }
                }
            }
        }
    }
}

/// The results of a block, a group of channels after the other.
struct Results<'a, T> {
    plan: &'a Winograd,
    block: Block,
    tiles: Tiles,
    offsets: &'a [u32],
    weights: &'a [T],
    inputs: &'a [T],
    /// From one product's inputs to the next.
    product: usize,
    sums: &'a mut [T],
    bias: &'a [T],
    out: Shared<T>,
}

impl<T: Real> Kernel<T> for Results<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        let outputs = self.bias.len();
        let tile = (self.plan.planes.products, self.plan.rows.products);
        let zeros = [T::of(0.0); TOGETHER];
        let vectors = self.tiles.elements.div_ceil(L::COUNT);
        let stride = self.tiles.elements.next_multiple_of(16);
        for first in (0..outputs).step_by(TOGETHER) {
            let together = side_by_side(outputs - first);
            let mut to = self.sums.as_mut_ptr();
            let weights = &self.weights[first / TOGETHER * self.plan.group(self.offsets.len())..];
            for product in 0..self.plan.products() {
                let weights = weights[product * self.offsets.len() * together..].as_ptr();
                // SAFETY: the zeros after the inputs and the rounded sums hold the last vector.
                unsafe {
                    let inputs = self.inputs.as_ptr().add(product * self.product);
                    let place = (inputs, self.offsets, weights, zeros.as_ptr(), to, stride);
                    run::<L>(place, together, vectors);
                    to = to.add(TOGETHER * stride);
                }
            }
            for o in first..(first + together).min(outputs) {
                // SAFETY: rows lie inside the results, and no two blocks share one.
                unsafe {
                    match tile {
                        (1, 6) => self.rows::<L, 1, 1, 6>(o, o - first, stride),
                        (1, _) => self.rows::<L, 1, 1, 8>(o, o - first, stride),
                        (4, _) => self.rows::<L, 4, 2, 6>(o, o - first, stride),
                        _ => self.rows::<L, 8, 4, 8>(o, o - first, stride),
                    }
                }
            }
        }
    }
}

impl<T: Real> Results<'_, T> {
    /// The results of channel `o` from its sums, `lane` of the group: tiles of `HIGH` planes, from `DEEP` products along
    /// them, and of four rows, from `LINE` products.
    #[inline(always)]
    unsafe fn rows<
        L: Lanes<Element = T>,
        const DEEP: usize,
        const HIGH: usize,
        const LINE: usize,
    >(
        &self,
        o: usize,
        lane: usize,
        stride: usize,
    ) {
        let window = &self.plan.window;
        let [nx, ny, nz] = std::array::from_fn(|a| window.axes[a].count);
        let product = TOGETHER * stride;
        let volume = (self.block.item * self.bias.len() + o) * nz * ny * nx;
        for tile in 0..self.tiles.planes * self.tiles.rows {
            let (tz, ty) = (tile / self.tiles.rows, tile % self.tiles.rows);
            let (plane, row) = (tz * HIGH, ty * ROWS);
            let planes = (self.block.planes - plane).min(HIGH);
            let rows = (self.block.rows - row).min(ROWS);
            let first = volume + ((self.block.plane + plane) * ny + self.block.row + row) * nx;
            for x in (0..nx).step_by(L::COUNT) {
                let count = (nx - x).min(L::COUNT);
                // SAFETY: the caller's promise.
                unsafe {
                    let from = self
                        .sums
                        .as_ptr()
                        .add(lane * stride + tile * window.pitch + x);
                    let bias = L::splat(self.bias[o]);
                    let mut m = [[bias; MOST]; HIGH];
                    for y in 0..LINE {
                        let mut column = [bias; MOST];
                        for z in 0..DEEP {
                            column[z] = L::load(from.add((z * LINE + y) * product));
                        }
                        let column = results::<L, DEEP, HIGH>(column);
                        for z in 0..HIGH {
                            m[z][y] = column[z];
                        }
                    }
                    for z in 0..planes {
                        let results = results::<L, LINE, ROWS>(m[z]);
                        for y in 0..rows {
                            let to = self.out.at(first + (z * ny + y) * nx + x);
                            results[y].add(bias).store_some(to, count);
                        }
                    }
                }
            }
        }
    }
}
