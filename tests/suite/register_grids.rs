//! `stillpoint register` on grids of every kind, from any start, with masks and from other files.

use stillpoint::{read_image, write_affine, Affine, Grid, Phantom};

use crate::nifti_bytes::Raw;
use crate::pair::{joined, shapes, write_image, write_mask, Pair};
use crate::program::Program;

/// The same image of the world stored otherwise: the first two axes change places, the first and last run backwards.
fn stored_otherwise<T: Copy>(grid: &Grid, values: &[T]) -> (Grid, Vec<T>) {
    let rank = grid.rank();
    let size = grid.size();
    let from = |index: [usize; 3]| {
        let mut old = [index[1], index[0], index[2]];
        old[0] = size[0] - 1 - old[0];
        old[rank - 1] = size[rank - 1] - 1 - old[rank - 1];
        old
    };
    let new: Vec<usize> = [size[1], size[0]]
        .iter()
        .chain(&size[2..])
        .copied()
        .collect();
    let spacing = grid.spacing();
    let swapped: Vec<f64> = [spacing[1], spacing[0]]
        .iter()
        .chain(&spacing[2..])
        .copied()
        .collect();
    let place = |index: [usize; 3]| grid.index_to_world().apply(from(index).map(|i| i as f64));
    let origin = place([0; 3]);
    let mut direction = Affine::identity().matrix;
    for a in 0..rank {
        let mut index = [0; 3];
        index[a] = 1;
        let next = place(index);
        for r in 0..3 {
            direction[r][a] = (next[r] - origin[r]) / swapped[a];
        }
    }
    let mut out = Vec::with_capacity(values.len());
    for k in 0..new.get(2).copied().unwrap_or(1) {
        for j in 0..new[1] {
            for i in 0..new[0] {
                let [x, y, z] = from([i, j, k]);
                out.push(values[x + size[0] * (y + size[1] * z)]);
            }
        }
    }
    (Grid::new(&new, &swapped, origin, direction).unwrap(), out)
}

fn phantom(rank: usize, seed: u64) -> Phantom {
    let (size, spacing) = shapes()[rank - 2].clone();
    Phantom::pair(&size, &spacing, seed).unwrap()
}

/// The phantom with its whole world turned and moved.
fn turned(mut phantom: Phantom, turn: &Affine) -> Phantom {
    let grid = &phantom.grid;
    let (rank, voxels) = (grid.rank(), grid.voxels());
    let moved = Grid::new(
        grid.size(),
        grid.spacing(),
        turn.apply(grid.origin()),
        turn.compose(&Affine::new(grid.direction(), [0.0; 3]))
            .matrix,
    );
    for v in 0..voxels {
        let u = std::array::from_fn(|a| {
            if a < rank {
                f64::from(phantom.displacement[a * voxels + v])
            } else {
                0.0
            }
        });
        let u = turn.apply_vector(u);
        for a in 0..rank {
            phantom.displacement[a * voxels + v] = u[a] as f32;
        }
    }
    phantom.grid = moved.unwrap();
    phantom
}

fn rotation(rank: usize) -> Affine {
    let tilt = if rank == 2 { 0.0 } else { 0.35 };
    let turn = [[0.0, 0.5, tilt], [-0.5, 0.0, -tilt], [-tilt, tilt, 0.0]];
    Affine::exp(&Affine::new(turn, [0.0; 3]))
}

#[test]
fn how_a_moving_image_is_stored_does_not_matter() {
    for rank in [2, 3] {
        let pair = Pair::new(phantom(rank, 2));
        let known = pair.initial();
        pair.report("--init identity");
        let plain = pair.warp();
        let error = pair.error();
        assert!(error < 0.5 * known, "{error} of {known}");
        let (grid, values) = stored_otherwise(&pair.phantom.grid, &pair.phantom.moving);
        write_image(&pair.program, "moving.nii.gz", &grid, &values);
        let report = pair.report("--init identity");
        let stored = pair.warp();
        let apart = plain.values().iter().zip(stored.values());
        let apart: Vec<f64> = apart.map(|(a, b)| f64::from((a - b).abs())).collect();
        assert!(
            stillpoint::mean(&apart) < 0.1 * known,
            "{}",
            stillpoint::mean(&apart)
        );
        assert_eq!(report["moving_grid"]["size"][0], grid.size()[0]);
        assert_eq!(report["moving_grid"]["direction"][0][0], 0.0);
    }
}

