//! A network trained on a folder of images and labels, judged on subjects that it has not seen.
//!
//! Without arguments it makes its own folder: slices of brain-like phantoms of many anatomies, each with a contrast of its own,
//! so that intensities of two subjects have little in common. Prints the Dice of the validation for intensities, for MIND
//! descriptors and for the learned features, all under the same solver, and leaves weights, log and curves in
//! `out/train_folder`.
//!
//! `cargo run --release --example train_folder [STEPS [IMAGES LABELS]]`

mod contrast;

use std::path::{Path, PathBuf};

use stillpoint::{
    Augmentation, DataConfig, Error, GradientSide, Image, Labels, LossConfig, NetworkConfig,
    OptimiserConfig, Phantom, Result, Rng, SolveConfig, Trainer, TrainingConfig,
};

use contrast::{augmentation, repainted};

/// Subjects of the folder that it makes; the last of them are for the validation.
const SUBJECTS: usize = 24;
const UNSEEN: usize = 6;

/// Writes `images/NN.nii.gz` and `labels/NN.nii.gz`.
fn make(folder: &Path) -> Result<()> {
    for name in ["images", "labels"] {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the folder", e))?;
    }
    let mut rng = Rng::new(11);
    for number in 0..SUBJECTS {
        let phantom = Phantom::pair(&[80, 96], &[2.0, 2.0], number as u64)?;
        let values = repainted(&phantom.fixed, &mut rng);
        let name = format!("{number:02}.nii.gz");
        Image::new(phantom.grid.clone(), 1, values)?.write(folder.join("images").join(&name))?;
        Labels::new(phantom.grid, phantom.fixed_labels)?
            .write(folder.join("labels").join(&name))?;
    }
    Ok(())
}

/// The names of the subjects for the validation: the last ones.
fn unseen(images: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(images).map_err(|e| Error::io(images, "read the folder", e))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.split_once('.')?.0.to_owned()))
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    Ok(names.split_off(names.len().saturating_sub(UNSEEN)))
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let steps: usize = words
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(150);
    let out = PathBuf::from("out/train_folder");
    let (images, labels) = match (words.next(), words.next()) {
        (Some(images), Some(labels)) => (images.into(), labels.into()),
        _ => {
            make(&out)?;
            (out.join("images"), out.join("labels"))
        }
    };
    let validation = unseen(&images)?;
    let data = DataConfig {
        images: Some(images),
        labels: Some(labels),
        ..DataConfig::default()
    };
    let run = out.join("run");
    if run.exists() {
        std::fs::remove_dir_all(&run).map_err(|e| Error::io(&run, "remove", e))?;
    }
    let rank = 2;
    let config = TrainingConfig {
        out: run.join("learned"),
        steps,
        validate_every: 50,
        network: NetworkConfig {
            widths: vec![16, 32, 32],
            ..NetworkConfig::unet(rank, 1)
        },
        registration: SolveConfig {
            lambda: 0.1,
            ..SolveConfig::default()
        },
        validation: Some(DataConfig {
            include: validation.clone(),
            ..data.clone()
        }),
        data: Some(DataConfig {
            exclude: validation,
            ..data
        }),
        augmentation: Augmentation {
            gamma: 0.3,
            ..augmentation()
        },
        loss: LossConfig {
            through: GradientSide::Both,
            ..LossConfig::default()
        },
        optimiser: OptimiserConfig {
            rate: 2e-3,
            ..OptimiserConfig::default()
        },
        training_set: "brain-like phantoms with random contrasts".into(),
        licence: "CC0-1.0".into(),
        ..TrainingConfig::default()
    };

    // a network that has learnt nothing adds nothing to its base: the classical methods under the same solver
    for (base, outputs) in [("intensities", 1), ("mind", 4)] {
        let classical = TrainingConfig {
            out: run.join(base),
            steps: 0,
            network: NetworkConfig {
                base: Some(base.into()),
                outputs,
                ..config.network.clone()
            },
            ..config.clone()
        };
        let found = Trainer::new(&classical)?.validate()?;
        println!(
            "{base:<12} Dice {:.4}, {} folded voxels",
            found.dice, found.folds
        );
    }
    let mut trainer = Trainer::new(&config)?;
    trainer.run(&mut |step, notes| {
        for note in notes {
            eprintln!("step {}: {note}", step.step);
        }
        if let Some(found) = step.validation {
            println!(
                "step {:>4}    Dice {:.4}, {} folded voxels, loss {:.4}, {:.0} s",
                step.step, found.dice, found.folds, step.loss, step.seconds
            );
        }
        Ok(())
    })?;
    println!("weights, log and curves: {}", config.out.display());
    Ok(())
}
