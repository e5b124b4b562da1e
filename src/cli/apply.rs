//! `stillpoint apply`: an image or points through transforms.

use super::output::warn;
use super::{Interpolation, Listed, RunArgs, Session};
use crate::{
    read_image_with, read_labels_with, resample_image, resample_labels, Chain, Error, Image,
    ImageOptions, ImageSpace, LabelResampling, Labels, PointSpace, Points, Resampling, Result,
};
use clap::{ArgGroup, Args};
use std::path::{Path, PathBuf};

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

    /// Value where there is nothing of the image [default: 0]
    #[arg(
        long,
        value_name = "VALUE",
        conflicts_with = "points",
        allow_negative_numbers = true
    )]
    pub background: Option<f32>,

    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,

    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Does what `apply` was asked to.
pub(super) fn run(args: &ApplyArgs, session: &Session) -> Result<()> {
    match (&args.image, &args.reference, &args.points) {
        (Some(image), Some(reference), _) => carry_image(args, session, image, reference),
        (_, _, Some(points)) => carry_points(args, points),
        _ => Err(Error::argument(
            "apply",
            "give --image with --reference, or --points",
        )),
    }
}

/// Points of the fixed space into the moving space.
fn carry_points(args: &ApplyArgs, path: &Path) -> Result<()> {
    let mut points = Points::read(path, PointSpace::Lps)?;
    let chain = Listed::chain_of_any_rank(&args.transform)?;
    points.positions = chain.apply_all(&points.positions);
    points.write(&args.out)
}

/// A moving image onto the grid of a reference.
fn carry_image(args: &ApplyArgs, session: &Session, path: &Path, reference: &Path) -> Result<()> {
    let space = ImageSpace::read(reference)?;
    warn(reference, space.warnings());
    let options = ImageOptions {
        volume: args.volume,
        ..ImageOptions::default()
    };
    let background = args.background.unwrap_or(0.0);
    if !background.is_finite() {
        return Err(Error::argument("--background", "must be a finite number"));
    }
    let label = whole(background);
    let work = Work {
        args,
        session,
        space: &space,
    };
    match args.interpolation.unwrap_or(Interpolation::Linear) {
        Interpolation::Linear => {
            let image = read_image_with(path, &options)?;
            work.image(path, image, Resampling::Linear, background)
        }
        Interpolation::Cubic => {
            let image = read_image_with(path, &options)?;
            work.image(path, image, Resampling::Cubic, background)
        }
        Interpolation::Label => {
            let label = label.ok_or_else(|| {
                Error::argument(
                    "--background",
                    format!("must be a label, a whole number from 0, got {background}"),
                )
            })?;
            let labels = read_labels_with(path, &options)?;
            work.labels(path, labels, LabelResampling::Vote, label)
        }
        Interpolation::Nearest => {
            // Label numbers beyond 2^24 would not survive in single precision; other values are no labels.
            let labels = label.map(|label| (label, read_labels_with(path, &options)));
            match labels {
                Some((label, Ok(labels))) => {
                    work.labels(path, labels, LabelResampling::Nearest, label)
                }
                Some((_, Err(Error::Data { .. }))) | None => {
                    let image = read_image_with(path, &options)?;
                    work.image(path, image, Resampling::Nearest, background)
                }
                Some((_, Err(error))) => Err(error),
            }
        }
    }
}

/// The label that a number is, if it is one.
fn whole(value: f32) -> Option<u32> {
    let label = value as u32;
    (label as f32 == value).then_some(label)
}

/// What is common to images and labels.
struct Work<'a> {
    args: &'a ApplyArgs,
    session: &'a Session,
    space: &'a ImageSpace,
}

impl Work<'_> {
    fn image(&self, path: &Path, image: Image, how: Resampling, background: f32) -> Result<()> {
        warn(path, image.warnings());
        let chain = self.chain()?;
        let carried = resample_image(&image, &chain, self.space.grid(), how, background)?;
        self.session.proceed()?;
        let empty = carried.values().iter().all(|v| *v == background);
        self.warn_of_nothing(
            path,
            empty && image.values().iter().any(|v| *v != background),
        );
        let carried = self
            .space
            .image(carried.channels(), carried.into_values())?;
        if how == Resampling::Nearest {
            carried.write_whole_numbers(&self.args.out)
        } else {
            carried.write(&self.args.out)
        }
    }

    fn labels(
        &self,
        path: &Path,
        labels: Labels,
        how: LabelResampling,
        background: u32,
    ) -> Result<()> {
        warn(path, labels.warnings());
        let chain = self.chain()?;
        let carried = resample_labels(&labels, &chain, self.space.grid(), how, background)?;
        self.session.proceed()?;
        let empty = carried.values().iter().all(|v| *v == background);
        self.warn_of_nothing(
            path,
            empty && labels.values().iter().any(|v| *v != background),
        );
        self.space
            .labels(carried.into_values())?
            .write(&self.args.out)
    }

    fn chain(&self) -> Result<Chain> {
        self.session.proceed()?;
        let chain = Listed::chain(&self.args.transform, self.space.grid().rank())?;
        self.session.proceed()?;
        Ok(chain)
    }

    fn warn_of_nothing(&self, path: &Path, nothing: bool) {
        if nothing {
            let text = "nothing of it comes to lie on the reference; are the transforms those of this pair, and in the \
                        right direction?";
            warn(path, [&text.to_owned()]);
        }
    }
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
