//! `stillpoint evaluate`: how good a registration is.

use super::measures::Measures;
use super::output::warn;
use super::{print, Listed, RunArgs, Session};
use crate::{
    chain_consistency, landmark_errors, overlap, read_labels, regularity, resample_labels,
    surface_distance, Chain, Error, Grid, ImageSpace, LabelResampling, Labels, PointSpace, Points,
    Result,
};
use clap::Args;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
What is measured follows from what is given:
  labels      Dice and HD95 (mm), per label and mean
  transforms  folds (central differences and the digital criterion), SDlogJ
  inverse     inverse consistency in mm, mean and 95th percentile
  points      target registration error in mm

Examples:
  stillpoint evaluate --fixed-labels f.nii.gz --moving-labels m.nii.gz \\
      -t pair_warp.nii.gz
  stillpoint evaluate --reference fixed.nii.gz -t pair_warp.nii.gz \\
      --inverse pair_inverse_warp.nii.gz
  stillpoint evaluate --reference fixed.nii.gz -t pair_warp.nii.gz \\
      --fixed-points f.csv --moving-points m.csv";

/// The arguments of `evaluate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvaluateArgs {
    /// Labels of the fixed image
    #[arg(long, value_name = "FILE", requires = "moving_labels")]
    pub fixed_labels: Option<PathBuf>,

    /// Labels of the moving image; carried onto the fixed grid by the transforms, nearest voxel
    #[arg(long, value_name = "FILE", requires = "fixed_labels")]
    pub moving_labels: Option<PathBuf>,

    /// Image whose grid the warp is measured on [default: the fixed labels']
    #[arg(long, value_name = "FILE", conflicts_with = "fixed_labels")]
    pub reference: Option<PathBuf>,

    /// Transform, fixed to moving, or `[FILE,1]` for its inverse; repeat it in the order of `apply`
    #[arg(short, long, value_name = "FILE")]
    pub transform: Vec<Listed>,

    /// Transform back, moving to fixed; repeat it in the order of `apply`
    #[arg(long, value_name = "FILE", requires = "transform")]
    pub inverse: Vec<Listed>,

    /// Landmarks in the fixed space: a table with columns x, y, z in mm
    #[arg(long, value_name = "FILE", requires = "moving_points")]
    pub fixed_points: Option<PathBuf>,

    /// The same landmarks in the moving space, in the same order
    #[arg(long, value_name = "FILE", requires = "fixed_points")]
    pub moving_points: Option<PathBuf>,

    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,

    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

impl EvaluateArgs {
    pub(super) fn check(&self) -> Result<(), String> {
        let (labels, points) = (self.fixed_labels.is_some(), self.fixed_points.is_some());
        let transforms = !self.transform.is_empty();
        if !labels && !points && !transforms {
            return Err("nothing to measure: give labels, transforms or points".into());
        }
        if transforms && !labels && self.reference.is_none() {
            return Err(
                "--transform needs a grid to be measured on: give --reference or labels".into(),
            );
        }
        if self.reference.is_some() && !transforms {
            return Err("--reference has no effect without --transform".into());
        }
        Ok(())
    }
}

