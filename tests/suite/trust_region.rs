//! The certified mode: known minima and saddles, the barrier's derivatives, and registrations that prove their minimum.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use stillpoint::{
    Compositive, Curvature, Deformation, Displacement, FoldBarrier, Image, LinearOperator,
    Linearisation, Phantom, Problem, Registered, Registration, Result, Rng, Solver, Status,
    Transform, TrustRegion,
};

/// `E(x, y) = (x^2 - 1)^2 / 4 + y^2 / 2`: minima at x = 1 and x = -1, a saddle at the origin.
struct TwoWells;

struct Diagonal([f64; 2]);

impl LinearOperator for Diagonal {
    fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        let product = (p * Tensor::new(&self.0, &Device::Cpu)?)?;
        out.slice_set(&product, 0, 0)?;
        Ok((p * product)?.sum_all()?.to_scalar::<f64>()?)
    }
}

impl Problem for TwoWells {
    fn value(&self, theta: &Tensor) -> Result<f64> {
        let v = theta.to_vec1::<f64>()?;
        Ok((v[0] * v[0] - 1.0).powi(2) / 4.0 + v[1] * v[1] / 2.0)
    }

    fn linearise(
        &self,
        theta: &Tensor,
        curvature: Curvature,
        gradient: &Tensor,
    ) -> Result<Linearisation> {
        let v = theta.to_vec1::<f64>()?;
        let g = [v[0] * (v[0] * v[0] - 1.0), v[1]];
        gradient.slice_set(&Tensor::new(&g, &Device::Cpu)?, 0, 0)?;
        let bend = 3.0 * v[0] * v[0] - 1.0;
        let bend = match curvature {
            Curvature::Newton => bend,
            Curvature::GaussNewton | Curvature::Projected => bend.abs(),
        };
        Ok(Linearisation {
            energy: self.value(theta)?,
            scale: 1.0,
            operator: Box::new(Diagonal([bend, 1.0])),
            preconditioner: Box::new(()),
        })
    }
}

fn two_wells(start: [f64; 2], solver: TrustRegion) -> stillpoint::Solution {
    let theta = Tensor::new(&start, &Device::Cpu).expect("tensor");
    solver
        .solve(&TwoWells, theta, &mut |_| Ok(()))
        .expect("solve")
}

#[test]
fn a_start_near_a_saddle_ends_in_a_minimum() {
    let found = two_wells([0.01, 0.5], TrustRegion::default());
    let theta = found.theta.to_vec1::<f64>().expect("values");
    assert_eq!(found.status, Status::Converged);
    assert!(
        (theta[0].abs() - 1.0).abs() < 1e-5 && theta[1].abs() < 1e-5,
        "{theta:?}"
    );
    assert!(found.certificate.strict_minimum);
    // the Hessian there is diag(2, 1)
    let ritz = found.certificate.smallest_ritz.expect("looked at");
    assert!((ritz - 1.0).abs() < 1e-4, "{ritz}");
}

#[test]
fn a_saddle_and_an_unfinished_solve_get_no_certificate() {
    let saddle = two_wells([0.0, 0.5], TrustRegion::default());
    assert_eq!(saddle.status, Status::Converged);
    assert!(saddle.certificate.smallest_ritz.expect("looked at") < 0.0);
    assert!(!saddle.certificate.strict_minimum);
    let unfinished = two_wells(
        [0.3, 0.5],
        TrustRegion {
            steps: 1,
            ..TrustRegion::default()
        },
    );
    assert_eq!(unfinished.status, Status::MaxSteps);
    assert!(!unfinished.certificate.strict_minimum);
    assert_eq!(unfinished.certificate.lanczos_steps, 0);
}

/// A random field with determinants on either side of the threshold, none of them negative.
fn field(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|_| rng.range(-0.17, 0.17))
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("field")
}

