//! What is written is read back at the same places, looks like the fixed image's file, and is whole or not there.

use approx::assert_abs_diff_eq;
use stillpoint::{
    header_report, read_image, read_labels, DisplacementField, Error, Grid, Image, ImageOptions,
    Labels, Rng,
};

use crate::nifti_bytes::Raw;

/// A turned, flipped grid with three spacings.
fn oblique(size: &[usize]) -> Grid {
    let (s, c) = 0.4f64.sin_cos();
    if size.len() == 2 {
        let direction = [[-c, s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]];
        return Grid::new(size, &[0.7, 1.3], [4.0, -60.0, 0.0], direction).unwrap();
    }
    let (p, q) = 1.1f64.sin_cos();
    // A turn about z, a turn about x, and the last axis mirrored.
    let direction = [[c, -s * q, -s * p], [s, c * q, c * p], [0.0, p, -q]];
    Grid::new(size, &[0.7, 1.3, 2.5], [40.0, -60.0, 12.5], direction).unwrap()
}

fn noise(count: usize) -> Vec<f32> {
    let mut rng = Rng::new(4);
    (0..count).map(|_| rng.normal() as f32).collect()
}

fn size_of_rank(rank: usize) -> &'static [usize] {
    &[23, 31, 12][..rank]
}

#[track_caller]
fn assert_same_place(a: &Grid, b: &Grid) {
    assert_place_within(a, b, 1e-4);
}

#[track_caller]
fn assert_place_within(a: &Grid, b: &Grid, millimetres: f64) {
    assert_eq!(a.size(), b.size());
    for (p, q) in a.corners().iter().zip(b.corners()) {
        for r in 0..3 {
            assert_abs_diff_eq!(p[r], q[r], epsilon = millimetres);
        }
    }
}

#[test]
fn images_come_back() {
    let folder = tempfile::tempdir().unwrap();
    for rank in [2, 3] {
        for channels in [1, 4] {
            let grid = oblique(size_of_rank(rank));
            let image =
                Image::new(grid.clone(), channels, noise(channels * grid.voxels())).unwrap();
            for name in ["a.nii", "a.nii.gz", "scan.1.nii", "A.NII.GZ"] {
                let path = folder.path().join(name);
                image.write(&path).unwrap();
                let back = stillpoint::read_image_with(
                    &path,
                    &ImageOptions {
                        channels: true,
                        ..Default::default()
                    },
                )
                .unwrap();
                assert_eq!(back.channels(), channels);
                assert_eq!(back.values(), image.values());
                assert_same_place(back.grid(), &grid);
                assert!(back.warnings().is_empty(), "{:?}", back.warnings());
            }
        }
    }
    let packed = std::fs::read(folder.path().join("a.nii.gz")).unwrap();
    assert_eq!(packed[..2], [0x1f, 0x8b]);
}

#[test]
fn the_qform_and_the_sform_written_say_the_same() {
    // ITK uses the qform when the sform code is not 1, so both must be right: read one, then the other.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nii");
    let mut rng = Rng::new(3);
    for case in 0..40 {
        let turn = stillpoint::Affine::exp(&stillpoint::Affine::new(
            {
                let [a, b, c] = std::array::from_fn(|_| rng.range(-3.0, 3.0));
                [[0.0, a, b], [-a, 0.0, c], [-b, -c, 0.0]]
            },
            [0.0; 3],
        ));
        let mut direction = turn.matrix;
        if case % 2 == 0 {
            direction = direction.map(|row| [-row[0], row[1], row[2]]);
        }
        let grid = Grid::new(&[9, 8, 7], &[1.0, 2.0, 3.0], [5.0, 6.0, 7.0], direction).unwrap();
        Image::new(grid.clone(), 1, vec![0.0; 504])
            .unwrap()
            .write(&path)
            .unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        assert_same_place(read_image(&path).unwrap().grid(), &grid);
        bytes[254] = 0;
        std::fs::write(&path, &bytes).unwrap();
        // Near a half turn, single precision leaves a quaternion only some 3e-4 of an angle.
        assert_place_within(read_image(&path).unwrap().grid(), &grid, 5e-3);
    }
}

