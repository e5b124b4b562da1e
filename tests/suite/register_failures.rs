//! `stillpoint register` when something is wrong: every bad input, a full disk, an interrupt.

use std::process::{Command, Output};

use stillpoint::{write_affine, Affine, Grid};

use crate::nifti_bytes::{gzip, Raw};
use crate::pair::{write_image, write_labels, write_mask, Pair};

const IMAGES: &str = "-f fixed.nii.gz -m moving.nii.gz";

#[test]
fn files_that_are_missing_or_strange_are_refused() {
    let pair = Pair::flat();
    let program = &pair.program;
    let path = |name: &str| program.path(name);
    std::fs::write(path("text.nii"), "What a nice day it is. ".repeat(40)).unwrap();
    std::fs::create_dir(path("folder.nii")).unwrap();
    let whole = std::fs::read(path("fixed.nii.gz")).unwrap();
    std::fs::write(path("cut.nii.gz"), &whole[..whole.len() / 2]).unwrap();
    for (name, reason) in [
        ("none.nii", "No such file"),
        ("text.nii", "not a NIfTI file"),
        ("folder.nii", "is a folder"),
        ("cut.nii.gz", "truncated gzip"),
    ] {
        for words in [
            format!("-f {name} -m moving.nii.gz"),
            format!("-f fixed.nii.gz -m {name}"),
            format!("{IMAGES} --fixed-mask {name}"),
            format!("{IMAGES} --moving-mask {name}"),
            format!("{IMAGES} --fixed-labels {name} --moving-labels moving_labels.nii.gz"),
            format!("{IMAGES} --fixed-labels fixed_labels.nii.gz --moving-labels {name}"),
        ] {
            program.refusal(&format!("register {words} -o new/deep/p"), &[name, reason]);
        }
    }
}

#[test]
fn devices_that_cannot_be_used_are_named_and_auto_does_without() {
    let pair = Pair::flat();
    let program = &pair.program;
    let words = format!("register {IMAGES} -t compositive --init identity");
    if cfg!(not(feature = "cuda")) {
        for device in ["cuda", "cuda:3"] {
            let words = format!("{words} --device {device} -o new/p");
            program.refusal(&words, &["without CUDA", "--features cuda"]);
        }
    }
    // a GPU that is not there is refused whatever the stage
    for more in ["--certify", "-t velocity"] {
        let words = format!("register {IMAGES} {more} --init identity --device cuda:4000 -o new/p");
        program.refusal(&words, &["device cuda"]);
    }
    let auto = program.run(&format!("{words} --device auto -o p"));
    let said = String::from_utf8_lossy(&auto.stderr);
    assert!(auto.status.success(), "{said}");
    let plain = program.run(&format!("{words} -o q"));
    assert!(plain.status.success());
    let report = std::fs::read_to_string(program.path("p_report.json")).unwrap();
    if report.contains("\"device\": \"cpu\"") {
        assert_eq!(
            said.matches("solved on the CPU: device cuda").count(),
            1,
            "{said}"
        );
        let bytes = |name: &str| std::fs::read(program.path(name)).unwrap();
        assert_eq!(bytes("p_warp.nii.gz"), bytes("q_warp.nii.gz"));
    }
}

#[test]
fn images_without_anything_to_register_are_refused() {
    let pair = Pair::flat();
    let grid = &pair.phantom.grid;
    let mut values = pair.phantom.fixed.clone();
    write_image(&pair.program, "grey.nii", grid, &vec![3.0; grid.voxels()]);
    for (name, value) in [("nan.nii", f32::NAN), ("inf.nii", f32::INFINITY)] {
        values[3 + 96 * 2] = value;
        write_image(&pair.program, name, grid, &values);
    }
    for name in ["nan.nii", "inf.nii"] {
        for words in [
            format!("-f {name} -m moving.nii.gz"),
            format!("-f fixed.nii.gz -m {name}"),
        ] {
            let reason = [name, "NaN or infinite", "(3, 2)"];
            pair.program
                .refusal(&format!("register {words} -o new/p"), &reason);
        }
    }
    for (words, role) in [
        ("-f grey.nii -m moving.nii.gz", "fixed image"),
        ("-f fixed.nii.gz -m grey.nii", "moving image"),
    ] {
        for stages in ["affine", "compositive", "affine,displacement"] {
            pair.program.refusal(
                &format!("register {words} -o new/p -t {stages}"),
                &[role, "every voxel is 3", "constant image"],
            );
        }
    }
}

