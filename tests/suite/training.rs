//! Trainings: they learn, come back to the same bits, and name what is wrong.

use std::fs;
use std::path::Path;

use stillpoint::{
    read_tensors, Augmentation, DataConfig, DataSet, Error, GradientSide, Grid, Image, Labels,
    NetworkConfig, OptimiserConfig, Phantom, PretrainingConfig, Rng, SolveConfig, Subject,
    SynthesisConfig, Trainer, TrainingConfig, Weights,
};

use crate::program::Program;

/// Blobs of 24 by 24 pixels, a network of two scales.
pub fn config(folder: &Path) -> TrainingConfig {
    TrainingConfig {
        out: folder.into(),
        seed: 5,
        steps: 4,
        batch: 2,
        checkpoint_every: 1,
        network: NetworkConfig {
            widths: vec![8, 8],
            shrinks: vec![2, 1],
            outputs: 4,
            ..NetworkConfig::unet(2, 1)
        },
        synthesis: Some(SynthesisConfig {
            size: vec![24, 24],
            shapes: 5,
            same_contrast: 0.0,
            ..SynthesisConfig::default()
        }),
        augmentation: Augmentation {
            rotation: 10.0,
            elastic: 3.0,
            apart: 1.0,
            gamma: 0.2,
            noise: 0.02,
            anisotropy: 2.0,
            ..Augmentation::default()
        },
        ..TrainingConfig::default()
    }
}

/// The checkpoint but for the seconds it took.
pub fn state(folder: &Path) -> Vec<(String, Vec<f32>)> {
    let (tensors, _) = read_tensors(folder.join("checkpoint.safetensors")).unwrap();
    let values = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1().unwrap();
    tensors
        .iter()
        .map(|(n, t)| (n.clone(), values(t)))
        .collect()
}

#[test]
fn stopped_and_resumed_or_on_one_thread_the_bits_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| config(&folder.path().join(name));
    Trainer::new(&at("whole"))
        .unwrap()
        .run(&mut |_, _| Ok(()))
        .unwrap();

    let stop = Trainer::new(&at("halves")).unwrap().run(&mut |step, _| {
        if step.step == 2 {
            return Err(Error::Interrupted);
        }
        Ok(())
    });
    assert!(matches!(stop, Err(Error::Interrupted)));
    // a kill in the middle of a write leaves a file beside the checkpoint, which nobody looks at
    fs::write(folder.path().join("halves/.checkpoint.tmp"), "half").unwrap();
    let mut resumed = Trainer::resume(&at("halves")).unwrap();
    assert_eq!(resumed.step(), 2);
    resumed.run(&mut |_, _| Ok(())).unwrap();
    assert_eq!(resumed.history().len(), 5);

    let pool = rayon_pool(1);
    pool.install(|| {
        Trainer::new(&at("one"))
            .unwrap()
            .run(&mut |_, _| Ok(()))
            .unwrap()
    });

    let whole = state(&folder.path().join("whole"));
    assert!(whole.len() > 20);
    assert!(whole == state(&folder.path().join("halves")), "resumed");
    assert!(whole == state(&folder.path().join("one")), "one thread");
    let log = |name: &str| {
        let text = fs::read_to_string(folder.path().join(name).join("log.csv")).unwrap();
        let without_seconds = |line: &str| {
            let cells: Vec<&str> = line.split(',').collect();
            [&cells[..6], &cells[7..]].concat().join(",")
        };
        text.lines().map(without_seconds).collect::<Vec<_>>()
    };
    assert_eq!(log("whole"), log("halves"));
    let curves = fs::read(folder.path().join("whole/curves.png")).unwrap();
    assert!(curves.starts_with(b"\x89PNG"));
    let weights = Weights::read(folder.path().join("whole/weights.safetensors")).unwrap();
    assert_eq!(weights.provenance.lambda, Some(0.2));
}