#[test]
fn the_double_precision_file_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nii.gz");
    let grid = oblique(&[5, 4, 3]);
    let image = Image::new(grid, 1, noise(60)).unwrap();
    image.write_double(&path).unwrap();
    assert_eq!(header_report(&path, false).unwrap().element, "float64");
    assert_eq!(read_image(&path).unwrap().values(), image.values());
}

#[test]
fn labels_take_the_smallest_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.nii.gz");
    for (largest, element) in [
        (0, "uint8"),
        (255, "uint8"),
        (256, "int16"),
        (32_767, "int16"),
        (32_768, "uint16"),
        (65_536, "int32"),
        (1 << 31, "uint32"),
        (u32::MAX, "uint32"),
    ] {
        let mut values = vec![0; 60];
        values[17] = largest;
        values[59] = largest / 2;
        let labels = Labels::new(oblique(&[5, 4, 3]), values).unwrap();
        labels.write(&path).unwrap();
        assert_eq!(
            header_report(&path, false).unwrap().element,
            element,
            "{largest}"
        );
        let back = read_labels(&path).unwrap();
        assert_eq!(back.values(), labels.values());
        assert_same_place(back.grid(), labels.grid());
    }
}

#[test]
fn the_header_of_the_fixed_image_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fixed.nii");
    let mut raw = Raw::new(&[3, 2, 2], &[0.0; 12]);
    (raw.qform_code, raw.sform_code, raw.units) = (1, 4, 10);
    (raw.slope, raw.inter, raw.big) = (2.0, 1.0, true);
    raw.sform[1][3] = 3.0;
    raw.offset[1] = 3.0;
    std::fs::write(&path, raw.bytes()).unwrap();
    let fixed = read_image(&path).unwrap();
    let out = folder.path().join("out.nii");
    fixed
        .with_values(1, noise(12))
        .unwrap()
        .write(&out)
        .unwrap();
    let report = header_report(&out, false).unwrap();
    let nifti = report.nifti.unwrap();
    assert_eq!((nifti.qform_code, nifti.sform_code), (1, 4));
    assert_eq!(nifti.description, "test scan");
    assert_eq!((nifti.slope, nifti.intercept), (Some(1.0), Some(0.0)));
    assert!(!report.big_endian);
    assert_eq!(std::fs::read(&out).unwrap()[123], 10, "units are kept");
    assert_same_place(read_image(&out).unwrap().grid(), fixed.grid());
    // The same header with labels and with a field.
    Labels::on(&fixed, vec![3; 12])
        .unwrap()
        .write(&out)
        .unwrap();
    assert_eq!(
        header_report(&out, false)
            .unwrap()
            .nifti
            .unwrap()
            .sform_code,
        4
    );
    DisplacementField::on(&fixed, vec![3.0; 36])
        .unwrap()
        .write(&out)
        .unwrap();
    assert_eq!(
        header_report(&out, false)
            .unwrap()
            .nifti
            .unwrap()
            .sform_code,
        4
    );
    // A slice that came with three dimensions keeps them, as ITK wants it.
    let mut raw = Raw::new(&[3, 2, 1], &[0.0; 6]);
    raw.data.truncate(24);
    std::fs::write(&path, raw.bytes()).unwrap();
    read_image(&path).unwrap().write(&out).unwrap();
    assert_eq!(header_report(&out, false).unwrap().dims, [3, 2, 1]);
}

#[test]
fn a_grid_that_the_header_does_not_describe_replaces_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lies.nii");
    std::fs::write(&path, Raw::new(&[3, 4, 5], &[1.0; 60]).bytes()).unwrap();
    let grid = oblique(&[3, 4, 5]);
    let mended = read_image(&path).unwrap().with_grid(grid.clone()).unwrap();
    mended.write(&path).unwrap();
    assert_same_place(read_image(&path).unwrap().grid(), &grid);
    assert!(matches!(
        mended.with_grid(oblique(&[3, 4, 6])),
        Err(Error::GridMismatch { .. })
    ));
}

