//! Terms beside the data term, on the same displacement.

use std::sync::Arc;

use candle_core::Tensor;

use crate::ops::{combine, Curvature, LandmarkCurvature, LandmarkData, PlacedLandmarks, SsdData};
use crate::Result;

/// What is prompted, as terms of an energy: each is a sum of squares, and all see the one displacement.
#[derive(Debug, Clone, Default)]
pub struct PromptTerms {
    /// Soft labels of both images, each pair with a mask and channel weights of its own.
    pub labels: Vec<SsdData>,
    /// Corresponding points.
    pub landmarks: Vec<LandmarkData>,
}

impl PromptTerms {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.landmarks.is_empty()
    }

    /// Their sum at the displacement `u`.
    pub fn value(&self, u: &Tensor) -> Result<f64> {
        self.value_with(u, &self.placed(u, Vec::new())?)
    }

    /// [`PromptTerms::value`] with the landmarks on the grid of `u`.
    pub(super) fn value_with(&self, u: &Tensor, placed: &[Arc<PlacedLandmarks>]) -> Result<f64> {
        let mut sum = 0.0;
        for labels in &self.labels {
            sum += labels.value(Some(u))?;
        }
        for landmarks in placed {
            sum += landmarks.value(u)?;
        }
        Ok(sum)
    }

    /// The landmarks on the grid of `u`: `earlier` ones where they are those.
    pub(super) fn placed(
        &self,
        u: &Tensor,
        earlier: Vec<Arc<PlacedLandmarks>>,
    ) -> Result<Vec<Arc<PlacedLandmarks>>> {
        let mut pairs = earlier.iter().zip(&self.landmarks);
        if earlier.len() == self.landmarks.len() && pairs.all(|(e, data)| e.fits(data, u)) {
            return Ok(earlier);
        }
        let all = self.landmarks.iter();
        all.map(|data| Ok(Arc::new(PlacedLandmarks::new(data, u)?)))
            .collect()
    }

    /// Their sum at `u`; adds gradients and, of the labels, packed blocks, and returns the curvature of the landmarks, which
    /// couples voxels.
    pub(super) fn add_model(
        &self,
        placed: &[Arc<PlacedLandmarks>],
        u: &Tensor,
        curvature: Curvature,
        gradient: &Tensor,
        blocks: &Tensor,
    ) -> Result<(f64, Vec<LandmarkCurvature>)> {
        let mut sum = self.add_labels(u, curvature, gradient, blocks)?;
        let mut curvatures = Vec::with_capacity(placed.len());
        for landmarks in placed {
            let (value, curvature) = landmarks.linearise(u, gradient)?;
            sum += value;
            curvatures.push(curvature);
        }
        Ok((sum, curvatures))
    }

    /// [`PromptTerms::add_model`] of the labels alone.
    pub(super) fn add_labels(
        &self,
        u: &Tensor,
        curvature: Curvature,
        gradient: &Tensor,
        blocks: &Tensor,
    ) -> Result<f64> {
        let mut sum = 0.0;
        if self.labels.is_empty() {
            return Ok(sum);
        }
        let (own_gradient, own_blocks) = (gradient.zeros_like()?, blocks.zeros_like()?);
        for labels in &self.labels {
            sum += labels.linearise(Some(u), curvature, &own_gradient, &own_blocks)?;
            combine(1.0, &own_gradient, 1.0, gradient)?;
            combine(1.0, &own_blocks, 1.0, blocks)?;
        }
        Ok(sum)
    }
}
