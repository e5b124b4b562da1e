//! MetaImage files mean the same places as the NIfTI files that hold the same scan.

use approx::assert_abs_diff_eq;
use stillpoint::{header_report, read_image, Image, ImageOptions, Labels};

fn header(extra: &str) -> String {
    format!("ObjectType = Image\nNDims = 3\nBinaryData = True\n{extra}\n")
}

fn read(text: &str, data: &[u8]) -> stillpoint::Result<Image> {
    let bytes = [text.as_bytes(), data].concat();
    Image::from_bytes("t.mha", &bytes, &ImageOptions::default())
}

const SMALL: &str = "DimSize = 3 2 2\nElementSpacing = 2 3 4\nOffset = 10 20 30\nElementType = MET_UCHAR\nElementDataFile = LOCAL";

fn numbers() -> Vec<u8> {
    (1..=12).collect()
}

#[test]
fn positions_are_turned_from_lps_to_ras() {
    // The matrix lists the direction of each axis in turn: the first axis runs along +y (back) in LPS.
    let text = header(&format!("TransformMatrix = 0 1 0 -1 0 0 0 0 1\n{SMALL}"));
    let image = read(&text, &numbers()).unwrap();
    assert_eq!(image.values()[..4], [1.0, 2.0, 3.0, 4.0]);
    let map = image.grid().index_to_world();
    for (index, world) in [
        ([0.0; 3], [-10.0, -20.0, 30.0]),
        ([1.0, 0.0, 0.0], [-10.0, -22.0, 30.0]),
        ([0.0, 1.0, 0.0], [-7.0, -20.0, 30.0]),
        ([0.0, 0.0, 1.0], [-10.0, -20.0, 34.0]),
    ] {
        for r in 0..3 {
            assert_abs_diff_eq!(map.apply(index)[r], world[r], epsilon = 1e-12);
        }
    }
}

#[test]
fn types_and_byte_order() {
    for (name, data) in [
        (
            "MET_SHORT",
            (0..12i16)
                .flat_map(|v| (v - 300).to_be_bytes())
                .collect::<Vec<u8>>(),
        ),
        (
            "MET_INT",
            (0..12i32).flat_map(|v| (v - 300).to_be_bytes()).collect(),
        ),
        (
            "MET_FLOAT",
            (0..12u8)
                .flat_map(|v| (f32::from(v) - 300.0).to_be_bytes())
                .collect(),
        ),
        (
            "MET_DOUBLE",
            (0..12u8)
                .flat_map(|v| (f64::from(v) - 300.0).to_be_bytes())
                .collect(),
        ),
    ] {
        let text = header(&format!(
            "ElementByteOrderMSB = True\n{}",
            SMALL.replace("MET_UCHAR", name)
        ));
        let image = read(&text, &data).unwrap();
        assert_eq!(
            (image.values()[0], image.values()[11]),
            (-300.0, -289.0),
            "{name}"
        );
    }
    let text = header(SMALL);
    let bytes = [text.as_bytes(), &numbers()].concat();
    let labels = Labels::from_bytes("t", &bytes, &ImageOptions::default()).unwrap();
    assert_eq!(labels.ids(), (1..=12).collect::<Vec<u32>>());
}

