//! A canvas: rectangles, smooth lines, panels with round corners.

use super::colour::{mix, Colour};
use image::{Rgb, RgbImage};

/// A rectangle in pixels, left-top corner and size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: i32,
    pub(super) height: i32,
}

impl Area {
    pub(super) const fn new(x: i32, y: i32, width: i32, height: i32) -> Self {
        Self {
            x,
            y,
            width,
            height,
        }
    }

    pub(super) fn right(&self) -> i32 {
        self.x + self.width
    }

    pub(super) fn bottom(&self) -> i32 {
        self.y + self.height
    }

    /// The area of this size in the middle of this one.
    pub(super) fn centred(&self, width: i32, height: i32) -> Self {
        Self::new(
            self.x + (self.width - width) / 2,
            self.y + (self.height - height) / 2,
            width,
            height,
        )
    }
}

/// Pixels to draw on; whatever lies outside is clipped.
pub(super) struct Canvas {
    image: RgbImage,
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32, colour: Colour) -> Self {
        Self {
            image: RgbImage::from_pixel(width, height, Rgb(colour)),
        }
    }

    pub(super) fn into_image(self) -> RgbImage {
        self.image
    }

    /// Lays `colour` over a pixel with `opacity` in `0..=1`.
    pub(super) fn blend(&mut self, x: i32, y: i32, colour: Colour, opacity: f32) {
        if x >= 0
            && y >= 0
            && (x as u32) < self.image.width()
            && (y as u32) < self.image.height()
            && opacity > 0.0
        {
            let pixel = self.image.get_pixel_mut(x as u32, y as u32);
            pixel.0 = mix(pixel.0, colour, opacity.min(1.0));
        }
    }

    pub(super) fn fill(&mut self, area: Area, colour: Colour) {
        let (width, height) = (self.image.width() as i32, self.image.height() as i32);
        let columns = area.x.clamp(0, width)..area.right().clamp(0, width);
        for y in area.y.clamp(0, height)..area.bottom().clamp(0, height) {
            for x in columns.clone() {
                self.image.put_pixel(x as u32, y as u32, Rgb(colour));
            }
        }
    }

    /// Copies a raster of `area.width * area.height` colours, row by row.
    pub(super) fn paste(&mut self, area: Area, raster: &[Colour]) {
        let (width, height) = (self.image.width() as i32, self.image.height() as i32);
        let (left, right) = (area.x.clamp(0, width), area.right().clamp(0, width));
        if left == right {
            return;
        }
        for y in area.y.max(0)..area.bottom().min(height) {
            let line = &raster[((y - area.y) * area.width) as usize..];
            let line = &line[(left - area.x) as usize..(right - area.x) as usize];
            let start = (y * width + left) as usize * 3;
            self.image.as_mut()[start..start + 3 * line.len()].copy_from_slice(line.as_flattened());
        }
    }

    /// A one-pixel frame just inside an area, open at the corners.
    pub(super) fn outline(&mut self, area: Area, colour: Colour) {
        let inset = 4;
        for x in area.x + inset..area.right() - inset {
            self.blend(x, area.y, colour, 1.0);
            self.blend(x, area.bottom() - 1, colour, 1.0);
        }
        for y in area.y + inset..area.bottom() - inset {
            self.blend(area.x, y, colour, 1.0);
            self.blend(area.right() - 1, y, colour, 1.0);
        }
    }

    /// Rounds the corners of an area by covering them with the colour behind it.
    pub(super) fn round_corners(&mut self, area: Area, radius: i32, behind: Colour) {
        let r = radius as f32;
        for dy in 0..radius {
            for dx in 0..radius {
                let far = ((r - dx as f32 - 0.5).powi(2) + (r - dy as f32 - 0.5).powi(2)).sqrt();
                let cover = (far - r + 0.5).clamp(0.0, 1.0);
                for (x, y) in [
                    (area.x + dx, area.y + dy),
                    (area.right() - 1 - dx, area.y + dy),
                    (area.x + dx, area.bottom() - 1 - dy),
                    (area.right() - 1 - dx, area.bottom() - 1 - dy),
                ] {
                    self.blend(x, y, behind, cover);
                }
            }
        }
    }

    /// A straight line with round ends, pixel centres at half-integers.
    pub(super) fn line(&mut self, a: [f32; 2], b: [f32; 2], width: f32, colour: Colour) {
        let reach = width * 0.5 + 1.0;
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let length = (dx * dx + dy * dy).max(1e-12);
        let rows = (a[1].min(b[1]) - reach).floor() as i32..=(a[1].max(b[1]) + reach).ceil() as i32;
        let columns =
            (a[0].min(b[0]) - reach).floor() as i32..=(a[0].max(b[0]) + reach).ceil() as i32;
        for y in rows {
            for x in columns.clone() {
                let (px, py) = (x as f32 + 0.5 - a[0], y as f32 + 0.5 - a[1]);
                let t = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
                let distance = ((px - t * dx).powi(2) + (py - t * dy).powi(2)).sqrt();
                let cover = (width * 0.5 + 0.5 - distance).clamp(0.0, 1.0);
                self.blend(x, y, colour, cover);
            }
        }
    }

    pub(super) fn disc(&mut self, centre: [f32; 2], radius: f32, colour: Colour) {
        self.line(centre, centre, 2.0 * radius, colour);
    }
}
