//! What comes before a training through the solver.

use serde::{Deserialize, Serialize};

use super::OptimiserConfig;
use crate::{Error, Result};

/// A pretraining by segmentation: a linear map of each level's features has to tell the labels of single images. Such a step
/// needs neither start nor solver and costs a fraction of one through them, so it goes through the data many times more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainingConfig {
    /// Updates of the weights.
    pub steps: usize,
    /// Images of one update.
    pub images: usize,
    /// How; a schedule of its own, which ends with the last step of the pretraining.
    pub optimiser: OptimiserConfig,
}

impl Default for PretrainingConfig {
    fn default() -> Self {
        Self {
            steps: 2000,
            images: 4,
            optimiser: OptimiserConfig {
                rate: 3e-3,
                warmup: 50,
                ..OptimiserConfig::default()
            },
        }
    }
}

impl PretrainingConfig {
    pub(super) fn check(&self) -> Result<()> {
        for (name, value) in [("steps", self.steps), ("images", self.images)] {
            if value == 0 {
                return Err(Error::argument(
                    format!("pretraining.{name}"),
                    "must be at least 1; leave [pretraining] out to do without",
                ));
            }
        }
        self.optimiser.check("pretraining.optimiser")
    }
}
