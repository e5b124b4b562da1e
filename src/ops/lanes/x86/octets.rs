//! Octets of floats, two to a register with AVX-512 and one with AVX2, and their transposes.

use std::arch::x86_64::*;

use super::{Avx2F32, Avx512F32};

/// The first of the two places of part `k`; the other is four places on. So the transposes below end in order.
#[inline(always)]
fn first(k: usize) -> usize {
    if k < 4 {
        k
    } else {
        k + 4
    }
}

/// The octets at two places.
#[inline(always)]
pub(super) unsafe fn pair(from: *const f32, place: &[u32; 16], k: usize) -> __m512 {
    // SAFETY: the caller has AVX-512, and octets at all places.
    unsafe {
        let (a, b) = (place[first(k)] as usize, place[first(k) + 4] as usize);
        let low = _mm512_castps256_ps512(_mm256_loadu_ps(from.add(8 * a)));
        _mm512_insertf32x8::<1>(low, _mm256_loadu_ps(from.add(8 * b)))
    }
}

/// The lanes of two places, eight times each.
#[inline(always)]
pub(super) unsafe fn of_pair(lanes: __m512, k: usize) -> __m512 {
    // SAFETY: the caller has AVX-512.
    unsafe {
        let (a, b) = (first(k) as i32, first(k) as i32 + 4);
        let lane = _mm512_mask_blend_epi32(0xff00, _mm512_set1_epi32(a), _mm512_set1_epi32(b));
        _mm512_permutexvar_ps(lane, lanes)
    }
}

/// Four rows of four, transposed within each 128 bits.
#[inline(always)]
unsafe fn turned(rows: &[Avx512F32]) -> [__m512; 4] {
    // SAFETY: the caller has AVX-512.
    unsafe {
        let a = _mm512_castps_pd(_mm512_unpacklo_ps(rows[0].0, rows[1].0));
        let b = _mm512_castps_pd(_mm512_unpackhi_ps(rows[0].0, rows[1].0));
        let c = _mm512_castps_pd(_mm512_unpacklo_ps(rows[2].0, rows[3].0));
        let d = _mm512_castps_pd(_mm512_unpackhi_ps(rows[2].0, rows[3].0));
        [
            _mm512_castpd_ps(_mm512_unpacklo_pd(a, c)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(a, c)),
            _mm512_castpd_ps(_mm512_unpacklo_pd(b, d)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(b, d)),
        ]
    }
}

/// From pairs of octets the elements at all sixteen places.
#[inline(always)]
pub(super) unsafe fn pairs_by_element(parts: [Avx512F32; 8]) -> [Avx512F32; 8] {
    // SAFETY: the caller has AVX-512.
    unsafe {
        let (low, high) = (turned(&parts[..4]), turned(&parts[4..]));
        let mut elements = parts;
        for e in 0..4 {
            elements[e].0 = _mm512_shuffle_f32x4::<0b10_00_10_00>(low[e], high[e]);
            elements[e + 4].0 = _mm512_shuffle_f32x4::<0b11_01_11_01>(low[e], high[e]);
        }
        elements
    }
}

/// The octet at one place.
#[inline(always)]
pub(super) unsafe fn one(from: *const f32, place: &[u32; 16], k: usize) -> __m256 {
    // SAFETY: the caller has AVX2, and octets at all places.
    unsafe { _mm256_loadu_ps(from.add(8 * place[k] as usize)) }
}

/// The lane of one place, eight times.
#[inline(always)]
pub(super) unsafe fn of_one(lanes: __m256, k: usize) -> __m256 {
    // SAFETY: the caller has AVX2.
    unsafe { _mm256_permutevar8x32_ps(lanes, _mm256_set1_epi32(k as i32)) }
}

/// From octets the elements at all eight places.
#[inline(always)]
pub(super) unsafe fn ones_by_element(parts: [Avx2F32; 8]) -> [Avx2F32; 8] {
    // SAFETY: the caller has AVX2.
    unsafe {
        let mut fours = [_mm256_setzero_ps(); 8];
        for h in 0..2 {
            let rows = &parts[4 * h..][..4];
            let a = _mm256_castps_pd(_mm256_unpacklo_ps(rows[0].0, rows[1].0));
            let b = _mm256_castps_pd(_mm256_unpackhi_ps(rows[0].0, rows[1].0));
            let c = _mm256_castps_pd(_mm256_unpacklo_ps(rows[2].0, rows[3].0));
            let d = _mm256_castps_pd(_mm256_unpackhi_ps(rows[2].0, rows[3].0));
            fours[4 * h] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
            fours[4 * h + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
            fours[4 * h + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
            fours[4 * h + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
        }
        let mut elements = parts;
        for e in 0..4 {
            elements[e].0 = _mm256_permute2f128_ps::<0x20>(fours[e], fours[e + 4]);
            elements[e + 4].0 = _mm256_permute2f128_ps::<0x31>(fours[e], fours[e + 4]);
        }
        elements
    }
}