#[test]
fn oblique_grids_are_registered_in_their_own_world() {
    for rank in [2, 3] {
        let mut turn = rotation(rank);
        turn.translation = [30.0, -50.0, 20.0 * (rank - 2) as f64];
        let pair = Pair::new(turned(phantom(rank, 2), &turn));
        pair.report("");
        let (known, error) = (pair.initial(), pair.error());
        assert!(error < 0.5 * known, "{error} of {known}");
    }
}

#[test]
fn grids_of_other_size_spacing_and_order_are_registered_from_their_headers() {
    for (rank, size, spacing) in [
        (2, vec![151, 65], vec![1.1, 3.0]),
        (3, vec![81, 50, 33], vec![2.0, 4.0, 5.0]),
    ] {
        let other = Phantom::pair(&size, &spacing, 2).unwrap();
        let pair = Pair::new(phantom(rank, 2));
        for swapped in [false, true] {
            let (grid, values) = if swapped {
                stored_otherwise(&other.grid, &other.moving)
            } else {
                (other.grid.clone(), other.moving.clone())
            };
            write_image(&pair.program, "moving.nii.gz", &grid, &values);
            for init in ["identity", "moments"] {
                let report = pair.report(&format!("--init {init}"));
                let (known, error) = (pair.initial(), pair.error());
                assert!(
                    error < 0.6 * known,
                    "{rank} {init} {swapped}: {error} of {known}"
                );
                assert_eq!(report["regularity"]["digital_folds_percent"], 0.0);
            }
            let warped = read_image(pair.program.path("p_warped.nii.gz")).unwrap();
            assert!(warped.grid().matches(&pair.phantom.grid, 1e-3));
            let inverse =
                stillpoint::DisplacementField::read(pair.program.path("p_inverse_warp.nii.gz"));
            assert!(inverse.unwrap().grid().matches(&grid, 1e-3));
        }
    }
}

#[test]
fn odd_and_tiny_sizes_run() {
    for (fixed, moving) in [
        (vec![3, 3], vec![3, 3]),
        (vec![5, 4, 3], vec![5, 4, 3]),
        (vec![7, 5], vec![11, 6]),
        (vec![8, 7, 9], vec![11, 6, 5]),
        (vec![31, 33, 29], vec![30, 37, 35]),
        (vec![64, 60, 3], vec![61, 64, 4]),
        (vec![120, 3], vec![110, 4]),
    ] {
        let program = Program::new();
        let rank = fixed.len();
        for (name, size, shift) in [("fixed", &fixed, 0.0), ("moving", &moving, 0.08)] {
            let spacing: Vec<f64> = size.iter().map(|n| 60.0 / *n as f64).collect();
            let centred = Grid::axis_aligned(size, &spacing).unwrap();
            let origin = centred.centre().map(|v| -v);
            let grid = Grid::new(size, &spacing, origin, centred.direction()).unwrap();
            program.image(&format!("{name}.nii.gz"), &grid, |p| {
                let ball = |x: f64, c: f64| ((x / 60.0 - c) / 0.3).powi(2);
                let r: f64 = (0..rank).map(|a| ball(p[a], shift * (a + 1) as f64)).sum();
                100.0 * (-r).exp()
            });
        }
        for more in [
            "",
            "-t displacement --init identity",
            "-t compositive --levels 4x2x1",
        ] {
            let words = format!("register -f fixed.nii.gz -m moving.nii.gz -o p --json {more}");
            let found = program.run(&words);
            let error = String::from_utf8(found.stderr).unwrap();
            assert!(found.status.success(), "{fixed:?} {more}: {error}");
            let report: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
            let difference = |when: &str| report["difference"][when].as_f64().unwrap();
            assert!(
                difference("after") < difference("before") + 0.01,
                "{fixed:?} {more}: {} to {}",
                difference("before"),
                difference("after")
            );
        }
    }
}