#[test]
fn labels_and_masks_must_lie_on_their_images_and_cover_something() {
    let pair = Pair::flat();
    let grid = &pair.phantom.grid;
    let program = &pair.program;
    let other = Grid::new(grid.size(), &[1.6, 1.7], grid.origin(), grid.direction()).unwrap();
    write_mask(program, "other.nii.gz", &other, |_| true);
    write_mask(program, "nothing.nii.gz", grid, |_| false);
    let corner = grid.origin();
    write_mask(program, "corner.nii.gz", grid, |p| {
        p[0] < corner[0] + 1.0 && p[1] < corner[1] + 1.0
    });
    for (words, image) in [
        ("--fixed-mask other.nii.gz", "fixed.nii.gz"),
        ("--moving-mask other.nii.gz", "moving.nii.gz"),
        (
            "--fixed-labels other.nii.gz --moving-labels moving_labels.nii.gz",
            "fixed.nii.gz",
        ),
        (
            "--fixed-labels fixed_labels.nii.gz --moving-labels other.nii.gz",
            "moving.nii.gz",
        ),
    ] {
        let place = format!("must lie on the grid of {image}");
        program.refusal(
            &pair.words(words),
            &[
                "other.nii.gz",
                &place,
                "1.6x1.7 mm",
                "stillpoint apply --interpolation label",
            ],
        );
    }
    for flag in ["--fixed-mask", "--moving-mask"] {
        program.refusal(
            &pair.words(&format!("{flag} nothing.nii.gz")),
            &["nothing.nii.gz", "the mask covers nothing"],
        );
    }
    // Each covers something, but together they leave nothing.
    for stages in ["affine", "compositive"] {
        write_mask(program, "left.nii.gz", grid, |p| p[0] < -20.0);
        write_mask(program, "right.nii.gz", grid, |p| p[0] > 20.0);
        program.refusal(
            &pair.words(&format!(
                "--fixed-mask left.nii.gz --moving-mask right.nii.gz --init identity -t {stages}"
            )),
            &["masks", "leave"],
        );
    }
    program.refusal(
        &pair.words("--fixed-mask fixed.nii.gz"),
        &["fixed.nii.gz", "whole numbers"],
    );
}

#[test]
fn planes_solids_and_impossible_directions_are_refused() {
    let pair = Pair::flat();
    let program = &pair.program;
    let solid = Grid::axis_aligned(&[9, 8, 7], &[2.0; 3]).unwrap();
    program.image("solid.nii", &solid, |p| p[0]);
    program.refusal(
        "register -f fixed.nii.gz -m solid.nii -o p",
        &["2 and 3 dimensions"],
    );
    program.refusal(
        "register -f solid.nii -m moving.nii.gz -o p",
        &["3 and 2 dimensions"],
    );
    for (name, row) in [
        ("singular.nii", [0.0, 1.0, 0.0, 0.0]),
        ("sheared.nii", [1.0, 0.5, 0.0, 0.0]),
    ] {
        let values: Vec<f32> = (0..60).map(|v| v as f32).collect();
        let mut raw = Raw::new(&[5, 4, 3], &values);
        raw.sform[0] = row;
        std::fs::write(program.path(name), gzip(&raw.bytes())).unwrap();
        for words in [
            format!("-f {name} -m solid.nii"),
            format!("-f solid.nii -m {name}"),
        ] {
            program.refusal(&format!("register {words} -o p"), &[name, "sform"]);
        }
    }
}

#[test]
fn a_start_that_is_no_linear_map_is_refused() {
    let pair = Pair::flat();
    let program = &pair.program;
    program.field("warp.nii.gz", &pair.phantom.grid, |_| [1.0, 0.0, 0.0]);
    let tilted = Affine::exp(&Affine::new(
        [[0.0, 0.0, 0.3], [0.0; 3], [-0.3, 0.0, 0.0]],
        [0.0; 3],
    ));
    write_affine(program.path("solid.mat"), &tilted, 3).unwrap();
    let flat = Affine::new(
        [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [0.0; 3],
    );
    for (name, reason) in [("warp.nii.gz", "not a transform"), ("solid.mat", "rank")] {
        program.refusal(&pair.words(&format!("--init {name}")), &[name, reason]);
    }
    assert!(write_affine(program.path("flat.txt"), &flat, 2).is_ok());
    for stages in ["affine", "compositive"] {
        program.refusal(
            &pair.words(&format!("--init flat.txt -t {stages}")),
            &["singular"],
        );
    }
}

#[test]
fn outputs_that_cannot_be_written_leave_nothing() {
    let pair = Pair::flat();
    let program = &pair.program;
    std::fs::create_dir(program.path("taken_warp.nii.gz")).unwrap();
    for (out, reason) in [
        ("fixed.nii.gz/p", "fixed.nii.gz: cannot create the folder"),
        ("/proc/none/p", "/proc/none: cannot create the folder"),
        ("/dev/null/p", "/dev/null: cannot create the folder"),
        ("taken", "taken_warp.nii.gz: is a folder"),
        (".", "--out-prefix: '.' is a folder"),
        ("new/", "--out-prefix: 'new/' is a folder"),
    ] {
        program.refusal(&format!("register {IMAGES} -o {out}"), &[reason]);
    }
    // A result may replace a former result, but never an input.
    let first = std::fs::read(program.path("moving.nii.gz")).unwrap();
    std::fs::write(program.path("p_warped.nii.gz"), &first).unwrap();
    for words in ["-m p_warped.nii.gz -o p", "-m ./p_warped.nii.gz -o p"] {
        program.refusal(
            &format!("register -f fixed.nii.gz {words}"),
            &["would replace the input", "p_warped.nii.gz"],
        );
    }
    program.output("register -f fixed.nii.gz -m p_warped.nii.gz -o q --quiet");
    program.output(&pair.words("--quiet"));
    assert!(std::fs::read(program.path("p_warped.nii.gz")).unwrap() != first);
}

/// A limit on the size of files stands in for a disk that is full.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_former_results_alone() {
    let pair = Pair::flat();
    let program = &pair.program;
    std::fs::create_dir(program.path("out")).unwrap();
    std::fs::write(program.path("out/p_warped.nii.gz"), "of old").unwrap();
    let inside = || std::fs::read_dir(program.path("out")).unwrap().count();
    for (blocks, name) in [(1, "p_warped.nii.gz"), (900, "p_report.png")] {
        for prefix in ["out/p", "new/p"] {
            let shell = format!(
                "trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" register {IMAGES} -o {prefix} --quiet"
            );
            let found = Command::new("sh")
                .args(["-c", &shell, env!("CARGO_BIN_EXE_stillpoint")])
                .current_dir(program.path(""))
                .output()
                .unwrap();
            let error = String::from_utf8(found.stderr).unwrap();
            assert_eq!(found.status.code(), Some(1), "{error}");
            assert!(error.contains(&format!("{name}: cannot write")), "{error}");
            assert!(!error.contains(".tmp"), "{error}");
            assert_eq!(inside(), 1);
            assert!(!program.path("new").exists());
        }
    }
    let former = std::fs::read(program.path("out/p_warped.nii.gz")).unwrap();
    assert_eq!(former, b"of old");
}

