//! Registration as a layer of a network: features in, the optimum out, with its true gradient.

mod input;
#[cfg(test)]
mod on_device;
mod output;
mod solve;

pub use input::LayerInput;
pub use output::{LayerFailure, LayerLevel, LayerOutput};
pub use solve::RegistrationLayer;
