//! What is compared: features made by hand, by their name, or those of a network: one that comes with the program, by its name, or that
//! of a file of weights.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use super::digest::{sha256, sha256_of};
use crate::features::{
    FeatureNetwork, Features, NetworkConfig, Provenance, Shipped, Unet, Weights,
};
use crate::image::Image;
use crate::{Error, Result};

/// What the user wants compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// Features made by hand.
    HandMade(Features),
    /// The features of a network that comes with the program.
    Shipped(Shipped),
    /// The features of the network in a file of weights.
    Weights(PathBuf),
}

impl Compared {
    /// The file of weights, if it is one.
    pub fn weights(&self) -> Option<&Path> {
        match self {
            Self::Weights(path) => Some(path),
            Self::HandMade(_) | Self::Shipped(_) => None,
        }
    }

    /// The features made by hand, if they are such.
    pub fn hand_made(&self) -> Option<Features> {
        match self {
            Self::HandMade(features) => Some(*features),
            Self::Weights(_) | Self::Shipped(_) => None,
        }
    }

    /// The network, if it is one, for images of the kind of `image`, which is called `name`.
    pub(super) fn network(&self, image: &Image, name: &Path) -> Result<Option<Network>> {
        let (path, weights, sha256) = match self {
            Self::HandMade(_) => return Ok(None),
            Self::Shipped(shipped) => (
                Path::new(shipped.name()),
                shipped.weights()?,
                sha256_of(shipped.bytes()),
            ),
            Self::Weights(path) => (path.as_path(), Weights::read(path)?, sha256(path)?),
        };
        Network::of(path, weights, sha256, image, name).map(Some)
    }
}

impl FromStr for Compared {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, features)) = Features::NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(Self::HandMade(*features));
        }
        if let Some((_, shipped)) = Shipped::NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(Self::Shipped(*shipped));
        }
        if text.ends_with(".safetensors") {
            return Ok(Self::Weights(text.into()));
        }
        Err(format!(
            "no features '{text}'; there are {}, or those of a network: {}, or a file of weights, *.safetensors",
            Features::NAMES.map(|(name, _)| name).join(", "),
            Shipped::NAMES.map(|(name, _)| name).join(", ")
        ))
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandMade(features) => f.write_str(features.name()),
            Self::Shipped(shipped) => f.write_str(shipped.name()),
            Self::Weights(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A network that was read, and where it comes from.
#[derive(Debug)]
pub(super) struct Network {
    pub network: Arc<Unet>,
    pub report: NetworkReport,
}

/// A network, for reports.
#[derive(Debug, Clone, Serialize)]
pub(super) struct NetworkReport {
    /// The file of weights, or the name of a network that comes with the program, as given on the command line.
    pub weights: String,
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
    pub config: NetworkConfig,
    pub provenance: Provenance,
}

impl Network {
    fn of(
        path: &Path,
        weights: Weights,
        sha256: String,
        image: &Image,
        name: &Path,
    ) -> Result<Self> {
        let network = weights.build()?;
        let (rank, channels) = (image.grid().rank(), image.channels());
        if (network.rank(), network.inputs()) != (rank, channels) {
            return Err(Error::format(
                path,
                format!(
                    "holds a network for images of {} dimensions and {} channels; {} has {rank} dimensions and {channels} channels",
                    network.rank(),
                    network.inputs(),
                    name.display()
                ),
            ));
        }
        Ok(Self {
            network: Arc::new(network),
            report: NetworkReport {
                weights: path.display().to_string(),
                sha256,
                config: weights.config,
                provenance: weights.provenance,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_have_a_name_or_a_file() {
        for (name, features) in Features::NAMES {
            let compared: Compared = name.parse().unwrap();
            assert_eq!(compared.hand_made(), Some(features));
            assert_eq!(compared.to_string(), name);
        }
        for (name, shipped) in Shipped::NAMES {
            let compared: Compared = name.parse().unwrap();
            assert_eq!(compared, Compared::Shipped(shipped));
            assert_eq!((compared.weights(), compared.hand_made()), (None, None));
            assert_eq!(compared.to_string(), name);
        }
        let compared: Compared = "w/net.safetensors".parse().unwrap();
        assert_eq!(compared.weights(), Some(Path::new("w/net.safetensors")));
        let error = "unet".parse::<Compared>().unwrap_err();
        for words in ["coarse-mind", "synthetic, synthetic-same", ".safetensors"] {
            assert!(error.contains(words), "{error}");
        }
    }
}
