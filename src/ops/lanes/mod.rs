//! Vectors of voxels: one kernel source, three instruction sets, chosen at run time.
//!
//! A kernel is a type with a generic [`Kernel::run`]; [`dispatch`] calls it with AVX-512, AVX2 + FMA or plain arrays.
//! Everything it calls must be `#[inline(always)]`, so that the whole body is compiled with the instruction set enabled.

mod half_storage;
mod places;
mod plain;
mod source;
mod stores;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::atomic::{AtomicU8, Ordering};

use half::f16;

use super::real::Real;

pub(crate) use half_storage::{HalfStorage, Halves};
pub use places::Places;
pub(crate) use plain::Plain;
pub(crate) use source::Source;
pub(crate) use stores::Stores;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2F32, Avx2F64, Avx512F32, Avx512F64};

/// A short vector of one element type.
///
/// # Safety
/// Implementations may use instructions that the machine lacks: call only from within [`dispatch`]. Pointers must be
/// valid for the lanes that are read or written.
pub trait Lanes: Copy {
    /// The element.
    type Element: Real;
    /// A vector of indices.
    type Index: Copy;
    /// How many lanes there are.
    const COUNT: usize;

    unsafe fn splat(value: Self::Element) -> Self;
    /// A constant, at the precision of the arithmetic rather than of the element.
    #[inline(always)]
    unsafe fn constant(value: f64) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::splat(Self::Element::of(value)) }
    }
    unsafe fn load(from: *const Self::Element) -> Self;
    /// The first `count` lanes; the others are zero.
    unsafe fn load_part(from: *const Self::Element, count: usize) -> Self;
    unsafe fn store(self, to: *mut Self::Element);
    unsafe fn store_part(self, to: *mut Self::Element, count: usize);
    /// The first `count` lanes, by the fastest way. Kernels use loops and functions like this one, not closures: a
    /// closure is a function of its own, which the compiler may leave without the instruction set.
    #[inline(always)]
    unsafe fn load_some(from: *const Self::Element, count: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            if count == Self::COUNT {
                Self::load(from)
            } else {
                Self::load_part(from, count)
            }
        }
    }
    /// Stores the first `count` lanes, by the fastest way.
    #[inline(always)]
    unsafe fn store_some(self, to: *mut Self::Element, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if count == Self::COUNT {
                self.store(to);
            } else {
                self.store_part(to, count);
            }
        }
    }
    /// Stores all lanes past the caches where the machine can: for what is read again only after as much else has passed
    /// through them. See [`Stores`].
    #[inline(always)]
    unsafe fn stream(self, to: *mut Self::Element) {
        // SAFETY: the caller's promise.
        unsafe { self.store(to) }
    }
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    /// `self * b + c`, rounded once where the machine can.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    unsafe fn min(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    unsafe fn floor(self) -> Self;
    unsafe fn sqrt(self) -> Self;
    /// Whether all lanes are those of `other`.
    #[inline(always)]
    unsafe fn equals(self, other: Self) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.where_equal(other, Self::constant(1.0)).sum() == Self::COUNT as f64 }
    }
    /// `then` where `self == other`, zero elsewhere.
    unsafe fn where_equal(self, other: Self, then: Self) -> Self;
    /// The lanes one further on: those of `self` but the first, then the first of `next`.
    #[inline(always)]
    unsafe fn one_on(self, next: Self) -> Self {
        let mut lanes = [Self::Element::of(0.0); 32];
        // SAFETY: no vector has more than 16 lanes.
        unsafe {
            self.store(lanes.as_mut_ptr());
            next.store(lanes.as_mut_ptr().add(Self::COUNT));
            Self::load(lanes.as_ptr().add(1))
        }
    }
    /// The lanes one further back: the last of `previous`, then those of `self` but the last.
    #[inline(always)]
    unsafe fn one_back(self, previous: Self) -> Self {
        let mut lanes = [Self::Element::of(0.0); 32];
        // SAFETY: no vector has more than 16 lanes.
        unsafe {
            previous.store(lanes.as_mut_ptr());
            self.store(lanes.as_mut_ptr().add(Self::COUNT));
            Self::load(lanes.as_ptr().add(Self::COUNT - 1))
        }
    }
    /// Every second lane, from the first on, of two vectors that follow each other.
    #[inline(always)]
    unsafe fn every_second(self, next: Self) -> Self {
        let mut lanes = [Self::Element::of(0.0); 32];
        // SAFETY: no vector has more than 16 lanes.
        unsafe {
            self.store(lanes.as_mut_ptr());
            next.store(lanes.as_mut_ptr().add(Self::COUNT));
            for k in 0..Self::COUNT {
                lanes[k] = lanes[2 * k];
            }
            Self::load(lanes.as_ptr())
        }
    }
    /// 0, 1, 2, ...
    unsafe fn ramp() -> Self;
    /// Lanes as indices; they must be whole and not negative.
    unsafe fn index(self) -> Self::Index;
    unsafe fn index_splat(value: i32) -> Self::Index;
    unsafe fn index_add(a: Self::Index, b: Self::Index) -> Self::Index;
    unsafe fn index_mul(a: Self::Index, b: Self::Index) -> Self::Index;
    unsafe fn gather(from: *const Self::Element, at: Self::Index) -> Self;
    /// The elements at the same places of several rows, and those after them.
    #[inline(always)]
    unsafe fn gather_pairs<const ROWS: usize>(
        rows: [*const Self::Element; ROWS],
        places: &Places,
    ) -> [(Self, Self); ROWS] {
        // SAFETY: the caller's promise.
        unsafe {
            let at = places.index::<Self>();
            let mut pairs = [(Self::constant(0.0), Self::constant(0.0)); ROWS];
            for r in 0..ROWS {
                pairs[r] = (Self::gather(rows[r], at), Self::gather(rows[r].add(1), at));
            }
            pairs
        }
    }
    /// [`Lanes::gather_pairs`] from rows of halves.
    #[inline(always)]
    unsafe fn gather_pairs_of_halves<const ROWS: usize>(
        rows: [*const f16; ROWS],
        places: &Places,
    ) -> [(Self, Self); ROWS] {
        // SAFETY: the caller's promise; no vector has more than 16 lanes.
        unsafe {
            let mut pairs = [(Self::constant(0.0), Self::constant(0.0)); ROWS];
            for r in 0..ROWS {
                let mut ends = [[Self::Element::of(0.0); 16]; 2];
                for k in 0..Self::COUNT {
                    let from = rows[r].add(places.words()[k] as usize);
                    for (end, lanes) in ends.iter_mut().enumerate() {
                        lanes[k] = Self::Element::of(f64::from(*from.add(end)));
                    }
                }
                pairs[r] = (Self::load(ends[0].as_ptr()), Self::load(ends[1].as_ptr()));
            }
            pairs
        }
    }
    /// The elements at the places, and the three after each of them.
    #[inline(always)]
    unsafe fn gather_four(from: *const Self::Element, places: &Places) -> [Self; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let at = places.index::<Self>();
            [
                Self::gather(from, at),
                Self::gather(from.add(1), at),
                Self::gather(from.add(2), at),
                Self::gather(from.add(3), at),
            ]
        }
    }
    /// Sum of all lanes, in a fixed order, in double precision.
    unsafe fn sum(self) -> f64;
    /// The sums of all lanes of four vectors, pairwise, in the precision of the element.
    #[inline(always)]
    unsafe fn totals(vectors: [Self; 4]) -> [Self::Element; 4] {
        let mut totals = [Self::Element::of(0.0); 4];
        for v in 0..4 {
            let mut lanes = [Self::Element::of(0.0); 16];
            // SAFETY: no vector has more than 16 lanes.
            unsafe { vectors[v].store(lanes.as_mut_ptr()) };
            let mut half = 8;
            while half > 0 {
                for k in 0..half {
                    lanes[k] += lanes[k + half];
                }
                half /= 2;
            }
            totals[v] = lanes[0];
        }
        totals
    }
    /// The first `count` lanes from halves; the others are zero.
    #[inline(always)]
    unsafe fn from_halves(from: *const f16, count: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { widened(from, count) }
    }
    /// Stores all lanes as halves, past the caches where the machine can.
    #[inline(always)]
    unsafe fn stream_halves(self, to: *mut f16) {
        // SAFETY: the caller's promise.
        unsafe { self.to_halves(to, Self::COUNT) }
    }
    /// Stores the first `count` lanes as halves.
    #[inline(always)]
    unsafe fn to_halves(self, to: *mut f16, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut lanes = [Self::Element::of(0.0); 16];
            self.store(lanes.as_mut_ptr());
            for k in 0..count {
                *to.add(k) = f16::from_f64(lanes[k].wide());
            }
        }
    }
    /// The first `count` lanes from single precision; the others are zero.
    #[inline(always)]
    unsafe fn from_singles(from: *const f32, count: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { widened(from, count) }
    }
    /// Stores the first `count` lanes in single precision.
    #[inline(always)]
    unsafe fn to_singles(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut lanes = [Self::Element::of(0.0); 16];
            self.store(lanes.as_mut_ptr());
            for k in 0..count {
                *to.add(k) = lanes[k].narrow();
            }
        }
    }
}

