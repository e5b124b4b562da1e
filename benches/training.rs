//! Whole training steps in three dimensions: features of both images, registration over three levels, losses on 30 labels,
//! the way back, and the update. `cargo bench --bench training [-- NAME]`, where NAME is a part of a row's name.
//!
//! The setting is that of the published code's step (arXiv 2406.07361): 80x96x112 voxels, 16 channels, one pair, 30 labels.
//! Computed seconds are those of all threads, so that other work on the machine changes little; memory is the most that was
//! resident from the first step to the last.

mod machine;

use std::process::Command;
use std::time::Instant;

use machine::computed_seconds;
use stillpoint::{
    DataSet, Error, Image, Instructions, LossConfig, NetworkConfig, PairStart, Phantom, Result,
    SolveConfig, Subject, Trainer, TrainingConfig,
};

#[global_allocator]
static ALLOCATOR: stillpoint::memory::Allocator = stillpoint::memory::Allocator;

/// Fastest axis first.
const SIZE: [usize; 3] = [112, 96, 80];
const LABELS: usize = 30;
/// Steps that are timed, after one that is not.
const STEPS: usize = 3;

/// A phantom whose structures are cut into as many labels as are asked for.
fn subject(number: u64) -> Result<Subject> {
    let phantom = Phantom::pair(&SIZE, &[2.0; 3], number)?;
    let halves = |at: usize| {
        let mut rest = at;
        (0..3).fold(0, |sum, a| {
            let upper = rest % SIZE[a] >= SIZE[a] / 2;
            rest /= SIZE[a];
            2 * sum + u32::from(upper)
        })
    };
    let labels = phantom.fixed_labels.iter().enumerate();
    let labels = labels
        .map(|(at, &label)| {
            if label == 0 {
                0
            } else {
                8 * label + halves(at)
            }
        })
        .collect();
    let image = Image::new(phantom.grid.clone(), 1, phantom.fixed)?;
    Subject::new(&format!("{number}"), image, Some(labels), None, &[])
}

/// The most memory that was resident since the last [`forget_peak`], where the system tells (Linux).
fn peak() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0)
}

fn forget_peak() {
    // the peak of what ran before stays where the system does not allow this
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Seconds, computed seconds and peak bytes of a step.
fn measure(
    network: NetworkConfig,
    adjoint: &str,
    recompute: bool,
    data: DataSet,
) -> Result<[f64; 3]> {
    let folder = tempfile::tempdir().map_err(|e| Error::io("training", "make a folder for", e))?;
    let config = TrainingConfig {
        out: folder.path().join("training"),
        seed: 1,
        steps: STEPS + 1,
        batch: 1,
        validate_every: usize::MAX,
        checkpoint_every: usize::MAX,
        network,
        recompute,
        registration: SolveConfig {
            adjoint: Some(adjoint.into()),
            start: PairStart::Identity,
            ..SolveConfig::default()
        },
        loss: LossConfig {
            labels: LABELS,
            ..LossConfig::default()
        },
        ..TrainingConfig::default()
    };
    let mut trainer = Trainer::with_data(&config, Some(data), None)?;
    forget_peak();
    let mut marks = Vec::new();
    trainer.run(&mut |row, notes| {
        for note in notes {
            eprintln!("step {}: {note}", row.step);
        }
        marks.push((Instant::now(), computed_seconds().unwrap_or(f64::NAN)));
        Ok(())
    })?;
    let peak = peak().unwrap_or(f64::NAN);
    // between the end of one step and that of the next
    let steps = marks.windows(2).map(|m| {
        let seconds = m[1].0.duration_since(m[0].0).as_secs_f64();
        [seconds, m[1].1 - m[0].1]
    });
    let mut steps: Vec<[f64; 2]> = steps.collect();
    steps.drain(..steps.len() - STEPS);
    steps.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let [seconds, computed] = steps[STEPS / 2];
    Ok([seconds, computed, peak])
}

/// Every row runs in a process of its own: what one has freed would count as memory of the next.
const ROW: &str = "--row";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let only = words.iter().position(|w| w == ROW).map(|at| &words[at + 1]);
    if only.is_none() {
        println!(
            "{} threads, {:?}; allocator of the program; medians of {STEPS} steps\n\n{:<34} {:>7} {:>11} {:>8}",
            rayon::current_num_threads(),
            Instructions::current(),
            "80x96x112, 16 channels, 30 labels",
            "s",
            "computed s",
            "MB"
        );
    }
    let wanted: Vec<&String> = words.iter().filter(|w| !w.starts_with('-')).collect();
    let networks = [
        ("U-Net", NetworkConfig::unet(3, 1)),
        ("LKU-16", NetworkConfig::large_kernel_unet(3, 1, 16)),
    ];
    for (name, network) in networks {
        for (adjoint, recompute) in [("gauss-newton", false), ("exact", false), ("exact", true)] {
            let again = if recompute { ", recomputed maps" } else { "" };
            let row = format!("{name}, {adjoint}{again}");
            match only {
                Some(only) if *only == row => {
                    let data = DataSet::of((1..=4).map(subject).collect::<Result<_>>()?);
                    let [seconds, computed, peak] =
                        measure(network.clone(), adjoint, recompute, data)?;
                    let peak = peak / 1e6;
                    println!("{row:<34} {seconds:>7.2} {computed:>11.2} {peak:>8.0}");
                }
                None if wanted.is_empty() || wanted.iter().any(|w| row.contains(*w)) => {
                    let this = std::env::current_exe();
                    this.and_then(|program| Command::new(program).args([ROW, &row]).status())
                        .map_err(|e| Error::io("training", "run a row", e))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}
