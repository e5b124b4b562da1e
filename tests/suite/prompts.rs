//! Prompts through registrations and the layer: what they gain, the gradient with them, and what is refused.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use stillpoint::{
    landmark_errors, overlap, resample_labels, AlignmentStart, Chain, Compositive, Deformation,
    Displacement, FeatureLevel, Grid, Image, LabelResampling, Labels, LayerInput, Phantom, Prompt,
    Registered, Registration, RegistrationLayer, TrustRegion, Unconverged,
};

use crate::gradients::slope_errors;
use crate::program::world_points;
use crate::samples::{along, noise, tensor, values};

/// Discs, each a label of its own: centre, radius, number.
fn discs(grid: &Grid, all: &[([f64; 3], f64, u32)]) -> Arc<Labels> {
    let label = |p: [f64; 3]| {
        let inside =
            |c: &[f64; 3], r: f64| (0..3).map(|a| (p[a] - c[a]).powi(2)).sum::<f64>() < r * r;
        all.iter()
            .find(|(c, r, _)| inside(c, *r))
            .map_or(0, |(_, _, id)| *id)
    };
    let labels = world_points(grid).map(label).collect();
    Arc::new(Labels::new(grid.clone(), labels).unwrap())
}

fn flat_grid() -> Grid {
    Grid::axis_aligned(&[48, 40], &[1.5, 1.5]).unwrap()
}

fn dice(fixed: &Labels, moving: &Labels, chain: &Chain, id: u32) -> f64 {
    let warped = resample_labels(moving, chain, fixed.grid(), LabelResampling::Nearest, 0).unwrap();
    let found = overlap(fixed.values(), warped.values(), None, Some(&[id])).unwrap();
    found.mean_dice.unwrap()
}

/// A pyramid of featureless maps on a grid and its halves.
fn featureless(grid: &Grid) -> Vec<FeatureLevel> {
    [4, 2, 1]
        .into_iter()
        .map(|shrink| {
            let size: Vec<usize> = grid.size().iter().map(|n| n / shrink).collect();
            let grid = grid.resized(&size).unwrap();
            let shape = [vec![1, 1], grid.shape()].concat();
            let features = Tensor::zeros(shape, DType::F64, &candle_core::Device::Cpu).unwrap();
            FeatureLevel {
                shrink,
                features,
                grid,
            }
        })
        .collect()
}

/// The map that the layer finds for prompts alone.
fn by_prompts_alone(layer: &RegistrationLayer, grid: &Grid, prompts: Vec<Prompt>) -> Chain {
    let maps = featureless(grid);
    let prompts = [prompts];
    let out = layer
        .forward(&LayerInput {
            prompts: Some(&prompts),
            ..LayerInput::new(&maps, &maps)
        })
        .unwrap();
    assert!(out.failures.is_empty(), "{:?}", out.failures);
    let level = out.finest();
    let (n, u) = (grid.voxels(), values(&level.displacement.get(0).unwrap()));
    let mm = (0..u.len()).map(|k| (u[k] * grid.spacing()[k / n]) as f32);
    let field = stillpoint::DisplacementField::new(grid.clone(), mm.collect()).unwrap();
    Chain::new(grid.rank()).unwrap().then_field(field).unwrap()
}

fn layers() -> [RegistrationLayer; 2] {
    [RegistrationLayer::default(), RegistrationLayer::certified()]
}

/// Images without any edge: the prompt is all there is.
#[test]
fn a_structure_is_found_by_its_prompt_alone_even_where_the_two_do_not_overlap() {
    let grid = flat_grid();
    let fixed = discs(&grid, &[([25.0, 30.0, 0.0], 7.0, 5)]);
    for (centre, least) in [([31.0, 27.0, 0.0], 0.95), ([42.0, 30.0, 0.0], 0.9)] {
        let moving = discs(&grid, &[(centre, 7.0, 5)]);
        for layer in layers() {
            let prompt = Prompt::labels(fixed.clone(), moving.clone(), &[5]).unwrap();
            let still = Chain::new(2).unwrap();
            assert!(dice(&fixed, &moving, &still, 5) < 0.6);
            let chain = by_prompts_alone(&layer, &grid, vec![prompt]);
            let found = dice(&fixed, &moving, &chain, 5);
            assert!(
                found > least,
                "{centre:?} {:?}: {found}",
                layer.deformation.certify
            );
        }
    }
}