/// The first `count` elements of a narrower type as lanes; the others are zero.
#[inline(always)]
unsafe fn widened<L: Lanes, S: Copy + Into<f64>>(from: *const S, count: usize) -> L {
    let mut lanes = [L::Element::of(0.0); 16];
    // SAFETY: the caller's elements; no vector has more than 16 lanes.
    unsafe {
        for k in 0..count {
            lanes[k] = L::Element::of((*from.add(k)).into());
        }
        L::load(lanes.as_ptr())
    }
}

/// Asks for the cache line of an element that will be read soon. Any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(element: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that never faults, in the instruction set of every x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(element.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = element;
}

/// A computation written once for all instruction sets.
pub(crate) trait Kernel<T: Real> {
    /// What it returns.
    type Output;
    /// The body; must be `#[inline(always)]`.
    ///
    /// # Safety
    /// Only [`dispatch`] may call it.
    unsafe fn run<L: Lanes<Element = T>>(self) -> Self::Output;
}

/// An instruction set of the CPU kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Instructions {
    /// Plain Rust, whatever the compiler makes of it.
    Portable = 1,
    /// AVX2 with fused multiply-add and half-precision conversion.
    Avx2 = 2,
    /// AVX-512 (F, VL, DQ, BW) with the AVX2 group.
    Avx512 = 3,
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

