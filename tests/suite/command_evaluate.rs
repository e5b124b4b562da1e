//! `stillpoint evaluate`, the built program: known answers, tables, and bad input.

use approx::assert_abs_diff_eq;
use serde_json::Value;
use stillpoint::{write_affine, Affine, Grid};

use crate::nifti_bytes::Raw;
use crate::program::{grids, Program};

/// A cube of label 3 in the middle, 8 voxels of 2 mm wide, and the same moved by 4 mm along x; the warp that joins them.
fn pair() -> Program {
    let program = Program::new();
    let grid = Grid::axis_aligned(&[24, 20, 18], &[2.0, 2.0, 2.0]).unwrap();
    let cube = |centre: f64| {
        move |p: [f64; 3]| {
            let inside = |x: f64, c: f64| (x - c).abs() < 8.0;
            3 * u32::from(inside(p[0], centre) && inside(p[1], 19.0) && inside(p[2], 17.0))
        }
    };
    program.labels("fixed.nii.gz", &grid, cube(23.0));
    program.labels("moving.nii.gz", &grid, cube(27.0));
    program.field("warp.nii.gz", &grid, |_| [4.0, 0.0, 0.0]);
    program.field("inverse.nii.gz", &grid, |_| [-4.0, 0.5, 0.0]);
    program.points("fixed.csv", &[[20.0, 20.0, 20.0], [10.0, 10.0, 10.0]]);
    program.points("moving.csv", &[[24.0, 20.0, 20.0], [14.0, 13.0, 14.0]]);
    program
}

const LABELS: &str = "evaluate --fixed-labels fixed.nii.gz --moving-labels moving.nii.gz";

fn json(program: &Program, words: &str) -> Value {
    serde_json::from_str(&program.output(&format!("{words} --json"))).unwrap()
}

#[track_caller]
fn near(found: &Value, expected: f64) {
    assert_abs_diff_eq!(found.as_f64().unwrap(), expected, epsilon = 1e-4);
}

#[test]
fn labels_are_judged_before_and_after() {
    let program = pair();
    let before = json(&program, LABELS);
    // Two of eight layers are missing: 2 * 6 / 16.
    near(&before["overlap"]["mean_dice"], 0.75);
    near(&before["surface_distance"]["mean_hd95_mm"], 4.0);
    near(&before["surface_distance"]["mean_hd95_voxels"], 2.0);
    let names = |found: &Value| -> Vec<String> {
        let fields = found.as_object().unwrap();
        fields.keys().cloned().collect()
    };
    assert_eq!(names(&before), ["overlap", "surface_distance"]);
    let after = json(&program, &format!("{LABELS} -t warp.nii.gz"));
    near(&after["overlap"]["mean_dice"], 1.0);
    near(&after["surface_distance"]["mean_hd95_mm"], 0.0);
    near(&after["regularity"]["folds_percent"], 0.0);
    near(&after["regularity"]["sd_log_j"], 0.0);
    let wrong = json(&program, &format!("{LABELS} -t inverse.nii.gz"));
    assert!(wrong["overlap"]["mean_dice"].as_f64().unwrap() < 0.75);
}

#[test]
fn consistency_and_landmarks_are_measured_in_millimetres() {
    let program = pair();
    let words = "evaluate --reference fixed.nii.gz -t warp.nii.gz --inverse inverse.nii.gz \
                 --fixed-points fixed.csv --moving-points moving.csv";
    let found = json(&program, words);
    near(&found["inverse_consistency"]["summary"]["mean"], 0.5);
    near(&found["inverse_consistency"]["summary"]["maximum"], 0.5);
    // Two of the 24 layers are carried beyond the inverse.
    near(&found["inverse_consistency"]["inside"], 22.0 * 20.0 * 18.0);
    near(&found["landmarks"]["errors"][0], 0.0);
    near(&found["landmarks"]["errors"][1], 5.0);
    assert!(found.get("overlap").is_none());
    let found = json(
        &program,
        "evaluate --fixed-points fixed.csv --moving-points moving.csv",
    );
    near(&found["landmarks"]["errors"][0], 4.0);
}

#[test]
fn determinants_are_those_of_the_whole_chain_on_any_grid() {
    for grid in grids(1.0) {
        let program = Program::new();
        let rank = grid.rank();
        program.image("f.nii.gz", &grid, |_| 0.0);
        program.field("warp.nii.gz", &grid, |p| [0.5 * p[0], 0.0, 0.0]);
        let mut map = Affine::identity();
        map.matrix[1][1] = 0.8;
        write_affine(program.path("a.mat"), &map, rank).unwrap();
        let words = "evaluate --reference f.nii.gz -t warp.nii.gz -t a.mat";
        let found = json(&program, words);
        for name in [
            "minimum_determinant",
            "maximum_determinant",
            "minimum_digital_determinant",
        ] {
            let value = found["regularity"][name].as_f64().unwrap();
            assert_abs_diff_eq!(value, 1.2, epsilon = 2e-3);
        }
        // Folded over everywhere.
        program.field("fold.nii.gz", &grid, |p| [-1.5 * p[0], 0.0, 0.0]);
        let found = json(&program, "evaluate --reference f.nii.gz -t fold.nii.gz");
        near(&found["regularity"]["folds_percent"], 100.0);
        near(&found["regularity"]["digital_folds_percent"], 100.0);
    }
}

