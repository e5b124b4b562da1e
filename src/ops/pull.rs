//! Vectors and blocks carried from displacements to compositive steps: by `P = I + Du`.

use super::lanes::Lanes;

/// Place of entry (a, b) among the packed entries of a symmetric block.
#[inline(always)]
pub(crate) fn packed<const D: usize>(a: usize, b: usize) -> usize {
    let (a, b) = if a < b { (a, b) } else { (b, a) };
    a * D - a * (a + 1) / 2 + b
}

/// `P' v`.
///
/// # Safety
/// Within a kernel only.
#[inline(always)]
pub(crate) unsafe fn pull<L: Lanes, const D: usize>(p: &[[L; D]; D], v: [L; D]) -> [L; D] {
    let mut out = v;
    // SAFETY: within a kernel.
    unsafe {
        for b in 0..D {
            let mut sum = p[0][b].mul(v[0]);
            for a in 1..D {
                sum = p[a][b].fma(v[a], sum);
            }
            out[b] = sum;
        }
    }
    out
}

/// `P' B P` of a packed symmetric block.
///
/// # Safety
/// Within a kernel only.
#[inline(always)]
pub(crate) unsafe fn pull_block<L: Lanes, const D: usize>(
    p: &[[L; D]; D],
    block: [L; 6],
) -> [L; 6] {
    // SAFETY: within a kernel.
    unsafe {
        // rows of B P, then columns of P' (B P)
        let mut half = *p;
        for a in 0..D {
            let mut line = p[0];
            for k in 0..D {
                line[k] = block[packed::<D>(a, k)];
            }
            half[a] = pull(p, line);
        }
        let mut out = block;
        for b in 0..D {
            let mut column = p[0];
            for a in 0..D {
                column[a] = half[a][b];
            }
            let column = pull(p, column);
            for a in 0..=b {
                out[packed::<D>(a, b)] = column[a];
            }
        }
        out
    }
}
