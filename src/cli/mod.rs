//! The command line: arguments in, files and pictures out. One file per command.
//!
//! This is the program `stillpoint`, not an interface for other programs: it may change from one version to the next.

mod apply;
mod budget;
mod bytes;
mod compared;
mod demo;
mod device;
mod digest;
mod evaluate;
mod features;
mod gradcheck;
mod info;
mod init;
mod interpolation;
mod interrupt;
mod listed;
mod measures;
mod memory;
mod output;
mod progress;
mod register;
mod schedule;
mod session;
mod sheet;
mod stage;
mod train;

pub use apply::ApplyArgs;
pub use bytes::Bytes;
pub use compared::Compared;
pub use demo::DemoArgs;
pub use evaluate::EvaluateArgs;
pub use features::FeaturesArgs;
pub use gradcheck::GradcheckArgs;
pub use info::InfoArgs;
pub use init::Init;
pub use interpolation::Interpolation;
pub use listed::Listed;
pub use memory::Counted;
pub use output::print;
pub use progress::Progress;
pub use register::RegisterArgs;
pub use schedule::{Iterations, Levels};
pub use session::{enter, Session};
pub use stage::{Stage, Stages};
pub use train::TrainArgs;

use compared::{Network, NetworkReport};
use digest::sha256;

use clap::{Args, Parser, Subcommand};
use std::num::NonZeroUsize;
use std::process::ExitCode;

/// Image registration: find the map that carries a moving image onto a fixed one.
#[derive(Debug, Parser)]
#[command(
    name = "stillpoint",
    version,
    disable_help_subcommand = true,
    after_help = AFTER_HELP
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Register a moving image to a fixed one
    Register(Box<RegisterArgs>),
    /// Carry an image or points through transforms
    Apply(ApplyArgs),
    /// Measure a registration: overlap, surfaces, folds, consistency, landmarks
    Evaluate(EvaluateArgs),
    /// Say what the header of an image means
    Info(InfoArgs),
    /// Make a phantom pair with a known warp and register it: no file needed
    Demo(DemoArgs),
    /// Write and draw the feature maps that a registration compares
    Features(FeaturesArgs),
    /// Check the gradients through a registration against finite differences
    Gradcheck(GradcheckArgs),
    /// Train a feature network through the solver
    Train(TrainArgs),
}

const AFTER_HELP: &str = "\
Examples:
  stillpoint demo
      the whole thing in one command, without any file
  stillpoint register -f fixed.nii.gz -m moving.nii.gz -o out/pair
      the warped image, the warp, its inverse, a report and a page to look at
  stillpoint apply --image labels.nii.gz --reference fixed.nii.gz \\
      -t out/pair_warp.nii.gz --interpolation label -o out/labels.nii.gz

Exit codes:
  0    done
  1    the work failed; the reason is on standard error
  2    the command line makes no sense
  130  interrupted (Ctrl-C); no half-written file is left";

/// The program: does what the command line says and returns its exit code.
pub fn main() -> ExitCode {
    // the tensor engine's threads serve one caller at a time and spin while they wait; ours use the cores better
    const ENGINE_THREADS: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(ENGINE_THREADS).is_none() {
        std::env::set_var(ENGINE_THREADS, "1");
    }
    enter(std::env::args_os(), |command, session| match command {
        Command::Apply(args) => apply::run(args, session),
        Command::Evaluate(args) => evaluate::run(args, session),
        Command::Info(args) => info::run(args),
        Command::Register(args) => register::run(args, session),
        Command::Demo(args) => demo::run(args, session),
        Command::Features(args) => features::run(args, session),
        Command::Gradcheck(args) => gradcheck::run(args, session),
        Command::Train(args) => train::run(args, session),
    })
}

/// How the program runs, for commands that compute.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Running")]
pub struct RunArgs {
    /// Threads to use; the result is the same for any number [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,

    /// No progress bar and no summary
    #[arg(long)]
    pub quiet: bool,
}

impl Command {
    /// The word on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Register(_) => "register",
            Self::Apply(_) => "apply",
            Self::Evaluate(_) => "evaluate",
            Self::Info(_) => "info",
            Self::Demo(_) => "demo",
            Self::Features(_) => "features",
            Self::Gradcheck(_) => "gradcheck",
            Self::Train(_) => "train",
        }
    }

    /// What the parser cannot see: flags that contradict each other or would have no effect.
    ///
    /// # Errors
    /// The sentence to show.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Register(args) => args.check(),
            Self::Evaluate(args) => args.check(),
            Self::Features(args) => args.check(),
            Self::Gradcheck(args) => args.check(),
            Self::Apply(_) | Self::Info(_) | Self::Demo(_) | Self::Train(_) => Ok(()),
        }
    }

    /// How to run; `info` reads a header and takes no such flags.
    fn running(&self) -> RunArgs {
        match self {
            Self::Register(args) => args.run.clone(),
            Self::Apply(args) => args.run.clone(),
            Self::Evaluate(args) => args.run.clone(),
            Self::Info(_) => RunArgs::default(),
            Self::Demo(args) => args.run.clone(),
            Self::Features(args) => args.run.clone(),
            Self::Gradcheck(args) => args.run.clone(),
            Self::Train(args) => args.run.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_help_text() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for flag in command.get_arguments() {
                assert!(flag.get_help().is_some(), "{} {flag}", command.get_name());
            }
        }
    }
}
