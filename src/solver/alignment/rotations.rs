//! Sets of rotations.

use std::f64::consts::{PI, TAU};

/// The rotations that carry the axes onto each other: 24 in three dimensions, 4 in the plane.
pub(super) fn axis_rotations(rank: usize) -> Vec<[[f64; 3]; 3]> {
    let mut all = Vec::new();
    for order in [
        [0, 1, 2],
        [1, 2, 0],
        [2, 0, 1],
        [1, 0, 2],
        [0, 2, 1],
        [2, 1, 0],
    ] {
        let even = order == [0, 1, 2] || order == [1, 2, 0] || order == [2, 0, 1];
        for signs in 0..4 {
            let first = if signs & 1 == 0 { 1.0 } else { -1.0 };
            let second = if signs & 2 == 0 { 1.0 } else { -1.0 };
            let third = first * second * if even { 1.0 } else { -1.0 };
            let mut m = [[0.0; 3]; 3];
            m[order[0]][0] = first;
            m[order[1]][1] = second;
            m[order[2]][2] = third;
            if rank == 3 || m[2][2] == 1.0 {
                all.push(m);
            }
        }
    }
    all
}

/// Rotations spread evenly: `count` in three dimensions, along a spiral of unit quaternions (Alexa 2022,
/// doi:10.1109/CVPR52688.2022.00811), 24 in the plane.
pub(super) fn spread_rotations(rank: usize, count: usize) -> Vec<[[f64; 3]; 3]> {
    if rank == 2 {
        return (0..24)
            .map(|k| {
                let (s, c) = (TAU * f64::from(k) / 24.0).sin_cos();
                [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]
            })
            .collect();
    }
    let root = 2f64.sqrt();
    // the root near 1.53 of x^4 = x + 4
    let psi = 1.533_751_168_755_204_3;
    (0..count)
        .map(|k| {
            let s = k as f64 + 0.5;
            let t = s / count as f64;
            let (r, big) = (t.sqrt(), (1.0 - t).sqrt());
            let (alpha, beta) = (2.0 * PI * s / root, 2.0 * PI * s / psi);
            from_quaternion([
                r * alpha.sin(),
                r * alpha.cos(),
                big * beta.sin(),
                big * beta.cos(),
            ])
        })
        .collect()
}

fn from_quaternion([w, x, y, z]: [f64; 4]) -> [[f64; 3]; 3] {
    [
        [
            1.0 - 2.0 * (y * y + z * z),
            2.0 * (x * y - w * z),
            2.0 * (x * z + w * y),
        ],
        [
            2.0 * (x * y + w * z),
            1.0 - 2.0 * (x * x + z * z),
            2.0 * (y * z - w * x),
        ],
        [
            2.0 * (x * z - w * y),
            2.0 * (y * z + w * x),
            1.0 - 2.0 * (x * x + y * y),
        ],
    ]
}

#[cfg(test)]
mod tests {
    use super::{axis_rotations, spread_rotations};
    use crate::{Affine, Rng};

    fn angle(a: &[[f64; 3]; 3], b: &[[f64; 3]; 3]) -> f64 {
        let trace: f64 = (0..3)
            .map(|r| (0..3).map(|c| a[r][c] * b[r][c]).sum::<f64>())
            .sum();
        (0.5 * (trace - 1.0)).clamp(-1.0, 1.0).acos().to_degrees()
    }

    #[test]
    fn all_are_proper_and_no_two_alike() {
        for rank in [2, 3] {
            let axes = axis_rotations(rank);
            assert_eq!(axes.len(), if rank == 2 { 4 } else { 24 });
            let spread = spread_rotations(rank, 200);
            for set in [&axes, &spread] {
                for (k, m) in set.iter().enumerate() {
                    assert!((Affine::new(*m, [0.0; 3]).determinant() - 1.0).abs() < 1e-12);
                    for other in &set[..k] {
                        assert!(angle(m, other) > 10.0);
                    }
                }
            }
        }
    }

    #[test]
    fn every_rotation_is_near_one_of_the_spread() {
        let spread = spread_rotations(3, 200);
        let mut rng = Rng::new(3);
        for _ in 0..300 {
            let axis = [rng.normal(), rng.normal(), rng.normal()];
            let generator = Affine::new(
                [
                    [0.0, -axis[2], axis[1]],
                    [axis[2], 0.0, -axis[0]],
                    [-axis[1], axis[0], 0.0],
                ],
                [0.0; 3],
            );
            let any = Affine::exp(&generator).matrix;
            let nearest = spread
                .iter()
                .map(|m| angle(m, &any))
                .fold(f64::INFINITY, f64::min);
            assert!(nearest < 40.0, "{nearest} degrees");
        }
    }
}