/// Maps that are computed again on the way back teach the same.
#[test]
fn recomputed_maps_teach_what_kept_ones_do() {
    for through in [GradientSide::Both, GradientSide::Either] {
        let folder = tempfile::tempdir().unwrap();
        let history = |recompute: bool| {
            let mut config = config(&folder.path().join(format!("{recompute}")));
            config.recompute = recompute;
            config.loss.through = through;
            config.steps = 2;
            let mut trainer = Trainer::new(&config).unwrap();
            trainer.run(&mut |_, _| Ok(())).unwrap();
            trainer.history().to_vec()
        };
        let (kept, again) = (history(false), history(true));
        assert_eq!(kept[1].loss, again[1].loss, "the forward pass is the same");
        for (kept, again) in kept.iter().zip(&again).skip(1) {
            assert!(kept.gradient > 0.0);
            approx::assert_relative_eq!(kept.gradient, again.gradient, max_relative = 1e-3);
            approx::assert_relative_eq!(kept.loss, again.loss, max_relative = 1e-3);
        }
    }
}

/// Two images a step by their labels, then pairs through the solver.
fn with_pretraining(folder: &Path) -> TrainingConfig {
    TrainingConfig {
        steps: 2,
        pretraining: Some(PretrainingConfig {
            steps: 3,
            images: 2,
            ..PretrainingConfig::default()
        }),
        augmentation: Augmentation {
            rotation: 10.0,
            mirror: 0.5,
            noise: 0.02,
            ..Augmentation::default()
        },
        ..with_discs(folder)
    }
}

#[test]
fn a_pretraining_is_resumed_to_the_same_bits_wherever_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let files = with_pretraining(folder.path());
    let at = |name: &str| TrainingConfig {
        out: folder.path().join(name),
        ..files.clone()
    };
    let mut whole = Trainer::new(&at("whole")).unwrap();
    whole.run(&mut |_, _| Ok(())).unwrap();
    let judged: Vec<(usize, bool)> = whole
        .history()
        .iter()
        .filter_map(|row| Some((row.step, row.validation?.segmentation.is_finite())))
        .collect();
    assert_eq!(judged, [(0, true), (3, true), (5, false)]);
    let whole = state(&folder.path().join("whole"));
    assert!(whole.iter().all(|(name, _)| !name.contains("classifier")));

    for stop in 1..5 {
        let name = format!("stopped at {stop}");
        let stopped = Trainer::new(&at(&name)).unwrap().run(&mut |step, _| {
            if step.step == stop {
                return Err(Error::Interrupted);
            }
            Ok(())
        });
        assert!(matches!(stopped, Err(Error::Interrupted)));
        let sorts = state(&folder.path().join(&name))
            .iter()
            .any(|(name, _)| name.contains("classifier"));
        assert_eq!(sorts, stop < 3, "{name}");
        let mut resumed = Trainer::resume(&at(&name)).unwrap();
        assert_eq!(resumed.step(), stop);
        resumed.run(&mut |_, _| Ok(())).unwrap();
        assert!(whole == state(&folder.path().join(&name)), "{name}");
    }
    rayon_pool(1).install(|| {
        Trainer::new(&at("one"))
            .unwrap()
            .run(&mut |_, _| Ok(()))
            .unwrap()
    });
    assert!(whole == state(&folder.path().join("one")), "one thread");
    let weights = Weights::read(folder.path().join("whole/weights.safetensors")).unwrap();
    let notes = weights.provenance.notes;
    assert!(
        notes.starts_with("2 of 2 steps of 2 pairs after 3 of 3 steps of 2 images"),
        "{notes}"
    );
}

#[test]
fn a_pretraining_learns_labels_and_helps_registration() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = with_pretraining(folder.path());
    config.steps = 0;
    config.validate_every = 1000;
    config.checkpoint_every = 1000;
    config.pretraining.as_mut().unwrap().steps = 150;
    let mut trainer = Trainer::new(&config).unwrap();
    trainer.run(&mut |_, _| Ok(())).unwrap();
    let rows = trainer.history();
    let (first, last) = (rows[1].loss, rows[150].loss);
    assert!(last < 0.3 * first, "{first} {last}");
    let judged = |at: usize| rows[at].validation.unwrap();
    assert!(judged(150).segmentation > 0.95, "{:?}", judged(150));
    assert!(judged(150).segmentation > judged(0).segmentation);
    assert!(judged(150).dice > 0.95, "{:?}", judged(150));
}

