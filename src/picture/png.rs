//! Pictures as files.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use crate::{Error, Result};

/// A picture as the bytes of a PNG file; `what` is for messages.
pub(super) fn png(image: &RgbImage, what: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
        .write_image(
            image.as_raw(),
            image.width(),
            image.height(),
            ExtendedColorType::Rgb8,
        )
        .map_err(|error| Error::data(what, error.to_string()))?;
    Ok(bytes)
}
