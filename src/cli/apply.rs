//! `stillpoint apply`: an image or points through transforms.

use super::{Interpolation, Listed, RunArgs};
use clap::{ArgGroup, Args};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Transforms are listed as for ANTs: the last one acts on the image first, and
[FILE,1] is the inverse of FILE. Points move the opposite way to images: what
carries the moving image onto the fixed grid carries points of the fixed space
into the moving space.

Examples:
  stillpoint apply --image moving.nii.gz --reference fixed.nii.gz \\
      -t pair_warp.nii.gz -o warped.nii.gz
  stillpoint apply --image seg.nii.gz --reference fixed.nii.gz \\
      -t pair1Warp.nii.gz -t pair0GenericAffine.mat \\
      --interpolation label -o seg_on_fixed.nii.gz
  stillpoint apply --points landmarks.csv -t pair_warp.nii.gz -o moved.csv";

/// The arguments of `apply`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("input").required(true))]
pub struct ApplyArgs {
    /// Image to resample
    #[arg(long, value_name = "FILE", group = "input", requires = "reference")]
    pub image: Option<PathBuf>,

    /// Points to move: a table with columns x, y, z in mm
    #[arg(long, value_name = "FILE", group = "input")]
    pub points: Option<PathBuf>,

    /// Image whose grid the result gets
    #[arg(long, value_name = "FILE", conflicts_with = "points")]
    pub reference: Option<PathBuf>,

    /// Transform, or `[FILE,1]` for its inverse; repeat it, the last acts on the image first
    #[arg(short, long, value_name = "FILE", required = true)]
    pub transform: Vec<Listed>,

    /// How values between voxels are made [default: linear]
    #[arg(long, value_name = "KIND", conflicts_with = "points")]
    pub interpolation: Option<Interpolation>,

    /// Which volume of a 4D image, counted from 0
    #[arg(long, value_name = "N", conflicts_with = "points")]
    pub volume: Option<usize>,

    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,

    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use clap::Parser;

    fn parse(words: &str) -> Result<ApplyArgs, String> {
        let words = format!("stillpoint apply {words}");
        let cli = Cli::try_parse_from(words.split_whitespace()).map_err(|e| e.to_string())?;
        match cli.command {
            Command::Apply(args) => Ok(args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn transforms_keep_their_order() {
        let args = parse("--image i.nii --reference r.nii -t w.nii -t [a.mat,1] -o o.nii").unwrap();
        let listed: Vec<String> = args.transform.iter().map(ToString::to_string).collect();
        assert_eq!(listed, ["w.nii", "[a.mat,1]"]);
        assert_eq!(args.interpolation, None);
        let args = parse("--image i.nii --reference r.nii -t w.nii -o o.nii --interpolation label");
        assert_eq!(args.unwrap().interpolation, Some(Interpolation::Label));
        assert!(parse("--points p.csv -t w.nii -o o.csv").is_ok());
    }

    #[test]
    fn contradictions_are_refused() {
        for bad in [
            "-t w.nii -o o.nii",
            "--image i.nii -t w.nii -o o.nii",
            "--image i.nii --reference r.nii -o o.nii",
            "--image i.nii --points p.csv --reference r.nii -t w.nii -o o.nii",
            "--points p.csv --reference r.nii -t w.nii -o o.csv",
            "--points p.csv --interpolation linear -t w.nii -o o.csv",
            "--points p.csv --volume 1 -t w.nii -o o.csv",
            "--image i.nii --reference r.nii -t w.nii -o o.nii --interpolation spline",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
