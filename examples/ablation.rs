//! What each part of a training is worth: one part changed at a time, at equal steps and at equal time.
//!
//! Slices of brain-like phantoms of many anatomies, each with a contrast of its own (as in `train_folder`), on subjects that
//! are not trained on. Changed are the levels, lambda, and how the solve is run and differentiated: fast or certified, with
//! the Gauss-Newton or the exact system, a few products of it, phantom steps, the Jacobian-free one, the published
//! per-voxel blocks, unrolled steps. Every variant starts from the same weights and sees the same pairs. Prints a table, writes it
//! to `out/ablation.csv` and draws Dice against seconds to `out/ablation.png`.
//!
//! `cargo run --release --example ablation [STEPS]`

mod contrast;

use std::path::Path;

use stillpoint::{
    charts_to_png, Chart, DataSet, Error, Image, NetworkConfig, OptimiserConfig, Phantom,
    RateSchedule, Result, Rng, Series, SolveConfig, Subject, Trainer, TrainingConfig,
};

use contrast::{augmentation, repainted};

/// Anatomies to train on, and unseen ones.
const TRAIN: usize = 16;
const UNSEEN: usize = 7;
/// Steps from one validation to the next.
const EVERY: usize = 10;
/// A variant that is slower than this many times the first one is not waited for.
const PATIENCE: f64 = 4.0;

fn subject(number: usize, rng: &mut Rng) -> Result<Subject> {
    let phantom = Phantom::pair(&[64, 80], &[2.5, 2.5], number as u64)?;
    let values = repainted(&phantom.fixed, rng);
    let image = Image::new(phantom.grid.clone(), 1, values)?;
    Subject::new(
        &format!("{number:02}"),
        image,
        Some(phantom.fixed_labels),
        None,
        &[],
    )
}

/// A training with one part changed.
struct Variant {
    part: &'static str,
    name: &'static str,
    config: TrainingConfig,
}

fn base() -> TrainingConfig {
    TrainingConfig {
        seed: 3,
        validate_every: EVERY,
        checkpoint_every: usize::MAX,
        network: NetworkConfig {
            widths: vec![16, 32, 32, 32],
            ..NetworkConfig::unet(2, 1)
        },
        registration: SolveConfig {
            lambda: 0.1,
            ..SolveConfig::default()
        },
        augmentation: augmentation(),
        // equal rates, however long a variant runs
        optimiser: OptimiserConfig {
            rate: 1e-3,
            schedule: RateSchedule::Constant,
            averaging: 0.1,
            ..OptimiserConfig::default()
        },
        ..TrainingConfig::default()
    }
}

fn variants() -> Vec<Variant> {
    let mut all = vec![Variant {
        part: "",
        name: "levels 4 2 1, lambda 0.1, fast, gauss-newton",
        config: base(),
    }];
    let mut add = |part, name, change: &dyn Fn(&mut TrainingConfig)| {
        let mut config = base();
        change(&mut config);
        all.push(Variant { part, name, config });
    };
    add("levels", "1", &|c| c.network.shrinks = vec![1]);
    add("levels", "2 1", &|c| c.network.shrinks = vec![2, 1]);
    add("levels", "8 4 2 1", &|c| {
        c.network.shrinks = vec![8, 4, 2, 1]
    });
    add("lambda", "0.02", &|c| c.registration.lambda = 0.02);
    add("lambda", "0.5", &|c| c.registration.lambda = 0.5);
    let policies = [
        "exact",
        "truncated-5",
        "phantom-3",
        "jacobian-free",
        "block",
        "unrolled-20",
    ];
    for policy in policies {
        add("fast solve", policy, &|c| {
            c.registration.adjoint = Some(policy.into());
        });
    }
    add("certified solve", "exact", &|c| {
        c.registration.certify = true
    });
    add("certified solve", "gauss-newton", &|c| {
        c.registration.certify = true;
        c.registration.adjoint = Some("gauss-newton".into());
    });
    all
}

