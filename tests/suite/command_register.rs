//! `stillpoint register`, the built program: what it writes and what it says.

use approx::assert_abs_diff_eq;
use serde_json::Value;
use sha2::{Digest, Sha256};
use stillpoint::{
    inverse_consistency, overlap, read_affine, read_image, read_labels, regularity,
    DisplacementField, PointSpace, Points,
};

use crate::pair::{joined, numbers, shapes, Pair};

const LABELS: &str = "--fixed-labels fixed_labels.nii.gz --moving-labels moving_labels.nii.gz";

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn a_registration_recovers_the_known_warp_without_folds() {
    for pair in [Pair::flat(), Pair::solid()] {
        let report = pair.report(LABELS);
        let (before, after) = (pair.initial(), pair.error());
        assert!(after < 0.5 * before, "{before} {after}");
        let dice = &report["dice"];
        assert!(
            number(&dice["after"]) > number(&dice["before"]) + 0.2,
            "{dice}"
        );
        for criterion in ["folds_percent", "digital_folds_percent"] {
            assert_eq!(report["regularity"][criterion], 0.0);
        }
        assert!(number(&report["regularity"]["minimum_digital_determinant"]) > 0.0);
        let difference = &report["difference"];
        assert!(number(&difference["after"]) < 0.5 * number(&difference["before"]));
        assert_eq!(report["warnings"], Value::Array(Vec::new()));
    }
}

#[test]
fn the_files_are_what_the_report_says_they_are() {
    for pair in [Pair::flat(), Pair::solid()] {
        let report = pair.report(&format!("{LABELS} --init identity"));
        let program = &pair.program;
        let fixed = read_image(program.path("fixed.nii.gz")).unwrap();
        let moving = read_image(program.path("moving.nii.gz")).unwrap();
        let warped = read_image(program.path("p_warped.nii.gz")).unwrap();
        let warp = pair.warp();
        let inverse = DisplacementField::read(program.path("p_inverse_warp.nii.gz")).unwrap();
        assert!(warped.grid().matches(fixed.grid(), 1e-4));
        assert!(warp.grid().matches(fixed.grid(), 1e-4));
        assert!(inverse.grid().matches(moving.grid(), 1e-4));
        program.output(
            "apply --image moving.nii.gz --reference fixed.nii.gz -t p_warp.nii.gz -o applied.nii.gz",
        );
        let applied = read_image(program.path("applied.nii.gz")).unwrap();
        for (a, b) in warped.values().iter().zip(applied.values()) {
            assert_abs_diff_eq!(a, b, epsilon = 1e-3);
        }
        program.output(
            "apply --image moving_labels.nii.gz --reference fixed.nii.gz -t p_warp.nii.gz --interpolation nearest \
             -o carried.nii.gz",
        );
        let labels = |name: &str| read_labels(program.path(name)).unwrap().into_values();
        let found = overlap(
            &labels("fixed_labels.nii.gz"),
            &labels("carried.nii.gz"),
            Some(&labels("moving_labels.nii.gz")),
            None,
        )
        .unwrap();
        let dice = &report["dice"];
        assert_abs_diff_eq!(
            number(&dice["after"]),
            found.mean_dice.unwrap(),
            epsilon = 1e-3
        );
        let still = overlap(
            &labels("fixed_labels.nii.gz"),
            &labels("moving_labels.nii.gz"),
            None,
            None,
        );
        assert_abs_diff_eq!(
            number(&dice["before"]),
            still.unwrap().mean_dice.unwrap(),
            epsilon = 1e-9
        );
        let consistency =
            inverse_consistency(warp.values(), warp.grid(), inverse.values(), inverse.grid())
                .unwrap();
        let said = &report["inverse_consistency"];
        let mean = number(&said["summary"]["mean"]);
        assert_abs_diff_eq!(mean, consistency.summary.mean, epsilon = 1e-3);
        assert!(mean < 0.1 * warp.grid().spacing()[0], "{mean}");
        let again = regularity(&warp.clone().into_voxels(), warp.grid().size()).unwrap();
        for (name, value) in [
            ("sd_log_j", again.sd_log_j.unwrap()),
            ("folds_percent", again.folds_percent),
            ("digital_folds_percent", again.digital_folds_percent),
            ("minimum_determinant", again.minimum_determinant),
            ("maximum_determinant", again.maximum_determinant),
        ] {
            assert_abs_diff_eq!(number(&report["regularity"][name]), value, epsilon = 2e-3);
        }
    }
}