#[test]
fn a_pretraining_that_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = with_pretraining(folder.path());
    let refusal = |change: &dyn Fn(&mut TrainingConfig)| {
        let mut config = good.clone();
        change(&mut config);
        Trainer::new(&config).unwrap_err().to_string()
    };
    let of = |config: &mut TrainingConfig| config.pretraining.clone().unwrap();
    let error = refusal(&|c| c.pretraining = Some(PretrainingConfig { images: 0, ..of(c) }));
    assert!(error.contains("pretraining.images: must be"), "{error}");
    let error = refusal(&|c| {
        let mut pretraining = of(c);
        pretraining.optimiser.rate = -1.0;
        c.pretraining = Some(pretraining);
    });
    assert!(error.contains("pretraining.optimiser.rate"), "{error}");
    let error = refusal(&|c| {
        c.data = None;
        c.synthesis = config(folder.path()).synthesis;
    });
    assert!(error.contains("random shapes have none"), "{error}");
    let error = refusal(&|c| {
        c.data.as_mut().unwrap().labels = None;
        c.loss.mse = 1.0;
    });
    assert!(
        error.contains("the labels that the pretraining asks for"),
        "{error}"
    );
    let error = refusal(&|c| c.augmentation.opposites = vec![[1, 2], [2, 3]]);
    assert!(error.contains("names a label twice"), "{error}");
    let mut other = good.clone();
    Trainer::new(&good)
        .unwrap()
        .run(&mut |_, _| Ok(()))
        .unwrap();
    other.pretraining.as_mut().unwrap().steps = 4;
    let error = Trainer::resume(&other).unwrap_err().to_string();
    assert!(error.contains("pretraining.steps is 4"), "{error}");
}

fn rayon_pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
}

#[test]
fn features_learn_what_contrast_hides() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.steps = 150;
    config.checkpoint_every = 150;
    config.optimiser.rate = 3e-3;
    config.synthesis = Some(SynthesisConfig {
        size: vec![32, 32],
        shapes: 4,
        same_contrast: 0.0,
        ..SynthesisConfig::default()
    });
    config.augmentation = Augmentation {
        rotation: 10.0,
        elastic: 4.0,
        apart: 1.0,
        ..Augmentation::default()
    };
    let mut trainer = Trainer::new(&config).unwrap();
    trainer.run(&mut |_, _| Ok(())).unwrap();
    let loss = |rows: &[stillpoint::TrainingStep]| {
        stillpoint::mean(&rows.iter().map(|r| r.loss).collect::<Vec<_>>())
    };
    let rows = trainer.history();
    let (first, last) = (loss(&rows[1..31]), loss(&rows[121..]));
    assert!(last < 0.92 * first, "{first} {last}");
}

