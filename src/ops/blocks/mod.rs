//! The Gauss-Newton system: one symmetric block a voxel plus differences between neighbours.

#[cfg(any(feature = "cuda", test))]
mod cuda;
mod definite;
mod inverse;
mod product;
mod run;

use candle_core::Tensor;

use super::device::twin;
use super::diffusion::{size, Differences};
use super::storage::{read, with_stored, write};
use crate::Result;

/// `A = blocks + differences + shift`, symmetric, matrix-free.
///
/// Blocks are `[k, (nz,) ny, nx]`: `k = rank` stands for the outer product of one vector a voxel, `k = rank (rank + 1) / 2`
/// for the packed entries xx, xy, (xz,) yy, (yz, zz).
#[derive(Debug, Clone)]
pub struct BlockSystem {
    /// The blocks.
    pub blocks: Tensor,
    /// The coupling between neighbours.
    pub differences: Differences,
    /// A multiple of the identity.
    pub shift: f64,
    /// Added to the diagonal of each component in the preconditioner alone, for parts of the operator that are applied
    /// elsewhere.
    pub extra_diagonal: [f64; 3],
}

impl BlockSystem {
    /// `out = A p`; returns `p' A p`.
    pub fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        twin!(p, launcher => cuda::apply(&launcher, self, p, out));
        let size = size(p);
        with_stored!(p.dtype(), T => {
            read::<T, _>(p, |p| {
                read::<T, _>(&self.blocks, |b| {
                    write::<T, _>(out, |q| product::apply(b, p, &size, &self.differences.weight, self.shift, q))
                })
            })??
        })
    }

    /// `z = M^-1 r` with `M` the block diagonal of `A`; returns `(r' z, r' r)`.
    ///
    /// `M` takes the diagonal of the differences as inside the grid. Where a block of it is indefinite, the sums of the
    /// absolute values of its rows stand in for it, so that `M` is positive definite for any blocks.
    pub fn precondition(&self, r: &Tensor, z: &Tensor) -> Result<[f64; 2]> {
        twin!(r, launcher => cuda::precondition(&launcher, self, r, z));
        let size = size(r);
        with_stored!(r.dtype(), T => {
            read::<T, _>(r, |r| {
                read::<T, _>(&self.blocks, |b| {
                    write::<T, _>(z, |z| {
                        inverse::precondition(b, &size, &self.differences.weight, self.diagonal(), inverse::Vectors::Apply { r, z })
                    })
                })
            })??
        })
    }

    /// `x += alpha p`, `r -= alpha q`, then `q = M^-1 r`; returns `(r' q, r' r)`.
    pub fn advance(
        &self,
        alpha: f64,
        p: &Tensor,
        x: &Tensor,
        r: &Tensor,
        q: &Tensor,
    ) -> Result<[f64; 2]> {
        twin!(p, launcher => cuda::advance(&launcher, self, alpha, p, [x, r, q]));
        let size = size(p);
        with_stored!(p.dtype(), T => {
            read::<T, _>(p, |p| {
                read::<T, _>(&self.blocks, |b| {
                    write::<T, _>(x, |x| {
                        write::<T, _>(r, |r| {
                            write::<T, _>(q, |q| {
                                inverse::precondition(b, &size, &self.differences.weight, self.diagonal(),
                                    inverse::Vectors::Advance { alpha, p, x, r, q })
                            })
                        })
                    })
                })
            })????
        })
    }

    /// Changes the blocks, packed ones, so that every diagonal block of the system is positive definite: eigenvalues below
    /// a tenth of the coupling are mirrored at zero and raised to it. For preconditioners of an indefinite system.
    pub fn make_definite(&self) -> Result<()> {
        let size = size(&self.blocks);
        let c = inverse::diagonal(&size, &self.differences.weight, self.diagonal());
        let c = &c[..size.len()];
        let floor = 0.1 * c.iter().copied().fold(f64::INFINITY, f64::min);
        self.bound_below(c, floor)
    }

    /// Mirrors the negative eigenvalues of the blocks, packed ones, at zero.
    pub fn make_semidefinite(&self) -> Result<()> {
        self.bound_below(&[0.0; 3], 0.0)
    }

    fn bound_below(&self, c: &[f64], floor: f64) -> Result<()> {
        twin!(&self.blocks, launcher => cuda::bound_below(&launcher, &self.blocks, c, floor));
        let rank = size(&self.blocks).len();
        with_stored!(self.blocks.dtype(), T => {
            write::<T, _>(&self.blocks, |b| definite::make_definite(b, rank, c, floor))
        })
    }

    /// The diagonal of `M`, as [`BlockSystem::precondition`] takes it, `[rank, (nz,) ny, nx]`.
    pub fn main_diagonal(&self) -> Result<Tensor> {
        let size = size(&self.blocks);
        let (rank, entries) = (size.len(), self.blocks.dims()[0]);
        let c = inverse::diagonal(&size, &self.differences.weight, self.diagonal());
        let mut rows = Vec::with_capacity(rank);
        let mut entry = 0;
        for (a, c) in c.iter().enumerate().take(rank) {
            let row = if entries == rank {
                self.blocks.narrow(0, a, 1)?.sqr()?
            } else {
                self.blocks.narrow(0, entry, 1)?
            };
            entry += rank - a;
            rows.push((row + *c)?);
        }
        Ok(Tensor::cat(&rows, 0)?)
    }

    fn diagonal(&self) -> [f64; 3] {
        self.extra_diagonal.map(|d| d + self.shift)
    }
}
