//! Regularisers: quadratic, their gradient and diagonal true, and the same in millimetres on any grid.

use candle_core::Tensor;
use stillpoint::{Bending, Diffusion, Elastic, Grid, Regulariser};

use crate::samples::{along, close, distance, dot, noise, shape, tensor, values, zeros, SIZES};

const SPACING: [f64; 3] = [0.8, 1.3, 2.1];

pub fn grid(size: &[usize], spacing: &[f64; 3]) -> Grid {
    let identity = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    Grid::new(size, &spacing[..size.len()], [0.0; 3], identity).unwrap()
}

fn each(mut check: impl FnMut(&dyn Regulariser)) {
    check(&Diffusion);
    check(&Bending { length: 1.7 });
    check(&Elastic {
        mu: 0.6,
        lambda: 1.4,
    });
}

#[test]
fn the_gradient_is_that_of_finite_differences_and_the_penalty_is_quadratic() {
    each(|regulariser| {
        for &size in SIZES {
            let grid = grid(size, &SPACING);
            let name = format!("{} {size:?}", regulariser.name());
            let (u, d) = (
                noise(&shape(size.len(), size), 1),
                noise(&shape(size.len(), size), 2),
            );
            let gradient = regulariser.gradient(&u, &grid).unwrap();
            let value = |t: f64| regulariser.value(&along(&u, t, &d), &grid).unwrap();
            // differences of a quadratic form are exact at any step
            close(
                0.5 * (value(1.0) - value(-1.0)),
                dot(&gradient, &d),
                1e-11,
                &name,
            );
            close(value(0.0), 0.5 * dot(&u, &gradient), 1e-11, &name);
            let other = regulariser.gradient(&d, &grid).unwrap();
            close(dot(&u, &other), dot(&d, &gradient), 1e-11, &name);
            assert!(value(0.0) >= 0.0, "{name}");
        }
    });
}

#[test]
fn a_displacement_that_is_the_same_everywhere_costs_nothing() {
    each(|regulariser| {
        for &size in SIZES {
            let ones = noise(&shape(size.len(), size), 1).ones_like().unwrap();
            let value = regulariser.value(&ones, &grid(size, &SPACING)).unwrap();
            assert_eq!(value, 0.0, "{} {size:?}", regulariser.name());
        }
    });
}

/// The displacement `G x`, both in millimetres, in voxels of the grid.
fn linear(grid: &Grid, gradient: &[[f64; 3]; 3]) -> Tensor {
    let size = grid.size();
    let n: usize = size.iter().product();
    let mut u = vec![0.0; size.len() * n];
    for v in 0..n {
        let mut rest = v;
        for b in 0..size.len() {
            let x = (rest % size[b]) as f64 * grid.spacing()[b];
            rest /= size[b];
            for a in 0..size.len() {
                u[a * n + v] += gradient[a][b] * x / grid.spacing()[a];
            }
        }
    }
    tensor(u, &shape(size.len(), size))
}

const GRADIENT: [[f64; 3]; 3] = [
    [0.02, 0.05, -0.01],
    [-0.03, 0.04, 0.02],
    [0.01, -0.02, 0.06],
];

#[test]
fn linear_displacements_have_known_penalties_at_any_spacing() {
    for size in [&[9, 7][..], &[6, 5, 8]] {
        for spacing in [[1.0; 3], SPACING, [2.0; 3]] {
            let rank = size.len();
            let grid = grid(size, &spacing);
            let u = linear(&grid, &GRADIENT);
            let n: usize = size.iter().product();
            // pairs of neighbours along each axis
            let pairs = |b: usize| (n / size[b] * (size[b] - 1)) as f64;
            let squares: f64 = (0..rank)
                .flat_map(|a| (0..rank).map(move |b| (a, b)))
                .map(|(a, b)| GRADIENT[a][b].powi(2) * pairs(b))
                .sum();
            close(
                Diffusion.value(&u, &grid).unwrap(),
                0.5 * squares,
                1e-12,
                "diffusion",
            );
            let trace: f64 = (0..rank).map(|a| GRADIENT[a][a]).sum();
            let cells: usize = size.iter().map(|n| n - 1).product();
            let elastic = Elastic {
                mu: 0.6,
                lambda: 1.4,
            };
            let expected = 0.3 * squares + trace.powi(2) * cells as f64;
            close(
                elastic.value(&u, &grid).unwrap(),
                expected,
                1e-12,
                "elastic",
            );
            // inside the grid a linear displacement is not bent
            let bent = values(&Bending { length: 1.7 }.gradient(&u, &grid).unwrap());
            if rank == 2 {
                assert!(bent[3 * 9 + 4].abs() < 1e-12);
            }
        }
    }
}

#[test]
fn the_diagonal_is_that_of_the_operator_inside_the_grid() {
    each(|regulariser| {
        for size in [&[9, 9][..], &[7, 7, 7]] {
            let rank = size.len();
            let n: usize = size.iter().product();
            let grid = grid(size, &SPACING);
            let differences = regulariser.differences(&grid);
            let extra = regulariser.extra_diagonal(&grid).unwrap_or([0.0; 3]);
            for a in 0..rank {
                let mut one = vec![0.0; rank * n];
                one[a * n + n / 2] = 1.0;
                let one = tensor(one, &shape(rank, size));
                let first = zeros(&one);
                differences.add_gradient(&one, &first).unwrap();
                let known: f64 = (0..rank).map(|b| 2.0 * differences.weight[a][b]).sum();
                close(dot(&one, &first), known, 1e-12, "differences");
                let rest = zeros(&one);
                regulariser.add_extra(&one, &grid, 1.0, &rest).unwrap();
                close(dot(&one, &rest), extra[a], 1e-12, regulariser.name());
            }
        }
    });
}

#[test]
fn the_rest_is_added_with_its_weight() {
    each(|regulariser| {
        let grid = grid(&[6, 5, 4], &SPACING);
        let (u, start) = (noise(&[3, 4, 5, 6], 1), noise(&[3, 4, 5, 6], 2));
        let (once, many) = (zeros(&u), start.copy().unwrap());
        regulariser.add_extra(&u, &grid, 1.0, &once).unwrap();
        regulariser.add_extra(&u, &grid, 2.5, &many).unwrap();
        let gap = distance(&values(&many), &values(&along(&start, 2.5, &once)));
        assert!(gap < 1e-12, "{}: {gap}", regulariser.name());
    });
}