#[test]
fn points_alone_are_met_and_what_lies_around_them_follows() {
    let grid = flat_grid();
    let fixed = vec![[20.0, 20.0, 0.0], [45.0, 35.0, 0.0]];
    let moving = vec![[24.0, 22.0, 0.0], [43.0, 31.0, 0.0]];
    for layer in layers() {
        let prompt = Prompt::points(fixed.clone(), moving.clone()).unwrap();
        let chain = by_prompts_alone(&layer, &grid, vec![prompt]);
        let errors = landmark_errors(&chain.apply_all(&fixed), &moving).unwrap();
        assert!(errors.summary.maximum < 0.7, "{errors}");
        let near = chain.apply_all(&[[20.0, 26.0, 0.0]])[0];
        assert!(near[0] - 20.0 > 1.5, "{near:?}");
    }
}

/// Marks of one number are carried to marks of that number, whatever their shape, and the unmarked says nothing.
#[test]
fn scribbles_are_carried_to_scribbles_of_their_number() {
    let grid = flat_grid();
    let line = |y: f64, x: std::ops::Range<f64>, id: u32| {
        move |p: [f64; 3]| (x.contains(&p[0]) && (p[1] - y).abs() < 0.8).then_some(id)
    };
    let marked = |lines: [&dyn Fn([f64; 3]) -> Option<u32>; 2]| {
        let of = |p| lines.iter().find_map(|line| line(p)).unwrap_or(0);
        let labels = world_points(&grid).map(of).collect();
        Arc::new(Labels::new(grid.clone(), labels).unwrap())
    };
    let fixed = marked([&line(18.0, 20.0..40.0, 1), &line(42.0, 25.0..45.0, 2)]);
    let moving = marked([&line(24.0, 22.0..34.0, 1), &line(37.5, 28.0..50.0, 2)]);
    for layer in layers() {
        let prompt = Prompt::scribbles(fixed.clone(), moving.clone()).unwrap();
        let chain = by_prompts_alone(&layer, &grid, vec![prompt]);
        let heights = |y: f64| chain.apply_all(&[[32.0, y, 0.0]])[0][1];
        let (low, high) = (heights(18.0), heights(42.0));
        assert!(low > 21.0 && high < 40.5, "{low} {high}");
    }
}

/// The same solve with weights a thousand times smaller features: a weight is relative to them.
#[test]
fn a_weight_means_the_same_for_features_of_any_amplitude() {
    let (grid, phantom) = phantom();
    let prompt = || vec![Prompt::labels(phantom.0.clone(), phantom.1.clone(), &[5]).unwrap()];
    let run = |scale: f64| {
        let map = |labels: &Labels| {
            let image: Vec<f64> = labels
                .values()
                .iter()
                .map(|&v| scale * f64::from(v % 7))
                .collect();
            let shape = [vec![1, 1], grid.shape()].concat();
            vec![FeatureLevel {
                shrink: 1,
                features: tensor(image, &shape),
                grid: grid.clone(),
            }]
        };
        let prompts = [prompt()];
        let layer = RegistrationLayer::default();
        let (fixed, moving) = (map(&phantom.0), map(&phantom.1));
        let input = LayerInput {
            prompts: Some(&prompts),
            ..LayerInput::new(&fixed, &moving)
        };
        values(&layer.forward(&input).unwrap().finest().displacement)
    };
    let (one, small) = (run(1.0), run(1e-3));
    let gap = crate::samples::distance(&one, &small);
    let size = one.iter().fold(0.0f64, |w, v| w.max(v.abs()));
    assert!(size > 0.5 && gap < 0.02 * size, "{gap} of {size}");
}

fn phantom() -> (Grid, (Arc<Labels>, Arc<Labels>)) {
    let phantom = Phantom::pair(&[64, 72], &[2.5; 2], 4).unwrap();
    let labels = |v: &[u32]| Arc::new(Labels::new(phantom.grid.clone(), v.to_vec()).unwrap());
    let both = (
        labels(&phantom.fixed_labels),
        labels(&phantom.moving_labels),
    );
    (phantom.grid, both)
}