#[test]
fn the_table_aligns_and_says_all_that_was_measured() {
    let program = pair();
    let text = program.output(&format!(
        "{LABELS} -t warp.nii.gz --inverse inverse.nii.gz --fixed-points fixed.csv --moving-points moving.csv"
    ));
    for expected in [
        "Dice",
        "HD95 mm",
        "folds, central differences",
        "folds, digital criterion",
        "SDlogJ",
        "inverse consistency, mm",
        "landmark error (TRE), mm",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    let lines: Vec<&str> = text.lines().collect();
    let row = |begin: &str| {
        let line = lines.iter().find(|l| l.trim_start().starts_with(begin));
        line.unwrap().trim_end().to_owned()
    };
    let (head, label) = (row("label "), row("3 "));
    let end = |line: &str, word: &str| line.find(word).unwrap() + word.len();
    assert_eq!(end(&head, "Dice"), end(&label, "1.0000"), "{text}");
    assert_eq!(head.len(), label.len(), "{text}");
}

#[test]
fn labels_on_another_grid_need_a_transform() {
    let program = pair();
    let finer = Grid::axis_aligned(&[48, 40, 36], &[1.0; 3]).unwrap();
    program.labels("finer.nii.gz", &finer, |p| u32::from(p[0] > 20.0));
    let words = "evaluate --fixed-labels fixed.nii.gz --moving-labels finer.nii.gz";
    program.refusal(
        words,
        &["finer.nii.gz", "grids differ", "48x40x36", "24x20x18"],
    );
    program.output(&format!("{words} -t warp.nii.gz"));
}

#[test]
fn labels_that_miss_the_grid_are_warned_about() {
    let program = pair();
    let far = Affine::shift([500.0, 0.0, 0.0]);
    write_affine(program.path("far.mat"), &far, 3).unwrap();
    let found = program.run(&format!("{LABELS} -t far.mat"));
    assert!(found.status.success());
    let warning = String::from_utf8(found.stderr).unwrap();
    assert!(warning.contains("moving.nii.gz: no label"), "{warning}");
}

#[test]
fn bad_input_is_refused() {
    let program = pair();
    let none = "evaluate --fixed-labels fixed.nii.gz --moving-labels none.nii";
    program.refusal(none, &["none.nii: cannot open"]);
    let whole = std::fs::read(program.path("moving.nii.gz")).unwrap();
    std::fs::write(program.path("cut.nii.gz"), &whole[..whole.len() / 2]).unwrap();
    let cut = "evaluate --fixed-labels fixed.nii.gz --moving-labels cut.nii.gz";
    program.refusal(cut, &["cut.nii.gz", "truncated gzip"]);
    let mut values = vec![1.0; 24 * 20 * 18];
    values[1] = f32::NAN;
    let raw = Raw::new(&[24, 20, 18], &values);
    std::fs::write(program.path("nan.nii"), raw.bytes()).unwrap();
    let nan = "evaluate --fixed-labels fixed.nii.gz --moving-labels nan.nii";
    program.refusal(nan, &["nan.nii", "NaN", "(1, 0, 0)"]);
    let raw = Raw::new(&[2, 2, 2, 3], &[1.0; 24]);
    std::fs::write(program.path("4d.nii"), raw.bytes()).unwrap();
    let many = "evaluate --fixed-labels 4d.nii --moving-labels moving.nii.gz";
    program.refusal(many, &["4d.nii", "3 volumes"]);
    let mut raw = Raw::new(&[5, 4, 3], &[1.0; 60]);
    raw.sform[0] = [1.0, 0.5, 0.0, 0.0];
    std::fs::write(program.path("sheared.nii"), raw.bytes()).unwrap();
    let sheared = "evaluate --reference sheared.nii -t warp.nii.gz";
    program.refusal(sheared, &["sheared.nii", "sform"]);
    program.points("three.csv", &[[0.0; 3]; 3]);
    let points = "evaluate --fixed-points fixed.csv --moving-points three.csv";
    program.refusal(points, &["three.csv", "3 points", "fixed.csv has 2"]);
    let background = Raw::new(&[24, 20, 18], &vec![0.0; 24 * 20 * 18]);
    std::fs::write(program.path("empty.nii"), background.bytes()).unwrap();
    let empty = "evaluate --fixed-labels empty.nii --moving-labels empty.nii";
    program.refusal(empty, &["no", "label"]);
    assert_eq!(program.run("evaluate").status.code(), Some(2));
    assert_eq!(
        program
            .run("evaluate --reference fixed.nii.gz")
            .status
            .code(),
        Some(2)
    );
}