#[test]
fn the_barrier_has_the_derivatives_of_its_value() {
    let barrier = FoldBarrier {
        weight: 2.0,
        threshold: 0.9,
    };
    for shape in [vec![2, 7, 6], vec![3, 5, 6, 7], vec![3, 1, 6, 5]] {
        let (u, p) = (field(&shape, 1), field(&shape, 2));
        let gradient = u.zeros_like().expect("zeros");
        let (value, curvature) = barrier.linearise(&u, &gradient).expect("linearise");
        assert!(
            value > 0.0 && value.is_finite() && curvature.active() > 10,
            "{value}"
        );
        let step = 1e-5;
        let moved = |t: f64| (&u + (&p * t).expect("scaled")).expect("moved");
        let slope = (barrier.value(&moved(step)).expect("value")
            - barrier.value(&moved(-step)).expect("value"))
            / (2.0 * step);
        let sum = |a: &Tensor, b: &Tensor| -> f64 {
            (a * b)
                .expect("product")
                .sum_all()
                .expect("sum")
                .to_scalar()
                .expect("scalar")
        };
        let along = sum(&gradient, &p);
        assert!(
            (slope - along).abs() < 1e-6 * slope.abs().max(1.0),
            "{slope} {along}"
        );
        let product = u.zeros_like().expect("zeros");
        let quadratic = curvature.apply(&p, 1.0, &product).expect("product");
        assert!((quadratic - sum(&p, &product)).abs() < 1e-9 * quadratic.abs().max(1.0));
        let side = |t: f64| {
            let g = u.zeros_like().expect("zeros");
            barrier.linearise(&moved(t), &g).expect("linearise");
            g
        };
        let difference =
            ((side(step) - side(-step)).expect("difference") / (2.0 * step)).expect("quotient");
        let error = (&difference - &product).expect("error");
        let (error, size) = (sum(&error, &error).sqrt(), sum(&product, &product).sqrt());
        assert!(error < 1e-5 * size, "{error} of {size}");
    }
}

#[test]
fn the_barrier_is_zero_where_nothing_shrinks_and_infinite_where_something_folds() {
    let barrier = FoldBarrier {
        weight: 1.0,
        threshold: 0.3,
    };
    let u = field(&[2, 8, 8], 3);
    let still = (&u * 0.1).expect("scaled");
    assert_eq!(barrier.value(&still).expect("value"), 0.0);
    let folded = (&u * 40.0).expect("scaled");
    assert_eq!(barrier.value(&folded).expect("value"), f64::INFINITY);
}

fn phantom(size: &[usize]) -> (Image, Image) {
    let pair = Phantom::pair(size, &vec![4.0; size.len()], 5).expect("phantom");
    let image = |values| Image::new(pair.grid.clone(), 1, values).expect("image");
    (image(pair.fixed.clone()), image(pair.moving.clone()))
}

fn certified(transform: Arc<dyn Transform>, iterations: Option<Vec<usize>>) -> Registered {
    let (fixed, moving) = phantom(&[48, 56]);
    Registration {
        deformation: Some(Deformation {
            transform,
            levels: Some(vec![2, 1]),
            iterations,
            ..Deformation::certified()
        }),
        ..Registration::default()
    }
    .run(&fixed, &moving, &mut |_| Ok(()))
    .expect("registration")
}

#[test]
fn phantoms_are_registered_to_certified_minima() {
    for transform in [
        Arc::new(Compositive) as Arc<dyn Transform>,
        Arc::new(Displacement),
    ] {
        let name = transform.name();
        let found = certified(transform, None);
        let report = found.deformable.expect("a report");
        assert_eq!(report.barrier.is_some(), name == "compositive");
        for level in &report.levels {
            let certificate = level.certificate;
            assert_eq!(level.status, Status::Converged, "{name}");
            assert!(
                certificate.strict_minimum && certificate.gradient_ratio <= 1e-6,
                "{name}"
            );
            let smallest = certificate.smallest_ritz.expect("looked at");
            let residual = certificate.ritz_residual.expect("looked at");
            assert!(smallest > 0.0 && residual > 0.0);
            // a hundred steps, or as many as it takes to tell the smallest value from zero
            let searched = certificate.lanczos_steps >= 100 || residual < 0.1 * smallest;
            assert!(
                searched && certificate.lanczos_steps >= 20,
                "{certificate:?}"
            );
            assert!(level.products > 0);
        }
        if name == "compositive" {
            let u = found.displacement.expect("a field");
            assert!(stillpoint::smallest_determinant(&u).expect("determinant") > 0.0);
        }
    }
}

#[test]
fn too_few_iterations_get_no_certificate() {
    let report = certified(Arc::new(Compositive), Some(vec![2, 2]))
        .deformable
        .expect("a report");
    for level in &report.levels {
        assert_eq!(level.status, Status::MaxSteps);
        assert!(!level.certificate.strict_minimum && level.certificate.gradient_ratio > 1e-6);
    }
}

#[test]
fn certified_runs_give_the_same_bits_at_any_number_of_threads() {
    let run = |threads: usize| -> Vec<f32> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("pool");
        let found = pool.install(|| certified(Arc::new(Compositive), None));
        let u = found.displacement.expect("a field");
        u.flatten_all().expect("flat").to_vec1().expect("values")
    };
    assert_eq!(run(1), run(3));
}