#[test]
fn fields_come_back_within_their_grain() {
    let folder = tempfile::tempdir().unwrap();
    for rank in [2, 3] {
        let grid = oblique(size_of_rank(rank));
        let field = DisplacementField::new(grid.clone(), noise(rank * grid.voxels())).unwrap();
        for name in ["Warp.nii", "Warp.nii.gz"] {
            let path = folder.path().join(name);
            field.write(&path).unwrap();
            let back = DisplacementField::read(&path).unwrap();
            assert_same_place(back.grid(), &grid);
            for (a, b) in back.values().iter().zip(field.values()) {
                assert_abs_diff_eq!(a, b, epsilon = 6.2e-5);
            }
            let report = header_report(&path, false).unwrap();
            assert_eq!(report.nifti.unwrap().intent_code, 1007);
            assert_eq!(report.dims[3..], [1, rank]);
            assert_eq!(report.dims[2], if rank == 3 { 12 } else { 1 });
        }
        // In the file x and y point the other way: the first stored number is minus the first x.
        let bytes = std::fs::read(folder.path().join("Warp.nii")).unwrap();
        let stored = f32::from_le_bytes(bytes[352..356].try_into().unwrap());
        assert_abs_diff_eq!(stored, -field.values()[0], epsilon = 6.2e-5);
    }
}

#[test]
fn a_field_by_its_intent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("field.nii");
    let values: Vec<f32> = (1..=24u8).map(f32::from).collect();
    let mut raw = Raw::new(&[2, 2, 2, 1, 3], &values);
    let read = |raw: &Raw| {
        std::fs::write(&path, raw.bytes()).unwrap();
        DisplacementField::read(&path)
    };
    raw.intent = 1007;
    let lps = read(&raw).unwrap();
    assert_eq!(
        (lps.values()[0], lps.values()[8], lps.values()[16]),
        (-1.0, -9.0, 17.0)
    );
    raw.intent = 1006;
    let ras = read(&raw).unwrap();
    assert_eq!(ras.values(), values);
    assert!(ras.warnings()[0].contains("1006"));
    for (intent, size, found) in [
        (0, vec![2, 2, 2, 1, 3], "intent 0"),
        (2006, vec![2, 2, 2, 1, 3], "intent 2006"),
        (1007, vec![2, 2, 2, 3], "[2, 2, 2, 3]"),
        (1007, vec![2, 2, 3, 1, 2], "[2, 2, 3, 1, 2]"),
    ] {
        let mut raw = Raw::new(&size, &values);
        raw.intent = intent;
        let text = read(&raw).unwrap_err().to_string();
        assert!(text.contains(found) && text.contains("field.nii"), "{text}");
    }
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let grid = oblique(&[120, 110, 70]);
    let mut rng = Rng::new(9);
    let values: Vec<f32> = (0..grid.voxels())
        .map(|i| (i as f32 * 0.01).sin() + 0.1 * rng.uniform() as f32)
        .collect();
    let image = Image::new(grid, 1, values).unwrap();
    let written: Vec<Vec<u8>> = [1, 2, 5]
        .iter()
        .map(|threads| {
            let path = folder.path().join(format!("{threads}.nii.gz"));
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(*threads)
                .build()
                .unwrap();
            pool.install(|| image.write(&path)).unwrap();
            let back = pool.install(|| read_image(&path)).unwrap();
            assert_eq!(back.values(), image.values());
            std::fs::read(&path).unwrap()
        })
        .collect();
    assert!(written.windows(2).all(|w| w[0] == w[1]));
}