/// Outlines of the phantom: prompting one structure helps it and, on the mean, the others.
struct Outlines {
    fixed: Image,
    moving: Image,
    labels: (Arc<Labels>, Arc<Labels>),
}

impl Outlines {
    fn new() -> Self {
        let (grid, labels) = phantom();
        let image = |l: &Labels| {
            let inside = l.values().iter().map(|&v| f32::from(u8::from(v > 0)));
            Image::new(grid.clone(), 1, inside.collect()).unwrap()
        };
        Self {
            fixed: image(&labels.0),
            moving: image(&labels.1),
            labels,
        }
    }

    fn registration(&self, prompts: Vec<Prompt>, deformation: Deformation) -> Registration {
        Registration {
            start: AlignmentStart::Identity,
            linear: Vec::new(),
            deformation: Some(deformation),
            prompts,
            ..Registration::default()
        }
    }

    fn run(&self, prompts: Vec<Prompt>, deformation: Deformation) -> Registered {
        let registration = self.registration(prompts, deformation);
        registration
            .run(&self.fixed, &self.moving, &mut |_| Ok(()))
            .unwrap()
    }

    fn dice(&self, registered: &Registered, id: u32) -> f64 {
        let field = registered.total_field(&self.fixed).unwrap();
        let chain = Chain::new(2).unwrap().then_field(field).unwrap();
        dice(&self.labels.0, &self.labels.1, &chain, id)
    }

    fn prompt(&self) -> Prompt {
        Prompt::labels(self.labels.0.clone(), self.labels.1.clone(), &[5]).unwrap()
    }
}

#[test]
fn one_prompted_structure_gains_for_every_transform_and_the_finest_level_may_go_without() {
    let outlines = Outlines::new();
    for deformation in [
        Deformation::default(),
        Deformation {
            transform: Arc::new(Displacement),
            ..Deformation::default()
        },
        Deformation {
            transform: Arc::new(stillpoint::BSpline { spacing: 4 }),
            ..Deformation::default()
        },
        Deformation {
            transform: Arc::new(Compositive),
            ..Deformation::certified()
        },
    ] {
        let plain = outlines.dice(&outlines.run(Vec::new(), deformation.clone()), 5);
        let prompted = outlines.run(vec![outlines.prompt()], deformation.clone());
        let own = outlines.dice(&prompted, 5);
        let name = deformation.transform.name();
        assert!(own > plain + 0.1, "{name}: {plain} {own}");
        let levels = &prompted.deformable.as_ref().unwrap().levels;
        assert!(levels.iter().all(|level| level.prompts > 0.0));
        let coarse = Prompt {
            off_at_finest: true,
            ..outlines.prompt()
        };
        let released = outlines.run(vec![coarse], deformation.clone());
        let levels = &released.deformable.as_ref().unwrap().levels;
        let (last, rest) = levels.split_last().unwrap();
        assert!(last.prompts == 0.0 && rest.iter().all(|level| level.prompts > 0.0));
        if deformation.certify {
            let held = |l: &stillpoint::LevelReport| l.certificate.strict_minimum;
            assert!(levels.iter().all(held), "{levels:?}");
        }
    }
}

#[test]
fn prompts_have_the_same_bits_for_any_number_of_threads() {
    let outlines = Outlines::new();
    let points = Prompt::points(vec![[3.0, 4.0, 0.0]], vec![[5.0, 1.0, 0.0]]).unwrap();
    let scribbles =
        Prompt::scribbles(outlines.labels.0.clone(), outlines.labels.1.clone()).unwrap();
    let run = || {
        let prompts = vec![outlines.prompt(), points.clone(), scribbles.clone()];
        values(
            &outlines
                .run(prompts, Deformation::default())
                .displacement
                .unwrap(),
        )
    };
    let pool = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    };
    assert_eq!(pool(1).install(run), pool(3).install(run));
}

