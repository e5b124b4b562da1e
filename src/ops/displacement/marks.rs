//! Marked parts of the rows of a volume.

use std::ops::Range;

/// Fewest voxels that one bit stands for: a vector's worth.
const PIECE: usize = 16;

/// Which pieces of each row are marked, a bit each.
pub(super) struct Marks {
    rows: Vec<u64>,
    /// Sizes along the axes; 1 beyond the rank.
    size: [usize; 3],
    /// Voxels a bit stands for.
    piece: usize,
}

impl Marks {
    /// Everything marked.
    pub fn all(size: &[usize]) -> Self {
        let size: [usize; 3] = std::array::from_fn(|a| size.get(a).copied().unwrap_or(1));
        let piece = size[0].div_ceil(PIECE * 64) * PIECE;
        let mut marks = Self {
            rows: vec![0; size[1] * size[2]],
            size,
            piece,
        };
        let whole = marks.bits(0, size[0] - 1);
        marks.rows.fill(whole);
        marks
    }

    /// Marks the pieces within `reach` voxels of the given ones along each axis, and no others.
    pub fn around(&mut self, voxels: &[usize], reach: usize) {
        let [nx, ny, nz] = self.size;
        self.rows.fill(0);
        for &v in voxels {
            let (x, y, z) = (v % nx, v / nx % ny, v / nx / ny);
            let bits = self.bits(x.saturating_sub(reach), (x + reach).min(nx - 1));
            for k in z.saturating_sub(reach)..=(z + reach).min(nz - 1) {
                for j in y.saturating_sub(reach)..=(y + reach).min(ny - 1) {
                    self.rows[k * ny + j] |= bits;
                }
            }
        }
    }

    /// The bits of the pieces from that of one voxel of a row to that of another.
    fn bits(&self, first: usize, last: usize) -> u64 {
        let (first, last) = (first / self.piece, last / self.piece);
        (u64::MAX >> (63 - (last - first))) << first
    }

    /// The marked runs of a row, in order.
    pub fn runs(&self, row: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut rest = self.rows[row];
        let mut start = 0;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            start += rest.trailing_zeros() as usize;
            rest >>= rest.trailing_zeros();
            let count = rest.trailing_ones() as usize;
            let run = start * self.piece..((start + count) * self.piece).min(self.size[0]);
            start += count;
            rest = rest.checked_shr(count as u32).unwrap_or(0);
            Some(run)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_what_was_marked() {
        let mut marks = Marks::all(&[70, 3, 2]);
        for row in 0..6 {
            assert_eq!(marks.runs(row).collect::<Vec<_>>(), [0..70]);
        }
        // voxels (2, 0, 0), (33, 0, 0) and (69, 2, 1)
        marks.around(&[2, 33, 70 * 5 + 69], 1);
        let runs = |row| marks.runs(row).collect::<Vec<_>>();
        // rows (0, 0), (0, 1) and (1, 1) are reached from both ends
        assert_eq!(runs(0), [0..16, 32..48]);
        assert_eq!(runs(1), [0..16, 32..48, 64..70]);
        assert_eq!(runs(2), [64..70]);
        assert_eq!(runs(3), [0..16, 32..48]);
        assert_eq!(runs(5), [64..70]);
    }

    #[test]
    fn long_rows_have_long_pieces() {
        for width in [1, 15, 1024, 1025, 5000] {
            let mut marks = Marks::all(&[width, 1]);
            assert_eq!(marks.runs(0).collect::<Vec<_>>(), [0..width]);
            marks.around(&[width - 1], 3);
            let runs: Vec<_> = marks.runs(0).collect();
            assert_eq!(runs.len(), 1);
            assert!(runs[0].end == width && runs[0].start <= width.saturating_sub(4));
        }
    }
}
