//! Corresponding points as a term of an energy.

#[cfg(any(feature = "cuda", test))]
mod cuda;
mod listed;
mod stencil;

use candle_core::Tensor;

use super::device::twin;
use super::diffusion::size;
use crate::Result;

use listed::Listed;

/// Corresponding points: `E(u) = weight / 2 sum_i e_i' Q e_i` with `e_i = p_i + u(p_i) - t_i`.
///
/// The displacement `u` (`[rank, (nz,) ny, nx]`, voxels) is smoothed by a Gaussian, which spreads the pull of a point over its
/// neighbourhood, then interpolated linearly; it is continued beyond the border by its nearest value. The points do not move,
/// so the energy is a quadratic function of `u`: its curvature, which couples the voxels around each point, is exact and never
/// negative. Points are taken one after the other: the same bits for any number of threads.
#[derive(Debug, Clone, PartialEq)]
pub struct LandmarkData {
    /// `p_i`, in voxels of the fixed grid.
    pub points: Vec<[f64; 3]>,
    /// `t_i`, where they belong, in voxels of the fixed grid too.
    pub targets: Vec<[f64; 3]>,
    /// `Q`, symmetric and not negative: how a difference in voxels is measured.
    pub metric: [[f64; 3]; 3],
    /// Standard deviation of the Gaussian along each axis, voxels; zero is none.
    pub spread: [f64; 3],
    /// The factor in front.
    pub weight: f64,
}

/// The second derivative of a [`LandmarkData`].
#[derive(Debug, Clone)]
pub struct LandmarkCurvature(Place);

/// The points of a term on a grid: what all its evaluations have in common.
#[derive(Debug, Clone)]
pub(crate) struct PlacedLandmarks {
    data: LandmarkData,
    size: Vec<usize>,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Listed(Listed),
    /// On a GPU.
    #[cfg(any(feature = "cuda", test))]
    Carried(cuda::Carried),
}

impl LandmarkData {
    /// The energy at `u`.
    pub fn value(&self, u: &Tensor) -> Result<f64> {
        PlacedLandmarks::new(self, u)?.value(u)
    }

    /// The energy at `u`, with its gradient added to `gradient`, and its curvature.
    pub fn linearise(&self, u: &Tensor, gradient: &Tensor) -> Result<(f64, LandmarkCurvature)> {
        PlacedLandmarks::new(self, u)?.linearise(u, gradient)
    }

    /// `weight Q`.
    fn curvature(&self) -> [[f64; 3]; 3] {
        self.metric.map(|row| row.map(|q| self.weight * q))
    }

    /// `p_i - t_i` along the first `rank` axes.
    fn apart(&self, rank: usize) -> Vec<[f64; 3]> {
        let pairs = self.points.iter().zip(&self.targets);
        let along = |p: &[f64; 3], t: &[f64; 3], a: usize| if a < rank { p[a] - t[a] } else { 0.0 };
        pairs
            .map(|(p, t)| std::array::from_fn(|a| along(p, t, a)))
            .collect()
    }
}

impl PlacedLandmarks {
    /// On the grid of a displacement, where that lies.
    pub fn new(data: &LandmarkData, u: &Tensor) -> Result<Self> {
        let size = size(u);
        let with = |place| Self {
            data: data.clone(),
            size: size.clone(),
            place,
        };
        twin!(u, launcher => {
            Ok(with(Place::Carried(cuda::Carried::new(launcher, data, &size)?)))
        });
        Ok(with(Place::Listed(Listed::new(data, &size))))
    }

    /// Whether these are the points of a term on the grid of a displacement.
    pub fn fits(&self, data: &LandmarkData, u: &Tensor) -> bool {
        self.data == *data && self.size == size(u)
    }

    /// See [`LandmarkData::value`].
    pub fn value(&self, u: &Tensor) -> Result<f64> {
        match &self.place {
            Place::Listed(listed) => listed.value(u),
            #[cfg(any(feature = "cuda", test))]
            Place::Carried(carried) => carried.value(u),
        }
    }

    /// See [`LandmarkData::linearise`].
    pub fn linearise(&self, u: &Tensor, gradient: &Tensor) -> Result<(f64, LandmarkCurvature)> {
        let energy = match &self.place {
            Place::Listed(listed) => listed.add_gradient(u, gradient)?,
            #[cfg(any(feature = "cuda", test))]
            Place::Carried(carried) => carried.add_gradient(u, gradient)?,
        };
        Ok((energy, LandmarkCurvature(self.place.clone())))
    }
}

impl LandmarkCurvature {
    /// Carried from displacements at `u` to compositive steps, as [`pull_to_steps`](crate::pull_to_steps) does with blocks.
    pub fn pulled_to_steps(self, u: &Tensor) -> Result<Self> {
        Ok(Self(match self.0 {
            Place::Listed(listed) => Place::Listed(listed.pulled_to_steps(u)?),
            #[cfg(any(feature = "cuda", test))]
            Place::Carried(carried) => Place::Carried(carried.pulled_to_steps(u)?),
        }))
    }

    /// Adds `scale` times the curvature times `p` to `out`; returns `scale p' C p`.
    pub fn apply(&self, p: &Tensor, scale: f64, out: &Tensor) -> Result<f64> {
        match &self.0 {
            Place::Listed(listed) => listed.apply(p, scale, out),
            #[cfg(any(feature = "cuda", test))]
            Place::Carried(carried) => carried.apply(p, scale, out),
        }
    }

    /// Adds `scale` times the curvature's diagonal blocks to packed blocks (see [`BlockSystem`](crate::BlockSystem)).
    pub fn add_blocks(&self, scale: f64, blocks: &Tensor) -> Result<()> {
        match &self.0 {
            Place::Listed(listed) => listed.add_blocks(scale, blocks),
            #[cfg(any(feature = "cuda", test))]
            Place::Carried(carried) => carried.add_blocks(scale, blocks),
        }
    }
}

fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    (0..3).map(|k| a[k] * b[k]).sum()
}

fn times(m: &[[f64; 3]; 3], v: &[f64; 3]) -> [f64; 3] {
    [dot(&m[0], v), dot(&m[1], v), dot(&m[2], v)]
}
