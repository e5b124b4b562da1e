//! A plain reference of interpolation: one position, one tap after the other.

use stillpoint::{Affine, Interpolation};

/// The taps of one axis, mirrored at the border, with their weights at a position that is clamped to the grid, or mirrored
/// once for cubic interpolation.
fn taps(position: f64, size: usize, interpolation: Interpolation) -> Vec<(usize, f64)> {
    let last = (size - 1) as f64;
    let position = match interpolation {
        Interpolation::Linear => position,
        Interpolation::Cubic if position.abs() > last => 2.0 * last - position.abs(),
        Interpolation::Cubic => position.abs(),
    };
    let position = position.clamp(0.0, last);
    let first = position.floor();
    let t = position - first;
    let mirror = |index: i64| {
        let last = size as i64 - 1;
        let index = index.abs();
        (if index > last {
            2 * last - index
        } else {
            index
        })
        .max(0) as usize
    };
    let first = first as i64;
    match interpolation {
        Interpolation::Linear => {
            if t == 0.0 {
                vec![(first as usize, 1.0)]
            } else {
                vec![(first as usize, 1.0 - t), (first as usize + 1, t)]
            }
        }
        Interpolation::Cubic => (-1..=2)
            .map(|k| {
                let d = (k as f64 - t).abs();
                let weight = if d < 1.0 {
                    2.0 / 3.0 - d * d + d * d * d / 2.0
                } else {
                    (2.0 - d).max(0.0).powi(3) / 6.0
                };
                (mirror(first + k), weight)
            })
            .collect(),
    }
}

/// Value at a position of one channel; for cubic interpolation the voxels are B-spline coefficients.
pub fn value(voxels: &[f64], size: &[usize], at: &[f64], interpolation: Interpolation) -> f64 {
    let mut lines = vec![(0, 1.0)];
    for a in (0..size.len()).rev() {
        let here = taps(at[a], size[a], interpolation);
        lines = lines
            .iter()
            .flat_map(|&(index, w)| here.iter().map(move |&(k, v)| (index * size[a] + k, w * v)))
            .collect();
    }
    lines.iter().map(|&(index, w)| w * voxels[index]).sum()
}

/// The positions `map(x + u(x))` of all voxels of a fixed grid.
pub fn positions(u: &[f64], fixed: &[usize], map: &Affine) -> Vec<Vec<f64>> {
    let n: usize = fixed.iter().product();
    (0..n)
        .map(|v| {
            let mut point = [0.0; 3];
            let mut rest = v;
            for a in 0..fixed.len() {
                point[a] = (rest % fixed[a]) as f64 + u[a * n + v];
                rest /= fixed[a];
            }
            map.apply(point)[..fixed.len()].to_vec()
        })
        .collect()
}
