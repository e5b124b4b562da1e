//! MINRES and GMRES on matrices whose solution is known.

use candle_core::Tensor;
use stillpoint::{gmres, minres, LinearOperator, LinearStop, Preconditioner, Result};

use crate::samples::{distance, dot, noise, tensor, values, zeros};

const N: usize = 14;

/// A dense matrix, row by row.
struct Dense(Tensor);

impl Dense {
    fn times(&self, x: &Tensor) -> Tensor {
        let column = x.reshape((N, 1)).unwrap();
        self.0.matmul(&column).unwrap().reshape(x.dims()).unwrap()
    }
}

impl LinearOperator for Dense {
    fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        let product = self.times(p);
        out.slice_set(&product, 0, 0)?;
        Ok(dot(p, &product))
    }
}

/// Division by a positive diagonal.
struct Diagonal(Vec<f64>);

impl Preconditioner for Diagonal {
    fn apply(&self, r: &Tensor, z: &Tensor) -> Result<[f64; 2]> {
        let divided: Vec<f64> = values(r).iter().zip(&self.0).map(|(r, d)| r / d).collect();
        z.slice_set(&tensor(divided, r.dims()), 0, 0)?;
        Ok([dot(r, z), dot(r, r)])
    }
}

/// A symmetric matrix with eigenvalues of both signs.
fn indefinite() -> Dense {
    let a = noise(&[N, N], 1);
    let symmetric = ((&a + a.t().unwrap()).unwrap() * 0.5).unwrap();
    Dense(symmetric)
}

#[test]
fn minres_solves_indefinite_systems_with_and_without_a_preconditioner() {
    let (a, x) = (indefinite(), noise(&[N], 2));
    let b = a.times(&x);
    let signs = (0..40).map(|seed| {
        let v = noise(&[N], seed);
        dot(&v, &a.times(&v)) > 0.0
    });
    let positive = signs.filter(|&sign| sign).count();
    assert!(0 < positive && positive < 40, "the matrix is indefinite");
    let diagonal = Diagonal((0..N).map(|i| 0.5 + i as f64 * 0.1).collect());
    for preconditioner in [&() as &dyn Preconditioner, &diagonal] {
        let (found, info) = minres(&a, preconditioner, &b, 1e-11, 60).unwrap();
        assert_eq!(info.stop, LinearStop::Converged);
        assert!(info.residual <= 1e-11 && info.steps <= 2 * N, "{info:?}");
        assert!(distance(&values(&found), &values(&x)) < 1e-8);
    }
}

#[test]
fn minres_reports_the_residual_it_reached() {
    let (a, b) = (indefinite(), noise(&[N], 3));
    let mut before = 1.0;
    for steps in [1, 3, 6, 9] {
        let (x, info) = minres(&a, &(), &b, 1e-12, steps).unwrap();
        assert_eq!((info.stop, info.steps), (LinearStop::MaxSteps, steps));
        let rest = (&b - a.times(&x)).unwrap();
        let residual = (dot(&rest, &rest) / dot(&b, &b)).sqrt();
        assert!((info.residual - residual).abs() < 1e-12);
        // minimal residuals never grow
        assert!(residual <= before + 1e-12);
        before = residual;
    }
    let (x, info) = minres(&a, &(), &zeros(&b), 1e-12, 5).unwrap();
    assert_eq!((info.stop, info.steps), (LinearStop::Converged, 0));
    assert_eq!(dot(&x, &x), 0.0);
}

#[test]
fn gmres_solves_systems_without_symmetry_with_and_without_restarts() {
    let noise_part = (noise(&[N, N], 4) * 0.25).unwrap();
    let a = Dense(
        (Tensor::eye(N, noise_part.dtype(), noise_part.device()).unwrap() * 2.0)
            .unwrap()
            .add(&noise_part)
            .unwrap(),
    );
    let x = noise(&[N], 5);
    let b = a.times(&x);
    for (memory, budget) in [(N, N + 1), (5, 200)] {
        let mut products = 0;
        let (found, info) = gmres(
            &mut |p| {
                products += 1;
                Ok(a.times(p))
            },
            &b,
            1e-10,
            budget,
            memory,
        )
        .unwrap();
        assert_eq!(info.stop, LinearStop::Converged, "{info:?}");
        assert_eq!(info.steps, products);
        assert!(distance(&values(&found), &values(&x)) < 1e-8);
    }
    let (x, info) = gmres(&mut |p| Ok(a.times(p)), &b, 1e-10, 4, 3).unwrap();
    assert_eq!(info.stop, LinearStop::MaxSteps);
    let rest = (&b - a.times(&x)).unwrap();
    assert!((info.residual - (dot(&rest, &rest) / dot(&b, &b)).sqrt()).abs() < 1e-12);
}
