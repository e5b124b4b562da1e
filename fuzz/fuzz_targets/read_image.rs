//! Any bytes as an image file: a value or an error, never a panic, never more memory than allowed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stillpoint::{Image, ImageOptions, Labels};

fuzz_target!(|bytes: &[u8]| {
    for (volume, channels) in [(None, false), (None, true), (Some(1), false)] {
        let options = ImageOptions {
            volume,
            channels,
            allow_non_finite: channels,
            memory_limit: 1 << 24,
        };
        if let Ok(image) = Image::from_bytes("fuzz", bytes, &options) {
            assert_eq!(
                image.values().len(),
                image.channels() * image.grid().voxels()
            );
        }
        if let Ok(labels) = Labels::from_bytes("fuzz", bytes, &options) {
            assert_eq!(labels.values().len(), labels.grid().voxels());
        }
    }
});
