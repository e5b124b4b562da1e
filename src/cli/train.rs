//! `stillpoint train`: a feature network that learns through the solver.

use super::budget::{allowed, announced, program, too_little};
use super::device::opened;
use super::output::json;
use super::{memory, print, Bytes, RunArgs, Session};
use crate::ops::{check_memory, device_name, free_memory};
use crate::registration::{Footprint, FootprintStage};
use crate::train::{Trainer, TrainingConfig, TrainingStep, Validation};
use crate::{DeviceChoice, Error, Result};
use candle_core::Device;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Reads a TOML file that says what is trained on what, and writes into its folder
`out`:
  weights.safetensors     the network, for `stillpoint register --features`
  best.safetensors        the network of the best validation
  checkpoint.safetensors  all that a later session needs to go on
  log.csv, curves.png     losses, gradients and validations over the steps
  validation.csv          the last validation, pair by pair
  features.png            the features of a pair in colour

Ctrl-C ends it after a checkpoint; --resume goes on and comes to the same bits
as a training that was never stopped.

Examples:
  stillpoint train examples/train/shapes.toml
  stillpoint train examples/train/shapes.toml --resume";

/// The arguments of `train`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// What is trained on what (TOML); paths in it are relative to its folder
    #[arg(value_name = "CONFIG")]
    pub config: PathBuf,

    /// Go on from the last checkpoint
    #[arg(long)]
    pub resume: bool,

    /// Where network and solver run: cpu, cuda (an NVIDIA GPU), cuda:N, or auto (a GPU where one can be used); images are read,
    /// varied and judged on the CPU
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,

    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,

    /// Keep within this memory, such as 700MB, 2GB or 1.5GiB: take less and more time, or refuse to begin. On a GPU the memory
    /// that is free there is the limit
    #[arg(long, value_name = "SIZE", help_heading = "Running")]
    pub max_memory: Option<Bytes>,

    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What `train` prints as JSON.
#[derive(Serialize)]
struct TrainReport {
    config: TrainingConfig,
    /// Where network and solver ran.
    device: String,
    steps: usize,
    seconds: f64,
    loss: Option<f64>,
    /// The last validation.
    validation: Option<Validation>,
    weights: PathBuf,
    /// What was expected to be in use at most.
    estimated_memory_bytes: u64,
    /// What the program had asked its allocator for at most.
    peak_allocated_bytes: u64,
    /// Largest resident set of the process, where the system tells.
    peak_memory_bytes: Option<u64>,
}

pub(super) fn run(args: &TrainArgs, session: &Session) -> Result<()> {
    let device = opened(args.device, session, args.run.quiet)?;
    session.progress.begin("reading", 1);
    let config = TrainingConfig::read(&args.config)?;
    let mut trainer = if args.resume {
        Trainer::resume(&config)?
    } else {
        Trainer::new(&config)?
    };
    if !device.is_cpu() {
        trainer = trainer.to_device(&device)?;
    }
    for warning in &trainer.warnings {
        session.progress.warn(warning);
    }
    let footprint = kept(args, &mut trainer, &device, session)?;
    if let (Some(peak), false) = (footprint.peak(), args.json || args.run.quiet) {
        session.progress.aside(|| print(&announced(peak)))?;
    }
    session.progress.begin("training", config.all_steps());
    let mut dice = None;
    let outcome = trainer.run(&mut |step, notes| {
        for note in notes {
            session
                .progress
                .warn(&format!("step {}: {note}", step.step));
        }
        dice = step.validation.as_ref().map(|v| v.dice).or(dice);
        session.progress.at(step.step, line(step, dice));
        if let Some(validation) = &step.validation {
            session
                .progress
                .note(&format!("step {}: {}", step.step, sentence(validation)));
        }
        session.proceed()
    });
    if let Err(error) = outcome {
        if matches!(error, Error::Interrupted) {
            session.progress.note(&format!(
                "stopped after step {}; go on with --resume",
                trainer.step()
            ));
        }
        return Err(error);
    }
    let history = trainer.history();
    let report = TrainReport {
        device: device_name(&device),
        steps: trainer.step(),
        seconds: history.last().map_or(0.0, |row| row.seconds),
        loss: history.last().map(|row| row.loss),
        validation: history.iter().rev().find_map(|row| row.validation),
        weights: config.out.join("weights.safetensors"),
        estimated_memory_bytes: footprint.peak().map_or(0, FootprintStage::bytes),
        peak_allocated_bytes: memory::peak(),
        peak_memory_bytes: memory::resident(),
        config,
    };
    if args.json {
        return print(&json(&report)?);
    }
    if !args.run.quiet {
        print(&format!(
            "{} steps in {:.0} s{}{}\nweights: {}",
            report.steps,
            report.seconds,
            report
                .peak_memory_bytes
                .map_or(String::new(), |peak| format!(", {} at most", Bytes(peak))),
            report
                .validation
                .map_or(String::new(), |v| format!(", {}", sentence(&v))),
            report.weights.display()
        ))?;
    }
    Ok(())
}

/// The memory of the training within what is allowed; what is done for that is said.
fn kept(
    args: &TrainArgs,
    trainer: &mut Trainer,
    device: &Device,
    session: &Session,
) -> Result<Footprint> {
    let there = !device.is_cpu();
    if there && args.max_memory.is_some() {
        return Err(Error::argument(
            "--max-memory",
            "is for trainings on the CPU; on a GPU the memory that is free there is the limit",
        ));
    }
    let limit = if there {
        free_memory(device).map(Bytes)
    } else {
        args.max_memory
    };
    loop {
        let mut footprint = trainer.footprint()?;
        if !there {
            footprint.hold("program", program());
        }
        let Some(limit) = limit.filter(|limit| allowed(&footprint) > *limit) else {
            return Ok(footprint);
        };
        let Some(done) = trainer.save_memory()? else {
            let remedies = [
                "make the images smaller ([data] spacing, [synthesis] size)",
                "the network narrower ([network] widths, outputs)",
            ];
            if there {
                let remedies = format!("{}, or --device cpu", remedies.join(", "));
                check_memory(device, "a training", &remedies, allowed(&footprint).0)?;
                return Ok(footprint);
            }
            return Err(too_little(limit, &footprint, &remedies));
        };
        session
            .progress
            .note(&format!("to keep within {limit}, {done}"));
    }
}

/// What the bar says of a step.
fn line(step: &TrainingStep, dice: Option<f64>) -> String {
    let dice = dice
        .filter(|dice| dice.is_finite())
        .map_or(String::new(), |dice| format!(", Dice {dice:.3}"));
    format!("step {}, loss {:.4}{dice}", step.step, step.loss)
}

fn sentence(validation: &Validation) -> String {
    let mut words = vec![format!("{} pairs", validation.pairs)];
    if validation.failures > 0 {
        words.push(format!(
            "{} that could not be registered (see validation.csv)",
            validation.failures
        ));
    }
    if validation.dice.is_finite() {
        words.push(format!(
            "Dice {:.4}, HD95 {:.2} mm",
            validation.dice, validation.hd95
        ));
    }
    if validation.landmarks.is_finite() {
        words.push(format!("landmarks {:.2} mm apart", validation.landmarks));
    }
    if validation.segmentation.is_finite() {
        words.push(format!("segmentation Dice {:.4}", validation.segmentation));
    }
    words.push(format!("{} folded voxels", validation.folds));
    words.push(format!("{:.0} % converged", 100.0 * validation.converged));
    words.join(", ")
}
