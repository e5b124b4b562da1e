//! What a network is made of.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How features are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Architecture {
    /// Encoder and decoder with joined channels (Ronneberger et al. 2015, arXiv 1505.04597; in 3D Çiçek et al. 2016,
    /// arXiv 1606.06650).
    Unet,
    /// The encoder of a U-Net alone: features come from its scales as they are.
    EncoderUnet,
    /// A U-Net whose encoder adds up kernels of one, three and five voxels and the identity (Jia et al. 2022,
    /// arXiv 2208.04939). The sum is one convolution: the kernels are added first.
    LargeKernelUnet,
}

/// Over what the activations are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// Each channel of each image.
    Instance,
    /// So many groups of channels of each image.
    Group(usize),
}

/// How the next scale is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Downsampling {
    /// Means over two voxels an axis, which keep the place of things exactly.
    Average,
    /// A convolution with stride two, whose voxels have their centres half a fine voxel before those of a cell of two.
    Stride,
}

/// What the features of a network end in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadActivation {
    /// Nothing: a linear map of the last activations, without bounds.
    #[default]
    Linear,
    /// The hyperbolic tangent: features between -1 and 1, so that the energy weighs no structure beyond measure and what is
    /// alike may be made equal.
    Tanh,
}

/// The make of a network; with a seed it determines every weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// How features are made.
    pub architecture: Architecture,
    /// 2 or 3.
    pub rank: usize,
    /// Channels of the images.
    pub inputs: usize,
    /// Channels inside, from the finest scale to the coarsest; each scale halves the resolution.
    pub widths: Vec<usize>,
    /// The levels that features are made for, coarse first: powers of two, the scales of `widths` at most.
    pub shrinks: Vec<usize>,
    /// Feature channels of every level; as many as the base has where there is one.
    pub outputs: usize,
    /// Over what the activations are normalised.
    pub normalisation: Normalisation,
    /// How the next scale is made.
    pub downsampling: Downsampling,
    /// Slope of the rectifier below zero.
    pub slope: f64,
    /// What the features end in; weights from before there was a choice are linear.
    #[serde(default)]
    pub head: HeadActivation,
    /// Features that the network's own are added to, by name; the network then starts at zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What the network's own features are multiplied by before they are added: with bounded heads, the most that they change
    /// the base. 1 without a base.
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    pub share: f64,
}

/// The share of networks from before there was a choice.
fn whole() -> f64 {
    1.0
}

fn is_whole(share: &f64) -> bool {
    *share == whole()
}

impl NetworkConfig {
    /// A U-Net of four scales (16, 32, 32, 32 channels) with 16 bounded feature channels on levels 4, 2 and 1.
    pub fn unet(rank: usize, inputs: usize) -> Self {
        Self {
            architecture: Architecture::Unet,
            rank,
            inputs,
            widths: vec![16, 32, 32, 32],
            shrinks: vec![4, 2, 1],
            outputs: 16,
            normalisation: Normalisation::Instance,
            downsampling: Downsampling::Average,
            slope: 0.1,
            head: HeadActivation::Tanh,
            base: None,
            share: whole(),
        }
    }

    /// The encoder of [`NetworkConfig::unet`] alone.
    pub fn encoder_unet(rank: usize, inputs: usize) -> Self {
        Self {
            architecture: Architecture::EncoderUnet,
            widths: vec![16, 32, 32],
            ..Self::unet(rank, inputs)
        }
    }

    /// A large-kernel U-Net of five scales that starts with `width` channels and doubles them up to eightfold.
    pub fn large_kernel_unet(rank: usize, inputs: usize, width: usize) -> Self {
        Self {
            architecture: Architecture::LargeKernelUnet,
            widths: [1, 2, 4, 8, 8].map(|f| f * width).to_vec(),
            ..Self::unet(rank, inputs)
        }
    }

    /// The finest scale that features are made for.
    pub(super) fn finest(&self) -> usize {
        self.shrinks.last().map_or(0, |&s| scale_of(s))
    }

    /// What is wrong with the configuration, if anything.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] that names the entry.
    pub fn check(&self) -> Result<()> {
        let fail = |name: &str, reason: String| Err(Error::argument(name, reason));
        if !(2..=3).contains(&self.rank) {
            return fail("rank", format!("must be 2 or 3, got {}", self.rank));
        }
        if self.inputs == 0 || self.outputs == 0 {
            return fail("inputs and outputs", "must be at least 1".into());
        }
        if self.widths.is_empty() || self.widths.len() > 16 || self.widths.contains(&0) {
            return fail(
                "widths",
                format!("must be 1 to 16 positive numbers, got {:?}", self.widths),
            );
        }
        let coarsest = 1 << (self.widths.len() - 1);
        let fits = |s: &usize| s.is_power_of_two() && *s <= coarsest;
        let falls = self.shrinks.windows(2).all(|w| w[0] > w[1]);
        if self.shrinks.is_empty() || !falls || !self.shrinks.iter().all(fits) {
            return fail(
                "shrinks",
                format!(
                    "must be falling powers of two up to {coarsest}, the coarsest of {} scales, got {:?}",
                    self.widths.len(),
                    self.shrinks
                ),
            );
        }
        if self.architecture == Architecture::EncoderUnet && self.shrinks[0] != coarsest {
            return fail(
                "widths",
                format!(
                    "an encoder alone ends at its coarsest level: expected {} for levels {:?}, got {:?}",
                    scale_of(self.shrinks[0]) + 1,
                    self.shrinks,
                    self.widths
                ),
            );
        }
        if let Normalisation::Group(groups) = self.normalisation {
            if groups == 0 || self.widths.iter().any(|w| !w.is_multiple_of(groups)) {
                return fail(
                    "normalisation",
                    format!("{groups} groups do not divide the widths {:?}", self.widths),
                );
            }
        }
        if !(self.share > 0.0 && self.share.is_finite()) {
            return fail("share", format!("must be positive, got {}", self.share));
        }
        if self.base.is_none() && !is_whole(&self.share) {
            return fail("share", "has no effect without a base: take it out".into());
        }
        if !(0.0..=1.0).contains(&self.slope) {
            return fail(
                "slope",
                format!("must lie between 0 and 1, got {}", self.slope),
            );
        }
        Ok(())
    }
}

/// The scale of a level.
pub(super) fn scale_of(shrink: usize) -> usize {
    shrink.ilog2() as usize
}
