//! `stillpoint register` with prompts: what the report says of them, and what is refused.

use serde_json::Value;
use stillpoint::Grid;

use crate::pair::{joined, write_labels, Pair};

const LABELS: &str = "--prompt-labels fixed_labels.nii.gz,moving_labels.nii.gz";

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

/// The flat phantom with landmark files: points inside the brain and where the warp carries them.
fn pair() -> Pair {
    let pair = Pair::flat();
    let phantom = &pair.phantom;
    let (n, width) = (phantom.grid.voxels(), phantom.grid.size()[0]);
    let inside: Vec<usize> = (0..n).filter(|&v| phantom.fixed_labels[v] > 0).collect();
    let map = phantom.grid.index_to_world();
    let (mut fixed, mut moving) = (Vec::new(), Vec::new());
    for voxel in inside.iter().step_by(inside.len() / 6) {
        let p = map.apply([(voxel % width) as f64, (voxel / width) as f64, 0.0]);
        let shift = |a: usize| f64::from(phantom.displacement[a * n + voxel]);
        fixed.push(p);
        moving.push([p[0] + shift(0), p[1] + shift(1), 0.0]);
    }
    pair.program.points("fixed.csv", &fixed);
    pair.program.points("moving.csv", &moving);
    let marks = |labels: &[u32]| -> Vec<u32> {
        let sparse = labels.iter().enumerate();
        sparse
            .map(|(v, &l)| if v % 7 == 0 && l < 9 { l } else { 0 })
            .collect()
    };
    for (name, labels) in [
        ("fixed_marks.nii.gz", &phantom.fixed_labels),
        ("moving_marks.nii.gz", &phantom.moving_labels),
    ] {
        write_labels(&pair.program, name, &phantom.grid, &marks(labels));
    }
    pair
}

#[test]
fn the_report_says_what_was_prompted_and_what_it_gained() {
    let pair = pair();
    let words = format!(
        "{LABELS},ids=5+7,weight=2 --prompt-points fixed.csv,moving.csv \
         --prompt-scribbles fixed_marks.nii.gz,moving_marks.nii.gz,mask=fixed_labels.nii.gz"
    );
    let report = pair.report(&words);
    let prompts = report["prompts"].as_array().unwrap();
    assert_eq!(prompts.len(), 3);
    let [labels, scribbles, points] = [&prompts[0], &prompts[1], &prompts[2]];
    assert_eq!(labels["kind"], "labels");
    assert_eq!(labels["ids"], serde_json::json!([5, 7]));
    assert_eq!(
        (number(&labels["weight"]), &labels["off_at_finest"]),
        (2.0, &Value::Bool(false))
    );
    let dice = &labels["dice"];
    assert_eq!(dice["labels"]["labels"].as_array().unwrap().len(), 2);
    assert!(
        number(&dice["after"]) > number(&dice["before"]) + 0.1,
        "{dice}"
    );
    for (prompt, kind, least) in [(scribbles, "scribbles", 0.75), (points, "points", 0.2)] {
        assert_eq!(prompt["kind"], kind);
        let distance = |when: &str| number(&prompt["distance"][when]["mean"]);
        let (before, after) = (distance("before"), distance("after"));
        assert!(after < least * before, "{kind}: {before} to {after}");
    }
    let roles = report["inputs"].as_array().unwrap().iter();
    assert_eq!(roles.filter(|file| file["role"] == "prompt").count(), 7);
    let levels = report["deformable"]["levels"].as_array().unwrap();
    assert!(levels.iter().all(|level| number(&level["prompts"]) > 0.0));
    assert_eq!(joined(&report["warnings"]), "");
    // and for a person
    let said = pair.program.output(&pair.words(&words));
    assert!(
        said.contains("Prompted labels") && said.contains("Prompted points"),
        "{said}"
    );
}

#[test]
fn the_finest_level_goes_without_and_certificates_hold_with_prompts() {
    let pair = pair();
    let report = pair.report(&format!("{LABELS},ids=5 --prompts-off-at-finest"));
    let levels = report["deformable"]["levels"].as_array().unwrap();
    let (last, rest) = levels.split_last().unwrap();
    assert_eq!(number(&last["prompts"]), 0.0);
    assert!(rest.iter().all(|level| number(&level["prompts"]) > 0.0));
    let report = pair.report(&format!(
        "{LABELS},ids=5 --prompt-points fixed.csv,moving.csv --certify"
    ));
    for level in report["deformable"]["levels"].as_array().unwrap() {
        assert_eq!(level["certificate"]["strict_minimum"], true, "{level}");
        assert!(number(&level["prompts"]) > 0.0);
    }
}

#[test]
fn a_run_without_prompts_reports_none() {
    let report = Pair::flat().report("--levels 4");
    assert_eq!(report["prompts"], Value::Array(Vec::new()));
    assert_eq!(number(&report["deformable"]["levels"][0]["prompts"]), 0.0);
}

#[test]
fn wrong_prompts_are_refused_with_file_and_remedy() {
    let pair = pair();
    let refused = |more: &str, expected: &[&str]| {
        pair.program.refusal(&pair.words(more), expected);
    };
    refused(
        &format!("{LABELS},ids=5+77"),
        &[
            "fixed_labels.nii.gz,moving_labels.nii.gz",
            "no voxel of 77",
            "there are 1, 2",
        ],
    );
    let grid = Grid::axis_aligned(&[20, 20], &[2.0, 2.0]).unwrap();
    write_labels(&pair.program, "small.nii.gz", &grid, &[5; 400]);
    refused(
        "--prompt-labels small.nii.gz,moving_labels.nii.gz,ids=5",
        &[
            "small.nii.gz",
            "grid of fixed.nii.gz",
            "20x20",
            "96x112",
            "stillpoint apply",
        ],
    );
    refused(
        &format!("{LABELS},ids=5,mask=small.nii.gz"),
        &["small.nii.gz", "grid of fixed.nii.gz"],
    );
    pair.program
        .points("far.csv", &[[0.0; 3], [900.0, 0.0, 0.0]]);
    pair.program
        .points("near.csv", &[[0.0; 3], [1.0, 0.0, 0.0]]);
    refused(
        "--prompt-points near.csv,far.csv",
        &[
            "--prompt-points near.csv,far.csv",
            "moving points",
            "point 2",
            "leave it out",
        ],
    );
    refused(
        "--prompt-points near.csv,moving.csv",
        &[
            "near.csv,moving.csv",
            "as many moving points",
            "2 fixed and",
        ],
    );
    refused("--prompt-points near.csv,none.csv", &["none.csv"]);
    refused(
        "--prompt-labels fixed_labels.nii.gz,none.nii.gz",
        &["none.nii.gz"],
    );
}