/// Starts a registration into a folder that is not there, sends a signal as soon as `ready` says so, and waits.
#[cfg(unix)]
fn interrupted(pair: &Pair, signal: &str, ready: impl Fn(&Pair) -> bool) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stillpoint"))
        .args(format!("register {IMAGES} -o out/p").split_whitespace())
        .current_dir(pair.program.path(""))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !ready(pair) {
        assert!(child.try_wait().unwrap().is_none(), "ended by itself");
        std::thread::yield_now();
    }
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {}", child.id())])
        .status();
    assert!(sent.unwrap().success());
    child.wait_with_output().unwrap()
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing() {
    // Large enough that the signal comes long before the end.
    let pair = Pair::new(stillpoint::Phantom::pair(&[88, 104, 88], &[1.8; 3], 0).unwrap());
    let before = pair.program.names();
    let works = |pair: &Pair| pair.program.path("out").exists();
    let writes = |pair: &Pair| {
        std::fs::read_dir(pair.program.path("out")).is_ok_and(|entries| {
            entries.flatten().any(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                // The folder of the results, and not the file that tries out the place.
                name.starts_with(".stillpoint-") && entry.path().is_dir()
            })
        })
    };
    for signal in ["INT", "TERM"] {
        for found in [
            interrupted(&pair, signal, works),
            interrupted(&pair, signal, writes),
        ] {
            let error = String::from_utf8(found.stderr).unwrap();
            assert_eq!(found.status.code(), Some(130), "{signal}: {error}");
            assert_eq!(error, "error: interrupted\n");
            // what was said before the work, and nothing of results
            let said = String::from_utf8(found.stdout).unwrap();
            assert!(
                said.is_empty() || said.starts_with("Memory  about "),
                "{said}"
            );
            assert!(said.trim_end().lines().count() <= 1, "{said}");
            assert_eq!(pair.program.names(), before, "{signal}");
        }
    }
}

#[test]
fn words_that_make_no_sense_have_a_code_of_their_own() {
    let pair = Pair::flat();
    write_labels(
        &pair.program,
        "l.nii",
        &pair.phantom.grid,
        &pair.phantom.fixed_labels,
    );
    let before = pair.program.names();
    for (more, reason) in [
        ("--fixed-labels l.nii", "--moving-labels"),
        ("--iterations 3x2x1", "--levels"),
        ("--levels 4x2 --iterations 3", "one number a level"),
        ("--levels 1x2", "coarse to fine"),
        ("-t rigid --certify", "no effect"),
        ("-t affine --levels 2x1", "no effect"),
        ("-t compositive,affine", "comes last"),
        ("--init nowhere.mat", "neither identity"),
        ("--lambda -1", "--lambda"),
        ("--threads 0", "--threads"),
        ("-o q", "cannot be used multiple times"),
    ] {
        let words = pair.words(more);
        let found = pair.program.run(&words);
        let error = String::from_utf8(found.stderr).unwrap();
        assert_eq!(found.status.code(), Some(2), "{words}: {error}");
        assert!(error.contains(reason), "{words}: {error}");
    }
    assert_eq!(pair.program.names(), before);
}
