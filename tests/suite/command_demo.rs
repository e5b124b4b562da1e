//! `stillpoint demo`, the built program.

use serde_json::Value;
use stillpoint::{read_image, read_labels, Phantom};

use crate::program::Program;

const MADE: [&str; 4] = ["fixed", "moving", "fixed_labels", "moving_labels"];
const FOUND: [&str; 5] = [
    "warped.nii.gz",
    "warp.nii.gz",
    "inverse_warp.nii.gz",
    "report.png",
    "report.json",
];

#[test]
fn a_demo_needs_no_file_and_comes_close_to_the_known_warp() {
    for (dimensions, size) in [(2, vec![160, 192]), (3, vec![80, 96, 80])] {
        let program = Program::new();
        let words = format!("demo --dimensions {dimensions} --json");
        let report: Value = serde_json::from_str(&program.output(&words)).unwrap();
        let mean = |when: &str| report[when]["mean"].as_f64().unwrap();
        assert!(mean("warp_after") < 0.5 * mean("warp_before"));
        let registration = &report["registration"];
        let dice = |when: &str| registration["dice"][when].as_f64().unwrap();
        assert!(dice("after") > 0.8 && dice("after") > dice("before") + 0.3);
        for criterion in ["folds_percent", "digital_folds_percent"] {
            assert_eq!(registration["regularity"][criterion], 0.0);
        }
        let text = std::fs::read(program.path("out/demo_report.json")).unwrap();
        let written: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(&written, registration);
        for name in FOUND {
            assert!(
                program.path(&format!("out/demo_{name}")).is_file(),
                "{name}"
            );
        }
        let spacing = vec![if dimensions == 2 { 1.0 } else { 2.0 }; dimensions];
        let phantom = Phantom::pair(&size, &spacing, 0).unwrap();
        let image = |name: &str| read_image(program.path(&format!("out/demo_{name}.nii.gz")));
        let labels = |name: &str| read_labels(program.path(&format!("out/demo_{name}.nii.gz")));
        assert_eq!(image(MADE[0]).unwrap().values(), phantom.fixed);
        assert_eq!(image(MADE[1]).unwrap().values(), phantom.moving);
        assert_eq!(labels(MADE[2]).unwrap().values(), phantom.fixed_labels);
        assert_eq!(labels(MADE[3]).unwrap().values(), phantom.moving_labels);
        assert_eq!(program.names(), ["out"]);
    }
}

#[test]
fn a_demo_registers_its_files_as_anyone_would() {
    let program = Program::new();
    let summary = program.output("demo --dimensions 2 --seed 7 -o d");
    for words in [
        "known warp, mm, before: mean",
        "after:  mean",
        "Dice",
        "d_warp.nii.gz",
    ] {
        assert!(summary.contains(words), "{summary}");
    }
    let warp = std::fs::read(program.path("d_warp.nii.gz")).unwrap();
    program.output("register -f d_fixed.nii.gz -m d_moving.nii.gz -o r --quiet");
    assert!(std::fs::read(program.path("r_warp.nii.gz")).unwrap() == warp);
    assert_eq!(
        program.output("demo --dimensions 2 --seed 8 -o d --quiet"),
        ""
    );
    assert!(std::fs::read(program.path("d_warp.nii.gz")).unwrap() != warp);
    assert_eq!(
        program.output("demo --dimensions 2 --seed 7 -o d --quiet --threads 1"),
        ""
    );
    assert!(std::fs::read(program.path("d_warp.nii.gz")).unwrap() == warp);
}

/// Bright for dark: intensities have nothing to go by, a network that comes with the program was trained for it.
#[test]
fn a_shipped_network_registers_another_contrast() {
    let program = Program::new();
    let dice = |words: &str| {
        let text = program.output(&format!("demo --other-contrast --json {words}"));
        let report: Value = serde_json::from_str(&text).unwrap();
        let registration = &report["registration"];
        let name = registration["network"]["weights"].as_str();
        assert_eq!(name, words.contains("synthetic").then_some("synthetic"));
        assert_eq!(registration["regularity"]["digital_folds_percent"], 0.0);
        ["before", "after"].map(|when| registration["dice"][when].as_f64().unwrap())
    };
    let [before, lost] = dice("--features intensities");
    assert!(lost < before + 0.15, "{before} {lost}");
    let [_, found] = dice("--features synthetic");
    assert!(found > before + 0.3, "{before} {found}");
}

/// In one contrast the network that was trained for it is above intensities, and above what is compared by default.
#[test]
fn a_shipped_network_registers_one_contrast() {
    let program = Program::new();
    let found = |features: &str| {
        let text = program.output(&format!("demo --json --features {features}"));
        let report: Value = serde_json::from_str(&text).unwrap();
        let registration = &report["registration"];
        assert_eq!(registration["regularity"]["digital_folds_percent"], 0.0);
        let dice = registration["dice"]["after"].as_f64().unwrap();
        (dice, report["warp_after"]["mean"].as_f64().unwrap())
    };
    let learned = found("synthetic-same");
    for features in ["intensities", "coarse-mind"] {
        let plain = found(features);
        assert!(
            learned.0 > plain.0 + 0.005,
            "{features}: {learned:?} {plain:?}"
        );
        assert!(
            learned.1 < 0.9 * plain.1,
            "{features}: {learned:?} {plain:?}"
        );
    }
}

#[test]
fn a_demo_that_cannot_be_is_refused() {
    let program = Program::new();
    std::fs::write(program.path("file"), "").unwrap();
    program.refusal("demo -o file/d", &["file: cannot create the folder"]);
    program.refusal("demo -o .", &["--out-prefix: '.' is a folder"]);
    program.refusal(
        "demo --dimensions 2 --features synthetic -o d",
        &["synthetic: holds a network for images of 3 dimensions"],
    );
    for words in ["demo --dimensions 4", "demo --seed -1", "demo file"] {
        assert_eq!(program.run(words).status.code(), Some(2), "{words}");
    }
    assert_eq!(program.names(), ["file"]);
}
