//! Boxes of voxels solved apart: their energy is that of the whole, and what they find does not depend on threads.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use stillpoint::{
    Bending, Compositive, Curvature, Deformation, Diffusion, Displacement, Elastic, EnergyProblem,
    FoldBarrier, Image, Interpolation, Phantom, Problem, Region, Registration, Regulariser,
    Transform, Velocity,
};

use crate::energy_problem::data;
use crate::regularisers::grid;
use crate::samples::{close, distance, dot, noise, shape, tensor, values, zeros};

/// A region in the middle of a grid, and one in its corner.
fn regions(whole: &[usize]) -> [Region; 2] {
    let start: Vec<usize> = whole.iter().map(|n| n / 4).collect();
    [
        Region {
            size: whole.iter().map(|n| n / 2).collect(),
            start,
            whole: whole.to_vec(),
        },
        Region {
            size: whole.iter().map(|n| n / 2 + 1).collect(),
            start: vec![0; whole.len()],
            whole: whole.to_vec(),
        },
    ]
}

fn problem(
    size: &[usize],
    regulariser: Arc<dyn Regulariser>,
    transform: Arc<dyn Transform>,
) -> EnergyProblem {
    EnergyProblem::new(
        data(size, 2, Interpolation::Cubic, DType::F64),
        regulariser,
        0.37,
        transform,
        grid(size, &[0.8, 1.3, 2.1]),
    )
}

