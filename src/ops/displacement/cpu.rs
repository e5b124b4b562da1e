//! Rows of composition and of the change to compositive steps.

use crate::ops::lanes::{dispatch, Kernel, Lanes, Stores};
use crate::ops::near::{Near, Neighbourhood};
use crate::ops::pull::{pull, pull_block};
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, Shared};
use crate::ops::sample::{vectors, Cell, Frame, Multilinear, RUN};
use crate::Affine;
use half::f16;

use super::marks::Marks;

pub(super) fn compose<T: Real>(u: &[T], d: &[T], size: &[usize], t: T, out: &mut [T]) {
    compose_rows(u, d, size, t, &Marks::all(size), out);
}

/// Composes in the marked voxels alone.
pub(super) fn compose_rows<T: Real, B: Stored<T>>(
    u: &[T],
    d: &[B],
    size: &[usize],
    t: T,
    marked: &Marks,
    out: &mut [T],
) {
    if size.len() == 2 {
        composed::<T, B, 2>(u, d, size, t, marked, out);
    } else {
        composed::<T, B, 3>(u, d, size, t, marked, out);
    }
}

fn composed<T: Real, B: Stored<T>, const D: usize>(
    u: &[T],
    d: &[B],
    size: &[usize],
    t: T,
    marked: &Marks,
    out: &mut [T],
) {
    let frame = Frame::<T, D>::new(size, size, &Affine::identity());
    assert!(
        [u.len(), d.len(), out.len()] == [frame.voxels() * D; 3],
        "fields"
    );
    let stores = Stores::of(size_of_val(out));
    let out = Shared::new(out);
    for_rows(frame.rows(), size[0], |rows| {
        dispatch(Compose {
            marked,
            u,
            d,
            frame: &frame,
            t,
            rows,
            out,
            stores,
        });
    });
}

struct Compose<'a, T, B, const D: usize> {
    u: &'a [T],
    d: &'a [B],
    frame: &'a Frame<T, D>,
    marked: &'a Marks,
    t: T,
    rows: std::ops::Range<usize>,
    out: Shared<T>,
    stores: Stores,
}

impl<T: Real, B: Stored<T>, const D: usize> Kernel<T> for Compose<'_, T, B, D> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // SAFETY: lengths were checked; each task writes its own rows.
        unsafe {
            let t = L::splat(self.t);
            for row in self.rows.clone() {
                for run in self.marked.runs(row) {
                    self.run_of::<L>(t, row, run);
                }
            }
            self.stores.settle();
        }
    }
}

impl<T: Real, B: Stored<T>, const D: usize> Compose<'_, T, B, D> {
    /// A run of voxels of a row.
    #[inline(always)]
    unsafe fn run_of<L: Lanes<Element = T>>(&self, t: L, row: usize, run: std::ops::Range<usize>) {
        let (n, width) = (self.frame.voxels(), self.frame.fixed[0]);
        // SAFETY: as in `run`.
        unsafe {
            let start = self.frame.row_start(row);
            let (mut between, mut steps) = (self.frame.room::<L>(), [[t; D]; RUN]);
            for begin in run.clone().step_by(RUN * L::COUNT) {
                let vectors = vectors::<L>(run.end - begin);
                for k in 0..vectors {
                    let i = begin + k * L::COUNT;
                    let (at, count) = (row * width + i, (run.end - i).min(L::COUNT));
                    for a in 0..D {
                        steps[k][a] = t.mul(B::take(self.d.as_ptr().add(a * n + at), count));
                    }
                    let position = self.frame.positions(&start, i, steps[k]);
                    let cell = Cell::at(position, &self.frame.moving);
                    between[k] = Multilinear::of(&cell, &self.frame.stride);
                }
                for a in 0..D {
                    let image = self.u.as_ptr().add(a * n);
                    for k in 0..vectors {
                        let i = begin + k * L::COUNT;
                        let (at, count) = (row * width + i, (run.end - i).min(L::COUNT));
                        let moved = between[k].value(image, &self.frame.stride);
                        let to = self.out.at(a * n + at);
                        self.stores.put(steps[k][a].add(moved), to, count);
                    }
                }
            }
        }
    }
}

pub(super) fn pull_to_steps<T: Real, B: Stored<T>>(
    u: &[T],
    size: &[usize],
    gradient: &mut [T],
    blocks: &mut [B],
) {
    if size.len() == 2 {
        pulled::<T, B, 2>(u, size, gradient, blocks);
    } else {
        pulled::<T, B, 3>(u, size, gradient, blocks);
    }
}

