//! What a model needs beside its arguments, kept for the next one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Tensor};

use crate::linear::Multigrid;
use crate::ops::{zeros, BlockSystem, PlacedLandmarks};
use crate::problem::PromptTerms;
use crate::Result;

/// Memory that models take again and again.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub blocks: Slot<Tensor>,
    /// Those of models at half the precision of the parameters.
    pub compact_blocks: Slot<Tensor>,
    /// Those that are inverted, where they differ.
    pub inverse_blocks: Slot<Tensor>,
    multigrid: Slot<Multigrid>,
    landmarks: Slot<Vec<Arc<PlacedLandmarks>>>,
}

impl Kept {
    /// Gives all of it back.
    pub fn release(&self) {
        for slot in [&self.blocks, &self.compact_blocks, &self.inverse_blocks] {
            *slot.lock() = None;
        }
        *self.multigrid.lock() = None;
        *self.landmarks.lock() = None;
    }

    /// The landmarks of prompts on the grid of `u`.
    pub fn landmarks(
        &self,
        prompts: &PromptTerms,
        u: &Tensor,
    ) -> Result<Vec<Arc<PlacedLandmarks>>> {
        let mut slot = self.landmarks.lock();
        let placed = prompts.placed(u, slot.take().unwrap_or_default())?;
        *slot = Some(placed.clone());
        Ok(placed)
    }

    /// The preconditioner of a system that may be indefinite, in the memory of the one before.
    pub fn multigrid(&self, system: &BlockSystem) -> Result<Multigrid> {
        let mut slot = self.multigrid.lock();
        let made = Multigrid::new(system, system.clone(), true, slot.take())?;
        *slot = Some(made.clone());
        Ok(made)
    }
}

/// A place for one thing that may be there.
#[derive(Debug)]
pub(super) struct Slot<T>(Mutex<Option<T>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot<Tensor> {
    /// The tensor for `entries` numbers of each voxel of a field.
    pub fn tensor(&self, entries: usize, like: &Tensor, dtype: DType) -> Result<Tensor> {
        let mut slot = self.lock();
        let mut shape = like.dims().to_vec();
        shape[0] = entries;
        let fits = |t: &&Tensor| t.dims() == shape && t.dtype() == dtype;
        if let Some(tensor) = slot.as_ref().filter(fits) {
            return Ok(tensor.clone());
        }
        let tensor = zeros(shape, dtype, like.device())?;
        *slot = Some(tensor.clone());
        Ok(tensor)
    }
}
