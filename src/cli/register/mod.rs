//! `stillpoint register`: a moving image onto a fixed one.

mod budget;
mod inputs;
mod outputs;
mod page;
mod prompts;
mod report;
mod run;

pub(super) use outputs::Outputs;
pub(super) use report::Report;
pub(super) use run::{register, run, summary};

use self::prompts::{Kind, PromptFiles};
use super::{Bytes, Compared, Init, Iterations, Levels, RunArgs, Stage, Stages};
use crate::ops::DeviceChoice;
use clap::Args;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Writes, for the prefix P:
  P_warped.nii.gz        the moving image on the fixed grid
  P_warp.nii.gz          the total displacement, fixed to moving, for ITK and ANTs
  P_inverse_warp.nii.gz  its inverse
  P_report.json          settings, convergence, folds, consistency, Dice, time
  P_report.png           a page to look at

Examples:
  stillpoint register -f fixed.nii.gz -m moving.nii.gz -o out/pair
  stillpoint register -f fixed.nii.gz -m moving.nii.gz -o out/pair -t rigid
  stillpoint register -f fixed.nii.gz -m moving.nii.gz -o out/pair \\
      --fixed-labels fixed_seg.nii.gz --moving-labels moving_seg.nii.gz
  stillpoint register -f fixed.nii.gz -m moving.nii.gz -o out/pair \\
      --features weights.safetensors
  stillpoint register -f fixed.nii.gz -m moving.nii.gz -o out/pair \\
      --prompt-labels fixed_seg.nii.gz,moving_seg.nii.gz,ids=17+53 \\
      --prompt-points fixed.csv,moving.csv
  stillpoint register -f fixed.nii.gz -m moving.nii.gz -o out/pair \\
      -t compositive --init identity --levels 4x2x1 --iterations 100x50x20";

/// The arguments of `register`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RegisterArgs {
    /// Image that stays; its grid is the grid of the results
    #[arg(short, long, value_name = "FILE", help_heading = "Images")]
    pub fixed: PathBuf,

    /// Image that is carried onto the fixed one
    #[arg(short, long, value_name = "FILE", help_heading = "Images")]
    pub moving: PathBuf,

    /// Beginning of the names of all results, such as out/pair
    #[arg(short, long, value_name = "P", help_heading = "Images")]
    pub out_prefix: PathBuf,

    /// Which volume of a 4D fixed image, counted from 0
    #[arg(long, value_name = "N", help_heading = "Images")]
    pub fixed_volume: Option<usize>,

    /// Which volume of a 4D moving image, counted from 0
    #[arg(long, value_name = "N", help_heading = "Images")]
    pub moving_volume: Option<usize>,

    /// Where the fixed image counts (non-zero), on its grid
    #[arg(long, value_name = "FILE", help_heading = "Images")]
    pub fixed_mask: Option<PathBuf>,

    /// Where the moving image counts (non-zero), on its grid
    #[arg(long, value_name = "FILE", help_heading = "Images")]
    pub moving_mask: Option<PathBuf>,

    /// Labels of the fixed image, to measure Dice; they do not steer the registration
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Images",
        requires = "moving_labels"
    )]
    pub fixed_labels: Option<PathBuf>,

    /// Labels of the moving image
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Images",
        requires = "fixed_labels"
    )]
    pub moving_labels: Option<PathBuf>,

    /// Stages: of rigid, similarity, affine, then one of displacement, compositive, velocity, bspline
    #[arg(
        short,
        long,
        value_name = "STAGE[,STAGE]",
        default_value = "affine,compositive",
        help_heading = "Method"
    )]
    pub transform: Stages,

    /// Start: identity (the headers as they are), centres, moments, or a transform file
    #[arg(
        long,
        value_name = "START",
        default_value = "moments",
        help_heading = "Method"
    )]
    pub init: Init,

    /// How much coarser the grid is on each level of the stage that deforms, such as 4x2x1 [default: by the image's size]
    #[arg(long, value_name = "AxBxC", help_heading = "Method")]
    pub levels: Option<Levels>,

    /// Most iterations on each level, such as 100x50x20 [default: 20, with --certify 200]
    #[arg(
        long,
        value_name = "AxBxC",
        requires = "levels",
        help_heading = "Method"
    )]
    pub iterations: Option<Iterations>,

    /// End a level once an iteration lowers its energy by less than this share: a smaller one, such as 0.002, is more exact and
    /// slower [default: 0.01]
    #[arg(
        long,
        value_name = "SHARE",
        value_parser = share,
        allow_negative_numbers = true,
        conflicts_with = "certify",
        help_heading = "Method"
    )]
    pub decrease: Option<f64>,

    /// What the stage that deforms compares: coarse-mind (intensities, with MIND descriptors on the coarse levels),
    /// intensities, mind (descriptors alone) or both [default: coarse-mind, with --certify intensities]. Or the features of a
    /// network, which all stages compare: synthetic (comes with the program, for 3D images of any contrast), synthetic-same
    /// (the same, for images of one contrast), or a file of weights (*.safetensors)
    #[arg(long, value_name = "FEATURES", help_heading = "Method")]
    pub features: Option<Compared>,

    /// Keep the features of a network in half precision: less memory and time, at a relative error of 5e-4. On the CPU;
    /// --max-memory does it where it must
    #[arg(long, help_heading = "Method", conflicts_with = "certify")]
    pub half_features: bool,

    /// Weight of smoothness against likeness, the same on each level; larger is smoother [default: that of the weights in
    /// training, else 0.2, with --certify 1]
    #[arg(long, value_name = "WEIGHT", value_parser = weight, allow_negative_numbers = true, help_heading = "Method")]
    pub lambda: Option<f64>,

    /// Run to a proven local minimum and say so; slower
    #[arg(long, help_heading = "Method")]
    pub certify: bool,

    /// Where features are made and the stage that deforms is solved: cpu, cuda (an NVIDIA GPU), cuda:N, or auto (a GPU where one
    /// can be used); the rest runs on the CPU
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = "cpu",
        help_heading = "Method"
    )]
    pub device: DeviceChoice,

    /// Structures labelled in both images that steer the registration: two files on the images' grids, then ids=17+53
    /// [default: all], weight=W [default: 3], mask=FILE (where they count, on the fixed grid); repeat it for more
    #[arg(long, value_name = "FIXED,MOVING[,ids=A+B][,weight=W][,mask=FILE]", value_parser = prompts::labels, help_heading = "Prompts")]
    pub prompt_labels: Vec<PromptFiles>,

    /// Corresponding points that steer the registration: two tables with columns x, y, z in mm, then weight=W [default: 30]
    #[arg(long, value_name = "FIXED,MOVING[,weight=W]", value_parser = prompts::points, help_heading = "Prompts")]
    pub prompt_points: Vec<PromptFiles>,

    /// Sparse labels that steer the registration: marks of one number belong together, unmarked voxels (0) say nothing
    #[arg(long, value_name = "FIXED,MOVING[,weight=W][,mask=FILE]", value_parser = prompts::scribbles, help_heading = "Prompts")]
    pub prompt_scribbles: Vec<PromptFiles>,

    /// Let the finest level follow the images alone
    #[arg(long, help_heading = "Prompts")]
    pub prompts_off_at_finest: bool,

    /// Seed of whatever is random; recorded, for nothing here draws random numbers yet
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Method")]
    pub seed: u64,

    /// Also write P0GenericAffine.mat, P1Warp.nii.gz and P1InverseWarp.nii.gz
    #[arg(long, help_heading = "Output")]
    pub ants_outputs: bool,

    /// Print the report as JSON instead of a summary
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Keep within this memory, such as 700MB, 2GB or 1.5GiB: keep a network's features in half precision, or refuse to begin
    #[arg(long, value_name = "SIZE", help_heading = "Running")]
    pub max_memory: Option<Bytes>,

    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

