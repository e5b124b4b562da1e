//! The landmark term: against a plain reference, finite differences, and steps carried by composition.

use stillpoint::{compose, pull_to_steps, LandmarkData, Rng};

use crate::samples::{along, close, distance, dot, noise, shape, tensor, values, zeros, SIZES};

/// Points all over a grid and a little beyond its border, some on voxels.
pub fn landmarks(size: &[usize], seed: u64) -> LandmarkData {
    let mut rng = Rng::new(seed);
    let mut any = |low: f64, high: f64| {
        std::array::from_fn(|a| {
            let last = size.get(a).map_or(0.0, |&n| n as f64 - 1.0);
            rng.range(low * last - 0.4, high * last + 0.4)
        })
    };
    let mut points: Vec<[f64; 3]> = (0..7).map(|_| any(0.0, 1.0)).collect();
    points.push(points[0].map(f64::round));
    points.push(std::array::from_fn(|a| {
        size.get(a).map_or(0.0, |&n| n as f64 - 1.0)
    }));
    let mut metric = [[1.3, 0.2, -0.1], [0.2, 0.9, 0.3], [-0.1, 0.3, 1.1]];
    for a in size.len()..3 {
        metric[a] = [0.0; 3];
        metric.iter_mut().for_each(|row| row[a] = 0.0);
    }
    LandmarkData {
        targets: points.iter().map(|_| any(0.2, 0.8)).collect(),
        points,
        metric,
        spread: [0.0; 3],
        weight: 0.7,
    }
}

/// Points that pull their neighbourhoods, more along one axis than along others.
fn spread(size: &[usize]) -> LandmarkData {
    LandmarkData {
        spread: [1.2, 0.4, 0.7],
        ..landmarks(size, 3)
    }
}

/// A field smoothed along one axis by the Gaussian, its border continued.
fn smoothed(u: &[f64], size: &[usize], axis: usize, sigma: f64) -> Vec<f64> {
    if sigma == 0.0 {
        return u.to_vec();
    }
    let reach = (2.5 * sigma).ceil() as i64;
    let bell = |j: i64| (-0.5 * (j as f64 / sigma).powi(2)).exp();
    let sum: f64 = (-reach..=reach).map(bell).sum();
    let stride: usize = size[..axis].iter().product();
    let at = |k: usize, j: i64| {
        let index = (k / stride % size[axis]) as i64;
        let moved = (index + j).clamp(0, size[axis] as i64 - 1);
        u[(k as i64 + (moved - index) * stride as i64) as usize]
    };
    (0..u.len())
        .map(|k| (-reach..=reach).map(|j| bell(j) / sum * at(k, j)).sum())
        .collect()
}

/// The energy by its formula: the field smoothed, then every voxel's share written out.
fn reference(data: &LandmarkData, u: &[f64], size: &[usize]) -> f64 {
    let mut u = u.to_vec();
    for axis in 0..size.len() {
        u = smoothed(&u, size, axis, data.spread[axis]);
    }
    let (rank, n) = (size.len(), size.iter().product::<usize>());
    let mut energy = 0.0;
    for (p, t) in data.points.iter().zip(&data.targets) {
        let inside: Vec<f64> = (0..rank)
            .map(|a| p[a].max(0.0).min(size[a] as f64 - 1.0))
            .collect();
        let mut e = vec![0.0; rank];
        for voxel in 0..n {
            let mut stride = 1;
            let mut share = 1.0;
            for a in 0..rank {
                let index = (voxel / stride % size[a]) as f64;
                share *= (1.0 - (inside[a] - index).abs()).max(0.0);
                stride *= size[a];
            }
            for a in 0..rank {
                e[a] += share * u[a * n + voxel];
            }
        }
        for a in 0..rank {
            e[a] += p[a] - t[a];
        }
        for a in 0..rank {
            for b in 0..rank {
                energy += 0.5 * data.weight * e[a] * data.metric[a][b] * e[b];
            }
        }
    }
    energy
}

#[test]
fn the_value_is_the_formula_and_the_derivatives_are_exact() {
    let cases = SIZES
        .iter()
        .flat_map(|size| [(size, landmarks(size, 3)), (size, spread(size))]);
    for (size, data) in cases {
        let u = noise(&shape(size.len(), size), 1);
        let what = format!("{size:?} {:?}", data.spread);
        close(
            data.value(&u).unwrap(),
            reference(&data, &values(&u), size),
            1e-12,
            &what,
        );
        let start = noise(u.dims(), 2);
        let g = start.copy().unwrap();
        let (value, curvature) = data.linearise(&u, &g).unwrap();
        close(value, data.value(&u).unwrap(), 1e-14, &what);
        let g = (g - start).unwrap();
        let (p, q) = (noise(u.dims(), 4), noise(u.dims(), 5));
        let [cp, cq] = [&p, &q].map(|x| {
            let out = noise(x.dims(), 6);
            let before = out.copy().unwrap();
            let form = curvature.apply(x, 0.3, &out).unwrap();
            let product = (out - before).unwrap();
            close(form, dot(x, &product), 1e-12, &what);
            (product / 0.3).unwrap()
        });
        close(dot(&q, &cp), dot(&p, &cq), 1e-12, &what);
        // quadratic: the second-order expansion is the energy itself
        for t in [1.0, -2.0] {
            let expansion = value + t * dot(&g, &p) + 0.5 * t * t * dot(&p, &cp);
            let there = data.value(&along(&u, t, &p)).unwrap();
            close(there, expansion, 1e-12, &what);
        }
    }
}

