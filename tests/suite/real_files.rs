//! Real scans, where STILLPOINT_DATA names the folder that holds them.

use std::path::PathBuf;

use stillpoint::{header_report, read_image, read_labels, Grid, PointSpace, Points};

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("STILLPOINT_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: STILLPOINT_DATA does not name the folder of real images");
    }
    folder
}

fn files(folder: &PathBuf) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if [".nii.gz", ".mha"]
            .iter()
            .any(|e| path.to_string_lossy().ends_with(e))
        {
            all.push(path);
        }
    }
    all
}

#[test]
fn every_real_image_is_read() {
    let Some(folder) = data() else { return };
    let all = files(&folder);
    assert!(all.len() > 50, "{}", all.len());
    for path in all {
        let image = read_image(&path).unwrap();
        let report = header_report(&path, true).unwrap();
        let values = report.values.unwrap();
        assert!(
            values.min < values.max && values.non_finite == 0,
            "{}",
            path.display()
        );
        assert_eq!(report.rank, image.grid().rank());
        let name = path.to_string_lossy();
        if name.contains("_glm") || name.contains("labels") || name.contains("/label") {
            let labels = read_labels(&path).unwrap();
            assert!(!labels.ids().is_empty(), "{name}");
            let found = labels.values().iter().zip(image.values());
            assert!(found.clone().all(|(a, b)| *a as f32 == *b), "{name}");
        }
    }
}

#[test]
fn known_files_say_what_is_known_of_them() {
    let Some(folder) = data() else { return };
    let brain = read_image(folder.join("brain_pair_1mm/fixed.nii.gz")).unwrap();
    assert_eq!(brain.grid().size(), [160, 192, 224]);
    let labels = read_labels(folder.join("brain_pair_1mm/fixed_labels.nii.gz")).unwrap();
    assert_eq!(labels.ids().len(), 30);
    let slice = read_image(folder.join("brain_slices_2d/trt20_2.nii.gz")).unwrap();
    assert_eq!(
        (slice.grid().rank(), slice.grid().size()),
        (2, &[216, 291][..])
    );
    // Labels stored as floats.
    let slice = read_labels(folder.join("brain_slices_2d/trt20_4_labels.nii.gz")).unwrap();
    assert!(slice.ids().len() >= 27);
}

#[test]
fn landmarks_lie_inside_the_liver_scan_once_its_spacing_is_mended() {
    let Some(folder) = data() else { return };
    let liver = folder.join("liver_mri");
    let image = read_image(liver.join("cyc_1_10.force_direction.mha")).unwrap();
    let wrong = image.grid().clone();
    assert_eq!(wrong.spacing()[2], 5.0, "the known error of this file");
    let spacing = [wrong.spacing()[0], wrong.spacing()[1], 4.0];
    let grid = Grid::new(wrong.size(), &spacing, wrong.origin(), wrong.direction()).unwrap();
    let image = image.with_grid(grid).unwrap();
    let space = PointSpace::Scaled(image.grid());
    let points = Points::read(liver.join("cyc_1_10LMliver.vtk"), space).unwrap();
    assert_eq!(points.positions.len(), 32);
    for point in &points.positions {
        let index = image.grid().world_to_index().apply(*point);
        for a in 0..3 {
            assert!(
                (0.0..image.grid().size()[a] as f64).contains(&index[a]),
                "{point:?}"
            );
        }
        // Marked on slices: the third index is whole.
        assert!((index[2] - index[2].round()).abs() < 1e-3, "{index:?}");
    }
}