/// Writes discs of other places and sizes, with labels: images `images/0.nii.gz` and so on.
fn discs(folder: &Path, count: usize) {
    let grid = Grid::axis_aligned(&[24, 24], &[1.0, 1.0]).unwrap();
    for name in ["images", "labels"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let mut rng = Rng::new(3);
    for number in 0..count {
        let (x, y, r) = (
            rng.range(9.0, 14.0),
            rng.range(9.0, 14.0),
            rng.range(4.0, 7.0),
        );
        let inside: Vec<bool> = (0..24 * 24)
            .map(|v| ((v % 24) as f64 - x).hypot((v / 24) as f64 - y) < r)
            .collect();
        let values = inside.iter().map(|&i| f32::from(u8::from(i))).collect();
        let labels = inside.iter().map(|&i| u32::from(i)).collect();
        let file = format!("{number}.nii.gz");
        let image = Image::new(grid.clone(), 1, values).unwrap();
        image.write(folder.join("images").join(&file)).unwrap();
        let labels = Labels::new(grid.clone(), labels).unwrap();
        labels.write(folder.join("labels").join(&file)).unwrap();
    }
}

pub fn with_discs(folder: &Path) -> TrainingConfig {
    discs(folder, 5);
    let data = DataConfig {
        images: Some(folder.join("images")),
        labels: Some(folder.join("labels")),
        ..DataConfig::default()
    };
    TrainingConfig {
        synthesis: None,
        augmentation: Augmentation::default(),
        validation: Some(DataConfig {
            include: vec!["3".into(), "4".into()],
            ..data.clone()
        }),
        data: Some(DataConfig {
            exclude: vec!["3".into(), "4".into()],
            ..data
        }),
        ..config(&folder.join("out"))
    }
}

#[test]
fn folders_are_read_and_validations_written() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainingConfig {
        validate_every: 2,
        ..with_discs(folder.path())
    };
    let mut trainer = Trainer::new(&config).unwrap();
    assert!(trainer.warnings.is_empty());
    trainer
        .run(&mut |_, notes| {
            assert!(notes.is_empty(), "{notes:?}");
            Ok(())
        })
        .unwrap();
    let judged: Vec<usize> = trainer
        .history()
        .iter()
        .filter(|row| row.validation.is_some_and(|v| v.pairs == 1 && v.dice > 0.4))
        .map(|row| row.step)
        .collect();
    assert_eq!(judged, [0, 2, 4]);
    let table = fs::read_to_string(config.out.join("validation.csv")).unwrap();
    assert!(
        table.lines().nth(1).unwrap().starts_with("3,4,0."),
        "{table}"
    );
    assert!(config.out.join("best.safetensors").exists());
    let picture = fs::read(config.out.join("features.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
}

#[test]
fn tables_name_files_and_weights_can_be_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = with_discs(folder.path());
    let rows: Vec<String> = (0..4)
        .map(|i| format!("disc {i}, images/{i}.nii.gz, labels/{i}.nii.gz"))
        .collect();
    let table = folder.path().join("subjects.csv");
    fs::write(&table, format!("name,image,labels\n{}\n", rows.join("\n"))).unwrap();
    config.data = Some(DataConfig {
        table: Some(table),
        ..DataConfig::default()
    });
    Trainer::new(&config)
        .unwrap()
        .run(&mut |_, _| Ok(()))
        .unwrap();
    let trained = config.out.join("weights.safetensors");
    let mut next = TrainingConfig {
        out: folder.path().join("next"),
        weights: Some(trained.clone()),
        steps: 0,
        ..config.clone()
    };
    let mut judge = Trainer::new(&next).unwrap();
    judge.run(&mut |_, _| Ok(())).unwrap();
    let found = judge.history()[0].validation.unwrap().dice;
    let known = Trainer::resume(&config).unwrap().validate().unwrap().dice;
    assert_eq!(found, known);

    next.out = folder.path().join("other");
    next.network.widths = vec![8, 12];
    let error = Trainer::new(&next).unwrap_err().to_string();
    assert!(
        error.contains("widths: expected [8,12], found [8,8]"),
        "{error}"
    );
}

#[test]
fn a_training_that_diverges_ends_with_its_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.steps = 40;
    config.checkpoint_every = 1000;
    config.optimiser = OptimiserConfig {
        rate: 1e30,
        clip: 0.0,
        warmup: 0,
        ..OptimiserConfig::default()
    };
    let mut trainer = Trainer::new(&config).unwrap();
    let mut notes_seen = 0;
    let error = trainer
        .run(&mut |_, notes| {
            notes_seen += notes.len();
            Ok(())
        })
        .unwrap_err()
        .to_string();
    assert!(error.contains("the last checkpoint is kept"), "{error}");
    assert!(notes_seen > 10);
    assert_eq!(Trainer::resume(&config).unwrap().step(), 0);
}

#[test]
fn checkpoints_of_other_trainings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    Trainer::new(&config)
        .unwrap()
        .run(&mut |_, _| Ok(()))
        .unwrap();
    let error = Trainer::new(&config).unwrap_err().to_string();
    assert!(error.contains("resume it"), "{error}");
    let mut other = config.clone();
    other.network.widths = vec![8, 16];
    let error = Trainer::resume(&other).unwrap_err().to_string();
    assert!(
        error.contains("network.widths is [8,16] in the configuration, [8,8]"),
        "{error}"
    );
    let mut other = config.clone();
    other.optimiser.rate = 0.5;
    let error = Trainer::resume(&other).unwrap_err().to_string();
    assert!(error.contains("optimiser.rate is 0.5"), "{error}");

    let checkpoint = folder.path().join("checkpoint.safetensors");
    let bytes = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &bytes[..bytes.len() - 100]).unwrap();
    let error = Trainer::resume(&config).unwrap_err().to_string();
    assert!(error.contains("is cut off"), "{error}");
    let weights = folder.path().join("weights.safetensors");
    fs::copy(&weights, &checkpoint).unwrap();
    let error = Trainer::resume(&config).unwrap_err().to_string();
    assert!(error.contains("not a checkpoint"), "{error}");
}