#[test]
fn a_meta_image_is_as_good_as_nifti() {
    let pair = Pair::solid();
    pair.report("");
    let plain = pair.warp();
    let grid = &pair.phantom.grid;
    let [x, y, z] = grid.origin();
    for (name, values) in [
        ("f.mha", &pair.phantom.fixed),
        ("m.mha", &pair.phantom.moving),
    ] {
        let header = format!(
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n\
             TransformMatrix = -1 0 0 0 -1 0 0 0 1\nOffset = {} {} {z}\nElementSpacing = 4 4 4\nDimSize = 40 48 40\n\
             ElementType = MET_FLOAT\nElementDataFile = LOCAL\n",
            -x, -y
        );
        let bytes = values.iter().flat_map(|v| v.to_le_bytes());
        let file: Vec<u8> = header.bytes().chain(bytes).collect();
        std::fs::write(pair.program.path(name), file).unwrap();
    }
    pair.program
        .output("register -f f.mha -m m.mha -o p --quiet");
    assert!(pair.warp().grid().matches(grid, 1e-4));
    for (a, b) in plain.values().iter().zip(pair.warp().values()) {
        approx::assert_abs_diff_eq!(a, b, epsilon = 1e-3);
    }
}

#[test]
fn one_volume_of_several_can_be_registered() {
    let pair = Pair::flat();
    pair.report("");
    let plain = pair.warp();
    let grid = &pair.phantom.grid;
    let noise: Vec<f32> = (0..grid.voxels()).map(|v| (v % 7) as f32).collect();
    for (name, values) in [
        ("f.nii", &pair.phantom.fixed),
        ("m.nii", &pair.phantom.moving),
    ] {
        let mut raw = Raw::new(&[96, 112, 1, 2], &[noise.as_slice(), values].concat());
        let map = grid.index_to_world();
        for r in 0..3 {
            let row = [map.matrix[r][0], map.matrix[r][1], map.matrix[r][2]];
            raw.sform[r] =
                std::array::from_fn(|c| row.get(c).copied().unwrap_or(map.translation[r]) as f32);
        }
        raw.pixdim[1] = 1.7;
        raw.pixdim[2] = 1.7;
        std::fs::write(pair.program.path(name), raw.bytes()).unwrap();
    }
    let words = "register -f f.nii -m m.nii -o p --quiet";
    pair.program.refusal(
        words,
        &["f.nii", "2 volumes", "--fixed-volume", "--moving-volume"],
    );
    pair.program.refusal(
        &format!("{words} --fixed-volume 1"),
        &["m.nii", "2 volumes"],
    );
    pair.program.refusal(
        &format!("{words} --fixed-volume 1 --moving-volume 2"),
        &["m.nii", "volume 2", "it has 2"],
    );
    pair.program
        .output(&format!("{words} --fixed-volume 1 --moving-volume 1"));
    for (a, b) in plain.values().iter().zip(pair.warp().values()) {
        approx::assert_abs_diff_eq!(a, b, epsilon = 1e-3);
    }
}

#[test]
fn masks_shut_out_what_is_wrong_with_an_image() {
    let wrong = |p: [f64; 3]| (p[0] - 25.0).powi(2) + (p[1] - 20.0).powi(2) < 400.0;
    for side in ["fixed", "moving"] {
        let mut pair = Pair::flat();
        let grid = pair.phantom.grid.clone();
        let labels = pair.phantom.fixed_labels.clone();
        let values = if side == "fixed" {
            &mut pair.phantom.fixed
        } else {
            &mut pair.phantom.moving
        };
        for (v, p) in crate::program::world_points(&grid).enumerate() {
            if wrong(p) {
                values[v] = 0.0;
            }
            // Only what is well away from the fault is judged.
            if (p[0] - 25.0).powi(2) + (p[1] - 20.0).powi(2) < 35.0f64.powi(2) {
                pair.phantom.fixed_labels[v] = 0;
            }
        }
        assert!(pair.phantom.fixed_labels != labels);
        write_image(&pair.program, &format!("{side}.nii.gz"), &grid, values);
        let mask = "mask.nii.gz";
        write_mask(&pair.program, mask, &grid, |p| !wrong(p));
        pair.report("--init identity -t compositive --features intensities");
        let without = pair.error();
        let report = pair.report(&format!(
            "--init identity -t compositive --features intensities --{side}-mask {mask}"
        ));
        let with = pair.error();
        assert!(with < 0.8 * without, "{side}: {with} against {without}");
        assert_eq!(report["inputs"][2]["role"], format!("{side} mask"));
        // A mask over everything is as good as none.
        write_mask(&pair.program, "all.nii.gz", &grid, |_| true);
        pair.report(&format!(
            "--init identity -t compositive --features intensities --{side}-mask all.nii.gz"
        ));
        assert!((pair.error() - without).abs() < 0.05 * without, "{side}");
    }
}