#[test]
fn compressed_data_and_data_of_their_own() {
    let mut packer = libdeflater::Compressor::new(libdeflater::CompressionLvl::fastest());
    let mut packed = vec![0; packer.zlib_compress_bound(12)];
    let n = packer.zlib_compress(&numbers(), &mut packed).unwrap();
    packed.truncate(n);
    let text = header(&format!(
        "CompressedData = True\nCompressedDataSize = {n}\n{SMALL}"
    ));
    assert_eq!(read(&text, &packed).unwrap().values()[11], 12.0);
    let error = read(&text, &packed[..n / 2]).unwrap_err().to_string();
    assert!(error.contains("corrupted or truncated"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    for (name, flag, data) in [("b.raw", "False", numbers()), ("b.zraw", "True", packed)] {
        let text = header(&format!(
            "CompressedData = {flag}\n{}",
            SMALL.replace("LOCAL", name)
        ));
        let path = folder.path().join("b.mhd");
        std::fs::write(&path, &text).unwrap();
        let error = read_image(&path).unwrap_err().to_string();
        assert!(
            error.contains(name),
            "the missing file is not named in {error}"
        );
        std::fs::write(folder.path().join(name), data).unwrap();
        assert_eq!(read_image(&path).unwrap().values()[11], 12.0);
        assert_eq!(header_report(&path, true).unwrap().orientation, "LPS");
    }
}

#[test]
fn slices_and_components() {
    let text = "NDims = 2\nDimSize = 3 2\nElementSpacing = 2 3\nOffset = 10 20\nTransformMatrix = 0 -1 1 0\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n";
    let image = read(text, &[1, 2, 3, 4, 5, 6]).unwrap();
    assert_eq!(image.grid().rank(), 2);
    let p = image.grid().index_to_world().apply([1.0, 0.0, 0.0]);
    assert_eq!((p[0], p[1]), (-10.0, -18.0));
    let text = text.replace("ElementType", "ElementNumberOfChannels = 2\nElementType");
    let data: Vec<u8> = (0..12).collect();
    assert!(read(&text, &data)
        .unwrap_err()
        .to_string()
        .contains("2 numbers a voxel"));
    let bytes = [text.as_bytes(), &data].concat();
    let all = ImageOptions {
        channels: true,
        ..Default::default()
    };
    let image = Image::from_bytes("t", &bytes, &all).unwrap();
    assert_eq!(image.channel(1), [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
}

#[test]
fn damaged_headers_say_so() {
    let error = read(&header("DimSize = 3 2 2"), &[]).unwrap_err();
    assert!(
        error.to_string().contains("without ElementDataFile"),
        "{error}"
    );
    for (text, found) in [
        (header("DimSize = 3 2 2"), "Key = Value"),
        (
            header(&SMALL.replace("DimSize = 3 2 2", "DimSize = 3 2")),
            "DimSize",
        ),
        (
            header(&SMALL.replace("DimSize = 3 2 2", "DimSize = 3 0 2")),
            "DimSize",
        ),
        (
            header(&SMALL.replace("DimSize = 3 2 2", "DimSize = 3 -2 2")),
            "DimSize",
        ),
        (header(&SMALL.replace("DimSize = 3 2 2\n", "")), "DimSize"),
        (
            header(&SMALL.replace("MET_UCHAR", "MET_STRING")),
            "MET_STRING",
        ),
        (header(&SMALL.replace("= 2 3 4", "= 2 0 4")), "spacing"),
        (
            header(&SMALL.replace("= 2 3 4", "= 2 x 4")),
            "ElementSpacing",
        ),
        (
            header(&format!("TransformMatrix = 1 0.5 0 0 1 0 0 0 1\n{SMALL}")),
            "orthonormal",
        ),
        (
            header(&SMALL.replace("LOCAL", "slice_%03d.raw")),
            "several files",
        ),
        (
            header(SMALL).replace("BinaryData = True", "BinaryData = False"),
            "as text",
        ),
        (
            header(&SMALL.replace("3 2 2", "999999 999999 999999")),
            "promises",
        ),
        (header(&SMALL.replace("3 2 2", "3 2 999")), "too short"),
        (header(SMALL).replace("NDims = 3", "NDims = 7"), "NDims"),
        (
            header(SMALL).replace("NDims = 3", "what is this"),
            "Key = Value",
        ),
    ] {
        let error = read(&text, &numbers()).unwrap_err().to_string();
        assert!(
            error.contains(found) && error.contains("t.mha"),
            "{found:?} is not in {error:?}"
        );
    }
}