/// Through two levels, each with labels and points: features, as the prompts enter the Hessian of the adjoint.
#[test]
fn the_gradient_of_the_layer_with_prompts_is_that_of_finite_differences() {
    let grid = Grid::axis_aligned(&[12, 10], &[1.0, 1.25]).unwrap();
    let fixed_labels = discs(
        &grid,
        &[([4.0, 5.0, 0.0], 2.5, 1), ([8.5, 8.0, 0.0], 2.2, 2)],
    );
    let moving_labels = discs(
        &grid,
        &[([4.6, 5.2, 0.0], 2.5, 1), ([8.1, 7.3, 0.0], 2.2, 2)],
    );
    let prompts = [vec![
        Prompt {
            weight: 0.4,
            ..Prompt::labels(fixed_labels, moving_labels, &[]).unwrap()
        },
        Prompt {
            weight: 0.3,
            ..Prompt::points(vec![[5.2, 3.1, 0.0]], vec![[5.6, 2.9, 0.0]]).unwrap()
        },
    ]];
    let solver = TrustRegion {
        gradient: 1e-13,
        products: 2000,
        ..TrustRegion::default()
    };
    let mut layer = RegistrationLayer::certified();
    layer.deformation.solver = Some(Arc::new(solver));
    layer.adjoint.tolerance = 1e-11;
    layer.uncertified = Unconverged::Warn;
    let level = |shrink: usize, seed: u64| {
        let size: Vec<usize> = grid.size().iter().map(|n| n / shrink).collect();
        let grid = grid.resized(&size).unwrap();
        let map = noise(&[vec![2], grid.shape()].concat(), seed);
        let map = stillpoint::smooth(&map, &[1.3; 2]).unwrap();
        FeatureLevel {
            shrink,
            features: (map * 3.0).unwrap().unsqueeze(0).unwrap(),
            grid,
        }
    };
    let fixed = vec![level(2, 1), level(1, 2)];
    let moving: Vec<FeatureLevel> = fixed
        .iter()
        .map(|f| FeatureLevel {
            features: along(&f.features, 0.1, &noise(f.features.dims(), 5)),
            ..f.clone()
        })
        .collect();
    let start: Vec<Tensor> = moving.iter().map(|level| level.features.clone()).collect();
    let run = |data: &[Tensor]| {
        let moving: Vec<FeatureLevel> = (0..2)
            .map(|k| FeatureLevel {
                features: data[k].clone(),
                ..moving[k].clone()
            })
            .collect();
        let out = layer
            .forward(&LayerInput {
                prompts: Some(&prompts),
                ..LayerInput::new(&fixed, &moving)
            })
            .unwrap();
        assert!(out.failures.is_empty(), "{:?}", out.failures);
        let mut total = Tensor::zeros((), DType::F64, &candle_core::Device::Cpu).unwrap();
        for (k, level) in out.levels.iter().enumerate() {
            let report = level.reports[0].as_ref().unwrap();
            assert!(report.prompts > 0.0 && report.certificate.gradient_ratio < 1e-10);
            let w = noise(level.displacement.dims(), 90 + k as u64);
            let sum = (&level.displacement * w).unwrap().sum_all().unwrap();
            total = (total + sum).unwrap();
        }
        total
    };
    for (k, error) in slope_errors(&start, run).into_iter().enumerate() {
        assert!(error < 1e-6, "level {k}: relative error {error:.1e}");
    }
}