#[test]
fn the_energy_of_a_region_is_that_of_the_whole_up_to_a_constant() {
    let all: [Arc<dyn Regulariser>; 3] = [
        Arc::new(Diffusion),
        Arc::new(Bending { length: 1.7 }),
        Arc::new(Elastic {
            mu: 0.6,
            lambda: 1.4,
        }),
    ];
    for size in [&[19, 17][..], &[16, 15, 13]] {
        for regulariser in &all {
            for barrier in [false, true] {
                let mut problem = problem(size, regulariser.clone(), Arc::new(Compositive));
                problem.barrier = barrier.then_some(FoldBarrier {
                    weight: 3.0,
                    threshold: 0.9,
                });
                let theta = (noise(&shape(size.len(), size), 4) * 0.1).unwrap();
                let gradient = zeros(&theta);
                let model = problem
                    .curvature(&theta, Curvature::Newton, &gradient)
                    .unwrap();
                for region in regions(size) {
                    let name = format!("{region:?}, {}, {barrier}", regulariser.name());
                    let part = problem.within(&region).unwrap().unwrap();
                    let inner = region.crop(&theta).unwrap();
                    let step = (noise(inner.dims(), 5) * 0.01).unwrap();
                    region.clear_held(&step).unwrap();
                    assert!(dot(&step, &step) > 0.0, "{name}");
                    let moved = (&inner + &step).unwrap();
                    let whole = theta.copy().unwrap();
                    region.paste(&moved, &whole).unwrap();
                    let change = problem.value(&whole).unwrap() - problem.value(&theta).unwrap();
                    let found = part.value(&moved).unwrap() - part.value(&inner).unwrap();
                    assert!(change.abs() > 1e-6, "{name}");
                    close(found, change, 1e-9, &name);

                    let own = noise(inner.dims(), 6);
                    let local = part.curvature(&inner, Curvature::Newton, &own).unwrap();
                    let expected = region.crop(&gradient).unwrap();
                    region.clear_held(&expected).unwrap();
                    assert!(
                        distance(&values(&own), &values(&expected)) < 1e-12,
                        "{name}"
                    );

                    let spread = zeros(&theta);
                    region.paste(&step, &spread).unwrap();
                    let (out, expected) = (noise(inner.dims(), 7), zeros(&theta));
                    local.operator.apply(&step, &out).unwrap();
                    model.operator.apply(&spread, &expected).unwrap();
                    let expected =
                        (region.crop(&expected).unwrap() * (local.scale / model.scale)).unwrap();
                    region.clear_held(&expected).unwrap();
                    assert!(
                        distance(&values(&out), &values(&expected)) < 1e-12,
                        "{name}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_no_sum_over_voxels_has_no_regions() {
    let velocity = Arc::new(Velocity {
        squarings: 3,
        interpolation: Interpolation::Cubic,
    });
    let size = [32, 40];
    let spike = spikes(&size, &[(5, 1.0)]);
    for (transform, some) in [
        (velocity as Arc<dyn Transform>, false),
        (Arc::new(Displacement), true),
    ] {
        let problem = problem(&size, Arc::new(Diffusion), transform);
        let found = problem.regions(&spike).unwrap();
        assert_eq!(!found.is_empty(), some);
        let part = problem.within(&regions(&size)[0]).unwrap();
        assert_eq!(part.is_some(), some);
    }
}

/// A field that is zero but for some voxels of its first component.
fn spikes(size: &[usize], at: &[(usize, f64)]) -> Tensor {
    let shape = shape(size.len(), size);
    let mut field = vec![0.0; shape.iter().product()];
    for &(voxel, value) in at {
        field[voxel] = value;
    }
    tensor(field, &shape)
}

#[test]
fn regions_lie_around_what_is_concentrated() {
    let size = [70, 50, 41];
    let index = |x: usize, y: usize, z: usize| x + 70 * (y + 50 * z);
    let field = spikes(&size, &[(index(3, 20, 33), 1.0), (index(60, 49, 0), -3.0)]);
    let found = Region::concentrations(&field, 0.95, 0.1).unwrap();
    let boxes: Vec<_> = found.iter().map(|r| (&r.start[..], &r.size[..])).collect();
    assert_eq!(
        boxes,
        [
            (&[50, 42, 0][..], &[20, 8, 14][..]),
            (&[0, 10, 26][..], &[14, 20, 15][..]),
        ]
    );
    assert!(!found[0].touches(&found[1]));
    assert!(found[0].touches(&found[0]));
    // the larger one alone holds nine tenths
    assert_eq!(Region::concentrations(&field, 0.9, 0.1).unwrap().len(), 1);
    // what is spread has none
    let spread = noise(&shape(3, &size), 1);
    assert!(Region::concentrations(&spread, 0.9, 0.1)
        .unwrap()
        .is_empty());
}

#[test]
fn what_is_cropped_and_pasted_comes_back_and_held_voxels_are_those_near_inner_faces() {
    let size = [9, 8, 7];
    let field = noise(&shape(3, &size), 1);
    let region = Region {
        start: vec![2, 0, 1],
        size: vec![7, 5, 6],
        whole: size.to_vec(),
    };
    let copy = zeros(&field);
    let part = region.crop(&field).unwrap();
    region.paste(&part, &copy).unwrap();
    assert_eq!(values(&region.crop(&copy).unwrap()), values(&part));
    assert_eq!(
        values(&copy).iter().filter(|v| **v != 0.0).count(),
        3 * 7 * 5 * 6
    );

    let ones = Tensor::ones(part.dims(), DType::F32, &Device::Cpu).unwrap();
    region.clear_held(&ones).unwrap();
    // two voxels at the low end of x, at the high end of y and at the low end of z
    let sum = ones.sum_all().unwrap().to_scalar::<f32>().unwrap();
    assert_eq!(sum, (3 * 5 * 3 * 4) as f32);
    let corner = ones.narrow(3, 2, 5).unwrap().narrow(2, 0, 3).unwrap();
    let sum = corner.narrow(1, 2, 4).unwrap().sum_all().unwrap();
    assert_eq!(sum.to_scalar::<f32>().unwrap(), (3 * 5 * 3 * 4) as f32);
}

#[test]
fn certified_runs_solve_regions_apart_with_the_same_bits_at_any_number_of_threads() {
    let phantom = Phantom::pair(&[96, 112], &[2.0, 2.0], 3).unwrap();
    let image = |values: &[f32]| Image::new(phantom.grid.clone(), 1, values.to_vec()).unwrap();
    let (fixed, moving) = (image(&phantom.fixed), image(&phantom.moving));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let registration = Registration {
                deformation: Some(Deformation {
                    lambda: 0.3,
                    ..Deformation::certified()
                }),
                ..Registration::default()
            };
            registration.run(&fixed, &moving, &mut |_| Ok(())).unwrap()
        })
    };
    let (one, two) = (run(1), run(2));
    let report = one.deformable.as_ref().unwrap();
    let regional: usize = report
        .levels
        .iter()
        .flat_map(|level| &level.iterations)
        .map(|iteration| iteration.regional)
        .sum();
    assert!(regional > 0);
    for level in &report.levels {
        assert!(level.certificate.strict_minimum, "{:?}", level.status);
    }
    let field = |r: &stillpoint::Registered| r.total_field(&fixed).unwrap().into_voxels();
    assert_eq!(field(&one), field(&two));
}
