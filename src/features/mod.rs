//! What the solver compares: feature maps of an image, level by level.

mod choice;
mod energy;
mod intensity;
mod mind;
mod network;
mod pyramid;

pub use choice::{FeatureMaps, Features};
pub use energy::gradient_energy;
pub use intensity::{foreground_box, IntensityRange};
pub(crate) use network::{batch_of, check_images, difference, plus, read_described, Trail};
pub use network::{
    named_base, read_tensors, write_tensors, Architecture, BaseFeatures, CoarseMind, Downsampling,
    FeatureLevel, FeatureNetwork, HandMade, HeadActivation, Intensities, LevelGrids, Mind,
    NetworkConfig, Normalisation, Parameters, Provenance, Shipped, Unet, Weights,
};
pub use pyramid::{level_grid, matched_grid, Level, Pyramid};
