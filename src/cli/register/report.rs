//! What is known of a registration afterwards.

use serde::Serialize;

use super::super::NetworkReport;
use super::inputs::InputFile;
use super::prompts::PromptReport;
use super::RegisterArgs;
use crate::evaluation::{InverseConsistency, Overlap, Regularity};
use crate::ops::Instructions;
use crate::registration::{DeformableReport, Registered};
use crate::solver::{Alignment, Status};
use crate::{Affine, Grid};

/// The report of a registration, `P_report.json`.
///
/// Two runs on one machine differ in `run` and nowhere else.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub program: Program,
    pub inputs: Vec<InputFile>,
    pub fixed_grid: GridReport,
    pub moving_grid: GridReport,
    pub settings: Settings,
    /// The network whose features were compared; null where there was none.
    pub network: Option<NetworkReport>,
    /// Fixed world to moving world, RAS mm, row by row: what the linear stages found.
    pub affine: [[f64; 4]; 3],
    /// The start and the linear stages; null where there were none.
    pub alignment: Option<Alignment>,
    pub deformable: Option<DeformableReport>,
    pub difference: Difference,
    pub regularity: Regularity,
    /// Distance between points of the fixed grid and where warp and inverse warp bring them, mm; null when none of them
    /// comes to lie between voxel centres of the moving grid.
    pub inverse_consistency: Option<InverseConsistency>,
    /// Share of the voxels where the inversion did not reach a hundredth of a voxel.
    pub inverse_missed: f64,
    pub dice: Option<DiceReport>,
    /// What was prompted, and how well it is met.
    pub prompts: Vec<PromptReport>,
    pub warnings: Vec<String>,
    /// What may be worth a look, such as a voxel size that does not fit.
    pub notes: Vec<String>,
    pub outputs: Vec<String>,
    pub run: Run,
}

/// Which program it was.
#[derive(Debug, Clone, Serialize)]
pub struct Program {
    pub name: &'static str,
    pub version: &'static str,
    /// Instruction set of the kernels; the last bits of a result may depend on it.
    pub instructions: String,
    pub target: String,
}

impl Program {
    pub fn this() -> Self {
        Self {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            instructions: format!("{:?}", Instructions::current()).to_lowercase(),
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        }
    }
}

/// A grid in words and numbers.
#[derive(Debug, Clone, Serialize)]
pub struct GridReport {
    pub size: Vec<usize>,
    /// Mm.
    pub spacing: Vec<f64>,
    /// World position of the first voxel, RAS mm.
    pub origin: [f64; 3],
    pub direction: [[f64; 3]; 3],
}

impl GridReport {
    pub fn of(grid: &Grid) -> Self {
        Self {
            size: grid.size().to_vec(),
            spacing: grid.spacing().to_vec(),
            origin: grid.origin(),
            direction: grid.direction(),
        }
    }
}

/// What was asked for; `null` is the program's own choice.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    pub transform: String,
    pub init: String,
    pub levels: Option<Vec<usize>>,
    pub iterations: Option<Vec<usize>>,
    pub decrease: Option<f64>,
    pub features: Option<String>,
    pub lambda: Option<f64>,
    pub certify: bool,
    pub device: String,
    pub seed: u64,
    pub fixed_volume: Option<usize>,
    pub moving_volume: Option<usize>,
}

impl Settings {
    pub fn of(args: &RegisterArgs) -> Self {
        Self {
            transform: args.transform.to_string(),
            init: args.init.to_string(),
            levels: args.levels.as_ref().map(|l| l.list().to_vec()),
            iterations: args.iterations.as_ref().map(|i| i.list().to_vec()),
            decrease: args.decrease,
            features: args.features.as_ref().map(ToString::to_string),
            lambda: args.lambda,
            certify: args.certify,
            device: args.device.to_string(),
            seed: args.seed,
            fixed_volume: args.fixed_volume,
            moving_volume: args.moving_volume,
        }
    }
}

/// Root mean square difference of the intensities on their common scale, over all voxels of the fixed image; beyond the
/// moving image its intensity counts as 0.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Difference {
    /// At the initial alignment.
    pub before: f64,
    pub after: f64,
}

/// Overlap of the labels.
#[derive(Debug, Clone, Serialize)]
pub struct DiceReport {
    /// Mean over the labels, at the start that was chosen.
    pub before: Option<f64>,
    /// Mean over the labels, registered.
    pub after: Option<f64>,
    /// Label by label, registered.
    pub labels: Overlap,
}

/// What differs from run to run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Run {
    pub threads: usize,
    /// Wall time by part.
    pub seconds: Seconds,
    /// What was expected before the work began; see [`Footprint`](crate::Footprint).
    pub estimated_memory_bytes: u64,
    /// What was in use at most, counted by the program's allocator: without the program itself, its stacks, and what the
    /// allocator keeps.
    pub peak_allocated_bytes: u64,
    /// Largest resident set so far; null where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
}

/// Wall time, s.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Seconds {
    pub read: f64,
    pub register: f64,
    /// Of the deformable stage, level by level.
    pub levels: Vec<f64>,
    pub evaluate_and_write: f64,
    pub total: f64,
}

/// The matrix as three rows of four.
pub fn rows(affine: &Affine) -> [[f64; 4]; 3] {
    std::array::from_fn(|r| {
        let m = affine.matrix[r];
        [m[0], m[1], m[2], affine.translation[r]]
    })
}

/// What may be worth a look.
pub fn notes(registered: &Registered) -> Vec<String> {
    let scales = registered
        .alignment
        .iter()
        .map(|alignment| &alignment.scales);
    scales
        .filter_map(|scales| scales.suspicion.clone())
        .collect()
}

/// Stages that did not end as they should, in whole sentences.
pub fn doubts(registered: &Registered) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Some(alignment) = &registered.alignment {
        for stage in alignment.stages.iter().filter(|stage| !stage.kept) {
            let reason = stage.reason.as_deref().unwrap_or("it gains nothing");
            doubts.push(format!(
                "the {} stage was dropped: {reason}",
                stage.kind.name()
            ));
        }
    }
    let Some(deformable) = &registered.deformable else {
        return doubts;
    };
    for level in &deformable.levels {
        let size: Vec<String> = level.size.iter().map(usize::to_string).collect();
        let place = format!("level {} ({})", level.shrink, size.join("x"));
        let wrong = match level.status {
            Status::NonFinite => {
                Some("met a value that is not finite; the last good iterate was kept")
            }
            Status::MaxSteps => {
                Some("used up its iterations before it converged; allow more with --iterations")
            }
            Status::Stalled if !deformable.certify => Some("found no further decrease"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            doubts.push(format!("{place} {wrong}"));
        }
        if deformable.certify && !level.certificate.strict_minimum {
            doubts.push(format!(
                "{place} has no certificate: gradient ratio {:.1e}, smallest Ritz value {}, ended as {:?}",
                level.certificate.gradient_ratio,
                level
                    .certificate
                    .smallest_ritz
                    .map_or("not computed".into(), |r| format!("{r:.1e}")),
                level.status
            ));
        }
    }
    doubts
}
