//! A field on part of a grid, continued to the whole.

use candle_core::Tensor;

use super::diffusion::size;
use super::rows::{for_rows, Shared};
use super::storage::{read, with_real, write};
use crate::Result;

/// Continues a tensor `[channels, (nz,) ny, nx]` that covers the voxels from `start` on to a grid of size `whole`
/// (fastest first), by the nearest value.
pub fn extend(part: &Tensor, start: &[usize], whole: &[usize]) -> Result<Tensor> {
    let inner = size(part);
    let rank = whole.len();
    let channels = part.dims()[0];
    let mut shape = vec![channels];
    shape.extend(whole.iter().rev());
    let out = Tensor::zeros(shape, part.dtype(), part.device())?;
    let rows: usize = whole[1..].iter().product();
    let (n, m): (usize, usize) = (whole.iter().product(), inner.iter().product());
    let nearest = |a: usize, index: usize| index.saturating_sub(start[a]).min(inner[a] - 1);
    with_real!(part.dtype(), T => {
        read::<T, _>(part, |from| {
            write::<T, _>(&out, |to| {
                let to = Shared::new(to);
                for_rows(rows * channels, whole[0], |run| {
                    for line in run {
                        let (c, row) = (line / rows, line % rows);
                        let mut source = nearest(1, row % whole[1]);
                        if rank == 3 {
                            source += nearest(2, row / whole[1]) * inner[1];
                        }
                        let from = &from[c * m + source * inner[0]..][..inner[0]];
                        for x in 0..whole[0] {
                            // SAFETY: inside the tensor; each task its own rows.
                            unsafe { *to.at(c * n + row * whole[0] + x) = from[nearest(0, x)] };
                        }
                    }
                });
            })
        })?
    })?;
    Ok(out)
}
