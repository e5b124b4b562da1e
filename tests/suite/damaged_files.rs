//! However a file is damaged, reading it ends in a value or an error: no panic, and no memory beyond the limit.
//!
//! STILLPOINT_FUZZ_SECONDS makes it run longer than its usual few thousand files.

use std::time::{Duration, Instant};

use stillpoint::{Image, ImageOptions, Labels, Rng};

use crate::allocations;
use crate::nifti_bytes::{gzip, Raw};

/// Raw and converted values together may take this much.
const LIMIT: u64 = 1 << 20;

/// What reading may take beside: buffers of headers, decoders and chunks.
const SLACK: usize = 2 << 20;

fn seeds() -> Vec<Vec<u8>> {
    let values: Vec<f32> = (0..240u8).map(f32::from).collect();
    let mut all = Vec::new();
    for size in [&[6, 5, 8][..], &[6, 5, 4, 2], &[5, 4, 2, 1, 3], &[12, 20]] {
        for big in [false, true] {
            let mut raw = Raw::new(size, &values);
            raw.big = big;
            raw.qform_code = 1;
            all.push(raw.bytes());
        }
    }
    let mut integers = Raw::new(&[6, 5, 8], &values);
    (integers.datatype, integers.bitpix) = (8, 32);
    all.push(integers.bytes());
    let mut meta = b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 2 3\nDimSize = 6 5 8\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n".to_vec();
    meta.extend(0..240u8);
    all.push(meta);
    all
}

/// Numbers that readers stumble over.
fn strange(rng: &mut Rng) -> [u8; 4] {
    match rng.below(8) {
        0 => [0; 4],
        1 => [255; 4],
        2 => f32::NAN.to_le_bytes(),
        3 => f32::INFINITY.to_le_bytes(),
        4 => i32::MAX.to_be_bytes(),
        5 => 1e9f32.to_be_bytes(),
        6 => [0x7f, 0xff, 0x80, 0x00],
        _ => (rng.bits() as u32).to_le_bytes(),
    }
}

fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        let head = bytes.len().min(348);
        match rng.below(6) {
            _ if bytes.len() < 8 => return,
            0 => bytes.truncate(rng.below(bytes.len())),
            1 => {
                let place = rng.below(bytes.len());
                bytes[place] ^= 1 << rng.below(8);
            }
            2 => {
                let place = rng.below(head - 4);
                let number = strange(rng);
                bytes[place..place + 4].copy_from_slice(&number);
            }
            3 => {
                // A size, a type or a code.
                let place = [40, 42, 44, 46, 48, 50, 70, 252, 254][rng.below(9)].min(head - 2);
                let number = strange(rng);
                bytes[place..place + 2].copy_from_slice(&number[..2]);
            }
            4 => {
                let place = rng.below(head);
                bytes[place] = b"0123456789-= \nx"[rng.below(15)];
            }
            _ => {
                let place = rng.below(bytes.len());
                let byte = rng.bits() as u8;
                bytes.insert(place, byte);
            }
        }
    }
}

#[test]
fn no_file_makes_a_reader_panic_or_allocate_without_bound() {
    let seconds: u64 = std::env::var("STILLPOINT_FUZZ_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut rng, seeds) = (Rng::new(2024), seeds());
    let (mut read, mut refused, mut count) = (0, 0, 0);
    while count < 6000 || Instant::now() < end {
        count += 1;
        let mut bytes = seeds[rng.below(seeds.len())].clone();
        damage(&mut bytes, &mut rng);
        if rng.below(3) == 0 {
            bytes = gzip(&bytes);
            if rng.below(2) == 0 {
                damage(&mut bytes, &mut rng);
            }
        }
        let options = ImageOptions {
            volume: [None, Some(1)][rng.below(2)],
            channels: rng.below(2) == 0,
            allow_non_finite: rng.below(2) == 0,
            memory_limit: LIMIT,
        };
        let (results, largest) = allocations::largest_during(|| {
            let image = Image::from_bytes("damaged", &bytes, &options);
            let labels = Labels::from_bytes("damaged", &bytes, &options);
            (image, labels)
        });
        assert!(
            largest <= LIMIT as usize + SLACK,
            "one allocation of {largest} bytes for {} bytes of file",
            bytes.len()
        );
        match results.0 {
            Ok(image) => {
                read += 1;
                assert_eq!(
                    image.values().len(),
                    image.channels() * image.grid().voxels()
                );
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("damaged"), "{error}");
            }
        }
        if let Ok(labels) = results.1 {
            assert_eq!(labels.values().len(), labels.grid().voxels());
        }
    }
    // Both happen often, or the damage is too small or too large to test anything.
    assert!(
        read > count / 20 && refused > count / 5,
        "{read} read, {refused} refused"
    );
}
