//! NIfTI files mean the same values at the same places of the world, whatever their type, order and packing.

use approx::assert_abs_diff_eq;
use stillpoint::{header_report, Error, Image, ImageOptions, Labels};

use crate::nifti_bytes::{gzip, Raw};

fn read(raw: &Raw) -> Image {
    Image::from_bytes("test.nii", &raw.bytes(), &ImageOptions::default()).unwrap()
}

/// What the reader says about a bad file.
fn refusal(bytes: &[u8]) -> String {
    let error = Image::from_bytes("test.nii", bytes, &ImageOptions::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("test.nii"), "no file named in {text:?}");
    text
}

#[track_caller]
fn assert_refused(bytes: &[u8], parts: &[&str]) {
    let text = refusal(bytes);
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[track_caller]
fn assert_at(image: &Image, index: [f64; 3], world: [f64; 3]) {
    let found = image.grid().index_to_world().apply(index);
    for a in 0..3 {
        assert_abs_diff_eq!(found[a], world[a], epsilon = 1e-4);
    }
}

#[test]
fn every_type_in_both_byte_orders() {
    macro_rules! case {
        ($($t:ty => $code:expr, $values:expr;)*) => {$(
            for big in [false, true] {
                let values: [$t; 6] = $values;
                let mut raw = Raw::new(&[3, 2, 1], &[]);
                raw.big = big;
                raw.datatype = $code;
                raw.bitpix = 8 * size_of::<$t>() as i16;
                raw.data = values
                    .iter()
                    .flat_map(|v| if big { v.to_be_bytes() } else { v.to_le_bytes() })
                    .collect();
                let expected: Vec<f32> = values.iter().map(|v| *v as f32).collect();
                let image = read(&raw);
                assert_eq!(image.values(), expected, "{} big: {big}", stringify!($t));
                assert!(image.warnings().is_empty(), "{:?}", image.warnings());
                // The same through gzip, and scaled.
                raw.slope = 0.5;
                raw.inter = -3.0;
                let options = ImageOptions::default();
                let image = Image::from_bytes("x", &gzip(&raw.bytes()), &options).unwrap();
                let expected: Vec<f32> = values.iter().map(|v| (*v as f64 * 0.5 - 3.0) as f32).collect();
                assert_eq!(image.values(), expected);
            }
        )*};
    }
    case! {
        u8 => 2, [0, 1, 2, 127, 128, 255];
        i16 => 4, [0, -1, 2, 300, i16::MIN, i16::MAX];
        i32 => 8, [0, -1, 2, 70_000, i32::MIN, i32::MAX];
        f32 => 16, [0.0, -1.5, 2.0, 1e-30, 1e30, -7.0];
        f64 => 64, [0.0, -1.5, 2.0, 1e-30, 1e30, -7.0];
        i8 => 256, [0, -1, 2, 100, i8::MIN, i8::MAX];
        u16 => 512, [0, 1, 2, 300, 40_000, u16::MAX];
        u32 => 768, [0, 1, 2, 70_000, 1 << 31, u32::MAX];
        i64 => 1024, [0, -1, 2, 70_000, i64::MIN, i64::MAX];
        u64 => 1280, [0, 1, 2, 70_000, 1 << 63, u64::MAX];
    }
}

#[test]
fn a_slope_of_zero_or_nan_is_no_scale() {
    for slope in [0.0, f32::NAN, f32::INFINITY] {
        let mut raw = Raw::new(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        raw.slope = slope;
        raw.inter = 9.0;
        assert_eq!(read(&raw).values(), [1.0, 2.0, 3.0, 4.0]);
    }
}

#[test]
fn an_oblique_flipped_anisotropic_sform_puts_voxels_where_it_says() {
    let (s, c) = (0.3f32.sin(), 0.3f32.cos());
    let mut raw = Raw::new(&[3, 4, 5], &[0.0; 60]);
    // Columns: spacing 2 flipped, spacing 3, spacing 0.5; turned about z.
    raw.sform = [
        [-2.0 * c, -3.0 * s, 0.0, 11.0],
        [-2.0 * s, 3.0 * c, 0.0, -12.0],
        [0.0, 0.0, 0.5, 13.0],
    ];
    raw.pixdim[1..4].copy_from_slice(&[2.0, 3.0, 0.5]);
    let image = read(&raw);
    assert_eq!(image.grid().size(), [3, 4, 5]);
    assert_at(&image, [0.0; 3], [11.0, -12.0, 13.0]);
    let (s, c) = (f64::from(s), f64::from(c));
    assert_at(
        &image,
        [2.0, 3.0, 4.0],
        [11.0 - 4.0 * c - 9.0 * s, -12.0 - 4.0 * s + 9.0 * c, 15.0],
    );
    assert!(image.warnings().is_empty(), "{:?}", image.warnings());
}

#[test]
fn a_qform_turns_by_its_quaternion_and_mirrors_by_qfac() {
    // 90 degrees about z: b = c = 0, d = sin 45.
    for (qfac, z) in [(1.0, 8.0), (0.0, 8.0), (-1.0, -8.0)] {
        let mut raw = Raw::new(&[3, 4, 5], &[0.0; 60]);
        (raw.qform_code, raw.sform_code) = (1, 0);
        raw.quaternion = [0.0, 0.0, std::f32::consts::FRAC_1_SQRT_2];
        raw.offset = [1.0, 2.0, 3.0];
        raw.pixdim[..4].copy_from_slice(&[qfac, 2.0, 3.0, 4.0]);
        let image = read(&raw);
        assert_at(&image, [1.0, 0.0, 0.0], [1.0, 4.0, 3.0]);
        assert_at(&image, [0.0, 1.0, 0.0], [-2.0, 2.0, 3.0]);
        assert_at(&image, [0.0, 0.0, 2.0], [1.0, 2.0, 3.0 + z]);
    }
    // A half turn about x whose quaternion is longer than 1.
    let mut raw = Raw::new(&[3, 4, 5], &[0.0; 60]);
    (raw.qform_code, raw.sform_code) = (1, 0);
    raw.quaternion = [1.0001, 0.0, 0.0];
    assert_at(&read(&raw), [1.0, 1.0, 1.0], [1.0, -1.0, -1.0]);
}

#[test]
fn without_codes_spacing_alone_counts_and_the_other_reading_is_told() {
    let mut raw = Raw::new(&[3, 4, 5], &[0.0; 60]);
    (raw.qform_code, raw.sform_code) = (0, 0);
    raw.pixdim[1..4].copy_from_slice(&[2.0, 3.0, 4.0]);
    raw.sform[0][3] = 99.0;
    let image = read(&raw);
    assert_at(&image, [1.0, 1.0, 1.0], [2.0, 3.0, 4.0]);
    let told = image.warnings().join("\n");
    assert!(
        told.contains("spacing alone") && told.contains("ITK"),
        "{told}"
    );
}

#[test]
fn sform_and_qform_that_disagree_are_both_named() {
    let mut raw = Raw::new(&[3, 4, 5], &[0.0; 60]);
    (raw.qform_code, raw.sform_code) = (1, 2);
    raw.offset = [5.0, 0.0, 0.0];
    let image = read(&raw);
    assert_at(&image, [0.0; 3], [0.0; 3]);
    let told = image.warnings().join("\n");
    for part in ["sform (code 2)", "qform (code 1)", "5.000 mm"] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    // With sform code 1 ITK takes the sform too: nothing to tell.
    raw.sform_code = 1;
    assert!(read(&raw).warnings().is_empty());
    // Nor a difference of less than a fraction of a voxel.
    raw.sform_code = 2;
    raw.offset = [0.02, 0.0, 0.0];
    assert!(read(&raw).warnings().is_empty());
    // ITK takes the spacing from pixdim, whatever the sform says.
    raw.qform_code = 0;
    raw.pixdim[1] = 1.5;
    assert!(read(&raw).warnings()[0].contains("pixdim"));
}

#[test]
fn a_sheared_sform_is_refused_unless_the_qform_serves() {
    let mut raw = Raw::new(&[3, 4, 5], &[0.0; 60]);
    raw.sform[0][1] = 0.2;
    assert_refused(&raw.bytes(), &["shear", "0.2", "resample"]);
    raw.qform_code = 1;
    raw.offset = [1.0, 2.0, 3.0];
    let image = read(&raw);
    assert_at(&image, [1.0, 0.0, 0.0], [2.0, 2.0, 3.0]);
    let told = image.warnings().join("\n");
    assert!(told.contains("shear") && told.contains("qform"), "{told}");
    // Without a valid qform there is nothing left.
    raw.quaternion = [f32::NAN; 3];
    assert_refused(&raw.bytes(), &["shear"]);
    raw.qform_code = 0;
    raw.sform = [
        [1.0, 2.0, 0.0, 0.0],
        [1.0, 2.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0],
    ];
    assert_refused(&raw.bytes(), &["singular"]);
    raw.sform = [[0.0; 4]; 3];
    assert_refused(&raw.bytes(), &["singular"]);
    raw.sform[1][1] = f32::NAN;
    assert_refused(&raw.bytes(), &["not finite"]);
}

#[test]
fn slices_are_of_rank_two_in_the_plane() {
    for size in [vec![3, 2], vec![3, 2, 1], vec![3, 2, 1, 1]] {
        let mut raw = Raw::new(&size, &[0.0; 6]);
        raw.sform = [
            [0.0, -0.5, 0.0, 7.0],
            [2.0, 0.0, 0.0, 8.0],
            [0.0, 0.0, 1.0, 9.0],
        ];
        raw.pixdim[1..4].copy_from_slice(&[2.0, 0.5, 0.0]);
        let image = read(&raw);
        assert_eq!((image.grid().rank(), image.grid().size()), (2, &[3, 2][..]));
        assert_at(&image, [0.0, 0.0, 0.0], [7.0, 8.0, 0.0]);
        assert_at(&image, [1.0, 0.0, 0.0], [7.0, 10.0, 0.0]);
        assert_at(&image, [0.0, 1.0, 0.0], [6.5, 8.0, 0.0]);
        assert!(image.warnings().is_empty(), "{:?}", image.warnings());
    }
    // A third axis of length 0 is no matter here, but ITK would refuse it.
    let mut raw = Raw::new(&[3, 2], &[0.0; 6]);
    raw.sform[2][2] = 0.0;
    let image = read(&raw);
    assert_at(&image, [2.0, 1.0, 0.0], [2.0, 1.0, 0.0]);
    assert!(image.warnings()[0].contains("ITK and ANTs cannot read"));
    // A coronal slice gets a plane of its own, and that is told.
    let mut raw = Raw::new(&[3, 2, 1], &[0.0; 6]);
    raw.sform = [
        [2.0, 0.0, 0.0, 7.0],
        [0.0, 0.0, 1.0, 8.0],
        [0.0, 3.0, 0.0, 9.0],
    ];
    let image = read(&raw);
    assert_at(&image, [1.0, 1.0, 0.0], [9.0, 12.0, 0.0]);
    assert!(image.warnings()[0].contains("x-y plane"));
}

#[test]
fn other_units_become_millimetres() {
    for (units, factor) in [(1, 1e-3f32), (3, 1e3)] {
        let mut raw = Raw::new(&[3, 4, 5], &[0.0; 60]);
        for a in 0..3 {
            raw.sform[a][a] *= 2.0 * factor;
            raw.sform[a][3] = 5.0 * factor;
            raw.pixdim[a + 1] = 2.0 * factor;
        }
        raw.units = units;
        let image = read(&raw);
        assert_at(&image, [1.0, 1.0, 1.0], [7.0, 7.0, 7.0]);
        assert!(image.warnings()[0].contains("converted to mm"));
    }
}

#[test]
fn a_volume_of_several_must_be_named() {
    let values: Vec<f32> = (0..24u8).map(f32::from).collect();
    for size in [vec![2, 3, 2, 2], vec![2, 3, 2, 1, 2]] {
        let raw = Raw::new(&size, &values).bytes();
        let part = if size.len() == 4 {
            "2 volumes"
        } else {
            "2 components"
        };
        assert_refused(&raw, &[part, "volume"]);
        let with = |options: ImageOptions| Image::from_bytes("t", &raw, &options);
        let volume = |v| ImageOptions {
            volume: Some(v),
            ..Default::default()
        };
        assert_eq!(with(volume(1)).unwrap().values(), &values[12..]);
        assert!(with(volume(2))
            .unwrap_err()
            .to_string()
            .contains("volume 2"));
        let all = with(ImageOptions {
            channels: true,
            ..Default::default()
        })
        .unwrap();
        assert_eq!((all.channels(), all.values()), (2, &values[..]));
        assert_eq!(all.channel(1), &values[12..]);
        // The same from a gzip file, where the volume lies behind others.
        let packed = gzip(&raw);
        let second = Image::from_bytes("t", &packed, &volume(1)).unwrap();
        assert_eq!(second.values(), &values[12..]);
    }
    assert_eq!(
        read(&Raw::new(&[2, 3, 2, 1], &values[..12])).values(),
        &values[..12]
    );
    assert_refused(
        &Raw::new(&[1, 2, 3, 1, 1, 4], &values).bytes(),
        &["more than five axes"],
    );
}

#[test]
fn the_data_begin_where_the_header_says() {
    let values = [1.0, 2.0, 3.0, 4.0];
    let mut raw = Raw::new(&[2, 2], &values);
    for offset in [348.0, 352.0, 400.0] {
        raw.vox_offset = offset;
        assert_eq!(read(&raw).values(), values, "vox_offset {offset}");
    }
    // Never filled in: with and without the four extension bytes.
    raw.vox_offset = 0.0;
    let mut with = raw.header();
    assert_eq!(read(&raw).values(), values);
    with.extend([0; 4]);
    with.extend(&raw.data);
    let image = Image::from_bytes("t", &with, &ImageOptions::default()).unwrap();
    assert_eq!(image.values(), values);
    for offset in [100.0, -5.0, f32::NAN, 352.5, f32::INFINITY] {
        raw.vox_offset = offset;
        let mut bytes = raw.header();
        bytes.resize(500, 0);
        assert_refused(&bytes, &["vox_offset"]);
    }
    raw.vox_offset = 1e9;
    let mut bytes = raw.header();
    bytes.resize(500, 0);
    assert_refused(&bytes, &["too short", "500"]);
}

#[test]
fn several_gzip_members_are_one_file() {
    let values: Vec<f32> = (0..1000u16).map(f32::from).collect();
    let raw = Raw::new(&[10, 10, 10], &values).bytes();
    for cut in [100, 348, 2000] {
        let mut packed = gzip(&raw[..cut]);
        packed.extend(gzip(&raw[cut..]));
        let options = ImageOptions::default();
        let image = Image::from_bytes("t", &packed, &options).unwrap();
        assert_eq!(image.values(), values);
        // Padding behind the last member, as tapes leave it, is no error.
        packed.extend([0; 512]);
        let image = Image::from_bytes("t", &packed, &options).unwrap();
        assert_eq!(image.values(), values);
    }
}

#[test]
fn damaged_gzip_files_say_so() {
    let values: Vec<f32> = (0..4000u16).map(|v| (f32::from(v) * 0.37).sin()).collect();
    let packed = gzip(&Raw::new(&[20, 20, 10], &values).bytes());
    for length in [20, packed.len() / 2, packed.len() - 9, packed.len() - 3] {
        assert_refused(&packed[..length], &["truncated gzip"]);
    }
    let mut corrupt = packed.clone();
    let middle = corrupt.len() / 2;
    for byte in &mut corrupt[middle..middle + 40] {
        *byte ^= 0x5a;
    }
    assert_refused(&corrupt, &["corrupted gzip"]);
    let mut checksum = packed.clone();
    let place = checksum.len() - 7;
    checksum[place] ^= 1;
    assert_refused(&checksum, &["corrupted gzip"]);
}

#[test]
fn what_is_no_nifti_file_is_named() {
    assert_refused(b"", &["not a NIfTI file", "0 bytes"]);
    assert_refused(&[7; 400], &["not a NIfTI file", "348"]);
    assert_refused(b"\x89PNG\r\n\x1a\n and more", &["PNG"]);
    let mut dicom = vec![0; 200];
    dicom[128..132].copy_from_slice(b"DICM");
    assert_refused(&dicom, &["DICOM"]);
    let mut second = vec![0; 600];
    second[..4].copy_from_slice(&540i32.to_le_bytes());
    assert_refused(&second, &["NIfTI-2", "convert"]);
    let mut raw = Raw::new(&[2, 2], &[0.0; 4]);
    raw.magic = [0; 4];
    assert_refused(&raw.bytes(), &["Analyze"]);
    raw.magic = *b"ni1\0";
    assert_refused(&raw.bytes(), &["file of their own"]);
    for (code, name) in [
        (128, "RGB24"),
        (2304, "RGBA32"),
        (32, "complex"),
        (1536, "128-bit"),
        (0, "unknown"),
        (77, "77"),
    ] {
        let mut raw = Raw::new(&[2, 2], &[0.0; 4]);
        raw.datatype = code;
        assert_refused(&raw.bytes(), &["datatype", name]);
    }
}

#[test]
fn bad_dims_and_pixdims_say_so() {
    let with_dim = |dim: [i16; 8]| {
        let mut raw = Raw::new(&[2, 2], &[0.0; 4]);
        raw.dim = dim;
        raw.bytes()
    };
    assert_refused(&with_dim([0, 2, 2, 1, 1, 1, 1, 1]), &["dim[0] is 0"]);
    assert_refused(&with_dim([9, 2, 2, 1, 1, 1, 1, 1]), &["dim[0] is 9"]);
    assert_refused(
        &with_dim([3, 2, 0, 1, 1, 1, 1, 1]),
        &["dim[2] is 0", "zero"],
    );
    assert_refused(
        &with_dim([3, 2, 2, -4, 1, 1, 1, 1]),
        &["dim[3] is -4", "negative"],
    );
    assert_refused(&with_dim([1, 4, 1, 1, 1, 1, 1, 1]), &["one axis"]);
    assert_refused(
        &with_dim([7, 32767, 32767, 32767, 32767, 32767, 32767, 32767]),
        &["five axes"],
    );
    assert_refused(
        &with_dim([5, 32767, 32767, 32767, 32767, 32767, 1, 1]),
        &["promises"],
    );
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e9] {
        let mut raw = Raw::new(&[2, 2, 2], &[0.0; 8]);
        (raw.qform_code, raw.sform_code) = (1, 0);
        raw.pixdim[2] = bad;
        assert_refused(&raw.bytes(), &["absurd pixdim", "axis 1"]);
    }
    let mut raw = Raw::new(&[2, 2, 2], &[0.0; 8]);
    raw.sform[2][2] = 1e7;
    assert_refused(&raw.bytes(), &["absurd geometry", "axis 2"]);
    raw.sform[2][2] = 1.0;
    raw.bitpix = 8;
    assert!(read(&raw).warnings()[0].contains("bitpix"));
}

#[test]
fn too_large_promises_fail_before_memory_is_taken() {
    // 32767^3 floats would be 140 TB: that this test ends shows that nothing was allocated.
    let mut raw = Raw::new(&[2, 2, 2], &[0.0; 8]);
    raw.dim[1..4].copy_from_slice(&[32767; 3]);
    let unlimited = ImageOptions {
        memory_limit: u64::MAX,
        ..Default::default()
    };
    let error = Image::from_bytes("t", &raw.bytes(), &unlimited).unwrap_err();
    assert!(error.to_string().contains("too short"), "{error}");
    let error = Image::from_bytes("t", &gzip(&raw.bytes()), &unlimited).unwrap_err();
    assert!(
        error.to_string().contains("compressed bytes can hold"),
        "{error}"
    );
    assert!(matches!(
        Image::from_bytes("t", &raw.bytes(), &ImageOptions::default()),
        Err(Error::Memory { .. })
    ));
    // A limit just large enough, and one byte less.
    let raw = Raw::new(&[2, 2, 2], &[0.0; 8]).bytes();
    let limit = |bytes| ImageOptions {
        memory_limit: bytes,
        ..Default::default()
    };
    assert!(Image::from_bytes("t", &raw, &limit(64)).is_ok());
    assert!(matches!(
        Image::from_bytes("t", &raw, &limit(63)),
        Err(Error::Memory {
            needed: 64,
            limit: 63,
            ..
        })
    ));
}

#[test]
fn values_that_are_not_finite_are_counted() {
    let mut values = [1.0; 24];
    values[7] = f32::NAN;
    values[20] = f32::INFINITY;
    let raw = Raw::new(&[2, 3, 4], &values).bytes();
    assert_refused(&raw, &["2 of its values", "(1, 0, 1)"]);
    let allowed = ImageOptions {
        allow_non_finite: true,
        ..Default::default()
    };
    let image = Image::from_bytes("t", &raw, &allowed).unwrap();
    assert!(image.values()[7].is_nan() && image.values()[20] == f32::INFINITY);
    // The last chunk of many is looked at too, and the first offender of several is named.
    let mut values = vec![1.0; 200 * 200 * 5];
    values[199_999] = f32::NAN;
    values[150_000] = f32::NAN;
    assert_refused(
        &Raw::new(&[200, 200, 5], &values).bytes(),
        &["2 of its values", "(0, 150, 3)"],
    );
}

#[test]
fn labels_are_whole_numbers_of_any_type() {
    let options = ImageOptions::default();
    let raw = Raw::new(&[3, 2], &[0.0, 5.0, 1001.0, 5.0, 0.0, 3.0]);
    let labels = Labels::from_bytes("t", &raw.bytes(), &options).unwrap();
    assert_eq!(labels.values(), [0, 5, 1001, 5, 0, 3]);
    assert_eq!(labels.ids(), [3, 5, 1001]);
    let mut scaled = raw.clone();
    scaled.slope = 2.0;
    let labels = Labels::from_bytes("t", &scaled.bytes(), &options).unwrap();
    assert_eq!(labels.ids(), [6, 10, 2002]);
    for bad in [-1.0f32, 0.5, f32::NAN, 5e9] {
        let raw = Raw::new(&[3, 2], &[0.0, 5.0, 0.0, 0.0, bad, bad]).bytes();
        let text = Labels::from_bytes("t.nii", &raw, &options)
            .unwrap_err()
            .to_string();
        for part in ["t.nii", "whole numbers", "(1, 1)", &bad.to_string()] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}

#[test]
fn a_header_and_its_image_file_are_read_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut raw = Raw::new(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    raw.magic = *b"ni1\0";
    raw.vox_offset = 0.0;
    let path = folder.path().join("scan.1.hdr");
    std::fs::write(&path, raw.header()).unwrap();
    let error = stillpoint::read_image(&path).unwrap_err().to_string();
    assert!(error.contains("scan.1.img"), "{error}");
    std::fs::write(folder.path().join("scan.1.img"), &raw.data).unwrap();
    let image = stillpoint::read_image(&path).unwrap();
    assert_eq!(image.values(), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn the_report_tells_both_readings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nii");
    let mut raw = Raw::new(
        &[3, 2, 2],
        &[
            -1.0,
            2.0,
            f32::NAN,
            4.0,
            0.0,
            1.0,
            0.0,
            1.0,
            0.0,
            1.0,
            0.0,
            7.0,
        ],
    );
    (raw.qform_code, raw.sform_code) = (1, 2);
    raw.sform[0] = [-1.0, 0.0, 0.0, 4.0];
    raw.big = true;
    raw.data = raw
        .data
        .chunks(4)
        .flat_map(|b| b.iter().rev().copied().collect::<Vec<u8>>())
        .collect();
    std::fs::write(&path, raw.bytes()).unwrap();
    let report = header_report(&path, true).unwrap();
    assert_eq!(report.orientation, "LAS");
    assert_eq!(
        (report.dims.as_slice(), report.element, report.big_endian),
        (&[3, 2, 2][..], "float32", true)
    );
    let nifti = report.nifti.as_ref().unwrap();
    assert_eq!(
        (
            nifti.sform_code,
            nifti.qform_code,
            nifti.description.as_str()
        ),
        (2, 1, "test scan")
    );
    assert_eq!(report.geometry.matrix[0], [-1.0, 0.0, 0.0, 4.0]);
    assert_eq!(
        report.itk_geometry.as_ref().unwrap().matrix[0],
        [1.0, 0.0, 0.0, 0.0]
    );
    assert_eq!(report.warnings.len(), 1);
    let values = report.values.as_ref().unwrap();
    assert_eq!(
        (values.min, values.max, values.non_finite),
        (Some(-1.0), Some(7.0), 1)
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["nifti"]["sform_code"], 2);
    assert!(header_report(&path, false).unwrap().values.is_none());
}
