//! How strong the edges of a feature map are: the unit of lambda.

use candle_core::Tensor;

use crate::ops::squared_gradient;
use crate::Result;

/// The mean over the voxels that carry structure of the squared gradient, summed over channels, per squared voxel.
///
/// Flat voxels do not count: a voxel carries structure when its squared gradient exceeds a twentieth of the mean over
/// all. So the figure does not depend on how much background surrounds the object. It scales with the square of the
/// feature's amplitude, which makes `lambda` relative to it mean the same for any amplitude and any number of channels.
pub fn gradient_energy(features: &Tensor) -> Result<f64> {
    let all = squared_gradient(features, 0.0)?;
    if all.sum == 0.0 {
        return Ok(0.0);
    }
    let mean = all.sum / all.count;
    let structure = squared_gradient(features, 0.05 * mean)?;
    Ok(structure.sum / structure.count)
}
