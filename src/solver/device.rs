//! Levels solved on a GPU.

use crate::features::FeatureMaps;
use crate::ops::{device_name, free_memory, is_cpu, Interpolation};
use crate::{Error, Result};

use super::Multilevel;

/// Fields that a level keeps beside its features and blocks: parameters, a trial, the gradient and the step, the four vectors
/// of conjugate gradients, and what is left of the level before.
const FIELDS: usize = 9;

/// Numbers a voxel beside these: masks, shares, marks.
const SCALARS: usize = 5;

impl Multilevel {
    /// Whether the device has all that this solve needs; `prompted` with prompts. The CPU always has.
    ///
    /// # Errors
    /// [`Error::NotOnDevice`] names what it lacks: GPUs solve `displacement` and `compositive` stages with the diffusion
    /// regulariser in single precision.
    pub fn check_device(&self, prompted: bool) -> Result<()> {
        if is_cpu(&self.device) {
            return Ok(());
        }
        let grid = crate::Grid::axis_aligned(&[8, 8, 8], &[1.0; 3])?;
        let name = self.transform.name();
        for (lacks, what) in [
            (!self.transform.is_field(), format!("the {name} transform")),
            (
                self.regulariser.extra_diagonal(&grid).is_some(),
                format!("the {} regulariser", self.regulariser.name()),
            ),
            (
                self.barrier.is_some() || self.dtype != candle_core::DType::F32,
                "a certified run (--certify)".into(),
            ),
            (prompted, "a registration with prompts".into()),
        ] {
            if lacks {
                return Err(Error::on_device(what));
            }
        }
        Ok(())
    }

    /// Feature maps of a level carried to the device, in the precision of the solve.
    ///
    /// # Errors
    /// [`Error::Memory`] when the level would not fit there.
    pub(super) fn carried(&self, maps: FeatureMaps) -> Result<FeatureMaps> {
        if let Some(free) = free_memory(&self.device) {
            fits(&device_name(&self.device), self.bytes(&maps), free)?;
        }
        Ok(FeatureMaps {
            fixed: maps.fixed.to_dtype(self.dtype)?.to_device(&self.device)?,
            moving: maps.moving.to_dtype(self.dtype)?.to_device(&self.device)?,
            ..maps
        })
    }

    /// Memory that a level takes on a device, an estimate.
    fn bytes(&self, maps: &FeatureMaps) -> u64 {
        let (channels, rank) = (maps.fixed.dims()[0], maps.fixed.rank() - 1);
        let voxels = maps.fixed.elem_count() / channels;
        let copies = match self.interpolation {
            Interpolation::Linear => 1,
            Interpolation::Cubic => 2,
        };
        let fixed = channels + FIELDS * rank + rank * (rank + 1) / 2 + SCALARS;
        let numbers = voxels * fixed + copies * maps.moving.elem_count();
        (numbers * self.dtype.size_in_bytes()) as u64
    }
}

fn fits(device: &str, needed: u64, free: u64) -> Result<()> {
    if needed <= free {
        return Ok(());
    }
    Err(Error::Memory {
        what: format!("a level on {device} (use a coarser last level, or --device cpu)"),
        needed,
        limit: free,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_said_before() {
        assert!(fits("cuda:0", 10, 10).is_ok());
        let error = fits("cuda:1", 11, 10).unwrap_err();
        assert!(matches!(
            error,
            Error::Memory {
                needed: 11,
                limit: 10,
                ..
            }
        ));
        assert!(error.to_string().contains("cuda:1"));
    }
}