#[test]
fn the_report_names_program_inputs_settings_and_cost() {
    let pair = Pair::flat();
    let report = pair.report(&format!(
        "{LABELS} --levels 4x2 --iterations 30x20 --lambda 0.3 --seed 5 --threads 2"
    ));
    let program = &report["program"];
    assert_eq!(program["name"], "stillpoint");
    assert_eq!(program["version"], env!("CARGO_PKG_VERSION"));
    let inputs = report["inputs"].as_array().unwrap();
    let roles: Vec<&str> = inputs.iter().map(|i| i["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["fixed", "moving", "fixed labels", "moving labels"]);
    for input in inputs {
        let bytes = std::fs::read(pair.program.path(input["path"].as_str().unwrap())).unwrap();
        let hash: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(input["sha256"], hash);
    }
    let settings = &report["settings"];
    assert_eq!(settings["transform"], "affine,compositive");
    assert_eq!(settings["init"], "moments");
    assert_eq!(numbers(&settings["levels"]), [4.0, 2.0]);
    assert_eq!(numbers(&settings["iterations"]), [30.0, 20.0]);
    assert_eq!(
        (&settings["lambda"], &settings["seed"]),
        (&0.3.into(), &5.into())
    );
    assert_eq!(numbers(&report["fixed_grid"]["size"]), [96.0, 112.0]);
    assert_abs_diff_eq!(
        number(&report["fixed_grid"]["spacing"][1]),
        1.7,
        epsilon = 1e-6
    );
    for level in report["deformable"]["levels"].as_array().unwrap() {
        let iterations = level["iterations"].as_array().unwrap();
        let energy = |i: &Value| number(&i["energy"]);
        assert!(energy(&iterations[0]) > energy(&iterations[iterations.len() - 1]));
        let parts = number(&level["data"]) + number(&level["penalty"]);
        assert_abs_diff_eq!(
            parts,
            energy(&iterations[iterations.len() - 1]),
            epsilon = 1e-3 * parts
        );
    }
    let run = &report["run"];
    assert_eq!(run["threads"], 2);
    assert!(number(&run["seconds"]["total"]) > 0.0);
    assert_eq!(run["seconds"]["levels"].as_array().unwrap().len(), 2);
    if cfg!(target_os = "linux") {
        assert!(number(&run["peak_memory_bytes"]) > 1e6);
    }
    let outputs = joined(&report["outputs"]);
    assert_eq!(
        outputs,
        "p_warped.nii.gz\np_warp.nii.gz\np_inverse_warp.nii.gz\np_report.png\np_report.json"
    );
    let text = std::fs::read(pair.program.path("p_report.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), report);
    let page = std::fs::read(pair.program.path("p_report.png")).unwrap();
    let page = image::load_from_memory(&page).unwrap().to_rgb8();
    assert!(page.width() > 400 && page.height() > 400);
    let first = page.get_pixel(0, 0);
    assert!(page.pixels().filter(|p| *p != first).count() > 10_000);
}

#[test]
fn a_pipe_gets_no_progress_and_quiet_gets_nothing() {
    let pair = Pair::flat();
    let summary = pair.program.output(&pair.words(LABELS));
    for words in [
        "Dice",
        "Folds, digital",
        "Time",
        "p_warp.nii.gz",
        "p_report.png",
    ] {
        assert!(summary.contains(words), "{summary}");
    }
    assert!(!summary.contains(['\r', '\x1b']), "{summary:?}");
    assert_eq!(pair.program.output(&pair.words("--quiet")), "");
}

#[test]
fn the_split_set_is_the_total_warp() {
    for pair in [Pair::flat(), Pair::solid()] {
        let report = pair.report("--ants-outputs -t rigid,affine,compositive");
        let program = &pair.program;
        for name in [
            "p0GenericAffine.mat",
            "p1Warp.nii.gz",
            "p1InverseWarp.nii.gz",
        ] {
            assert!(joined(&report["outputs"]).contains(name));
        }
        let rank = pair.phantom.grid.rank();
        let affine = read_affine(program.path("p0GenericAffine.mat"), rank).unwrap();
        for r in 0..3 {
            let row = numbers(&report["affine"][r]);
            for c in 0..3 {
                assert_abs_diff_eq!(row[c], affine.matrix[r][c], epsilon = 1e-9);
            }
            assert_abs_diff_eq!(row[3], affine.translation[r], epsilon = 1e-9);
        }
        let points: Vec<[f64; 3]> = crate::program::world_points(&pair.phantom.grid)
            .zip(&pair.phantom.fixed_labels)
            .filter(|(_, label)| **label > 0)
            .step_by(17)
            .map(|(p, _)| p)
            .collect();
        program.points("in.csv", &points);
        let carried = |listed: &str| {
            program.output(&format!("apply --points in.csv {listed} -o out.csv"));
            let found = Points::read(program.path("out.csv"), PointSpace::Lps).unwrap();
            found.positions
        };
        let far = |a: &[[f64; 3]], b: &[[f64; 3]]| -> Vec<f64> {
            let length = |(p, q): (&[f64; 3], &[f64; 3])| {
                (0..3).map(|c| (p[c] - q[c]).powi(2)).sum::<f64>().sqrt()
            };
            a.iter().zip(b).map(length).collect()
        };
        let total = carried("-t p_warp.nii.gz");
        let split = carried("-t p1Warp.nii.gz -t p0GenericAffine.mat");
        let worst = far(&total, &split).into_iter().fold(0.0, f64::max);
        assert!(worst < 1e-3, "{worst}");
        assert!(stillpoint::mean(&far(&total, &points)) > 1.0);
        program.output(
            "apply --image moving.nii.gz --reference fixed.nii.gz -t p1Warp.nii.gz -t p0GenericAffine.mat -o applied.nii.gz",
        );
        let warped = read_image(program.path("p_warped.nii.gz")).unwrap();
        let applied = read_image(program.path("applied.nii.gz")).unwrap();
        let values = warped.values().iter().zip(applied.values());
        let apart = values.filter(|(a, b)| (*a - *b).abs() > 1e-3).count();
        // at the border of the moving image rounding decides what lies inside
        assert!(apart <= warped.values().len() / 1000, "{apart} voxels");
        let inverse = carried("-t p_inverse_warp.nii.gz");
        let split = carried("-t [p0GenericAffine.mat,1] -t p1InverseWarp.nii.gz");
        let apart = far(&inverse, &split);
        let spacing = pair.phantom.grid.spacing()[0];
        assert!(
            stillpoint::mean(&apart) < 0.15 * spacing,
            "{}",
            stillpoint::mean(&apart)
        );
        let back = carried("-t p_warp.nii.gz -t [p0GenericAffine.mat,1] -t p1InverseWarp.nii.gz");
        let apart = far(&back, &points);
        assert!(
            stillpoint::mean(&apart) < 0.15 * spacing,
            "{}",
            stillpoint::mean(&apart)
        );
    }
}

#[test]
fn every_combination_of_stages_runs_and_is_reported() {
    let pair = Pair::flat();
    for stages in [
        "rigid",
        "similarity",
        "affine",
        "rigid,affine",
        "displacement",
        "compositive",
        "rigid,displacement",
        "similarity,compositive",
        "rigid,similarity,affine,compositive",
        "affine,displacement",
        "velocity",
        "rigid,velocity",
        "affine,bspline",
    ] {
        let report = pair.report(&format!("-t {stages} {LABELS}"));
        assert_eq!(report["settings"]["transform"], stages);
        let mut names: Vec<String> = Vec::new();
        if let Some(stages) = report["alignment"]["stages"].as_array() {
            names.extend(
                stages
                    .iter()
                    .map(|s| s["kind"].as_str().unwrap().to_lowercase()),
            );
        }
        let deforms = report["deformable"]["transform"].as_str();
        names.extend(deforms.map(str::to_owned));
        assert_eq!(names.join(","), stages);
        let dice = &report["dice"];
        let gain = if deforms.is_some() { 0.2 } else { 0.0 };
        assert!(
            number(&dice["after"]) >= number(&dice["before"]) + gain,
            "{stages}: {dice}"
        );
        if deforms.is_none() {
            let m: Vec<Vec<f64>> = (0..3).map(|r| numbers(&report["affine"][r])).collect();
            let (warp, grid) = (pair.warp(), &pair.phantom.grid);
            for (v, x) in crate::program::world_points(grid).enumerate() {
                for a in 0..2 {
                    let u = m[a][0] * x[0] + m[a][1] * x[1] + m[a][3] - x[a];
                    let found = f64::from(warp.values()[a * grid.voxels() + v]);
                    assert_abs_diff_eq!(found, u, epsilon = 2e-4);
                }
            }
        }
    }
}

#[test]
fn levels_iterations_and_lambda_are_honoured() {
    let pair = Pair::flat();
    let levels = |report: &Value| -> Vec<(u64, usize)> {
        let levels = report["deformable"]["levels"].as_array().unwrap();
        let seen = |l: &Value| {
            (
                l["shrink"].as_u64().unwrap(),
                l["iterations"].as_array().unwrap().len().saturating_sub(1),
            )
        };
        levels.iter().map(seen).collect()
    };
    let report = pair.report("--levels 3x2 --iterations 2x1");
    assert_eq!(levels(&report), [(3, 2), (2, 1)]);
    assert!(joined(&report["warnings"]).contains("allow more with --iterations"));
    let report = pair.report("--levels 3x1 --iterations 2x0");
    assert_eq!(levels(&report), [(3, 2), (1, 0)]);
    let last = &report["deformable"]["levels"][1];
    assert_eq!(last["status"], "skipped");
    assert_eq!(last["products"], 0);
    assert_eq!(last["certificate"]["gradient_ratio"], 1.0);
    let [energy, data, penalty] = [
        &last["iterations"][0]["energy"],
        &last["data"],
        &last["penalty"],
    ]
    .map(number);
    assert_abs_diff_eq!(energy, data + penalty, epsilon = 1e-6 * energy);
    assert!(!joined(&report["warnings"]).contains("level 1"));
    let shrinks: Vec<u64> = levels(&pair.report("")).iter().map(|l| l.0).collect();
    assert_eq!(shrinks, [4, 2, 1]);
    let spread = [0.1, 1.0, 10.0].map(|lambda| {
        let report = pair.report(&format!("-t compositive --init identity --lambda {lambda}"));
        assert_eq!(report["deformable"]["lambda"], lambda);
        number(&report["regularity"]["sd_log_j"])
    });
    assert!(spread[0] > spread[1] && spread[1] > spread[2], "{spread:?}");
}

#[test]
fn a_stage_that_gains_nothing_is_dropped_and_said_so() {
    let pair = Pair::flat();
    let words = "register -f fixed.nii.gz -m fixed.nii.gz -o p -t affine --json";
    let found = pair.program.run(words);
    assert!(found.status.success());
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    let stage = &report["alignment"]["stages"][0];
    assert_eq!(stage["kept"], false);
    assert_eq!(report["alignment"]["start"]["name"], "identity");
    let warning = joined(&report["warnings"]);
    assert!(
        warning.contains("the affine stage was dropped: "),
        "{warning}"
    );
    let error = String::from_utf8(found.stderr).unwrap();
    assert_eq!(error, format!("warning: {warning}\n"));
    assert!(pair.warp().values().iter().all(|u| *u == 0.0));
}

#[test]
fn certified_mode_says_of_each_level_whether_the_certificate_holds() {
    let pair = Pair::flat();
    let words = pair.words("--certify -t compositive --init identity --levels 8x4 --lambda 1");
    let found = pair.program.run(&words);
    assert!(found.status.success());
    let text = std::fs::read(pair.program.path("p_report.json")).unwrap();
    let report: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(report["deformable"]["certify"], true);
    let mut held = 0;
    let warnings = joined(&report["warnings"]);
    for level in report["deformable"]["levels"].as_array().unwrap() {
        let certificate = &level["certificate"];
        let strict = certificate["strict_minimum"].as_bool().unwrap();
        if strict {
            assert!(number(&certificate["gradient_ratio"]) <= 1e-6);
            assert!(number(&certificate["smallest_ritz"]) > 0.0);
        }
        held += usize::from(strict);
        let place = format!("level {} (", level["shrink"]);
        assert_eq!(warnings.contains(&place), !strict, "{warnings}");
    }
    let summary = String::from_utf8(found.stdout).unwrap();
    assert!(
        summary.contains(&format!("{held} of 2 levels")),
        "{summary}"
    );
}

#[test]
fn runs_and_numbers_of_threads_write_the_same_bytes() {
    for (size, spacing) in shapes() {
        let pair = Pair::new(stillpoint::Phantom::pair(&size, &spacing, 3).unwrap());
        for stages in ["affine,compositive", "affine,displacement"] {
            let all = [1, 1, 2, 3].map(|threads| {
                let mut report = pair.report(&format!(
                    "-t {stages} --ants-outputs --threads {threads} {LABELS}"
                ));
                let outputs = joined(&report["outputs"]);
                let bytes: Vec<Vec<u8>> = outputs
                    .lines()
                    .filter(|name| !name.ends_with(".json"))
                    .map(|name| std::fs::read(pair.program.path(name)).unwrap())
                    .collect();
                assert_eq!(bytes.len(), 7);
                report.as_object_mut().unwrap().remove("run");
                (outputs, report, bytes)
            });
            for other in &all[1..] {
                assert_eq!(all[0].0, other.0);
                assert_eq!(all[0].1, other.1);
                for (name, (a, b)) in all[0].0.lines().zip(all[0].2.iter().zip(&other.2)) {
                    assert!(a == b, "{name} {stages}");
                }
            }
        }
    }
}
