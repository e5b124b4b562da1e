//! Feature networks that learn through the solver.

mod appearance;
mod augmentation;
mod checkpoint;
mod classifier;
mod config;
mod dataset;
mod lesson;
mod log;
mod loss;
mod maps;
#[cfg(test)]
mod on_device;
mod optimiser;
mod overlap;
mod pair;
mod placement;
mod pretraining;
mod segmentation;
mod subject;
mod synthesis;
mod trainer;
mod validation;
mod workers;

pub use augmentation::Augmentation;
pub use config::{DataConfig, PairStart, SliceConfig, SolveConfig, TrainingConfig};
pub use dataset::DataSet;
pub use log::{TrainingStep, Validation};
pub use loss::{GradientSide, LossConfig};
pub use optimiser::{OptimiserConfig, RateSchedule};
pub use pretraining::PretrainingConfig;
pub use subject::Subject;
pub use synthesis::{LabelSource, SynthesisConfig};
pub use trainer::Trainer;