#[test]
fn an_ordinary_gzip_reader_takes_the_file() {
    use std::io::Read;
    let folder = tempfile::tempdir().unwrap();
    let grid = oblique(&[70, 60, 50]);
    let image = Image::new(grid, 1, noise(210_000)).unwrap();
    let (plain, packed) = (folder.path().join("a.nii"), folder.path().join("a.nii.gz"));
    image.write(&plain).unwrap();
    image.write(&packed).unwrap();
    let packed = std::fs::read(packed).unwrap();
    // One member only: a reader that stops at its end has everything.
    let mut contents = Vec::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_end(&mut contents)
        .unwrap();
    assert_eq!(contents, std::fs::read(plain).unwrap());
    let mut whole = vec![0; contents.len()];
    let n = libdeflater::Decompressor::new()
        .gzip_decompress(&packed, &mut whole)
        .unwrap();
    assert_eq!((n, whole), (contents.len(), contents));
}

#[test]
fn a_write_that_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::new(oblique(&[5, 4, 3]), 1, noise(60)).unwrap();
    let missing = folder.path().join("no/such/folder/a.nii.gz");
    let error = image.write(&missing).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(error.to_string().contains("a.nii.gz"), "{error}");
    let in_the_way = folder.path().join("b.nii");
    std::fs::create_dir(&in_the_way).unwrap();
    assert!(image
        .write(&in_the_way)
        .unwrap_err()
        .to_string()
        .contains("is a folder"));
    for name in ["c.png", "c", "nii"] {
        let error = image.write(folder.path().join(name)).unwrap_err();
        assert!(error.to_string().contains(".nii.gz"), "{error}");
    }
    let wide = Grid::axis_aligned(&[40_000, 1], &[1.0, 1.0]).unwrap();
    let error = Image::new(wide, 1, vec![0.0; 40_000])
        .unwrap()
        .write(folder.path().join("d.nii"));
    assert!(error.unwrap_err().to_string().contains("32767"));
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["b.nii"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_takes_no_files_is_an_error_and_old_files_are_replaced_whole() {
    let image = Image::new(oblique(&[5, 4, 3]), 1, noise(60)).unwrap();
    let error = image.write("/proc/a.nii").unwrap_err();
    assert!(
        matches!(
            error,
            Error::Io {
                action: "create",
                ..
            }
        ),
        "{error}"
    );
    // Overwriting keeps the old file until the new one is whole, and gives the usual rights.
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nii");
    std::fs::write(&path, b"old").unwrap();
    image.write(&path).unwrap();
    assert_eq!(read_image(&path).unwrap().values(), image.values());
    let plain = folder.path().join("plain");
    std::fs::write(&plain, b"").unwrap();
    let mode = |p| std::fs::metadata(p).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
}

#[test]
fn wrong_lengths_are_refused() {
    let grid = oblique(&[5, 4, 3]);
    assert!(matches!(
        Image::new(grid.clone(), 2, vec![0.0; 60]),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        Image::new(grid.clone(), 0, vec![]),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        Labels::new(grid.clone(), vec![0; 59]),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        DisplacementField::new(grid, vec![0.0; 60]),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn whole_numbers_are_kept_in_the_smallest_type_that_holds_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nii");
    let grid = Grid::axis_aligned(&[2, 2], &[1.0; 2]).unwrap();
    for (values, element) in [
        ([0.0, 7.0, 255.0, 1.0], "uint8"),
        ([-1.0, 7.0, 255.0, 1.0], "int16"),
        ([-32768.0, 32767.0, 0.0, -0.0], "int16"),
        ([0.0, 32768.0, 65535.0, 1.0], "uint16"),
        ([-1.0, 32768.0, 65535.0, 1.0], "int32"),
        ([-2_147_483_648.0, 2_147_483_520.0, 3.0, 1.0], "int32"),
        ([0.0, 2_147_483_648.0, 3.0, 1.0], "float32"),
        ([0.0, 0.5, 3.0, 1.0], "float32"),
    ] {
        let image = Image::new(grid.clone(), 1, values.to_vec()).unwrap();
        image.write_whole_numbers(&path).unwrap();
        assert_eq!(header_report(&path, false).unwrap().element, element);
        assert_eq!(read_image(&path).unwrap().values(), values, "{element}");
    }
}
