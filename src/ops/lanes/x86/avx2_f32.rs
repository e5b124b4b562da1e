//! Eight floats to a register: AVX2.

use std::arch::x86_64::*;

use half::f16;

use super::{pairs_of_halves, quartets, totals_of_octets};
use crate::ops::lanes::{HalfStorage, Lanes, Places};

/// The mask of the first `count` of eight lanes.
#[inline(always)]
unsafe fn part_f32(count: usize) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        _mm256_cmpgt_epi32(
            _mm256_set1_epi32(count as i32),
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        )
    }
}

/// The four floats at place `k` and those at place `k + 4`.
#[inline(always)]
unsafe fn every_fourth(from: *const f32, place: &[u32; 16], k: usize) -> __m256 {
    // SAFETY: the caller has AVX2, and four floats at both places.
    unsafe {
        let low = _mm_loadu_ps(from.add(place[k] as usize));
        let high = _mm_loadu_ps(from.add(place[k + 4] as usize));
        _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
    }
}

/// 8 `f32` in one register.
#[derive(Clone, Copy)]
pub struct Avx2F32(pub(super) __m256);

impl Lanes for Avx2F32 {
    type Element = f32;
    type Index = __m256i;
    const COUNT: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_maskload_ps(from, part_f32(count))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_maskstore_ps(to, part_f32(count), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_min_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn floor(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_floor_ps(self.0)) }
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_sqrt_ps(self.0)) }
    }
    #[inline(always)]
    unsafe fn equals(self, other: Self) -> bool {
        // SAFETY: the trait's contract.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0)) == 0xff }
    }
    #[inline(always)]
    unsafe fn where_equal(self, other: Self, then: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            Self(_mm256_and_ps(
                _mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0),
                then.0,
            ))
        }
    }
    #[inline(always)]
    unsafe fn one_on(self, next: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let (here, next) = (_mm256_castps_si256(self.0), _mm256_castps_si256(next.0));
            let between = _mm256_permute2x128_si256::<0x21>(here, next);
            Self(_mm256_castsi256_ps(_mm256_alignr_epi8::<4>(between, here)))
        }
    }
    #[inline(always)]
    unsafe fn one_back(self, previous: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let (here, back) = (_mm256_castps_si256(self.0), _mm256_castps_si256(previous.0));
            let between = _mm256_permute2x128_si256::<0x21>(back, here);
            Self(_mm256_castsi256_ps(_mm256_alignr_epi8::<12>(here, between)))
        }
    }
    #[inline(always)]
    unsafe fn every_second(self, next: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let even = _mm256_castps_pd(_mm256_shuffle_ps::<0b10_00_10_00>(self.0, next.0));
            Self(_mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(
                even,
            )))
        }
    }
    #[inline(always)]
    unsafe fn ramp() -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_setr_ps(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)) }
    }
    #[inline(always)]
    unsafe fn index(self) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_cvttps_epi32(self.0) }
    }
    #[inline(always)]
    unsafe fn index_splat(value: i32) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn index_add(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn index_mul(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_mullo_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn gather(from: *const f32, at: __m256i) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_i32gather_ps::<4>(from, at)) }
    }
    #[inline(always)]
    unsafe fn gather_pairs<const ROWS: usize>(
        rows: [*const f32; ROWS],
        places: &Places,
    ) -> [(Self, Self); ROWS] {
        // SAFETY: the trait's contract.
        unsafe {
            let place = places.words();
            let (first, second) = (quartets(rows, place, 0), quartets(rows, place, 4));
            let mut pairs = [(Self::splat(0.0), Self::splat(0.0)); ROWS];
            for r in 0..ROWS {
                let (low, high) = (_mm256_castpd_ps(first[r]), _mm256_castpd_ps(second[r]));
                // even and odd floats of each half, then the halves in order
                let even = _mm256_castps_pd(_mm256_shuffle_ps::<0b10_00_10_00>(low, high));
                let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0b11_01_11_01>(low, high));
                let even = _mm256_permute4x64_pd::<0b11_01_10_00>(even);
                let odd = _mm256_permute4x64_pd::<0b11_01_10_00>(odd);
                pairs[r] = (Self(_mm256_castpd_ps(even)), Self(_mm256_castpd_ps(odd)));
            }
            pairs
        }
    }
    #[inline(always)]
    unsafe fn gather_pairs_of_halves<const ROWS: usize>(
        rows: [*const f16; ROWS],
        places: &Places,
    ) -> [(Self, Self); ROWS] {
        // SAFETY: the trait's contract.
        unsafe {
            let place = places.words();
            // of four pairs the first halves, then the second ones
            let apart = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
            let mut pairs = [(Self::splat(0.0), Self::splat(0.0)); ROWS];
            for r in 0..ROWS {
                let low = _mm_shuffle_epi8(pairs_of_halves(rows[r], place, 0), apart);
                let high = _mm_shuffle_epi8(pairs_of_halves(rows[r], place, 4), apart);
                pairs[r] = (
                    Self(_mm256_cvtph_ps(_mm_unpacklo_epi64(low, high))),
                    Self(_mm256_cvtph_ps(_mm_unpackhi_epi64(low, high))),
                );
            }
            pairs
        }
    }
    #[inline(always)]
    unsafe fn gather_four(from: *const f32, places: &Places) -> [Self; 4] {
        // SAFETY: the trait's contract.
        unsafe {
            let place = places.words();
            let a = every_fourth(from, place, 0);
            let b = every_fourth(from, place, 1);
            let c = every_fourth(from, place, 2);
            let d = every_fourth(from, place, 3);
            let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (low_on, high_on) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let (low, high) = (_mm256_castps_pd(low), _mm256_castps_pd(high));
            let (low_on, high_on) = (_mm256_castps_pd(low_on), _mm256_castps_pd(high_on));
            [
                Self(_mm256_castpd_ps(_mm256_unpacklo_pd(low, low_on))),
                Self(_mm256_castpd_ps(_mm256_unpackhi_pd(low, low_on))),
                Self(_mm256_castpd_ps(_mm256_unpacklo_pd(high, high_on))),
                Self(_mm256_castpd_ps(_mm256_unpackhi_pd(high, high_on))),
            ]
        }
    }
    #[inline(always)]
    unsafe fn totals(v: [Self; 4]) -> [f32; 4] {
        // SAFETY: the trait's contract.
        unsafe { totals_of_octets([v[0].0, v[1].0, v[2].0, v[3].0]) }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        let mut lanes = [0.0; 8];
        // SAFETY: the array has as many elements as the register.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes.iter().map(|&v| f64::from(v)).sum()
    }
    #[inline(always)]
    unsafe fn from_halves(from: *const f16, count: usize) -> Self {
        unsafe {
            if count == Self::COUNT {
                Self::load_half(from)
            } else {
                Self::load_half_part(from, count)
            }
        }
    }
    #[inline(always)]
    unsafe fn to_halves(self, to: *mut f16, count: usize) {
        unsafe {
            if count == Self::COUNT {
                self.store_half(to);
            } else {
                self.store_half_part(to, count);
            }
        }
    }
}

impl HalfStorage for Avx2F32 {
    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> Self {
        unsafe { Self(_mm256_cvtph_ps(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_half_part(from: *const f16, count: usize) -> Self {
        unsafe {
            let mut lanes = [f16::ZERO; 8];
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            Self::load_half(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_half(self, to: *mut f16) {
        unsafe { _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<0>(self.0)) }
    }
    #[inline(always)]
    unsafe fn store_half_part(self, to: *mut f16, count: usize) {
        unsafe {
            let mut lanes = [f16::ZERO; 8];
            self.store_half(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
        }
    }
    #[inline(always)]
    unsafe fn gather_half(from: *const f16, at: __m256i) -> Self {
        unsafe {
            let mut index = [0i32; 8];
            _mm256_storeu_si256(index.as_mut_ptr().cast(), at);
            let mut lanes = [f16::ZERO; 8];
            for k in 0..8 {
                lanes[k] = *from.offset(index[k] as isize);
            }
            Self::load_half(lanes.as_ptr())
        }
    }
}
