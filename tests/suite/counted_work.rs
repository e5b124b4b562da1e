//! What a computation costs, counted rather than timed: the same on every machine, however busy it is.
//!
//! The bounds lie a tenth above what was counted when they were set, over all instruction sets. A change that passes one has
//! made the solver weaker: find out why, or say in the bound's line what the work is for.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use stillpoint::{
    Affine, Compositive, Deformation, Diffusion, EnergyProblem, GaussNewton, Image, Interpolation,
    Phantom, Registration, Solver, SsdData,
};

use crate::allocations::blocks_during;

/// Iterations and products of all levels.
fn work(registration: &Registration, size: &[usize]) -> [usize; 2] {
    let spacing: Vec<f64> = size.iter().map(|n| 160.0 / *n as f64).collect();
    let phantom = Phantom::pair(size, &spacing, 7).unwrap();
    let image = |values: &[f32]| Image::new(phantom.grid.clone(), 1, values.to_vec()).unwrap();
    let registered = registration
        .run(&image(&phantom.fixed), &image(&phantom.moving), &mut |_| {
            Ok(())
        })
        .unwrap();
    let levels = registered.deformable.unwrap().levels;
    levels.iter().fold([0, 0], |[iterations, products], level| {
        [
            iterations + level.iterations.len(),
            products + level.products,
        ]
    })
}

fn at_most(what: &str, counted: [usize; 2], bound: [usize; 2]) {
    println!("{what}: {} iterations, {} products", counted[0], counted[1]);
    assert!(
        counted[0] <= bound[0] && counted[1] <= bound[1],
        "{what}: {counted:?} iterations and products, at most {bound:?} were expected"
    );
}

#[test]
fn registrations_take_the_work_they_took() {
    let fast = Registration::default();
    at_most("fast, 3D", work(&fast, &[40, 48, 40]), [14, 120]);
    at_most("fast, 2D", work(&fast, &[80, 96]), [28, 130]);
    let certified = Registration {
        deformation: Some(Deformation {
            certify: true,
            ..Deformation::default()
        }),
        ..Registration::default()
    };
    at_most("certified, 2D", work(&certified, &[80, 96]), [105, 1250]);
}

/// A problem in three dimensions.
fn problem() -> EnergyProblem {
    let phantom = Phantom::pair(&[32, 36, 32], &[5.0; 3], 3).unwrap();
    let image = |values: Vec<f32>| Tensor::from_vec(values, (1, 32, 36, 32), &Device::Cpu).unwrap();
    let data = SsdData {
        fixed: image(phantom.fixed),
        moving: image(phantom.moving),
        mask: None,
        channel_weight: vec![1.0],
        map: Affine::identity(),
        interpolation: Interpolation::Linear,
    };
    let (smooth, transform) = (Arc::new(Diffusion), Arc::new(Compositive));
    EnergyProblem::new(data, smooth, 0.05, transform, phantom.grid)
}

/// Iterations taken and blocks as large as a field's component that they asked for.
fn blocks(problem: &EnergyProblem, solver: &dyn Solver) -> (usize, usize) {
    let theta = problem
        .transform
        .identity(&problem.grid, DType::F32, &Device::Cpu)
        .unwrap();
    let mut steps = 0;
    let (solution, blocks) = blocks_during(4 * problem.grid.voxels(), || {
        solver.solve(problem, theta, &mut |_| {
            steps += 1;
            Ok(())
        })
    });
    solution.unwrap();
    (steps, blocks)
}

#[test]
fn iterations_of_the_fast_solver_ask_for_no_memory() {
    let problem = problem();
    let run = |steps: usize, products: usize| {
        let solver = GaussNewton {
            steps,
            products,
            decrease: 0.0,
            gradient: 0.0,
            tolerance: 0.0,
        };
        blocks(&problem, &solver)
    };
    // the first solve makes what the problem keeps
    run(2, 3);
    let [few, more, longer] = [run(2, 3), run(8, 3), run(2, 20)];
    assert!(more.0 > few.0, "{few:?} {more:?}");
    assert_eq!(few.1, longer.1, "products of an iteration ask for memory");
    assert_eq!(few.1, more.1, "iterations ask for memory: {few:?} {more:?}");
}