impl RegisterArgs {
    /// All files that are read.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let start = match &self.init {
            Init::File(path) => Some(path),
            _ => None,
        };
        [&self.fixed, &self.moving]
            .into_iter()
            .chain(&self.fixed_mask)
            .chain(&self.moving_mask)
            .chain(&self.fixed_labels)
            .chain(&self.moving_labels)
            .chain(start)
            .chain(self.prompts().flat_map(|(_, files)| files.files()))
            .map(PathBuf::as_path)
            .chain(self.features.as_ref().and_then(Compared::weights))
    }

    /// All prompts, in the order in which they are reported.
    fn prompts(&self) -> impl Iterator<Item = (Kind, &PromptFiles)> {
        let labels = self.prompt_labels.iter().map(|files| (Kind::Labels, files));
        let scribbles = self.prompt_scribbles.iter();
        let points = self.prompt_points.iter();
        labels
            .chain(scribbles.map(|files| (Kind::Scribbles, files)))
            .chain(points.map(|files| (Kind::Points, files)))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.init.check()?;
        if let (Some(levels), Some(iterations)) = (&self.levels, &self.iterations) {
            let (level, iteration) = (levels.list().len(), iterations.list().len());
            if level != iteration {
                return Err(format!(
                    "--levels {levels} has {level} and --iterations {iterations} has {iteration}: give one number a level"
                ));
            }
        }
        let learned = self.features.as_ref().filter(|f| f.hand_made().is_none());
        if self.half_features && (learned.is_none() || !self.transform.deform()) {
            return Err(
                "--half-features has no effect without a stage that deforms and --features of a network".into(),
            );
        }
        if self.half_features && matches!(self.device, DeviceChoice::Cuda(_)) {
            return Err(format!(
                "--half-features has no effect with --device {}: a GPU compares features in single precision",
                self.device
            ));
        }
        let prompted = self.prompts().next().is_some();
        if self.prompts_off_at_finest && !prompted {
            return Err("--prompts-off-at-finest has no effect without a prompt".into());
        }
        if let (true, Some(levels)) = (self.prompts_off_at_finest, &self.levels) {
            if levels.list().len() == 1 {
                return Err(format!(
                    "--prompts-off-at-finest leaves no level to the prompts with --levels {levels}: give two levels or more"
                ));
            }
        }
        if !self.transform.deform() {
            for (given, flag) in [
                (self.lambda.is_some(), "--lambda"),
                (self.certify, "--certify"),
                (self.decrease.is_some(), "--decrease"),
                (self.levels.is_some(), "--levels"),
                (
                    self.features
                        .as_ref()
                        .is_some_and(|f| f.hand_made().is_some()),
                    "--features by name",
                ),
                (prompted, "--prompt-..."),
                (self.device != DeviceChoice::Cpu, "--device"),
            ] {
                if given {
                    return Err(format!(
                        "{flag} has no effect on --transform {}: add a stage that deforms, or leave it out",
                        self.transform
                    ));
                }
            }
        }
        Ok(())
    }
}

