//! The memory of a run: what is said before it, what it took, and `--max-memory`.

use serde_json::Value;
use stillpoint::{
    AlignmentStart, Deformation, FeatureNetwork, Footprint, Image, Phantom, Registration, Shipped,
};

use crate::pair::Pair;
use crate::program::Program;

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
            judge(&pair, &format!("{still} --features {name} --half-features"));
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
        let limit = format!("{:.0}MB", 0.5 * said / 1e6);
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
    // features are halved before a run is refused
    let words = "--threads 2 -t compositive --init identity --features synthetic";
    let [whole, halved] = ["", "--half-features"].map(|more| {
        let report = pair.report(&format!("{words} {more}"));
        ["estimated_memory_bytes", "peak_allocated_bytes"].map(|name| memory(&report, name))
    });
    assert!(halved[0] < 0.95 * whole[0], "{halved:?} of {whole:?}");
    let report = pair.report(&format!(
        "{words} --max-memory {}",
        (1.1 * halved[0]) as u64 + 1
    ));
    assert_eq!(memory(&report, "estimated_memory_bytes"), halved[0]);
    assert!(memory(&report, "peak_allocated_bytes") < 0.95 * whole[1]);
    assert!(report["notes"].to_string().contains("half precision"));
    let words = pair
        .words("-t velocity --max-memory 1MB")
        .replace("-o p", "-o new/p");
    let remedies = ["--levels 4x2", "-t compositive", "larger voxels"];
    pair.program.refusal(&words, &remedies);
}

/// A training of one step, of phantoms of 64x56x48 voxels; the estimate must not miss what was allocated by more than it may.
/// Pairs side by side need not take most at the same time.
#[track_caller]
fn judge_training(program: &Program, words: &str, more: &str) -> Value {
    let base = "out = 'out'\nseed = 1\nvalidate_every = 9\n";
    let synthesis = "[synthesis]\nsource = 'phantom'\nsize = [64, 56, 48]\nspacing = 2.5\n";
    let config = format!("{base}{more}\n{synthesis}[augmentation]\nelastic = 3\napart = 0.7\n");
    std::fs::write(program.path("c.toml"), config).unwrap();
    let _ = std::fs::remove_dir_all(program.path("out"));
    let found = program.run(&format!("train c.toml --json --threads 2 {words}"));
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    let of = |name: &str| report[name].as_f64().unwrap();
    let (said, allocated) = (of("estimated_memory_bytes"), of("peak_allocated_bytes"));
    let most = if more.contains("batch = 2") { 2.3 } else { 1.3 };
    let run = format!("{words} {more}");
    println!(
        "{run}: {:.0} MB, allocated {:.0}",
        said / 1e6,
        allocated / 1e6
    );
    assert!(
        (0.9 * allocated..=most * allocated).contains(&(said - PROGRAM)),
        "{run}: {said} bytes were expected with the program, {allocated} allocated"
    );
    report
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "peaks are read from /proc")]
fn estimates_of_trainings_are_near_what_they_take() {
    let program = Program::new();
    let one = "steps = 1\nbatch = 1\n";
    let small = "[network]\nrank = 3\nwidths = [8, 16, 16]\noutputs = 8\n";
    for more in [
        format!("{one}[network]\nrank = 3\n"),
        format!("{one}{small}"),
        format!("steps = 1\nbatch = 2\n{small}"),
        format!("{one}recompute = true\n{small}"),
        format!("{one}[network]\nrank = 3\nwidths = [8, 16, 16]\nbase = 'mind'\n"),
        format!("{one}{small}[registration]\ncertify = true\niterations = [2, 2, 2]\n"),
        format!("steps = 0\n{small}[pretraining]\nsteps = 1\nimages = 1\n"),
    ] {
        judge_training(&program, "", &more);
    }
}

/// Trainings give up speed before they refuse.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "peaks are read from /proc")]
fn trainings_keep_within_limits() {
    let program = Program::new();
    let more = "steps = 1\nbatch = 2\n[network]\nrank = 3\n";
    let said = |report: &Value| report["estimated_memory_bytes"].as_f64().unwrap();
    let whole = judge_training(&program, "", more);
    let mut before = said(&whole);
    for _ in 0..2 {
        // side by side no more, then recomputed
        let limit = before as u64;
        let less = judge_training(&program, &format!("--max-memory {limit}"), more);
        assert!(1.1 * said(&less) <= before);
        approx::assert_relative_eq!(
            less["loss"].as_f64().unwrap(),
            whole["loss"].as_f64().unwrap(),
            max_relative = 1e-9
        );
        before = said(&less);
    }
    let words = format!("train c.toml --threads 2 --max-memory {}", before as u64);
    std::fs::remove_dir_all(program.path("out")).unwrap();
    program.refusal(
        &words,
        &[
            "--max-memory",
            "way back of a pair",
            "narrower",
            "allow more",
        ],
    );
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
