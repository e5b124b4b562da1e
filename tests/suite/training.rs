//! Trainings: they learn, come back to the same bits, and name what is wrong.

use std::fs;
use std::path::Path;

use stillpoint::{
    read_tensors, Augmentation, DataConfig, Error, Grid, Image, Labels, NetworkConfig,
    OptimiserConfig, Rng, SynthesisConfig, Trainer, TrainingConfig, Weights,
};

use crate::program::Program;

/// Blobs of 24 by 24 pixels, a network of two scales.
fn config(folder: &Path) -> TrainingConfig {
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
fn state(folder: &Path) -> Vec<(String, Vec<f32>)> {
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

fn with_discs(folder: &Path) -> TrainingConfig {
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
fn data_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = with_discs(folder.path());
    let images = folder.path().join("images");
    let refusal = |config: &TrainingConfig| Trainer::new(config).unwrap_err().to_string();

    // one broken image among good ones
    let bytes = fs::read(images.join("1.nii.gz")).unwrap();
    fs::write(images.join("1.nii.gz"), &bytes[..bytes.len() / 2]).unwrap();
    let error = refusal(&good);
    for part in ["1 of 3 subjects", "1.nii.gz", "skip_broken = true"] {
        assert!(error.contains(part), "{error}");
    }
    let mut without = good.clone();
    without.data.as_mut().unwrap().skip_broken = true;
    let trainer = Trainer::new(&without).unwrap();
    assert!(
        trainer.warnings[0].contains("1.nii.gz"),
        "{:?}",
        trainer.warnings
    );
    fs::write(images.join("1.nii.gz"), bytes).unwrap();

    // labels of some, of none
    fs::remove_file(folder.path().join("labels/2.nii.gz")).unwrap();
    let trainer = Trainer::new(&good).unwrap();
    assert!(trainer.warnings[0].contains("1 of 3 subjects have no labels"));
    let mut none = good.clone();
    none.data.as_mut().unwrap().labels = None;
    assert!(refusal(&none).contains("no subject has the labels"));

    // labels on another grid
    let other = Grid::axis_aligned(&[20, 24], &[1.0, 1.0]).unwrap();
    let labels = Labels::new(other, vec![1; 480]).unwrap();
    labels.write(folder.path().join("labels/2.nii.gz")).unwrap();
    assert!(refusal(&good).contains("its grid is not that of"));

    let mut missing = good.clone();
    missing.data.as_mut().unwrap().exclude.push("77".into());
    assert!(refusal(&missing).contains("no subject '77'"));
    let mut alone = good.clone();
    alone.data.as_mut().unwrap().include = vec!["0".into()];
    assert!(refusal(&alone).contains("at least two subjects"));
    let mut three = good.clone();
    three.network.rank = 3;
    assert!(refusal(&three).contains("expected an image of 3 dimensions, found 2"));
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

/// Slices do not depend on how a volume is stored.
#[test]
fn slices_are_cut_where_the_world_says() {
    let folder = tempfile::tempdir().unwrap();
    let value = |p: [f64; 3]| p[0] + 10.0 * p[1] + 0.1 * p[2];
    let label = |p: [f64; 3]| u32::from(p[0].hypot(p[1]).hypot(p[2]) < 7.0);
    let identity = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let plain = Grid::new(
        &[18, 20, 16],
        &[1.0, 1.0, 1.0],
        [-9.0, -10.0, -8.0],
        identity,
    )
    .unwrap();
    // axes along back, up and left
    let turned = [[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
    let stored = Grid::new(&[20, 16, 18], &[1.0, 1.0, 1.0], [8.0, 9.0, -8.0], turned).unwrap();
    let program = Program::new();
    for (name, grid) in [("a", &plain), ("b", &stored)] {
        for kind in ["images", "labels"] {
            fs::create_dir_all(folder.path().join(kind)).unwrap();
        }
        program.image("image.nii.gz", grid, value);
        program.labels("labels.nii.gz", grid, label);
        for (file, kind) in [("image.nii.gz", "images"), ("labels.nii.gz", "labels")] {
            let to = folder.path().join(kind).join(format!("{name}.nii.gz"));
            fs::copy(program.path(file), to).unwrap();
        }
    }
    let data = DataConfig {
        images: Some(folder.path().join("images")),
        labels: Some(folder.path().join("labels")),
        slices: Some(stillpoint::SliceConfig {
            from: -2.0,
            to: 2.0,
            every: 2.0,
        }),
        ..DataConfig::default()
    };
    let set = stillpoint::DataSet::read(&data, 2, 1).unwrap();
    let pairs = set.consecutive();
    assert_eq!(pairs.len(), 3);
    for [a, b] in pairs {
        assert!(a.image.grid.matches(&b.image.grid, 1e-9), "{}", a.name);
        assert_eq!(a.labels, b.labels);
        let values = |s: &stillpoint::Subject| {
            let flat = s.image.features.flatten_all().unwrap();
            flat.to_vec1::<f32>().unwrap()
        };
        for (x, y) in values(a).iter().zip(values(b)) {
            assert!((x - y).abs() < 1e-5);
        }
    }
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let shapes = "[synthesis]\nsize = [24, 24]\n[network]\nrank = 2\n";
    for (text, expected) in [
        ("stepz = 3", "unknown field `stepz`"),
        ("steps = \"many\"", "invalid type"),
        ("", "nothing to train on"),
        ("steps = 0", "nothing to do"),
        (
            "synthetic = 0.5\n[data]\nimages = \"a\"",
            "needs a table [synthesis]",
        ),
        ("[network]\nrank = 2\n[synthesis]", "synthesis.size"),
        ("[network]\nbase = \"sift\"", "no base features 'sift'"),
        ("[network]\nwidths = [8]\nshrinks = [4, 2]", "shrinks"),
        ("[data]", "give a folder of images"),
        ("[data]\nimages = \"a\"\ntable = \"b\"", "not both"),
        (
            "[data]\nimages = \"a\"\nslices = { from = 0, to = 1, every = 1 }",
            "rank 2",
        ),
        (
            "[registration]\ntransform = \"thin-plate\"",
            "no transform 'thin-plate'",
        ),
        (
            "[registration]\nadjoint = \"backprop\"",
            "no gradient 'backprop'",
        ),
        ("[registration]\nlambda = 0", "must be positive"),
        ("[registration]\niterations = [3]", "one number a level"),
        ("[loss]\ndice = 0", "nothing to learn"),
        ("[loss]\nmse = -1", "loss.mse"),
        ("[augmentation]\nscale = 2", "augmentation.scale"),
        ("[optimiser]\nrate = -1", "optimiser.rate"),
    ] {
        let rest = if text.contains("[data]")
            || text.contains("synthesis")
            || text.contains("step")
            || text.is_empty()
        {
            ""
        } else {
            "\n[data]\nimages = \"a\"\n"
        };
        fs::write(&path, format!("{text}{rest}")).unwrap();
        let error = TrainingConfig::read(&path).unwrap_err().to_string();
        assert!(error.contains("c.toml"), "{text}: {error}");
        assert!(error.contains(expected), "{text}: {error}");
    }
    fs::write(&path, shapes).unwrap();
    let config = TrainingConfig::read(&path).unwrap();
    assert_eq!(config.out, folder.path().join("out/train"));
    assert_eq!((config.network.rank, config.network.outputs), (2, 16));
}

#[test]
fn shipped_configurations_are_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/train");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if let Err(error) = TrainingConfig::read(&path) {
            panic!("{error}");
        }
        count += 1;
    }
    assert!(count >= 4);
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
}