#[test]
fn every_start_is_honoured() {
    for rank in [2, 3] {
        let pair = Pair::new(phantom(rank, 4));
        let grid = &pair.phantom.grid;
        let shift = [400.0, -300.0, if rank == 2 { 0.0 } else { 250.0 }];
        let far = turned(pair.phantom.clone(), &Affine::shift(shift));
        write_image(&pair.program, "moving.nii.gz", &far.grid, &far.moving);
        for name in ["start.mat", "start.txt"] {
            write_affine(pair.program.path(name), &Affine::shift(shift), rank).unwrap();
        }
        let mut known = pair.phantom.clone();
        for (v, u) in known.displacement.iter_mut().enumerate() {
            *u += shift[v / grid.voxels()] as f32;
        }
        for init in ["centres", "moments", "start.mat", "start.txt"] {
            for stages in ["compositive", "affine,compositive"] {
                let report = pair.report(&format!("--init {init} -t {stages}"));
                let error = crate::pair::distance(&known, pair.warp().values());
                assert!(error < 0.6 * pair.initial(), "{init} {stages}: {error}");
                assert_eq!(report["settings"]["init"], init);
                if init.starts_with("start") {
                    assert_eq!(report["inputs"][2]["role"], "start");
                    assert_eq!(report["inputs"][2]["path"], init);
                }
            }
        }
        for stages in ["compositive", "affine", "affine,compositive"] {
            pair.program.refusal(
                &pair.words(&format!("--init identity -t {stages}")),
                &["do not overlap in space", "--init centres"],
            );
        }
    }
}

#[test]
fn a_wrong_voxel_size_is_suspected() {
    let pair = Pair::solid();
    let grid = &pair.phantom.grid;
    let mut spacing = grid.spacing().to_vec();
    spacing[2] *= 0.7;
    let mut origin = grid.origin();
    origin[2] *= 0.7;
    let wrong = Grid::new(grid.size(), &spacing, origin, grid.direction()).unwrap();
    write_image(&pair.program, "moving.nii.gz", &wrong, &pair.phantom.moving);
    let report = pair.report("-t affine");
    let notes = joined(&report["notes"]);
    assert!(
        notes.contains("axis k") && notes.contains("voxel size"),
        "{notes}"
    );
}

#[test]
fn images_of_one_and_two_slices_are_registered() {
    for slices in [1, 2] {
        let phantom = Phantom::pair(&[48, 56, 40], &[3.4, 3.4, 3.4], 2).unwrap();
        let plane = 48 * 56;
        let part = |values: &[f32]| values[20 * plane..(20 + slices) * plane].to_vec();
        let grid = Grid::axis_aligned(&[48, 56, slices], &[3.4; 3]).unwrap();
        let program = Program::new();
        write_image(&program, "f.nii.gz", &grid, &part(&phantom.fixed));
        write_image(&program, "m.nii.gz", &grid, &part(&phantom.moving));
        for transform in ["affine", "affine,compositive", "compositive"] {
            let words = format!("register -f f.nii.gz -m m.nii.gz -o p -t {transform} --json");
            let report: serde_json::Value = serde_json::from_str(&program.output(&words)).unwrap();
            let [before, after] =
                ["before", "after"].map(|key| report["difference"][key].as_f64().unwrap());
            assert!(after <= before, "{slices} {transform}: {before} to {after}");
        }
    }
}