/// Does what `evaluate` was asked to.
pub(super) fn run(args: &EvaluateArgs, session: &Session) -> Result<()> {
    let mut measures = Measures::default();
    let labels = match (&args.fixed_labels, &args.moving_labels) {
        (Some(fixed), Some(moving)) => Some([labels(fixed)?, labels(moving)?]),
        _ => None,
    };
    let space = args
        .reference
        .as_deref()
        .map(ImageSpace::read)
        .transpose()?;
    if let (Some(path), Some(space)) = (&args.reference, &space) {
        warn(path, space.warnings());
    }
    let grid = space
        .as_ref()
        .map(ImageSpace::grid)
        .or(labels.as_ref().map(|[fixed, _]| fixed.grid()));
    let chain = match grid {
        Some(grid) => Listed::chain(&args.transform, grid.rank())?,
        None => Chain::new(3)?,
    };
    if let Some([fixed, moving]) = &labels {
        session.proceed()?;
        session.progress.begin("labels", 0);
        measure_labels(&mut measures, args, fixed, moving, &chain)?;
    }
    if let (Some(grid), false) = (grid, chain.is_empty()) {
        session.proceed()?;
        session.progress.begin("regularity", 0);
        let displacement = chain.displacement_on(grid)?.into_voxels();
        measures.regularity = Some(regularity(&displacement, grid.size())?);
        if !args.inverse.is_empty() {
            session.proceed()?;
            session.progress.begin("consistency", 0);
            let inverse = Listed::chain(&args.inverse, grid.rank())?;
            measures.inverse_consistency = Some(chain_consistency(&chain, &inverse, grid)?);
        }
    }
    if let (Some(fixed), Some(moving)) = (&args.fixed_points, &args.moving_points) {
        let [from, to] = [fixed, moving].map(|path| Points::read(path, PointSpace::Lps));
        let (from, to) = (from?.positions, to?.positions);
        if from.len() != to.len() {
            return Err(Error::data(
                moving.display().to_string(),
                format!(
                    "has {} points, but {} has {}; the same landmarks are needed in the same order",
                    to.len(),
                    fixed.display(),
                    from.len()
                ),
            ));
        }
        measures.landmarks = Some(landmark_errors(&chain.apply_all(&from), &to)?);
    }
    session.proceed()?;
    session.progress.end();
    print(&if args.json {
        super::output::json(&measures)?
    } else {
        measures.to_string()
    })
}

fn labels(path: &Path) -> Result<Labels> {
    let labels = read_labels(path)?;
    warn(path, labels.warnings());
    Ok(labels)
}

/// How well the labels fit once the moving ones are carried onto the fixed grid.
fn measure_labels(
    measures: &mut Measures,
    args: &EvaluateArgs,
    fixed: &Labels,
    moving: &Labels,
    chain: &Chain,
) -> Result<()> {
    let name = |path: &Option<PathBuf>| path.as_deref().map(|p| p.display().to_string());
    let moving_name = name(&args.moving_labels).unwrap_or_default();
    if chain.is_empty() && !same(fixed.grid(), moving.grid()) {
        return Err(Error::GridMismatch {
            what: format!("{moving_name} without a transform"),
            expected: fixed.grid().describe(),
            got: moving.grid().describe(),
        });
    }
    let nearest = LabelResampling::Nearest;
    let warped = resample_labels(moving, chain, fixed.grid(), nearest, 0)?;
    if warped.ids().is_empty() && !moving.ids().is_empty() {
        eprintln!(
            "warning: {moving_name}: no label comes to lie on the fixed grid; are the transforms those of this pair, \
             and in the right direction?"
        );
    }
    let (a, b, moving) = (fixed.values(), warped.values(), Some(moving.values()));
    measures.overlap = Some(overlap(a, b, moving, None)?);
    measures.surface_distance = Some(surface_distance(a, b, moving, None, fixed.grid())?);
    Ok(())
}

fn same(a: &Grid, b: &Grid) -> bool {
    a.matches(b, 0.1)
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use clap::Parser;

    fn parse(words: &str) -> Result<(), String> {
        let words = format!("stillpoint evaluate {words}");
        let cli = Cli::try_parse_from(words.split_whitespace()).map_err(|e| e.to_string())?;
        cli.command.check()
    }

    #[test]
    fn something_must_be_measured_and_everything_given_must_matter() {
        for good in [
            "--fixed-labels f --moving-labels m",
            "--fixed-labels f --moving-labels m -t w --inverse i --json",
            "--reference r -t w -t [a.mat,1]",
            "--fixed-points f --moving-points m",
            "--reference r -t w --fixed-points f --moving-points m",
        ] {
            assert_eq!(parse(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "-t w",
            "--reference r",
            "--fixed-labels f",
            "--moving-points m",
            "--inverse i --fixed-labels f --moving-labels m",
            "--reference r --fixed-labels f --moving-labels m -t w",
            "--reference r --fixed-points f --moving-points m",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
