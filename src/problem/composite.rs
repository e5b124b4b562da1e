//! Curvature beyond the fused kernels.

use std::sync::Arc;

use candle_core::Tensor;

use crate::linear::LinearOperator;
use crate::ops::{copy, dot, BarrierCurvature, BlockSystem, LandmarkCurvature};
use crate::regulariser::Regulariser;
use crate::transform::Transform;
use crate::{Grid, Result};

/// `P' (blocks + differences + rest) P` for regularisers, landmarks and transforms beyond the fused kernels.
pub(super) struct Composite {
    pub system: BlockSystem,
    pub extra: Option<(Arc<dyn Regulariser>, f64)>,
    pub barrier: Option<(BarrierCurvature, f64)>,
    pub landmarks: (Vec<LandmarkCurvature>, f64),
    pub transform: Option<(Arc<dyn Transform>, Tensor)>,
    pub grid: Grid,
}

impl Composite {
    /// The same without what the regulariser couples.
    pub fn without_smoothness(mut self) -> Self {
        self.system.differences = self.system.differences.scaled(0.0);
        self.system.shift = 0.0;
        self.extra = None;
        self
    }

    fn in_displacements(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        let mut curvature = self.system.apply(p, out)?;
        if let Some((barrier, scale)) = &self.barrier {
            curvature += barrier.apply(p, *scale, out)?;
        }
        for landmarks in &self.landmarks.0 {
            curvature += landmarks.apply(p, self.landmarks.1, out)?;
        }
        match &self.extra {
            Some((regulariser, weight)) => {
                regulariser.add_extra(p, &self.grid, *weight, out)?;
                dot(p, out)
            }
            None => Ok(curvature),
        }
    }
}

impl LinearOperator for Composite {
    fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        match &self.transform {
            Some((transform, theta)) => {
                let du = transform.pushforward(theta, &self.grid, p)?.contiguous()?;
                let force = du.zeros_like()?;
                self.in_displacements(&du, &force)?;
                let pulled = transform.pullback(theta, &self.grid, &force)?;
                copy(&pulled.contiguous()?, out)?;
                dot(p, out)
            }
            None => self.in_displacements(p, out),
        }
    }
}
