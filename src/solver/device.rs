//! Levels solved on a GPU.

use candle_core::DType;

use crate::features::FeatureMaps;
use crate::ops::{check_memory, is_cpu, Interpolation};
use crate::transform::Transform;
use crate::Result;

use super::Multilevel;

/// Fields that a level keeps beside its features and blocks: parameters, a trial, the gradient and the step, the four vectors
/// of conjugate gradients, and what is left of the level before.
const FIELDS: usize = 9;

/// Fields more with a barrier: what its curvature keeps, and the search for negative curvature in full precision.
const CERTIFIED: usize = 4;

/// Fields of a coarser grid that a cycle over it takes.
const CYCLE: usize = 5;

/// Numbers a voxel beside these: masks, shares, marks.
const SCALARS: usize = 5;

/// Fields of an adjoint when its system is solved: parameters, cotangent and solution.
const ADJOINT: usize = 3;

/// Bytes of a moving voxel in which an adjoint adds up what it hands back.
const SUMS: usize = 8;

/// Fields that the flow of a velocity takes, squaring after squaring, with what their derivatives need: in a fast run, and in a
/// certified one.
const FLOW: [usize; 2] = [10, 42];

/// Fields that the diagonal of a lattice of parameters takes.
const LATTICE: usize = 2;

/// Fields of the displacement's size that a transform takes in a solve, besides its parameters.
pub(crate) fn fields_of(transform: &dyn Transform, certified: bool) -> usize {
    match (transform.is_field(), transform.is_velocity()) {
        (true, _) => 0,
        (false, true) => 2 + FLOW[usize::from(certified)],
        (false, false) => 2 + LATTICE,
    }
}

/// Elements that the systems of the grids below one of so many voxels take, with the vectors of a cycle over them.
pub(crate) fn elements_below(rank: usize, voxels: usize) -> usize {
    (rank * (rank + 1) / 2 + CYCLE * rank) * voxels / ((1 << rank) - 1)
}

impl Multilevel {
    /// Feature maps of a level carried to the device, in the precision of the solve; beside so many prompted structures.
    ///
    /// # Errors
    /// [`Error::Memory`] when the level would not fit there.
    pub(super) fn carried(&self, maps: FeatureMaps, prompted: usize) -> Result<FeatureMaps> {
        let remedy = "use a coarser last level, or --device cpu";
        let needed = self.bytes(&maps, prompted);
        check_memory(&self.device, "a level", remedy, needed)?;
        let halves = maps.fixed.dtype() == DType::F16 && maps.moving.dtype() == DType::F16;
        if halves && self.reads_halves() {
            return Ok(maps);
        }
        Ok(FeatureMaps {
            fixed: maps.fixed.to_dtype(self.dtype)?.to_device(&self.device)?,
            moving: maps.moving.to_dtype(self.dtype)?.to_device(&self.device)?,
            ..maps
        })
    }

    /// Whether features in half precision are compared as they are.
    fn reads_halves(&self) -> bool {
        let plain = self.interpolation == Interpolation::Linear && !self.differentiated;
        plain && self.dtype == DType::F32 && is_cpu(&self.device)
    }

    /// Memory that a level takes on a device, an estimate: while it is solved, or while its gradient is handed on.
    fn bytes(&self, maps: &FeatureMaps, prompted: usize) -> u64 {
        let (channels, rank) = (maps.fixed.dims()[0], maps.fixed.rank() - 1);
        let (n, all) = (maps.fixed.elem_count() / channels, maps.moving.elem_count());
        let (m, blocks) = (all / channels, n * rank * (rank + 1) / 2);
        let copies = match self.interpolation {
            Interpolation::Linear => 1,
            Interpolation::Cubic => 2,
        };
        let mut always = n * channels + copies * all + blocks + n * SCALARS;
        if prompted > 0 {
            // with a mask, and gradient and blocks of their own
            always += prompted * (n + copies * m) + n * (1 + rank) + blocks;
        }
        let below = elements_below(rank, n);
        always += n * rank * fields_of(&*self.transform, self.barrier.is_some());
        let solved = match self.barrier {
            // blocks are there as they come, as they are worked with, and inverted
            Some(_) => n * rank * (FIELDS + CERTIFIED) + 2 * blocks + below,
            None => n * rank * FIELDS,
        };
        let size = self.dtype.size_in_bytes();
        // slopes and residuals of all channels, and what the moving features receive
        let handed = n * rank * ADJOINT + below + 2 * n * channels + all;
        let beside = match self.differentiated {
            true => (solved * size).max(handed * size + SUMS * m),
            false => solved * size,
        };
        (always * size + beside) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::features::Features;
    use crate::regulariser::Diffusion;
    use crate::transform::{BSpline, Compositive, Velocity};

    #[test]
    fn an_adjoint_of_many_channels_takes_more_than_the_solve() {
        let compositive: Arc<dyn Transform> = Arc::new(Compositive);
        let of = |transform: &Arc<dyn Transform>, channels: usize, differentiated, prompted| {
            let features = Tensor::zeros((channels, 4, 5, 6), DType::F32, &Device::Cpu).unwrap();
            let maps = FeatureMaps {
                fixed: features.clone(),
                moving: features,
                channel_weight: vec![1.0; channels],
                unit: 1.0,
            };
            let level = Multilevel {
                shrinks: vec![1],
                features: Features::Intensities,
                solvers: Vec::new(),
                transform: transform.clone(),
                regulariser: Arc::new(Diffusion),
                lambda: 1.0,
                damping: 0.0,
                dtype: DType::F32,
                interpolation: Interpolation::Linear,
                barrier: None,
                device: Device::Cpu,
                differentiated,
            };
            level.bytes(&maps, prompted) / 120
        };
        let bytes = |channels, differentiated, prompted| {
            of(&compositive, channels, differentiated, prompted)
        };
        assert_eq!(bytes(1, true, 0), bytes(1, false, 0));
        assert_eq!(bytes(1, false, 0), 4 * (2 + 6 + 5 + 27));
        assert_eq!(bytes(16, false, 0), 4 * (32 + 6 + 5 + 27));
        // the grids below take three numbers a voxel
        assert_eq!(bytes(16, true, 0), 4 * (32 + 6 + 5 + 9 + 3 + 48) + 8);
        assert_eq!(bytes(1, false, 3), bytes(1, false, 0) + 4 * (6 + 4 + 6));
        let velocity: Arc<dyn Transform> = Arc::new(Velocity::default());
        let control_points: Arc<dyn Transform> = Arc::new(BSpline::default());
        for (transform, fields) in [(&velocity, 12), (&control_points, 4)] {
            let more = of(transform, 1, false, 0) - bytes(1, false, 0);
            assert_eq!(more, 4 * 3 * fields, "{}", transform.name());
        }
    }
}
