//! What the solver compares: feature maps of an image, level by level.

mod choice;
mod energy;
mod intensity;
mod mind;
mod pyramid;

pub use choice::{FeatureMaps, Features};
pub use energy::gradient_energy;
pub use intensity::{foreground_box, IntensityRange};
pub use pyramid::{level_grid, matched_grid, Level};
