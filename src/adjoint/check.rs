//! How far one gradient is from another.

use candle_core::Tensor;

use crate::ops::dot;
use crate::Result;

/// A gradient beside a reference.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct GradientComparison {
    /// Cosine of the angle between them.
    pub cosine: f64,
    /// Length relative to the reference's.
    pub relative_norm: f64,
    /// Length of the difference relative to the reference's.
    pub relative_error: f64,
}

/// Compares a gradient, given as several tensors, with a reference of the same shapes.
///
/// # Errors
/// Those of the tensor engine, when shapes or types differ.
pub fn compare_gradients(gradient: &[Tensor], reference: &[Tensor]) -> Result<GradientComparison> {
    let (mut product, mut own, mut other, mut gap) = (0.0, 0.0, 0.0, 0.0);
    for (x, y) in gradient.iter().zip(reference) {
        let (x, y) = (x.contiguous()?, y.contiguous()?);
        let d = (&x - &y)?;
        product += dot(&x, &y)?;
        own += dot(&x, &x)?;
        other += dot(&y, &y)?;
        gap += dot(&d, &d)?;
    }
    Ok(GradientComparison {
        cosine: product / (own * other).sqrt(),
        relative_norm: (own / other).sqrt(),
        relative_error: (gap / other).sqrt(),
    })
}
