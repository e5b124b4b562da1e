//! A training in a file, to be gone on with.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::TrainingConfig;
use crate::features::{difference, read_described, write_tensors};
use crate::{Error, Result};

const FORMAT: &str = "stillpoint training";

/// Where a training stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Steps that are done.
    pub step: usize,
    /// Updates of the optimiser: steps whose gradient was finite.
    pub updates: usize,
    /// Steps in a row without an update.
    pub failed: usize,
    /// Highest Dice of a validation.
    pub best: Option<f64>,
    /// Seconds of training so far.
    pub seconds: f64,
}

#[derive(Serialize, Deserialize)]
struct Description {
    format: String,
    config: TrainingConfig,
    progress: Progress,
}

/// The file of a training's checkpoint.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("checkpoint.safetensors")
}

/// Writes a checkpoint in place of the one before: whole or not at all.
pub(super) fn write(
    folder: &Path,
    config: &TrainingConfig,
    progress: &Progress,
    state: &[(String, Tensor)],
) -> Result<()> {
    let description = Description {
        format: FORMAT.into(),
        config: config.clone(),
        progress: progress.clone(),
    };
    let description = serde_json::to_value(description)
        .map_err(|e| Error::argument("configuration", e.to_string()))?;
    write_tensors(path(folder), state, &description)
}

/// Reads the checkpoint of a folder, which must be one of the same configuration.
pub(super) fn read(
    folder: &Path,
    config: &TrainingConfig,
) -> Result<(Progress, Vec<(String, Tensor)>)> {
    let path = path(folder);
    let (tensors, found): (_, Description) = read_described(&path, FORMAT, "checkpoint")?;
    let value = |config: &TrainingConfig| {
        // the folder itself may have moved
        let config = TrainingConfig {
            out: PathBuf::new(),
            ..config.clone()
        };
        serde_json::to_value(config).unwrap_or_default()
    };
    if let Some((entry, expected, found)) = difference(&value(config), &value(&found.config)) {
        return Err(Error::format(
            &path,
            format!(
                "is of another training: {entry} is {expected} in the configuration, {found} in the checkpoint; restore the \
                 entry, or train into another folder"
            ),
        ));
    }
    Ok((found.progress, tensors))
}
