//! Sums that blocks share.

use super::argument::{counted, Argument, Plain};
use super::launcher::BLOCKS;
use crate::Result;

/// Voxels of a piece at least, where there are so many.
const LEAST: usize = 1024;

/// Tiles whose sums over so many voxels are taken piece by piece, a block for each: `struct Pieces` of kernels/prelude.cuh.
///
/// How voxels are shared out depends on sizes alone, so that sums are grouped the same way on every device.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Pieces {
    tiles: usize,
    count: usize,
    each: usize,
    voxels: usize,
}

impl Pieces {
    /// As many as fill a large GPU.
    pub fn of(tiles: usize, voxels: usize) -> Self {
        let most = voxels.div_ceil(LEAST).max(1);
        let count = BLOCKS.div_ceil(tiles.max(1)).min(most);
        let each = voxels.div_ceil(count).max(1);
        Self {
            tiles,
            count: voxels.div_ceil(each),
            each,
            voxels,
        }
    }

    /// All pieces of all tiles: those of a tile lie one after the other.
    pub fn tasks(&self) -> usize {
        self.tiles * self.count
    }

    /// As a kernel takes it.
    pub fn argument(&self) -> Result<Argument> {
        counted(self.tasks())?;
        Ok(Argument::of(Layout([
            counted(self.tiles)?,
            counted(self.count)?,
            counted(self.each)?,
            counted(self.voxels)?,
        ])))
    }
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Layout([i32; 4]);

// SAFETY: `struct Pieces` of kernels/prelude.cuh.
unsafe impl Plain for Layout {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_all_voxels() {
        for (tiles, voxels) in [
            (1, 1),
            (1, 10_000_000),
            (3, 5000),
            (5000, 4096),
            (7, 1025),
            (2, 0),
        ] {
            let pieces = Pieces::of(tiles, voxels);
            assert!(pieces.count * pieces.each >= voxels, "{pieces:?}");
            assert!(
                voxels == 0 || (pieces.count - 1) * pieces.each < voxels,
                "{pieces:?}"
            );
        }
    }
}