#[test]
fn blocks_are_those_of_the_operator() {
    for size in [&[5, 4][..], &[4, 3, 2]] {
        let data = spread(size);
        let (rank, n) = (size.len(), size.iter().product::<usize>());
        let u = noise(&shape(rank, size), 1);
        let (_, curvature) = data.linearise(&u, &zeros(&u)).unwrap();
        let curvature = curvature.pulled_to_steps(&u).unwrap();
        let blocks = zeros(&noise(&shape(rank * (rank + 1) / 2, size), 1));
        curvature.add_blocks(2.0, &blocks).unwrap();
        let blocks = values(&blocks);
        for voxel in 0..n {
            let mut entry = 0;
            for a in 0..rank {
                let mut unit = vec![0.0; rank * n];
                unit[a * n + voxel] = 1.0;
                let out = zeros(&u);
                curvature.apply(&tensor(unit, u.dims()), 2.0, &out).unwrap();
                let column = values(&out);
                for b in a..rank {
                    close(
                        blocks[entry * n + voxel],
                        column[b * n + voxel],
                        1e-12,
                        "block",
                    );
                    entry += 1;
                }
            }
        }
    }
}

/// `P' C P` with the `P` of every voxel that carries gradients to compositive steps.
#[test]
fn the_curvature_is_carried_to_steps_as_gradients_are() {
    for size in SIZES {
        let data = spread(size);
        let (rank, n) = (size.len(), size.iter().product::<usize>());
        let u = (noise(&shape(rank, size), 1) * 0.3).unwrap();
        let pull = |x: Vec<f64>| {
            let x = tensor(x, u.dims());
            let blocks = zeros(&noise(&shape(rank * (rank + 1) / 2, size), 1));
            pull_to_steps(&u, &x, &blocks).unwrap();
            values(&x)
        };
        // row a of every P
        let rows: Vec<Vec<f64>> = (0..rank)
            .map(|a| {
                pull(
                    (0..rank * n)
                        .map(|k| f64::from(u8::from(k / n == a)))
                        .collect(),
                )
            })
            .collect();
        let p = noise(u.dims(), 4);
        let values_p = values(&p);
        let pushed: Vec<f64> = (0..rank * n)
            .map(|k| {
                (0..rank)
                    .map(|b| rows[k / n][b * n + k % n] * values_p[b * n + k % n])
                    .sum()
            })
            .collect();
        let (_, curvature) = data.linearise(&u, &zeros(&u)).unwrap();
        let force = zeros(&u);
        curvature
            .apply(&tensor(pushed, u.dims()), 1.0, &force)
            .unwrap();
        let expected = pull(values(&force));
        let found = zeros(&u);
        let carried = curvature.pulled_to_steps(&u).unwrap();
        let form = carried.apply(&p, 1.0, &found).unwrap();
        assert!(
            distance(&values(&found), &expected) < 1e-12 * (1.0 + form.abs()),
            "{size:?}"
        );
    }
}

/// For a displacement that linear interpolation reproduces, the carried curvature is that of the energy along a composition.
#[test]
fn the_carried_curvature_is_that_of_a_composition() {
    let size = [12, 11];
    let mut data = landmarks(&size, 3);
    data.points = vec![[5.3, 4.6, 0.0], [6.1, 6.2, 0.0]];
    data.targets.truncate(2);
    let n = size[0] * size[1];
    let at = |voxel: usize| ((voxel % size[0]) as f64, (voxel / size[0]) as f64);
    let field = |f: &dyn Fn(f64, f64) -> [f64; 2]| {
        let v = (0..2 * n).map(|k| {
            let (x, y) = at(k % n);
            f(x, y)[k / n]
        });
        tensor(v.collect(), &shape(2, &size))
    };
    let u = field(&|x, y| [0.1 * x - 0.05 * y + 0.2, 0.07 * x + 0.04 * y]);
    let d = field(&|x, y| {
        let inside = x > 1.0 && x < 10.0 && y > 1.0 && y < 9.0;
        [(x * y).sin(), (x + 2.0 * y).cos()].map(|v| if inside { 0.3 * v } else { 0.0 })
    });
    let along = |t: f64| {
        let out = zeros(&u);
        compose(&u, &d, t, &out).unwrap();
        data.value(&out).unwrap()
    };
    let bent = along(1.0) + along(-1.0) - 2.0 * along(0.0);
    let (_, curvature) = data.linearise(&u, &zeros(&u)).unwrap();
    let carried = curvature.pulled_to_steps(&u).unwrap();
    let form = carried.apply(&d, 1.0, &zeros(&u)).unwrap();
    assert!(form > 0.01);
    close(form, bent, 1e-10, "second difference");
}
