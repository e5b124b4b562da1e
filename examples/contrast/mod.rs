//! Phantoms that differ: contrasts of their own, and what a training does to them.

use stillpoint::{Augmentation, Rng};

/// Moved, bent, turned over, in other contrasts and with noise.
pub fn augmentation() -> Augmentation {
    Augmentation {
        rotation: 10.0,
        scale: 0.1,
        elastic: 3.0,
        apart: 0.5,
        mirror: 0.5,
        contrast: 0.5,
        noise: 0.03,
        ..Augmentation::default()
    }
}

/// Intensities through a random curve of their own, which keeps the background dark.
pub fn repainted(values: &[f32], rng: &mut Rng) -> Vec<f32> {
    let (bend, lift) = (rng.range(-0.9, 0.9), rng.range(0.0, 0.5));
    let curve = |v: f32| {
        let v = f64::from(v);
        let inside = (v / 0.1).min(1.0);
        (inside * lift + v + bend * (std::f64::consts::PI * v).sin()) as f32
    };
    values.iter().map(|&v| curve(v)).collect()
}
