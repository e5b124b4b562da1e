//! Lanes of the x86-64 vector extensions.

mod avx2_f32;
mod avx2_f64;
mod avx512_f32;
mod avx512_f64;

use std::arch::x86_64::*;

use half::f16;

pub(crate) use avx2_f32::Avx2F32;
pub(crate) use avx2_f64::Avx2F64;
pub(crate) use avx512_f32::Avx512F32;
pub(crate) use avx512_f64::Avx512F64;

/// The pairs of floats at four places of each row, each fetched as one double. Single loads are three times as fast as the
/// gather instructions of the machines this was measured on; all rows at once need each place once.
#[inline(always)]
unsafe fn quartets<const ROWS: usize>(
    rows: [*const f32; ROWS],
    place: &[u32; 16],
    k: usize,
) -> [__m256d; ROWS] {
    // SAFETY: the caller has AVX2, and pairs at all places.
    unsafe {
        let (a, b) = (place[k] as usize, place[k + 1] as usize);
        let (c, d) = (place[k + 2] as usize, place[k + 3] as usize);
        let mut quartets = [_mm256_setzero_pd(); ROWS];
        for r in 0..ROWS {
            let low = _mm_load_sd(rows[r].add(a).cast());
            let low = _mm_loadh_pd(low, rows[r].add(b).cast());
            let high = _mm_load_sd(rows[r].add(c).cast());
            let high = _mm_loadh_pd(high, rows[r].add(d).cast());
            quartets[r] = _mm256_insertf128_pd::<1>(_mm256_castpd128_pd256(low), high);
        }
        quartets
    }
}

/// The pairs of halves at four places, each fetched as one word.
#[inline(always)]
unsafe fn pairs_of_halves(from: *const f16, place: &[u32; 16], k: usize) -> __m128i {
    // SAFETY: the caller has AVX2, and pairs at all places.
    unsafe {
        let pair = |k: usize| from.add(place[k] as usize).cast::<i32>().read_unaligned();
        let pairs = _mm_cvtsi32_si128(pair(k));
        let pairs = _mm_insert_epi32::<1>(pairs, pair(k + 1));
        let pairs = _mm_insert_epi32::<2>(pairs, pair(k + 2));
        _mm_insert_epi32::<3>(pairs, pair(k + 3))
    }
}

/// The sums of the lanes of four vectors.
#[inline(always)]
unsafe fn totals_of_octets(v: [__m256; 4]) -> [f32; 4] {
    // SAFETY: the caller has AVX2.
    unsafe {
        let pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
        let low = _mm256_castps256_ps128(pairs);
        let mut totals = [0.0; 4];
        _mm_storeu_ps(
            totals.as_mut_ptr(),
            _mm_add_ps(low, _mm256_extractf128_ps::<1>(pairs)),
        );
        totals
    }
}
