//! Which features are compared.

use candle_core::Tensor;

use super::mind::Neighbourhood;
use super::{gradient_energy, Level};
use crate::ops::beside;
use crate::{Affine, Error, Result};

/// What of two images is compared on a level.
///
/// MIND descriptors ([`mind`](crate::mind)) say how alike the neighbours of a voxel are; they do not depend on brightness or on
/// the sign of the contrast, and lead to the right place from farther away. Intensities tell more tissues apart where both
/// images have them on one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Features {
    /// Intensities and descriptors on the coarse levels, intensities alone at full resolution.
    #[default]
    CoarseMind,
    /// Intensities alone.
    Intensities,
    /// Descriptors alone.
    Mind,
    /// Intensities and descriptors on every level.
    Both,
}

/// Features of both images on one level.
#[derive(Debug)]
pub struct FeatureMaps {
    /// `[channels, (nz,) ny, nx]`.
    pub fixed: Tensor,
    /// Of as many channels.
    pub moving: Tensor,
    /// Weight of each channel.
    pub channel_weight: Vec<f64>,
    /// The weighted gradient energy of the fixed features: the unit of lambda.
    pub unit: f64,
}

/// Weight of the descriptors beside intensities on coarse levels and at full resolution, both by their gradient energy.
const SHARE: [f64; 2] = [2.0, 0.4];

impl Features {
    /// All of them, with the names they have on the command line.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("coarse-mind", Self::CoarseMind),
        ("intensities", Self::Intensities),
        ("mind", Self::Mind),
        ("both", Self::Both),
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, features)| *features == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether intensities and descriptors are compared on a level.
    fn parts(self, shrink: usize) -> (bool, bool) {
        match self {
            Self::CoarseMind => (true, shrink > 1),
            Self::Intensities => (true, false),
            Self::Mind => (false, true),
            Self::Both => (true, true),
        }
    }

    /// Channels of intensities and of descriptors on a level, for images of so many channels and axes.
    pub(crate) fn channels(self, shrink: usize, inputs: usize, rank: usize) -> [usize; 2] {
        let (intensities, descriptors) = self.parts(shrink);
        let pairs = 2 * rank * (rank - 1);
        [
            inputs * usize::from(intensities),
            inputs * pairs * usize::from(descriptors),
        ]
    }

    /// The feature maps of two images' intensities on a level that is `shrink` times coarser than the images.
    ///
    /// The neighbours that descriptors compare lie along the axes of the fixed grid, two voxels of its finest axis apart (one
    /// voxel of a coarser axis where that is more); in the moving image they lie where `affine`, from fixed to moving world,
    /// carries them. So spacing and orientation of the grids may differ.
    pub fn maps(
        self,
        shrink: usize,
        fixed: Level,
        moving: Level,
        affine: &Affine,
    ) -> Result<FeatureMaps> {
        let (intensities, descriptors) = self.parts(shrink);
        let plain = FeatureMaps::alike(fixed.features.clone(), moving.features.clone())?;
        if !descriptors || plain.unit == 0.0 {
            return Ok(plain);
        }
        let neighbourhood = Neighbourhood::of(&fixed.grid);
        let described = FeatureMaps::alike(
            neighbourhood.descriptors(&fixed)?,
            neighbourhood.carried(affine).descriptors(&moving)?,
        )?;
        if !intensities {
            return Ok(described);
        }
        plain.beside(described, SHARE[usize::from(shrink == 1)])
    }
}

impl FeatureMaps {
    /// Features that are compared as they are.
    ///
    /// # Errors
    /// [`Error::Shape`] when they differ in channels, or the weights are not as many.
    pub(crate) fn of(fixed: &Level, moving: &Level, weights: Option<Vec<f64>>) -> Result<Self> {
        let channels = fixed.features.dims()[0];
        let channel_weight = weights.unwrap_or_else(|| vec![1.0; channels]);
        for (what, got) in [
            ("moving features: channels", moving.features.dims()[0]),
            ("channel weights", channel_weight.len()),
        ] {
            if got != channels {
                return Err(Error::Shape {
                    what,
                    expected: vec![channels],
                    got: vec![got],
                });
            }
        }
        Ok(Self {
            channel_weight,
            ..Self::alike(fixed.features.clone(), moving.features.clone())?
        })
    }

    /// Maps whose channels all count the same.
    fn alike(fixed: Tensor, moving: Tensor) -> Result<Self> {
        Ok(Self {
            unit: gradient_energy(&fixed)?,
            channel_weight: vec![1.0; fixed.dims()[0]],
            fixed,
            moving,
        })
    }

    /// These maps and others that weigh `share` times as much.
    fn beside(self, others: Self, share: f64) -> Result<Self> {
        if others.unit == 0.0 {
            return Ok(self);
        }
        let scale = share * self.unit / others.unit;
        let mut channel_weight = self.channel_weight;
        channel_weight.extend(others.channel_weight.iter().map(|w| scale * w));
        // the parts of one image go before the other's are put together
        let together = |own: Tensor, other: Tensor| beside(&own, &other);
        let fixed = together(self.fixed, others.fixed)?;
        let moving = together(self.moving, others.moving)?;
        Ok(Self {
            fixed,
            moving,
            channel_weight,
            unit: self.unit * (1.0 + share),
        })
    }
}
