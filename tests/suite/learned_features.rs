//! Registrations by the features of a network: in the library, and `register --features` with a file of weights.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use serde_json::Value;
use stillpoint::{
    gradient_energy, Affine, AlignmentStart, CoarseMind, Deformation, FeatureNetwork, Features,
    Grid, HandMade, Image, Intensities, Labels, Level, LinearKind, Mind, Multilevel, NetworkConfig,
    Pair as Images, Parameters, Phantom, Provenance, Pyramid, Registered, Registration, Unet,
    Weights,
};

use crate::pair::{distance, Pair};
use crate::program::Program;
use crate::samples::{noise, shape, values};

/// A small network that adds nothing yet to its base features.
fn untrained(rank: usize, base: &str) -> Unet {
    let features = stillpoint::named_base(base).unwrap();
    let config = NetworkConfig {
        widths: vec![4, 8, 8],
        shrinks: vec![4, 2, 1],
        outputs: features.channels(1, rank),
        base: Some(base.into()),
        ..NetworkConfig::unet(rank, 1)
    };
    Unet::new(&config, Some(features), 1, DType::F32).unwrap()
}

/// The network in a file.
pub fn weights(program: &Program, name: &str, rank: usize, base: &str, lambda: Option<f64>) {
    let mut provenance = Provenance::of(1, "nothing", "public domain");
    provenance.lambda = lambda;
    untrained(rank, base)
        .save(program.path(name), &provenance)
        .unwrap();
}

fn flat() -> (Phantom, Image, Image) {
    let phantom = Phantom::pair(&[96, 112], &[1.7, 1.7], 1).unwrap();
    let image = |values: &[f32]| Image::new(phantom.grid.clone(), 1, values.to_vec()).unwrap();
    let (fixed, moving) = (image(&phantom.fixed), image(&phantom.moving));
    (phantom, fixed, moving)
}

fn deformed(network: Option<Arc<dyn FeatureNetwork>>, deformation: Deformation) -> Registration {
    Registration {
        start: AlignmentStart::Identity,
        linear: Vec::new(),
        deformation: Some(deformation),
        network,
        ..Registration::default()
    }
}

#[test]
fn a_network_of_features_made_by_hand_registers_as_they_do() {
    let (phantom, fixed, moving) = flat();
    for features in [Features::Intensities, Features::CoarseMind] {
        let by_hand = Deformation {
            features,
            ..Deformation::default()
        };
        let found = |network| -> (Registered, f64) {
            let registration = deformed(network, by_hand.clone());
            let found = registration.run(&fixed, &moving, &mut |_| Ok(())).unwrap();
            let error = distance(&phantom, found.total_field(&fixed).unwrap().values());
            (found, error)
        };
        let base = stillpoint::named_base(features.name()).unwrap();
        let network = HandMade::new(base, 2, 1, &[4, 2, 1]).unwrap();
        let (plain, error) = found(None);
        let (learned, other) = found(Some(Arc::new(network)));
        assert_eq!(plain.deformable.unwrap().features, Some(features));
        let report = learned.deformable.unwrap();
        assert_eq!(report.features, None);
        let shrinks: Vec<usize> = report.levels.iter().map(|level| level.shrink).collect();
        assert_eq!(shrinks, [4, 2, 1]);
        // nothing is cropped: the fields of view differ, the maps hardly
        assert!((error - other).abs() < 0.05 * error, "{error} {other}");
    }
}