/// Seconds and Dice of each validation; those after the wished-for steps go on until `until` seconds.
fn course(
    variant: &Variant,
    [data, unseen]: &[DataSet; 2],
    steps: usize,
    until: Option<f64>,
) -> Result<Vec<(usize, f64, f64)>> {
    let folder = Path::new("out/ablation");
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|e| Error::io(folder, "remove", e))?;
    }
    let config = TrainingConfig {
        out: folder.into(),
        steps: 100 * steps,
        ..variant.config.clone()
    };
    let mut trainer = Trainer::with_data(&config, Some(data.clone()), Some(unseen.clone()))?;
    let mut found = Vec::new();
    let run = trainer.run(&mut |row, _| {
        if let Some(validation) = row.validation {
            found.push((row.step, row.seconds, validation.dice));
        }
        let late = until.is_some_and(|until| row.seconds > PATIENCE * until);
        let early = until.is_some_and(|until| row.seconds < until);
        if late || (row.step >= steps && !early) {
            return Err(Error::Interrupted);
        }
        Ok(())
    });
    match run {
        Err(Error::Interrupted) | Ok(()) => Ok(found),
        Err(error) => Err(error),
    }
}

fn main() -> Result<()> {
    // pairs run side by side
    std::env::set_var("CANDLE_NUM_THREADS", "1");
    let mut words = std::env::args().skip(1);
    let steps: usize = words.next().and_then(|w| w.parse().ok()).unwrap_or(200);
    let steps = steps.next_multiple_of(EVERY);
    let mut rng = Rng::new(11);
    let mut subjects: Vec<Subject> = (0..TRAIN + UNSEEN)
        .map(|number| subject(number, &mut rng))
        .collect::<Result<_>>()?;
    let unseen = subjects.split_off(TRAIN);
    let data = [DataSet::of(subjects), DataSet::of(unseen)];
    let mut until = None;
    let mut table = String::from("part,variant,step,seconds,dice\n");
    let mut series = Vec::new();
    println!(
        "{:<18}{:<46}{:>12}{:>10}{:>12}{:>8}",
        "part", "variant", "s a step", "Dice at", "Dice after", "steps"
    );
    for variant in variants() {
        let found = course(&variant, &data, steps, until)?;
        let last = found.last().map_or((0, f64::NAN, f64::NAN), |l| *l);
        let time = *until.get_or_insert(last.1);
        let at = |wanted: &dyn Fn(&(usize, f64, f64)) -> bool| {
            let place = found.iter().rev().find(|point| wanted(point));
            place.map_or((0, f64::NAN), |point| (point.0, point.2))
        };
        let equal_steps = at(&|point| point.0 == steps).1;
        let (taken, equal_time) = at(&|point| point.1 <= time);
        if series.is_empty() {
            println!(
                "{:<76}{:>10}{:>12}",
                "",
                format!("{steps} steps"),
                format!("{time:.0} s")
            );
        }
        println!(
            "{:<18}{:<46}{:>12.2}{:>10}{equal_time:>12.4}{taken:>8}   {}",
            variant.part,
            variant.name,
            last.1 / last.0 as f64,
            if equal_steps.is_nan() {
                "-".into()
            } else {
                format!("{equal_steps:.4}")
            },
            if last.0 < steps {
                format!("{:.4} after {} steps, {:.0} s", last.2, last.0, last.1)
            } else {
                String::new()
            }
        );
        for (step, seconds, dice) in &found {
            table += &format!(
                "{},{},{step},{seconds:.2},{dice:.6}\n",
                variant.part,
                variant.name.replace(',', ";")
            );
        }
        series.push((
            variant.part,
            Series {
                name: if variant.part.is_empty() {
                    "as above".into()
                } else {
                    variant.name.into()
                },
                points: found.iter().map(|(_, s, dice)| [*s, *dice]).collect(),
            },
        ));
    }
    let chart = |title: &str, parts: &[&str]| Chart {
        title: title.into(),
        across: "seconds".into(),
        up: "Dice of unseen pairs".into(),
        series: series
            .iter()
            .filter(|(part, _)| part.is_empty() || parts.contains(part))
            .map(|(_, series)| series.clone())
            .collect(),
        linear: [true, false],
    };
    let picture = charts_to_png(&[
        chart("Levels", &["levels"]),
        chart("Lambda", &["lambda"]),
        chart("Gradient, fast solve", &["fast solve"]),
        chart("Certified solve", &["certified solve"]),
    ])?;
    let write = |name: &str, bytes: &[u8]| {
        let path = Path::new("out").join(name);
        std::fs::write(&path, bytes).map_err(|e| Error::io(&path, "write", e))
    };
    write("ablation.csv", table.as_bytes())?;
    write("ablation.png", &picture)?;
    println!("out/ablation.csv, out/ablation.png");
    Ok(())
}
