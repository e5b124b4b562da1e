//! The memory of a run: what is said before it, what it took, and `--max-memory`.

use serde_json::Value;
use stillpoint::{
    AlignmentStart, Deformation, FeatureNetwork, Footprint, Image, Phantom, Registration, Shipped,
};

use crate::pair::Pair;

fn memory(report: &Value, name: &str) -> f64 {
    report["run"][name].as_f64().unwrap()
}

fn pair(size: &[usize]) -> Pair {
    let spacing: Vec<f64> = size.iter().map(|n| 160.0 / *n as f64).collect();
    Pair::new(Phantom::pair(size, &spacing, 3).unwrap())
}

const LABELS: &str = "--fixed-labels fixed_labels.nii.gz --moving-labels moving_labels.nii.gz";

/// What the estimate counts for the program itself on two threads, and for pages and compression, bytes.
const PROGRAM: f64 = 70e6;
const WRITING: f64 = 16e6;

/// Runs with these words; the estimate must not miss what was allocated by more than it may. What the system counts is no
/// part of the run alone, and differs from run to run by tens of megabytes: it may only not be out of all proportion.
#[track_caller]
fn judge(pair: &Pair, words: &str) {
    let report = pair.report(&format!("--threads 2 {words}"));
    let [said, allocated, resident] = [
        "estimated_memory_bytes",
        "peak_allocated_bytes",
        "peak_memory_bytes",
    ]
    .map(|name| memory(&report, name));
    let run = format!("{:?} {words}", pair.phantom.grid.size());
    let [a, b, c] = [said, allocated, resident].map(|bytes| bytes / 1e6);
    println!("{run}: {a:.0} MB, allocated {b:.0}, resident {c:.0}");
    assert!(
        (0.9 * allocated..=1.25 * allocated + WRITING).contains(&(said - PROGRAM)),
        "{run}: {said} bytes were expected with the program, {allocated} allocated"
    );
    assert!(
        resident < 1.5 * said,
        "{run}: {said} bytes were expected, {resident} resident"
    );
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "peaks are read from /proc")]
fn estimates_are_near_what_runs_take() {
    let still = "-t compositive --init identity";
    for size in [[72, 80, 72], [104, 120, 104]] {
        let pair = pair(&size);
        judge(&pair, LABELS);
        judge(&pair, "-t affine");
        judge(&pair, still);
        judge(&pair, &format!("{still} --features mind"));
        for (name, _) in Shipped::NAMES {
            judge(&pair, &format!("{still} --features {name}"));
        }
        judge(&pair, "-t displacement --init identity");
        judge(
            &pair,
            "-t bspline --init identity --iterations 3x3x3 --levels 4x2x1",
        );
        judge(&pair, &format!("{still} --levels 4x2"));
    }
    let pair = pair(&[72, 80, 72]);
    judge(
        &pair,
        "-t velocity --init identity --iterations 2x2x2 --levels 4x2x1",
    );
    judge(
        &pair,
        &format!("{still} --prompt-labels fixed_labels.nii.gz,moving_labels.nii.gz"),
    );
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "peaks are read from /proc")]
fn limits_are_kept_or_refused() {
    let pair = pair(&[72, 80, 72]);
    for words in [
        "-t affine",
        "-t compositive --init identity --features synthetic",
    ] {
        let words = format!("--threads 2 {words}");
        let said = memory(&pair.report(&words), "estimated_memory_bytes");
        let limit = (1.1 * said) as u64 + 1;
        let report = pair.report(&format!("{words} --max-memory {limit}"));
        assert!(memory(&report, "peak_allocated_bytes") <= limit as f64 - PROGRAM);
        let limit = format!("{:.0}MB", said / 1e6);
        pair.program.refusal(
            &format!(
                "{} --max-memory {limit}",
                pair.words(&words).replace("-o p", "-o new/p")
            ),
            &[
                "--max-memory",
                &limit.replace("MB", " MB"),
                "about",
                "allow more",
            ],
        );
    }
    let words = pair
        .words("-t velocity --max-memory 1MB")
        .replace("-o p", "-o new/p");
    let remedies = ["--levels 4x2", "-t compositive", "larger voxels"];
    pair.program.refusal(&words, &remedies);
}

#[test]
fn the_estimate_is_said_before_the_work() {
    let pair = Pair::flat();
    let said = pair.program.output(&pair.words(""));
    assert!(said.starts_with("Memory  about "), "{said}");
    assert_eq!(pair.program.output(&pair.words("--quiet")), "");
}

fn footprint(size: &[usize], plan: &Registration) -> Footprint {
    let spacing: Vec<f64> = size.iter().map(|n| 160.0 / *n as f64).collect();
    let phantom = Phantom::pair(size, &spacing, 3).unwrap();
    let image = |values: &[f32]| Image::new(phantom.grid.clone(), 1, values.to_vec()).unwrap();
    let (fixed, moving) = (image(&phantom.fixed), image(&phantom.moving));
    plan.footprint(&fixed, &moving).unwrap()
}

#[test]
fn footprints_have_parts_and_grow_with_the_image() {
    let plan = Registration {
        start: AlignmentStart::Identity,
        linear: Vec::new(),
        ..Registration::default()
    };
    let [small, large] = [[32, 32, 32], [64, 64, 64]].map(|size| footprint(&size, &plan));
    let peak = |of: &Footprint| of.peak().unwrap().clone();
    assert_eq!(peak(&large).name, "level 1 of compositive");
    let growth = peak(&large).bytes() as f64 / peak(&small).bytes() as f64;
    assert!((7.0..9.0).contains(&growth), "{growth}");
    let parts: Vec<&str> = peak(&large).parts.iter().map(|part| part.0).collect();
    assert!(parts.contains(&"solver's vectors"), "{parts:?}");
    // fewer levels, smaller; a network, larger
    let coarse = Registration {
        deformation: Some(Deformation {
            levels: Some(vec![4, 2]),
            ..Deformation::default()
        }),
        ..plan.clone()
    };
    assert!(4 * peak(&footprint(&[64; 3], &coarse)).bytes() < 3 * peak(&large).bytes());
    let network = Shipped::Synthetic.weights().unwrap().build().unwrap();
    assert!(network.workspace(&stillpoint::Grid::axis_aligned(&[64; 3], &[2.0; 3]).unwrap()) > 0);
    let learned = Registration {
        network: Some(std::sync::Arc::new(network)),
        ..plan
    };
    let learned = footprint(&[64; 3], &learned);
    assert!(peak(&learned).bytes() > 2 * peak(&large).bytes());
    assert_eq!(learned.stages()[0].name, "features of the fixed image");
}
