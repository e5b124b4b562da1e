//! What a training is given: data and configurations, good and bad.

use std::fs;
use std::path::Path;

use stillpoint::{DataConfig, Grid, Labels, Trainer, TrainingConfig};

use crate::program::Program;
use crate::training::with_discs;

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
        ("[registration]\ndecrease = 1", "between 0 and 1"),
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