#[test]
fn the_command_trains_stops_and_resumes() {
    let program = Program::new();
    let text = "out = \"run\"\nsteps = 2\nbatch = 1\n[synthesis]\nsize = [16, 16]\nshapes = 3\n\
                [network]\nrank = 2\nwidths = [4, 4]\nshrinks = [2, 1]\noutputs = 2\n\
                [augmentation]\nelastic = 2\napart = 1\n";
    fs::write(program.path("c.toml"), text).unwrap();
    let printed = program.output("train c.toml");
    assert!(printed.contains("2 steps in"), "{printed}");
    assert!(printed.contains("run/weights.safetensors"), "{printed}");
    for file in [
        "log.csv",
        "curves.png",
        "checkpoint.safetensors",
        "weights.safetensors",
    ] {
        assert!(program.path("run").join(file).exists(), "{file}");
    }
    let again = program.run("train c.toml");
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("resume it"));
    let report = program.output("train c.toml --resume --json");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["steps"], 2);
    let missing = program.run("train nowhere.toml");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("nowhere.toml: cannot read"));

    // a GPU that is not there is refused before anything is written, and `auto` does without
    let other = text.replace("\"run\"", "\"other\"");
    fs::write(program.path("d.toml"), other).unwrap();
    program.refusal("train d.toml --device cuda:4000", &["device cuda"]);
    assert!(!program.path("other").exists());
    let auto = program.run("train d.toml --device auto --json");
    assert!(auto.status.success());
    let report: serde_json::Value = serde_json::from_slice(&auto.stdout).unwrap();
    if report["device"] == "cpu" {
        let weights = |run: &str| state(&program.path(run));
        assert_eq!(weights("run"), weights("other"));
        let said = String::from_utf8_lossy(&auto.stderr).into_owned();
        assert_eq!(said.matches("solved on the CPU").count(), 1, "{said}");
    }
}

#[test]
fn subjects_made_in_memory_teach_through_the_exact_gradient_of_fast_solves() {
    let folder = tempfile::tempdir().unwrap();
    let subject = |seed: u64| {
        let phantom = Phantom::pair(&[32, 40], &[5.0, 5.0], seed).unwrap();
        let image = Image::new(phantom.grid.clone(), 1, phantom.fixed).unwrap();
        let labels = Some(phantom.fixed_labels);
        Subject::new(&seed.to_string(), image, labels, None, &[]).unwrap()
    };
    let config = TrainingConfig {
        out: folder.path().join("memory"),
        steps: 2,
        network: NetworkConfig {
            widths: vec![4, 8],
            shrinks: vec![2, 1],
            ..NetworkConfig::unet(2, 1)
        },
        registration: SolveConfig {
            adjoint: Some("exact".into()),
            ..SolveConfig::default()
        },
        ..TrainingConfig::default()
    };
    let none = Trainer::with_data(&config, None, None).err().unwrap();
    assert!(none.to_string().contains("nothing to train on"), "{none}");
    let data = DataSet::of(vec![subject(1), subject(2), subject(3)]);
    let mut trainer = Trainer::with_data(&config, Some(data), None).unwrap();
    trainer
        .run(&mut |step, notes| {
            let done = step.step == 0 || (step.failures == 0 && step.loss.is_finite());
            assert!(done, "{step:?} {notes:?}");
            Ok(())
        })
        .unwrap();
    assert_eq!(trainer.step(), 2);
}

/// Images alone: no labels, no landmarks.
#[test]
fn local_correlation_alone_teaches() {
    let folder = tempfile::tempdir().unwrap();
    let subject = |seed: u64| {
        let phantom = Phantom::pair(&[32, 40], &[5.0, 5.0], seed).unwrap();
        let image = Image::new(phantom.grid.clone(), 1, phantom.fixed).unwrap();
        Subject::new(&seed.to_string(), image, None, None, &[]).unwrap()
    };
    let mut config = config(folder.path());
    config.synthesis = None;
    config.augmentation = Augmentation::default();
    (config.loss.dice, config.loss.lncc) = (0.0, 1.0);
    (config.loss.levels, config.steps) = (vec![0.0, 1.0], 2);
    let data = DataSet::of(vec![subject(1), subject(2)]);
    let mut trainer = Trainer::with_data(&config, Some(data), None).unwrap();
    trainer
        .run(&mut |step, notes| {
            let done =
                step.step == 0 || (0.0 < step.loss && step.loss < 1.0 && step.gradient > 0.0);
            assert!(done, "{step:?} {notes:?}");
            Ok(())
        })
        .unwrap();
    assert_eq!(trainer.step(), 2);
}
