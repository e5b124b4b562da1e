//! Intensities that are varied.

use candle_core::{Device, Tensor};

use super::{Augmentation, Subject};
use crate::ops::{resize, smooth};
use crate::{Grid, Result, Rng};

/// Changes the intensities of a subject, on their common scale before and after.
pub(super) fn alter(strength: &Augmentation, subject: &mut Subject, rng: &mut Rng) -> Result<()> {
    let grid = subject.image.grid.clone();
    let rank = grid.rank();
    let mut image = subject.image.features.clone();
    let mut changed = false;
    if strength.gamma > 0.0 || strength.contrast > 0.0 {
        let most = (1.0 + strength.gamma).ln();
        let gamma = rng.range(-most, most).exp() as f32;
        let curve = Curve::draw(strength.contrast * rng.uniform(), rng);
        let shape = image.shape().clone();
        let mut values = image.flatten_all()?.to_vec1::<f32>()?;
        for v in &mut values {
            *v = curve.at(v.max(0.0).powf(gamma));
        }
        image = Tensor::from_vec(values, shape, &Device::Cpu)?;
        changed = true;
    }
    if strength.anisotropy > 1.0 && rng.uniform() < 0.5 {
        let (axis, factor) = (rng.below(rank), rng.range(1.0, strength.anisotropy));
        let mut size = grid.size().to_vec();
        size[axis] = ((size[axis] as f64 / factor).round() as usize).max(1);
        image = resize(&resize(&image, &size)?, grid.size())?;
        changed = true;
    }
    if strength.blur > 0.0 {
        image = smooth(&image, &vec![strength.blur * rng.uniform(); rank])?;
        changed = true;
    }
    if strength.bias > 0.0 {
        let field = bias(strength.bias * rng.uniform(), &grid, rng)?;
        image = image.broadcast_mul(&field)?;
        changed = true;
    }
    if strength.noise > 0.0 {
        let amount = strength.noise * rng.uniform();
        image = (image + noise(amount, subject.image.features.dims(), rng)?)?;
        changed = true;
    }
    if changed {
        subject.image.features = image;
        subject.rescaled()?;
    }
    Ok(())
}

/// Normal numbers of a standard deviation, single precision.
pub(super) fn noise(deviation: f64, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|_| (deviation * rng.normal()) as f32)
        .collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// A smooth positive field `[1, (nz,) ny, nx]` around 1.
fn bias(strength: f64, grid: &Grid, rng: &mut Rng) -> Result<Tensor> {
    const KNOTS: usize = 4;
    let mut shape = vec![1];
    shape.extend(vec![KNOTS; grid.rank()]);
    let knots = noise(strength, &shape, rng)?;
    let nodes = smooth(
        &resize(&knots, &vec![4 * KNOTS; grid.rank()])?,
        &vec![2.0; grid.rank()],
    )?;
    Ok(resize(&nodes, grid.size())?.exp()?)
}

/// A continuous curve from intensities to intensities, straight between its knots, that keeps 0.
struct Curve([f32; 6]);

impl Curve {
    /// The identity and a share of a random curve.
    fn draw(share: f64, rng: &mut Rng) -> Self {
        Self(std::array::from_fn(|i| {
            let straight = i as f64 / 4.0;
            let random = if i == 0 { 0.0 } else { rng.uniform() };
            ((1.0 - share) * straight + share * random) as f32
        }))
    }

    fn at(&self, value: f32) -> f32 {
        let place = (value * 4.0).clamp(0.0, 4.999);
        let low = place as usize;
        let share = place - low as f32;
        (1.0 - share) * self.0[low] + share * self.0[low + 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_of_no_share_is_straight_and_all_keep_zero() {
        let straight = Curve::draw(0.0, &mut Rng::new(1));
        for v in [0.0, 0.1, 0.3, 0.77, 1.0, 1.2] {
            assert!((straight.at(v) - v).abs() < 1e-6);
        }
        for seed in 0..9 {
            let curve = Curve::draw(1.0, &mut Rng::new(seed));
            assert_eq!(curve.at(0.0), 0.0);
            assert!(curve.at(9.0).is_finite());
        }
    }
}