#[test]
fn a_mask_takes_a_prompt_back_where_it_does_not_count() {
    let grid = flat_grid();
    let both = [([18.0, 30.0, 0.0], 6.0, 1), ([50.0, 30.0, 0.0], 6.0, 2)];
    let apart = [([18.0, 35.0, 0.0], 6.0, 1), ([50.0, 26.0, 0.0], 6.0, 2)];
    let (fixed, moving) = (discs(&grid, &both), discs(&grid, &apart));
    let left = discs(&grid, &[([18.0, 30.0, 0.0], 17.0, 1)]);
    for (mask, right) in [(None, -4.5..-2.5), (Some(left), 3.5..5.5)] {
        let mut prompt = Prompt::labels(fixed.clone(), moving.clone(), &[]).unwrap();
        prompt.mask = mask;
        let chain = by_prompts_alone(&RegistrationLayer::default(), &grid, vec![prompt]);
        let lift = |x: f64| chain.apply_all(&[[x, 30.0, 0.0]])[0][1] - 30.0;
        let found = (lift(18.0), lift(50.0));
        // what does not count follows the rest
        assert!(found.0 > 4.0 && right.contains(&found.1), "{found:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let outlines = Outlines::new();
    let (fixed, moving) = outlines.labels.clone();
    let say = |error: stillpoint::Error, words: &[&str]| {
        let text = error.to_string();
        for word in words {
            assert!(text.contains(word), "no {word:?} in {text}");
        }
    };
    let absent = Prompt::labels(fixed.clone(), moving.clone(), &[5, 99]).unwrap_err();
    say(
        absent,
        &["fixed labels", "found no voxel of 99", "there are 1, 2"],
    );
    let grid = fixed.grid().clone();
    let one = discs(&grid, &[([0.0; 3], 9.0, 1)]);
    let two = discs(&grid, &[([0.0; 3], 9.0, 1), ([30.0, 0.0, 0.0], 9.0, 2)]);
    let missing = Prompt::labels(two, one.clone(), &[]).unwrap_err();
    say(
        missing,
        &["moving labels", "found no voxel of 2", "there are 1"],
    );
    let empty = discs(&grid, &[]);
    say(
        Prompt::scribbles(empty.clone(), empty.clone()).unwrap_err(),
        &["scribbles", "background"],
    );
    say(
        Prompt::points(vec![[0.0; 3]; 3], vec![[0.0; 3]; 2]).unwrap_err(),
        &["3 fixed and 2 moving"],
    );
    let refused = |prompt: Prompt, words: &[&str]| {
        let registration = outlines.registration(vec![prompt], Deformation::default());
        let run = registration.run(&outlines.fixed, &outlines.moving, &mut |_| Ok(()));
        say(run.unwrap_err(), words);
    };
    let far = Prompt::points(vec![[0.0; 3], [500.0, 0.0, 0.0]], vec![[0.0; 3]; 2]).unwrap();
    refused(far, &["fixed points", "point 2", "500.00", "64x72"]);
    let elsewhere = discs(&flat_grid(), &[([25.0, 30.0, 0.0], 7.0, 5)]);
    let other = Prompt::labels(elsewhere, one.clone(), &[5]);
    say(other.unwrap_err(), &["moving labels", "no voxel of 5"]);
    let small = discs(&flat_grid(), &[([25.0, 30.0, 0.0], 7.0, 1)]);
    refused(
        Prompt::labels(small, one, &[]).unwrap(),
        &["fixed labels", "48x40", "64x72"],
    );
    for weight in [0.0, -1.0, f64::NAN] {
        let prompt = Prompt {
            weight,
            ..outlines.prompt()
        };
        refused(prompt, &["weight must be positive"]);
    }
    let masked = |mask: Arc<Labels>, prompt: Prompt| Prompt {
        mask: Some(mask),
        ..prompt
    };
    refused(masked(empty, outlines.prompt()), &["mask", "no voxel"]);
    let point = Prompt::points(vec![[0.0; 3]], vec![[0.0; 3]]).unwrap();
    refused(masked(fixed, point), &["mask has no effect on points"]);

    let off = Prompt {
        off_at_finest: true,
        ..outlines.prompt()
    };
    let single = Deformation {
        levels: Some(vec![1]),
        ..Deformation::default()
    };
    let registration = outlines.registration(vec![off], single);
    let run = registration.run(&outlines.fixed, &outlines.moving, &mut |_| Ok(()));
    say(run.unwrap_err(), &["finest level", "more levels"]);
    let linear = Registration {
        deformation: None,
        prompts: vec![outlines.prompt()],
        ..Registration::default()
    };
    let run = linear.run(&outlines.fixed, &outlines.moving, &mut |_| Ok(()));
    say(run.unwrap_err(), &["no effect on linear stages"]);

    let maps = featureless(&grid);
    let lists = [Vec::new(), Vec::new()];
    let input = LayerInput {
        prompts: Some(&lists),
        ..LayerInput::new(&maps, &maps)
    };
    let error = RegistrationLayer::default().forward(&input).unwrap_err();
    say(error, &["prompts", "one list a pair, 1, got 2"]);
}
