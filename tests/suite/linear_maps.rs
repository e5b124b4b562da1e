//! Rigid, similarity and affine maps: their parameters, kinds and derivatives.

use stillpoint::{Affine, Error, Linear, LinearKind, Rng};

#[test]
fn the_derivative_of_a_linear_map_is_that_of_differences() {
    for rank in [2, 3] {
        for kind in LinearKind::ALL {
            let centre = [12.0, -30.0, if rank == 3 { 7.0 } else { 0.0 }];
            let linear = Linear::new(kind, rank, centre).unwrap();
            let n = linear.parameters();
            let expected = match (rank, kind) {
                (2, LinearKind::Rigid) => 3,
                (2, LinearKind::Similarity) => 4,
                (2, LinearKind::Affine) | (3, LinearKind::Rigid) => 6,
                (_, LinearKind::Similarity) => 7,
                _ => 12,
            };
            assert_eq!(n, expected);
            assert_eq!(linear.affine(&vec![0.0; n]).unwrap(), Affine::identity());
            for (k, derivative) in linear.derivatives().iter().enumerate() {
                let h = 1e-5;
                let at = |t: f64| {
                    let mut p = vec![0.0; n];
                    p[k] = t;
                    linear.affine(&p).unwrap()
                };
                let (up, down) = (at(h), at(-h));
                for a in 0..3 {
                    let slope = (up.translation[a] - down.translation[a]) / (2.0 * h);
                    assert!((slope - derivative.translation[a]).abs() < 1e-7);
                    for b in 0..3 {
                        let slope = (up.matrix[a][b] - down.matrix[a][b]) / (2.0 * h);
                        assert!((slope - derivative.matrix[a][b]).abs() < 1e-8);
                    }
                }
            }
        }
    }
}

#[test]
fn maps_stay_in_their_kind_and_turn_about_their_centre() {
    let mut rng = Rng::new(8);
    for rank in [2, 3] {
        for kind in [LinearKind::Rigid, LinearKind::Similarity] {
            let centre = [12.0, -30.0, if rank == 3 { 7.0 } else { 0.0 }];
            let linear = Linear::new(kind, rank, centre).unwrap();
            let n = linear.parameters();
            let mut p: Vec<f64> = (0..n).map(|_| 0.7 * rng.normal()).collect();
            p[n - rank..].fill(0.0);
            let map = linear.affine(&p).unwrap();
            let moved = map.apply(centre);
            assert!((0..3).all(|a| (moved[a] - centre[a]).abs() < 1e-12));
            let scale = if kind == LinearKind::Similarity {
                p[n - rank - 1].exp()
            } else {
                1.0
            };
            for a in 0..rank {
                for b in 0..rank {
                    let dot: f64 = (0..3).map(|r| map.matrix[r][a] * map.matrix[r][b]).sum();
                    let expected = if a == b { scale * scale } else { 0.0 };
                    assert!((dot - expected).abs() < 1e-11, "{dot} {expected}");
                }
            }
            assert!(rank == 3 || map.matrix[2] == [0.0, 0.0, 1.0]);
        }
    }
    assert!(Linear::new(LinearKind::Rigid, 4, [0.0; 3]).is_err());
    assert!(Linear::new(LinearKind::Rigid, 3, [f64::NAN; 3]).is_err());
    let linear = Linear::new(LinearKind::Rigid, 3, [0.0; 3]).unwrap();
    assert!(matches!(linear.affine(&[0.0; 5]), Err(Error::Shape { .. })));
}