#[test]
fn levels_are_those_of_the_network() {
    let (phantom, fixed, moving) = flat();
    let network: Arc<dyn FeatureNetwork> = Arc::new(untrained(2, "mind"));
    let run = |levels: &[usize]| {
        let deformation = Deformation {
            levels: Some(levels.to_vec()),
            ..Deformation::default()
        };
        deformed(Some(network.clone()), deformation).run(&fixed, &moving, &mut |_| Ok(()))
    };
    let before = distance(&phantom, &vec![0.0; phantom.displacement.len()]);
    for levels in [&[4, 2, 1][..], &[4, 2]] {
        let found = run(levels).unwrap();
        let u = found.displacement.as_ref().unwrap();
        assert_eq!(u.dims(), [2, 112, 96]);
        let error = distance(&phantom, found.total_field(&fixed).unwrap().values());
        assert!(error < 0.6 * before, "{levels:?}: {before} {error}");
    }
    let error = run(&[8, 1]).unwrap_err().to_string();
    assert!(
        error.contains("[4, 2, 1]") && error.contains('8'),
        "{error}"
    );
    let other: Arc<dyn FeatureNetwork> = Arc::new(untrained(3, "mind"));
    let error = deformed(Some(other), Deformation::default())
        .run(&fixed, &moving, &mut |_| Ok(()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("3 axes"), "{error}");
}

#[test]
fn linear_stages_align_the_features() {
    let phantom = Phantom::pair(&[96, 112], &[1.7, 1.7], 1).unwrap();
    let grid = &phantom.grid;
    let (sin, cos) = 0.2f64.sin_cos();
    let turn = Affine::new(
        [[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]],
        [6.0, -5.0, 0.0],
    );
    let turned = Grid::new(
        grid.size(),
        grid.spacing(),
        turn.apply(grid.origin()),
        turn.matrix,
    )
    .unwrap();
    let fixed = Image::new(grid.clone(), 1, phantom.fixed.clone()).unwrap();
    let inverted = phantom.fixed.iter().map(|v| 1.0 - v).collect();
    let moving = Image::new(turned, 1, inverted).unwrap();
    let found = |network: Option<Arc<dyn FeatureNetwork>>| {
        let registration = Registration {
            start: AlignmentStart::Identity,
            linear: vec![LinearKind::Rigid],
            deformation: None,
            network,
            ..Registration::default()
        };
        let found = registration.run(&fixed, &moving, &mut |_| Ok(())).unwrap();
        found.affine.distance_over(&turn, &grid.corners())
    };
    // a contrast that is inverted has no place where intensities correlate
    let (without, with) = (found(None), found(Some(Arc::new(untrained(2, "mind")))));
    // less than a voxel
    assert!(with < 1.5, "{with}");
    assert!(without > 5.0, "{without}");
}

/// A network whose features are multiplied: too large or too small for half precision.
#[derive(Debug)]
struct Loud(Unet, f64);

impl FeatureNetwork for Loud {
    fn rank(&self) -> usize {
        self.0.rank()
    }
    fn inputs(&self) -> usize {
        self.0.inputs()
    }
    fn channels(&self) -> usize {
        self.0.channels()
    }
    fn shrinks(&self) -> &[usize] {
        self.0.shrinks()
    }
    fn parameters(&self) -> Parameters {
        self.0.parameters()
    }
    fn maps(
        &self,
        images: &Tensor,
        grid: &Grid,
        targets: &[Grid],
    ) -> stillpoint::Result<Vec<Tensor>> {
        let maps = self.0.maps(images, grid, targets)?;
        Ok(maps.iter().map(|map| (map * self.1).unwrap()).collect())
    }
}

#[test]
fn features_in_halves_register_as_well() {
    let (phantom, fixed, moving) = flat();
    let mask = Labels::new(
        phantom.grid.clone(),
        phantom
            .moving_labels
            .iter()
            .map(|&l| u32::from(l > 0))
            .collect(),
    );
    let registration = Registration {
        moving_mask: Some(mask.unwrap()),
        start: AlignmentStart::Identity,
        network: Some(Arc::new(untrained(2, "mind"))),
        ..Registration::default()
    };
    let run = |half_features: bool| {
        let registration = Registration {
            half_features,
            ..registration.clone()
        };
        let found = registration.run(&fixed, &moving, &mut |_| Ok(())).unwrap();
        assert!(found.alignment.is_some());
        let field = found.total_field(&fixed).unwrap().values().to_vec();
        (distance(&phantom, &field), field)
    };
    let ((half, halved), (full, field)) = (run(true), run(false));
    assert!(halved != field);
    assert!((half - full).abs() < 0.02 * full, "{half} mm for {full}");

    for factor in [1e6, 1e-6] {
        let loud = Registration {
            network: Some(Arc::new(Loud(untrained(2, "mind"), factor))),
            half_features: true,
            ..registration.clone()
        };
        let error = loud.run(&fixed, &moving, &mut |_| Ok(()));
        let error = error.unwrap_err().to_string();
        for word in ["features of the fixed image", "65504", "single precision"] {
            assert!(error.contains(word), "{error}");
        }
    }
}

#[test]
fn the_gradient_energy_of_halves_is_that_of_their_values() {
    for size in [&[17, 12][..], &[33, 7, 5], &[8, 1, 6]] {
        let halves = noise(&shape(3, size), 1).to_dtype(DType::F16).unwrap();
        let wide = halves.to_dtype(DType::F32).unwrap();
        let [of_halves, expected] = [&halves, &wide].map(|x| gradient_energy(x).unwrap());
        assert_eq!(of_halves, expected);
    }
}

#[test]
fn pyramids_of_two_kinds_are_refused() {
    let grid = Grid::axis_aligned(&[16, 16], &[1.0, 1.0]).unwrap();
    let level = Level {
        features: noise(&[1, 16, 16], 1).to_dtype(DType::F32).unwrap(),
        grid,
    };
    let levels = [level.clone()];
    let multilevel: Multilevel = Multilevel {
        shrinks: vec![1],
        ..multilevel()
    };
    for (fixed, moving) in [
        (Pyramid::Finest(&level), Pyramid::Levels(&levels)),
        (Pyramid::Levels(&levels), Pyramid::Finest(&level)),
    ] {
        let pair = Images {
            fixed,
            moving,
            affine: Affine::identity(),
            channel_weights: None,
            fixed_mask: None,
            moving_mask: None,
            prompts: &[],
        };
        let error = multilevel.solve(&pair, &mut |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("give both the same"), "{error}");
    }
}

fn multilevel() -> Multilevel {
    Multilevel {
        shrinks: vec![1],
        features: Features::Intensities,
        solvers: vec![Arc::new(stillpoint::GaussNewton::default())],
        transform: Arc::new(stillpoint::Displacement),
        regulariser: Arc::new(stillpoint::Diffusion),
        lambda: 0.2,
        damping: 0.0,
        dtype: DType::F32,
        interpolation: stillpoint::Interpolation::Linear,
        barrier: None,
        device: candle_core::Device::Cpu,
        differentiated: false,
    }
}

#[test]
fn base_features_are_found_by_name() {
    let program = Program::new();
    for base in ["intensities", "mind", "coarse-mind"] {
        weights(&program, "w.safetensors", 2, base, None);
        let network = Weights::read(program.path("w.safetensors"))
            .unwrap()
            .build()
            .unwrap();
        let grid = Grid::axis_aligned(&[20, 24], &[1.0, 1.0]).unwrap();
        let images = noise(&[1, 1, 24, 20], 1).to_dtype(DType::F32).unwrap();
        let maps = network.fixed_pyramid(&images, &grid).unwrap();
        let hand: Arc<dyn stillpoint::BaseFeatures> = match base {
            "mind" => Arc::new(Mind),
            "coarse-mind" => Arc::new(CoarseMind),
            _ => Arc::new(Intensities),
        };
        let expected = HandMade::new(hand, 2, 1, &[4, 2, 1])
            .unwrap()
            .fixed_pyramid(&images, &grid)
            .unwrap();
        for (a, b) in maps.iter().zip(&expected) {
            assert_eq!(values(&a.features), values(&b.features), "{base}");
        }
    }
    assert!(stillpoint::named_base("edges").is_none());
}

#[test]
fn a_network_that_was_built_has_its_weights_and_no_graph() {
    let program = Program::new();
    let config = NetworkConfig {
        widths: vec![4, 8],
        shrinks: vec![2, 1],
        outputs: 3,
        ..NetworkConfig::large_kernel_unet(2, 1, 4)
    };
    let trained = Unet::new(&config, None, 5, DType::F32).unwrap();
    let mut provenance = Provenance::of(5, "nothing", "public domain");
    // other first weights than those in the file
    provenance.seed = 6;
    trained
        .save(program.path("w.safetensors"), &provenance)
        .unwrap();
    let built = Weights::read(program.path("w.safetensors"))
        .unwrap()
        .build()
        .unwrap();
    let grid = Grid::axis_aligned(&[20, 24], &[1.0, 1.0]).unwrap();
    let images = noise(&[1, 1, 24, 20], 1).to_dtype(DType::F32).unwrap();
    let expected = trained.fixed_pyramid(&images, &grid).unwrap();
    let found = built.fixed_pyramid(&images, &grid).unwrap();
    for (a, b) in expected.iter().zip(&found) {
        assert_eq!(values(&a.features), values(&b.features));
        assert!(a.features.track_op() && !b.features.track_op());
    }
    assert_eq!(built.parameters().count(), trained.parameters().count());
}

#[test]
fn weights_drive_any_stage() {
    let pair = Pair::flat();
    weights(&pair.program, "mind.safetensors", 2, "mind", Some(0.3));
    for stages in ["affine", "affine,displacement", "compositive"] {
        let report = pair.report(&format!("--features mind.safetensors -t {stages}"));
        assert!(pair.error() < 0.95 * pair.initial(), "{stages}");
        let network = &report["network"];
        assert_eq!(network["weights"], "mind.safetensors");
        assert_eq!(network["sha256"].as_str().unwrap().len(), 64);
        assert_eq!(network["provenance"]["training_set"], "nothing");
        assert_eq!(network["config"]["base"], "mind");
        assert_eq!(report["settings"]["features"], "mind.safetensors");
        if stages != "affine" {
            assert_eq!(report["deformable"]["lambda"], 0.3);
            assert_eq!(report["deformable"]["features"], Value::Null);
        }
    }
    let report = pair.report("--features mind.safetensors --lambda 0.5 --levels 4x2");
    assert_eq!(report["deformable"]["lambda"], 0.5);
    assert_eq!(report["deformable"]["levels"].as_array().unwrap().len(), 2);
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let pair = Pair::flat();
    let program = &pair.program;
    weights(program, "w3.safetensors", 3, "mind", None);
    weights(program, "w.safetensors", 2, "mind", None);
    let whole = std::fs::read(program.path("w.safetensors")).unwrap();
    std::fs::write(program.path("cut.safetensors"), &whole[..whole.len() / 2]).unwrap();
    let text = String::from_utf8_lossy(&whole).into_owned();
    assert!(text.contains(r#"\"unet\""#));
    let other = |from: &str, to: &str| -> Vec<u8> {
        let at = whole
            .windows(from.len())
            .position(|part| part == from.as_bytes())
            .unwrap();
        let mut bytes = whole.clone();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    std::fs::write(
        program.path("arch.safetensors"),
        other(r#"\"unet\""#, r#"\"vnet\""#),
    )
    .unwrap();
    std::fs::write(
        program.path("base.safetensors"),
        other(r#"\"mind\""#, r#"\"mint\""#),
    )
    .unwrap();
    std::fs::write(
        program.path("shape.safetensors"),
        other("[4,8,8]", "[4,8,4]"),
    )
    .unwrap();
    for (file, words) in [
        ("w3.safetensors", "3 dimensions"),
        ("cut.safetensors", "cut off"),
        ("arch.safetensors", "vnet"),
        ("base.safetensors", "mint"),
        ("shape.safetensors", "expected shape"),
        ("none.safetensors", "cannot read"),
    ] {
        let found = program.run(&pair.words(&format!("--features {file}")));
        let message = String::from_utf8_lossy(&found.stderr).into_owned();
        assert_eq!(found.status.code(), Some(1), "{file}: {message}");
        assert!(
            message.contains(file) && message.contains(words),
            "{message}"
        );
        assert!(!program.path("p_warp.nii.gz").exists());
    }
    let found = program.run(&pair.words("--features w.safetensors --levels 8x4"));
    let message = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(message.contains("[4, 2, 1]"), "{message}");
}
