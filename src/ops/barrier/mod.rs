//! A barrier against folding, as part of an energy: zero where volumes change little, infinite where they vanish.

#[cfg(any(feature = "cuda", test))]
mod cuda;
mod list;
mod simplex;

use candle_core::Tensor;

use super::device::twin;
use crate::Result;

use list::Listed;

/// A penalty on the determinants of the digital criterion that makes folding impossible.
///
/// With `t = J / threshold` for each determinant `J` of
/// [`corner_determinants_minimum`](crate::corner_determinants_minimum),
///
/// `B(u) = weight / count sum_J f(t)`, `f(t) = -(1 - t)^2 log t` for `0 < t < 1`, `0` above, infinite below,
///
/// where `count` is the number of determinants of a cell: 4 in 2D, 10 in 3D. Twice continuously differentiable, and
/// exactly zero wherever no volume shrinks below the threshold, so it costs only where it acts. The function is that of
/// Li et al. 2020, doi:10.1145/3386569.3392425, for distances; for other penalties of the determinant see Burger,
/// Modersitzki, Ruthotto 2013, doi:10.1137/110835955.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct FoldBarrier {
    /// The factor in front.
    pub weight: f64,
    /// Determinants at or above this cost nothing.
    pub threshold: f64,
}

/// The second-order model of a [`FoldBarrier`] at a displacement.
#[derive(Debug)]
pub struct BarrierCurvature(Model);

#[derive(Debug)]
enum Model {
    /// The simplices where it acts.
    Listed(Listed),
    /// On a GPU, the voxels that own some.
    #[cfg(any(feature = "cuda", test))]
    Marked(cuda::Marked),
}

impl FoldBarrier {
    /// The barrier at `u` (`[rank, (nz,) ny, nx]`, voxels): infinite where a determinant is not positive.
    pub fn value(&self, u: &Tensor) -> Result<f64> {
        twin!(u, launcher => Ok(cuda::Marked::at(launcher, self, u)?.value));
        Ok(Listed::at(self, u)?.0)
    }

    /// The barrier at `u`, with its gradient added to `gradient`, and its exact curvature; infinite without either where
    /// a determinant is not positive.
    pub fn linearise(&self, u: &Tensor, gradient: &Tensor) -> Result<(f64, BarrierCurvature)> {
        twin!(u, launcher => {
            // the curvature stays as it is when the displacement moves on
            let marked = cuda::Marked::at(launcher, self, &u.copy()?)?;
            if marked.value.is_finite() {
                marked.add_gradient(gradient)?;
            }
            Ok((marked.value, BarrierCurvature(Model::Marked(marked))))
        });
        let (value, listed) = Listed::at(self, u)?;
        if value.is_finite() {
            listed.add_gradient(gradient)?;
        }
        Ok((value, BarrierCurvature(Model::Listed(listed))))
    }
}

impl BarrierCurvature {
    /// Adds `scale` times the curvature times `p` to `out`; returns `scale p' C p`.
    pub fn apply(&self, p: &Tensor, scale: f64, out: &Tensor) -> Result<f64> {
        match &self.0 {
            Model::Listed(listed) => listed.apply(p, scale, out),
            #[cfg(any(feature = "cuda", test))]
            Model::Marked(marked) => marked.apply(p, scale, out),
        }
    }

    /// Adds `scale` times the curvature's diagonal blocks, all positive semidefinite, to packed blocks
    /// (see [`BlockSystem`](crate::BlockSystem)).
    pub fn add_blocks(&self, scale: f64, blocks: &Tensor) -> Result<()> {
        match &self.0 {
            Model::Listed(listed) => listed.add_blocks(scale, blocks),
            #[cfg(any(feature = "cuda", test))]
            Model::Marked(marked) => marked.add_blocks(scale, blocks),
        }
    }

    /// Without the second derivatives of the determinants: positive semidefinite, as the Gauss-Newton model.
    pub fn semidefinite(mut self) -> Self {
        match &mut self.0 {
            Model::Listed(listed) => listed.straighten(),
            #[cfg(any(feature = "cuda", test))]
            Model::Marked(marked) => marked.straighten(),
        }
        self
    }

    /// How many determinants lie below the threshold.
    pub fn active(&self) -> usize {
        match &self.0 {
            Model::Listed(listed) => listed.active(),
            #[cfg(any(feature = "cuda", test))]
            Model::Marked(marked) => marked.active(),
        }
    }
}
