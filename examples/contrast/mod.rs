//! Contrasts of one's own for phantoms.

use stillpoint::Rng;

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