fn pulled<T: Real, B: Stored<T>, const D: usize>(
    u: &[T],
    size: &[usize],
    gradient: &mut [T],
    blocks: &mut [B],
) {
    let size: [usize; D] = std::array::from_fn(|a| size[a]);
    let n: usize = size.iter().product();
    assert!(u.len() == n * D && gradient.len() == n * D, "fields");
    let entries = blocks.len() / n;
    assert!(blocks.len() == n * entries && (entries == D || entries == D * (D + 1) / 2));
    let (gradient, blocks) = (Shared::new(gradient), Shared::new(blocks));
    for_rows(n / size[0], size[0], |rows| {
        dispatch(Pull {
            u,
            size: &size,
            vector: entries == D,
            gradient,
            blocks,
            rows,
        });
    });
}

/// The element of blocks and steps beside fields of `T`.
pub(super) trait Stored<T: Real>: Copy + Send + Sync {
    /// `factor` times the value.
    fn times(self, factor: T) -> Self;

    /// The first `count` lanes.
    ///
    /// # Safety
    /// Within a kernel, of valid elements.
    unsafe fn take<L: Lanes<Element = T>>(from: *const Self, count: usize) -> L;
    /// Stores the first `count` lanes.
    ///
    /// # Safety
    /// As for `take`.
    unsafe fn put<L: Lanes<Element = T>>(lanes: L, to: *mut Self, count: usize);
}

impl<T: Real> Stored<T> for T {
    fn times(self, factor: T) -> T {
        self * factor
    }
    #[inline(always)]
    unsafe fn take<L: Lanes<Element = T>>(from: *const T, count: usize) -> L {
        // SAFETY: the caller's promise, here and below.
        unsafe { L::load_some(from, count) }
    }
    #[inline(always)]
    unsafe fn put<L: Lanes<Element = T>>(lanes: L, to: *mut T, count: usize) {
        unsafe { lanes.store_some(to, count) }
    }
}

/// Blocks and steps in half precision.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Half(f16);

impl Half {
    /// Halves seen as such.
    pub fn of(values: &mut [f16]) -> &mut [Self] {
        // SAFETY: the same memory layout.
        unsafe { &mut *(std::ptr::from_mut(values) as *mut [Self]) }
    }
}

impl<T: Real> Stored<T> for Half {
    fn times(self, factor: T) -> Self {
        Self(f16::from_f32(self.0.to_f32() * factor.narrow()))
    }
    #[inline(always)]
    unsafe fn take<L: Lanes<Element = T>>(from: *const Self, count: usize) -> L {
        // SAFETY: the caller's promise, here and below.
        unsafe { L::from_halves(from.cast(), count) }
    }
    #[inline(always)]
    unsafe fn put<L: Lanes<Element = T>>(lanes: L, to: *mut Self, count: usize) {
        unsafe { lanes.to_halves(to.cast(), count) }
    }
}

struct Pull<'a, T, B, const D: usize> {
    u: &'a [T],
    size: &'a [usize; D],
    vector: bool,
    gradient: Shared<T>,
    blocks: Shared<B>,
    rows: std::ops::Range<usize>,
}

impl<T: Real, B: Stored<T>, const D: usize> Kernel<T> for Pull<'_, T, B, D> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        let n: usize = self.size.iter().product();
        let width = self.size[0];
        // SAFETY: lengths were checked; each task writes its own rows.
        unsafe {
            let field = Neighbourhood::<L, D>::new(self.u.as_ptr(), self.size, &[[0.0; 3]; 3]);
            let mut nears = Near::room();
            for row in self.rows.clone() {
                for begin in (0..width).step_by(RUN * L::COUNT) {
                    field.run(true, (row, begin), &mut nears);
                    for k in 0..vectors::<L>(width - begin) {
                        let i = begin + k * L::COUNT;
                        let (at, count) = (row * width + i, (width - i).min(L::COUNT));
                        let p = &nears[k].slope;
                        pull_vector(p, self.gradient, n, at, count);
                        if self.vector {
                            pull_vector(p, self.blocks, n, at, count);
                            continue;
                        }
                        let mut block = [L::constant(0.0); 6];
                        for e in 0..D * (D + 1) / 2 {
                            block[e] = B::take(self.blocks.at(e * n + at), count);
                        }
                        let block = pull_block(p, block);
                        for e in 0..D * (D + 1) / 2 {
                            B::put(block[e], self.blocks.at(e * n + at), count);
                        }
                    }
                }
            }
        }
    }
}

/// `v <- p' v` for the vector of `D` planes of `n` elements at `at`.
#[inline(always)]
unsafe fn pull_vector<L: Lanes, B: Stored<L::Element>, const D: usize>(
    p: &[[L; D]; D],
    base: Shared<B>,
    n: usize,
    at: usize,
    count: usize,
) {
    // SAFETY: the caller's lanes lie within the planes.
    unsafe {
        let mut v = p[0];
        for a in 0..D {
            v[a] = B::take(base.at(a * n + at), count);
        }
        let v = pull(p, v);
        for a in 0..D {
            B::put(v[a], base.at(a * n + at), count);
        }
    }
}