impl Instructions {
    /// The best set this machine has.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let middle = std::is_x86_feature_detected!("avx2")
                && std::is_x86_feature_detected!("fma")
                && std::is_x86_feature_detected!("f16c")
                && std::is_x86_feature_detected!("bmi2")
                && std::is_x86_feature_detected!("lzcnt")
                && std::is_x86_feature_detected!("popcnt");
            let wide = std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512vl")
                && std::is_x86_feature_detected!("avx512dq")
                && std::is_x86_feature_detected!("avx512bw");
            if middle && wide {
                return Self::Avx512;
            }
            if middle {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// The set in use: the best one, unless `STILLPOINT_INSTRUCTIONS` (portable, avx2, avx512) or
    /// [`Instructions::choose`] asks for a smaller one.
    pub fn current() -> Self {
        match CHOSEN.load(Ordering::Relaxed) {
            1 => Self::Portable,
            2 => Self::Avx2,
            3 => Self::Avx512,
            _ => {
                let asked = match std::env::var("STILLPOINT_INSTRUCTIONS").as_deref() {
                    Ok("portable") => Self::Portable,
                    Ok("avx2") => Self::Avx2,
                    _ => Self::Avx512,
                };
                asked.choose()
            }
        }
    }

    /// Uses this set from now on in the whole process, or the best one below it that the machine has; returns it.
    ///
    /// Results of different sets differ in rounding.
    pub fn choose(self) -> Self {
        let best = Self::best();
        let chosen = if (self as u8) < best as u8 {
            self
        } else {
            best
        };
        CHOSEN.store(chosen as u8, Ordering::Relaxed);
        chosen
    }
}

/// Runs a kernel with the instruction set in use.
#[inline]
pub(crate) fn dispatch<T: Real, K: Kernel<T>>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(
            enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt"
        )]
        unsafe fn wide<T: Real, K: Kernel<T>>(kernel: K) -> K::Output {
            // SAFETY: the features of this function are those of the lanes.
            unsafe { kernel.run::<T::Wide>() }
        }
        #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
        unsafe fn middle<T: Real, K: Kernel<T>>(kernel: K) -> K::Output {
            // SAFETY: the features of this function are those of the lanes.
            unsafe { kernel.run::<T::Middle>() }
        }
        match Instructions::current() {
            // SAFETY: `current` only names sets that the machine has.
            Instructions::Avx512 => return unsafe { wide(kernel) },
            // SAFETY: as above.
            Instructions::Avx2 => return unsafe { middle(kernel) },
            Instructions::Portable => {}
        }
    }
    // SAFETY: plain arrays need no special instructions.
    unsafe { kernel.run::<T::Portable>() }
}
