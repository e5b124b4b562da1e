//! Networks in files, with where they come from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::tensor_file::{difference, parse_described, read_described, write_tensors};
use super::{named_base, BaseFeatures, FeatureNetwork, NetworkConfig, Unet};
use crate::{Error, Result};

/// What the description of a weights file says it is.
const FORMAT: &str = "stillpoint feature network";
/// What the file of weights is called in messages.
const KIND: &str = "file of weights";

/// Where weights come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Seed of the first weights and of the training.
    pub seed: u64,
    /// What the network was trained on.
    pub training_set: String,
    /// Under which terms the weights may be used.
    pub licence: String,
    /// Weight of the regulariser in training: what a registration with these features begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
    /// Anything else: steps, losses, a citation.
    pub notes: String,
    /// Version of this crate that wrote the file.
    pub crate_version: String,
    /// When, as `YYYY-MM-DDThh:mm:ssZ`.
    pub created: String,
}

impl Provenance {
    /// Of weights made at this moment by this version.
    pub fn of(seed: u64, training_set: &str, licence: &str) -> Self {
        Self {
            seed,
            training_set: training_set.into(),
            licence: licence.into(),
            lambda: None,
            notes: String::new(),
            crate_version: env!("CARGO_PKG_VERSION").into(),
            created: timestamp(SystemTime::now()),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Description {
    format: String,
    config: NetworkConfig,
    provenance: Provenance,
}

/// A weights file that was read.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    /// What the network is made of.
    pub config: NetworkConfig,
    /// Where its weights come from.
    pub provenance: Provenance,
    tensors: Vec<(String, Tensor)>,
}

impl Weights {
    /// Reads a weights file (safetensors).
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`] when the file cannot be read, is cut off, or describes no feature network.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (tensors, description) = read_described(path, FORMAT, KIND)?;
        Ok(Self::of(path, tensors, description))
    }

    /// The weights in the bytes of a file, which is called `path` in messages.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let (tensors, description) = parse_described(path, bytes, FORMAT, KIND)?;
        Ok(Self::of(path, tensors, description))
    }

    fn of(path: &Path, tensors: Vec<(String, Tensor)>, description: Description) -> Self {
        Self {
            path: path.to_path_buf(),
            config: description.config,
            provenance: description.provenance,
            tensors,
        }
    }

    /// The network, single precision; `base` are the features it was trained on top of, if any.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when `base` is not what the configuration names, [`Error::Data`] when the tensors are
    /// not those of the configuration.
    pub fn network(&self, base: Option<Arc<dyn BaseFeatures>>) -> Result<Unet> {
        let network = Unet::new(&self.config, base, self.provenance.seed, DType::F32)?;
        self.assign(&network)?;
        Ok(network)
    }

    /// The network to be used as it is, on top of the base features of this crate that the file names, if any: no gradient
    /// flows to its parameters, so that it keeps nothing of a pass.
    ///
    /// # Errors
    /// [`Error::Format`] when the configuration contradicts itself or names features that this crate does not have,
    /// [`Error::Data`] when the tensors are not those of the configuration; both name the file.
    pub fn build(&self) -> Result<Unet> {
        let base = match &self.config.base {
            None => None,
            Some(name) => Some(named_base(name).ok_or_else(|| {
                Error::format(
                    &self.path,
                    format!("builds on base features '{name}', which are not of this crate; read it with Weights::network"),
                )
            })?),
        };
        let made = Unet::still(&self.config, base, self.provenance.seed, DType::F32);
        let network = made.map_err(|error| match error {
            Error::InvalidArgument { name, reason } => {
                Error::format(&self.path, format!("its {name}: {reason}"))
            }
            other => other,
        })?;
        self.assign(&network)?;
        Ok(network)
    }

    /// Gives the weights to a network that was made before.
    ///
    /// # Errors
    /// [`Error::Format`] that names the first entry in which the configurations differ, [`Error::Data`] when the tensors
    /// are not those of the configuration.
    pub fn assign(&self, network: &Unet) -> Result<()> {
        let entries = |c: &NetworkConfig| serde_json::to_value(c).unwrap_or_default();
        if let Some((name, expected, found)) =
            difference(&entries(network.config()), &entries(&self.config))
        {
            return Err(Error::format(
                &self.path,
                format!(
                    "holds weights of another network: {name}: expected {expected}, found {found}"
                ),
            ));
        }
        let what = self.path.display().to_string();
        network.parameters().assign(&what, &self.tensors)
    }
}

impl Unet {
    /// Writes the weights as a safetensors file, with the configuration and where they come from: whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written, [`Error::Data`] when a weight is not finite.
    pub fn save(&self, path: impl AsRef<Path>, provenance: &Provenance) -> Result<()> {
        let mut tensors = Vec::new();
        for (name, var) in self.parameters().iter() {
            let tensor = var.as_detached_tensor();
            let sum = tensor.abs()?.sum_all()?.to_dtype(DType::F64)?;
            if !sum.to_scalar::<f64>()?.is_finite() {
                return Err(Error::data(
                    name,
                    "holds weights that are not finite; keep the last good file",
                ));
            }
            tensors.push((name.to_owned(), tensor));
        }
        let description = Description {
            format: FORMAT.into(),
            config: self.config().clone(),
            provenance: provenance.clone(),
        };
        let description = serde_json::to_value(description)
            .map_err(|e| Error::argument("provenance", e.to_string()))?;
        write_tensors(path, &tensors, &description)
    }
}

/// A moment in UTC, to the second.
fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // civil date of a day count, years beginning in March
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
