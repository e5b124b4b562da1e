//! Four doubles to a register: AVX2.

use std::arch::x86_64::*;

use crate::ops::lanes::{Lanes, Places};

/// The mask of the first `count` of four lanes.
#[inline(always)]
unsafe fn part_f64(count: usize) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        _mm256_cmpgt_epi64(
            _mm256_set1_epi64x(count as i64),
            _mm256_setr_epi64x(0, 1, 2, 3),
        )
    }
}

/// The mask of the first `count` of four single lanes.
#[inline(always)]
unsafe fn part_of_four(count: usize) -> __m128i {
    // SAFETY: the caller has AVX2.
    unsafe { _mm_cmpgt_epi32(_mm_set1_epi32(count as i32), _mm_setr_epi32(0, 1, 2, 3)) }
}

/// 4 `f64` in one register.
#[derive(Clone, Copy)]
pub struct Avx2F64(__m256d);

impl Lanes for Avx2F64 {
    type Element = f64;
    type Index = __m128i;
    const COUNT: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f64) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_set1_pd(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_loadu_pd(from)) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f64, count: usize) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_maskload_pd(from, part_f64(count))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_storeu_pd(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f64, count: usize) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_maskstore_pd(to, part_f64(count), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_add_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_sub_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_mul_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_div_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_min_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_max_pd(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_fmadd_pd(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn floor(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_floor_pd(self.0)) }
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_sqrt_pd(self.0)) }
    }
    #[inline(always)]
    unsafe fn equals(self, other: Self) -> bool {
        // SAFETY: the trait's contract.
        unsafe { _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_EQ_OQ>(self.0, other.0)) == 0b1111 }
    }
    #[inline(always)]
    unsafe fn where_equal(self, other: Self, then: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            Self(_mm256_and_pd(
                _mm256_cmp_pd::<_CMP_EQ_OQ>(self.0, other.0),
                then.0,
            ))
        }
    }
    #[inline(always)]
    unsafe fn every_second(self, next: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let even = _mm256_unpacklo_pd(self.0, next.0);
            Self(_mm256_permute4x64_pd::<0b11_01_10_00>(even))
        }
    }
    #[inline(always)]
    unsafe fn ramp() -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_setr_pd(0.0, 1.0, 2.0, 3.0)) }
    }
    #[inline(always)]
    unsafe fn index(self) -> __m128i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_cvttpd_epi32(self.0) }
    }
    #[inline(always)]
    unsafe fn index_splat(value: i32) -> __m128i {
        // SAFETY: the trait's contract.
        unsafe { _mm_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn index_add(a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: the trait's contract.
        unsafe { _mm_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn index_mul(a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: the trait's contract.
        unsafe { _mm_mullo_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn gather(from: *const f64, at: __m128i) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self(_mm256_i32gather_pd::<8>(from, at)) }
    }
    #[inline(always)]
    unsafe fn gather_four(from: *const f64, places: &Places) -> [Self; 4] {
        // SAFETY: the trait's contract.
        unsafe {
            let place = places.words();
            let a = _mm256_loadu_pd(from.add(place[0] as usize));
            let b = _mm256_loadu_pd(from.add(place[1] as usize));
            let c = _mm256_loadu_pd(from.add(place[2] as usize));
            let d = _mm256_loadu_pd(from.add(place[3] as usize));
            let (even, odd) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            let (even_on, odd_on) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
            [
                Self(_mm256_permute2f128_pd::<0x20>(even, even_on)),
                Self(_mm256_permute2f128_pd::<0x20>(odd, odd_on)),
                Self(_mm256_permute2f128_pd::<0x31>(even, even_on)),
                Self(_mm256_permute2f128_pd::<0x31>(odd, odd_on)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn from_singles(from: *const f32, count: usize) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            if count == Self::COUNT {
                Self(_mm256_cvtps_pd(_mm_loadu_ps(from)))
            } else {
                Self(_mm256_cvtps_pd(_mm_maskload_ps(from, part_of_four(count))))
            }
        }
    }
    #[inline(always)]
    unsafe fn to_singles(self, to: *mut f32, count: usize) {
        // SAFETY: the trait's contract.
        unsafe {
            let narrow = _mm256_cvtpd_ps(self.0);
            if count == Self::COUNT {
                _mm_storeu_ps(to, narrow);
            } else {
                _mm_maskstore_ps(to, part_of_four(count), narrow);
            }
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        let mut lanes = [0.0; 4];
        // SAFETY: the array has as many elements as the register.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes.iter().sum()
    }
}
