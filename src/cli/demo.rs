//! `stillpoint demo`: the whole thing without any file.

use super::output::json;
use super::register::{self, RegisterArgs};
use super::{print, Cli, Command, Compared, RunArgs, Session};
use crate::evaluation::Summary;
use crate::image::{DisplacementField, Image, Labels};
use crate::{Error, Phantom, Result};
use clap::{Args, Parser};
use serde::Serialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Makes a brain-like phantom pair with labels and a known warp, registers it, and
says how close the found warp comes to the known one. Writes the pair as
P_fixed.nii.gz, P_moving.nii.gz and their labels, and what `register` writes.

Examples:
  stillpoint demo
  stillpoint demo --dimensions 2 --seed 7 -o out/flat
  stillpoint demo --other-contrast                        # intensities are lost
  stillpoint demo --other-contrast --features synthetic   # learned features are not";

/// The arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// Beginning of the names of all files
    #[arg(short, long, value_name = "P", default_value = "out/demo")]
    pub out_prefix: PathBuf,

    /// 2 or 3
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    pub dimensions: u8,

    /// Another seed makes another pair
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Give the moving image another contrast: what is bright in one is dark in the other
    #[arg(long)]
    pub other_contrast: bool,

    /// What is compared, as in `register`: coarse-mind, intensities, mind, both, synthetic or synthetic-same (networks that
    /// come with the program, 3D only), or a file of weights [default: coarse-mind]
    #[arg(long, value_name = "FEATURES")]
    pub features: Option<Compared>,

    /// Print the report as JSON instead of a summary
    #[arg(long)]
    pub json: bool,

    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What `demo` prints as JSON.
#[derive(Serialize)]
struct DemoReport {
    /// Distance between the known warp and none, mm, over the voxels with a label.
    warp_before: Summary,
    /// Distance between the known warp and the one that was found, mm, over the same voxels.
    warp_after: Summary,
    registration: register::Report,
}

/// Makes the pair, writes it, registers it and measures the found warp against the known one.
pub(super) fn run(args: &DemoArgs, session: &Session) -> Result<()> {
    let outputs = register::Outputs::prepare(&args.out_prefix)?;
    session.progress.begin("making a phantom", 1);
    let (size, spacing): (&[usize], &[f64]) = match args.dimensions {
        2 => (&[160, 192], &[1.0, 1.0]),
        _ => (&[80, 96, 80], &[2.0, 2.0, 2.0]),
    };
    let phantom = Phantom::pair(size, spacing, args.seed)?;
    let image = |values: &[f32]| Image::new(phantom.grid.clone(), 1, values.to_vec());
    let labels = |values: &[u32]| Labels::new(phantom.grid.clone(), values.to_vec());
    let fixed = image(&phantom.fixed)?;
    if let Some(features) = &args.features {
        // refused before anything is written
        features.network(&fixed, Path::new("the phantom"))?;
    }
    fixed.write(outputs.path("_fixed.nii.gz"))?;
    let moving = if args.other_contrast {
        inverted(&phantom.moving)
    } else {
        phantom.moving.clone()
    };
    image(&moving)?.write(outputs.path("_moving.nii.gz"))?;
    labels(&phantom.fixed_labels)?.write(outputs.path("_fixed_labels.nii.gz"))?;
    labels(&phantom.moving_labels)?.write(outputs.path("_moving_labels.nii.gz"))?;
    drop((fixed, moving));
    let kept = phantom.fixed.len() + phantom.moving.len() + phantom.displacement.len();
    let kept = kept + phantom.fixed_labels.len() + phantom.moving_labels.len();
    let report = register::register(&register_args(args, &outputs)?, 4 * kept as u64, session)?;
    let found = DisplacementField::read(outputs.path("_warp.nii.gz"))?;
    let (before, after) = errors(&phantom, found.values())
        .ok_or_else(|| Error::data("phantom", "has no voxel with a label"))?;
    let summary = register::summary(&report);
    let demo = DemoReport {
        warp_before: before,
        warp_after: after,
        registration: report,
    };
    if args.json {
        return print(&json(&demo)?);
    }
    if !args.run.quiet {
        print(&format!(
            "Distance to the known warp, mm, before: {}\n{:29}after:  {}\n\n{summary}",
            demo.warp_before, "", demo.warp_after
        ))?;
    }
    Ok(())
}

/// The command line of `register` that a person would type for the pair.
fn register_args(args: &DemoArgs, outputs: &register::Outputs) -> Result<RegisterArgs> {
    let mut words: Vec<OsString> = vec!["stillpoint".into(), "register".into()];
    for (flag, ending) in [
        ("--fixed", "_fixed.nii.gz"),
        ("--moving", "_moving.nii.gz"),
        ("--fixed-labels", "_fixed_labels.nii.gz"),
        ("--moving-labels", "_moving_labels.nii.gz"),
        ("--out-prefix", ""),
    ] {
        words.push(flag.into());
        words.push(outputs.path(ending).into());
    }
    if let Some(features) = &args.features {
        words.push("--features".into());
        words.push(features.to_string().into());
    }
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Register(register)) => Ok(RegisterArgs {
            json: args.json,
            run: args.run.clone(),
            ..*register
        }),
        Ok(_) => Err(Error::argument(
            "--out-prefix",
            "expected the beginning of a file name",
        )),
        Err(error) => Err(Error::argument("--out-prefix", error.to_string())),
    }
}

/// Bright for dark, but for the background: air is dark in every contrast.
fn inverted(values: &[f32]) -> Vec<f32> {
    const AIR: f32 = 0.1;
    let top = values.iter().copied().fold(0.0, f32::max);
    let turned = |&v: &f32| (v / (AIR * top)).clamp(0.0, 1.0) * (top - v);
    values.iter().map(turned).collect()
}

/// How far no warp and the found warp (planar, mm) are from the known one where there is a label.
fn errors(phantom: &Phantom, found: &[f32]) -> Option<(Summary, Summary)> {
    let voxels = phantom.grid.voxels();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for v in (0..voxels).filter(|&v| phantom.fixed_labels[v] > 0) {
        let (mut none, mut rest) = (0.0, 0.0);
        for a in 0..phantom.grid.rank() {
            let known = f64::from(phantom.displacement[a * voxels + v]);
            none += known * known;
            rest += (known - f64::from(found[a * voxels + v])).powi(2);
        }
        before.push(none.sqrt());
        after.push(rest.sqrt());
    }
    Summary::of(&before).zip(Summary::of(&after))
}