pub(super) fn weight(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("expected a positive number".into()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => Err("expected a number between 0 and 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use clap::Parser;

    fn parse(more: &[&str]) -> Result<RegisterArgs, String> {
        let start = [
            "stillpoint",
            "register",
            "-f",
            "a.nii",
            "-m",
            "b.nii",
            "-o",
            "out/p",
        ];
        let cli = Cli::try_parse_from(start.iter().chain(more)).map_err(|e| e.to_string())?;
        cli.command.check()?;
        match cli.command {
            Command::Register(args) => Ok(*args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn defaults_need_no_flag() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.fixed, PathBuf::from("a.nii"));
        assert_eq!(args.out_prefix, PathBuf::from("out/p"));
        assert_eq!(args.transform.list(), [Stage::Affine, Stage::Compositive]);
        assert_eq!(args.init, Init::Moments);
        assert_eq!(
            (args.levels, args.iterations, args.lambda),
            (None, None, None)
        );
        assert_eq!((args.seed, args.certify, args.json), (0, false, false));
        assert_eq!(args.device, DeviceChoice::Cpu);
        let second = parse(&["--device", "cuda:1"]).unwrap();
        assert_eq!(second.device, DeviceChoice::Cuda(1));
        assert!(parse(&["-t", "affine", "--features", "w.safetensors"]).is_ok());
        let limited = parse(&["--max-memory", "1.5GiB"]).unwrap();
        assert_eq!(limited.max_memory, Some(Bytes(3 << 29)));
    }

    #[test]
    fn lists_must_match_and_flags_must_matter() {
        assert!(parse(&["--levels", "4x2x1", "--iterations", "9x9x9"]).is_ok());
        for (bad, word) in [
            (
                &["--levels", "4x2", "--iterations", "9x9x9"][..],
                "one number a level",
            ),
            (&["--iterations", "9x9"], "--levels"),
            (&["--fixed-labels", "l.nii"], "--moving-labels"),
            (&["--moving-labels", "l.nii"], "--fixed-labels"),
            (&["-t", "affine", "--lambda", "1"], "no effect"),
            (&["-t", "rigid", "--certify"], "no effect"),
            (&["-t", "affine", "--levels", "2x1"], "no effect"),
            (&["-t", "affine", "--decrease", "0.1"], "no effect"),
            (&["--decrease", "1"], "between 0 and 1"),
            (&["--decrease=-0.1"], "between 0 and 1"),
            (&["--decrease", "0.1", "--certify"], "cannot be used with"),
            (&["--lambda", "0"], "positive"),
            (&["--lambda=-1"], "positive"),
            (&["--lambda", "nan"], "positive"),
            (&["--threads", "0"], "--threads"),
            (&["--max-memory", "much"], "700MB"),
            (&["--max-memory", "0"], "700MB"),
            (&["--init", "nowhere.mat"], "neither"),
            (&["-t", "affine", "--features", "mind"], "no effect"),
            (&["--features", "unet"], "coarse-mind"),
            (&["--half-features"], "no effect without"),
            (&["--half-features", "--features", "mind"], "no effect"),
            (
                &[
                    "--half-features",
                    "--device",
                    "cuda",
                    "--features",
                    "synthetic",
                ],
                "no effect with --device cuda",
            ),
            (
                &["--half-features", "--certify", "--features", "synthetic"],
                "cannot be used with",
            ),
            (&["-t", "thin-plate"], "no stage"),
            (&["--prompts-off-at-finest"], "no effect without a prompt"),
            (
                &[
                    "--prompts-off-at-finest",
                    "--levels",
                    "2",
                    "--prompt-points",
                    "a,b",
                ],
                "no level",
            ),
            (&["-t", "affine", "--prompt-labels", "a,b"], "no effect"),
            (&["-t", "rigid", "--device", "auto"], "no effect"),
            (&["--device", "gpu"], "cuda:N"),
            (&["--prompt-labels", "a"], "FIXED,MOVING"),
            (&["-f", "c.nii"], "cannot be used multiple times"),
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains(word), "{bad:?}: {error}");
        }
    }
}
