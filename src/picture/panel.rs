//! The panels: what a slice looks like as fixed, moving, warped, difference, grid and volume change.

use super::colour::{self, mix, Colour, BLACK, CONTOUR, FOLD, GRID_LINE, NEUTRAL};
use super::page::ReportPage;
use super::slice::{Display, Kernel, Plane, Taps, View};

/// What a panel shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Fixed,
    Moving,
    Warped,
    Checkerboard,
    Before,
    After,
    Grid,
    Volume,
}

impl Kind {
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Fixed => "Fixed",
            Self::Moving => "Moving, before",
            Self::Warped => "Warped, after",
            Self::Checkerboard => "Fixed and warped in turn",
            Self::Before => "Difference before",
            Self::After => "Difference after",
            Self::Grid => "Deformed grid",
            Self::Volume => "Volume change",
        }
    }

    /// What fills the panel round the slice.
    pub(super) fn ground(self) -> Colour {
        match self {
            Self::Before | Self::After | Self::Volume => NEUTRAL,
            _ => BLACK,
        }
    }
}

/// The slices of one view at voxel resolution, intensities brought to `0..=1`.
pub(super) struct Slices {
    pub(super) view: View,
    fixed: Plane<f32>,
    moving: Plane<f32>,
    warped: Plane<f32>,
    determinant: Plane<f32>,
    labels: Option<Plane<i32>>,
    /// Displacement along the view's two axes, mm towards right and up.
    displacement: [Plane<f32>; 2],
    /// Millimetres from the display's left and lower edge to the slice's.
    corner: [f32; 2],
}

/// All slices and the scales they share.
pub(super) struct Scene {
    pub(super) display: Display,
    pub(super) slices: Vec<Slices>,
    /// Intensity difference at the ends of the map, as a share of the window.
    pub(super) difference: f32,
    /// Determinant at the upper end of the map; its inverse is the lower end.
    pub(super) volume: f32,
}

impl Scene {
    pub(super) fn new(report: &ReportPage<'_>) -> Self {
        let fixed_window = window(report.fixed);
        let moving_window = window(report.moving);
        let mut display = Display::new(report.grid, report.fixed, fixed_window.0);
        let threshold = |(low, high): (f32, f32)| low + 0.06 * (high - low);
        display.crop(&[
            (report.fixed, threshold(fixed_window)),
            (report.moving, threshold(moving_window)),
            (report.warped, threshold(moving_window)),
        ]);
        let voxels = report.grid.voxels();
        let slices: Vec<Slices> = display
            .views()
            .iter()
            .map(|&view| {
                let intensity = |values: &[f32], (low, high): (f32, f32)| {
                    display
                        .plane(values, view)
                        .map(|v| (v - low) / (high - low))
                };
                let along = |world: usize| {
                    let axis = display.axis[world];
                    let sign = if display.forward[world] { 1.0 } else { -1.0 };
                    let unit = sign * display.spacing[world] as f32;
                    display
                        .plane(&report.displacement[axis * voxels..][..voxels], view)
                        .map(|u| u * unit)
                };
                Slices {
                    view,
                    fixed: intensity(report.fixed, fixed_window),
                    moving: intensity(report.moving, moving_window),
                    warped: intensity(report.warped, moving_window),
                    determinant: display.plane(report.determinant, view),
                    labels: report.fixed_labels.map(|l| display.plane(l, view)),
                    displacement: [along(view.horizontal), along(view.vertical)],
                    corner: display.corner(view).map(|mm| mm as f32),
                }
            })
            .collect();
        let mut apart: Vec<f32> = Vec::new();
        let mut stretch: Vec<f32> = Vec::new();
        for slice in &slices {
            let pairs = slice.moving.values.iter().zip(&slice.fixed.values);
            apart.extend(pairs.map(|(m, f)| (m - f).abs()));
            let positive = slice.determinant.values.iter().filter(|d| **d > 0.0);
            stretch.extend(positive.map(|d| d.ln().abs().exp()));
        }
        Self {
            display,
            slices,
            difference: round_up(quantile(&mut apart, 0.98), &[0.1, 0.2, 0.3, 0.5, 0.75, 1.0]),
            volume: round_up(
                quantile(&mut stretch, 0.995),
                &[1.25, 1.5, 2.0, 3.0, 4.0, 8.0],
            ),
        }
    }
}

impl Scene {
    /// Whether there are outlines to explain.
    pub(super) fn labelled(&self) -> bool {
        self.slices.iter().any(|slices| slices.labels.is_some())
    }
}

/// The slices of a view at the size at which they are shown.
pub(super) struct Panels<'a> {
    scene: &'a Scene,
    slices: &'a Slices,
    /// Pixels across and down.
    pub(super) size: [usize; 2],
    cubic: [Taps; 2],
    linear: [Taps; 2],
    /// How much of each pixel an outline of the fixed labels covers; nothing without labels.
    outlines: Vec<f32>,
}

impl<'a> Panels<'a> {
    pub(super) fn new(scene: &'a Scene, slices: &'a Slices, size: [usize; 2]) -> Self {
        let taps = |kernel| {
            [
                Taps::new(slices.fixed.width, size[0], kernel),
                Taps::new(slices.fixed.height, size[1], kernel),
            ]
        };
        Self {
            scene,
            slices,
            size,
            cubic: taps(Kernel::Cubic),
            linear: taps(Kernel::Linear),
            outlines: slices
                .labels
                .as_ref()
                .map(|labels| outlines(labels, size))
                .unwrap_or_default(),
        }
    }

    pub(super) fn view(&self) -> View {
        self.slices.view
    }

    fn crisp(&self, plane: &Plane<f32>) -> Vec<f32> {
        plane.resample(&self.cubic[0], &self.cubic[1]).values
    }

    fn smooth(&self, plane: &Plane<f32>) -> Vec<f32> {
        plane.resample(&self.linear[0], &self.linear[1]).values
    }

    fn grey(&self, plane: &Plane<f32>) -> Vec<Colour> {
        self.crisp(plane).into_iter().map(colour::grey).collect()
    }

    /// The plane minus the fixed one.
    fn difference(&self, plane: &Plane<f32>) -> Vec<Colour> {
        let values = plane.values.iter().zip(&self.slices.fixed.values);
        let apart = Plane {
            width: plane.width,
            height: plane.height,
            values: values.map(|(a, b)| a - b).collect(),
        };
        let unit = 1.0 / self.scene.difference;
        self.crisp(&apart)
            .into_iter()
            .map(|v| colour::difference(v * unit))
            .collect()
    }

    /// The colours of a panel, row by row; `step` is the distance of grid lines in mm.
    pub(super) fn raster(&self, kind: Kind, step: f32) -> Vec<Colour> {
        match kind {
            Kind::Fixed => self.grey(&self.slices.fixed),
            Kind::Moving => self.outlined(&self.slices.moving),
            Kind::Warped => self.outlined(&self.slices.warped),
            Kind::Checkerboard => self.checkerboard(),
            Kind::Before => self.difference(&self.slices.moving),
            Kind::After => self.difference(&self.slices.warped),
            Kind::Grid => self.grid(step),
            Kind::Volume => self.volume(),
        }
    }

    fn outlined(&self, plane: &Plane<f32>) -> Vec<Colour> {
        let mut raster = self.grey(plane);
        for (pixel, cover) in raster.iter_mut().zip(&self.outlines) {
            *pixel = mix(*pixel, CONTOUR, *cover);
        }
        raster
    }

    fn checkerboard(&self) -> Vec<Colour> {
        let [width, height] = self.size;
        let side = (width.max(height) / 8).max(8);
        let pair = [
            self.crisp(&self.slices.fixed),
            self.crisp(&self.slices.warped),
        ];
        (0..width * height)
            .map(|p| colour::grey(pair[(p % width / side + p / width / side) % 2][p]))
            .collect()
    }

    /// The warped image under the planes of the moving image that a regular grid of this step consists of.
    fn grid(&self, step: f32) -> Vec<Colour> {
        let [width, height] = self.size;
        let mm = self.scene.display.extent(self.slices.view);
        let pitch = [mm[0] as f32 / width as f32, mm[1] as f32 / height as f32];
        let corner = self.slices.corner;
        let [u, v] = &self.slices.displacement;
        let (mut across, mut up) = (self.smooth(u), self.smooth(v));
        for y in 0..height {
            for x in 0..width {
                let p = y * width + x;
                across[p] = (across[p] + corner[0] + (x as f32 + 0.5) * pitch[0]) / step;
                up[p] = (up[p] + corner[1] + ((height - 1 - y) as f32 + 0.5) * pitch[1]) / step;
            }
        }
        let lines = [lines(&across, self.size), lines(&up, self.size)];
        let mut raster = self.grey(&self.slices.warped);
        for (p, pixel) in raster.iter_mut().enumerate() {
            let cover = lines[0][p].max(lines[1][p]);
            *pixel = mix(mix(*pixel, BLACK, 0.35), GRID_LINE, 0.85 * cover);
        }
        raster
    }

    fn volume(&self) -> Vec<Colour> {
        let plane = &self.slices.determinant;
        let logarithm = Plane {
            width: plane.width,
            height: plane.height,
            values: plane.values.iter().map(|d| d.max(1e-3).ln()).collect(),
        };
        let unit = 1.0 / self.scene.volume.ln();
        let mut raster: Vec<Colour> = self
            .smooth(&logarithm)
            .into_iter()
            .map(|v| colour::determinant(v * unit))
            .collect();
        self.mark_folds(&mut raster);
        raster
    }

    /// Squares of at least three pixels where the determinant is not positive: one voxel is not overlooked.
    fn mark_folds(&self, raster: &mut [Colour]) {
        let (plane, size) = (&self.slices.determinant, self.size);
        let span = |index: usize, count: usize, pixels: usize| {
            let scale = pixels as f32 / count as f32;
            let reach = (scale * 0.5).max(1.5);
            let centre = (index as f32 + 0.5) * scale;
            let first = (centre - reach).round().max(0.0) as usize;
            first..((centre + reach).round() as usize).min(pixels)
        };
        for (index, _) in plane.values.iter().enumerate().filter(|(_, d)| **d <= 0.0) {
            for y in span(index / plane.width, plane.height, size[1]) {
                for x in span(index % plane.width, plane.width, size[0]) {
                    raster[y * size[0] + x] = FOLD;
                }
            }
        }
    }
}

/// Boundaries between labels: found at three times the resolution, then averaged.
fn outlines(labels: &Plane<i32>, size: [usize; 2]) -> Vec<f32> {
    const FINE: usize = 3;
    let fine = size.map(|n| n * FINE);
    let place = |index: usize, pixels: usize, count: usize| {
        let at = (index as f32 + 0.5) * count as f32 / pixels as f32 - 0.5;
        let at = at.clamp(0.0, (count - 1) as f32);
        let low = at as usize;
        (low, (low + 1).min(count - 1), at - low as f32)
    };
    let columns: Vec<_> = (0..fine[0])
        .map(|x| place(x, fine[0], labels.width))
        .collect();
    let (mut line, mut above) = (vec![0; fine[0]], vec![0; fine[0]]);
    let mut cover = vec![0u8; size[0] * size[1]];
    for y in 0..fine[1] {
        let (top, bottom, down) = place(y, fine[1], labels.height);
        let rows = [top, bottom].map(|r| &labels.values[r * labels.width..][..labels.width]);
        for (label, &(left, right, across)) in line.iter_mut().zip(&columns) {
            let four = [rows[0][left], rows[0][right], rows[1][left], rows[1][right]];
            *label = if four.iter().all(|l| *l == four[0]) {
                four[0]
            } else {
                strongest(four, across, down)
            };
        }
        let counts = &mut cover[y / FINE * size[0]..][..size[0]];
        for x in 0..fine[0] {
            let edge = (x > 0 && line[x - 1] != line[x])
                || (x + 1 < fine[0] && line[x + 1] != line[x])
                || (y > 0 && above[x] != line[x]);
            counts[x / FINE] += u8::from(edge);
        }
        std::mem::swap(&mut line, &mut above);
    }
    let share = 1.3 / (FINE * FINE) as f32;
    cover
        .into_iter()
        .map(|count| (share * f32::from(count)).min(0.9))
        .collect()
}

/// The label with the largest bilinear weight.
fn strongest(four: [i32; 4], across: f32, down: f32) -> i32 {
    let weights = [
        (1.0 - across) * (1.0 - down),
        across * (1.0 - down),
        (1.0 - across) * down,
        across * down,
    ];
    let total = |label: i32| -> f32 {
        let same = four.iter().zip(weights).filter(|(l, _)| **l == label);
        same.map(|(_, w)| w).sum()
    };
    let mut best = (four[0], total(four[0]));
    for label in &four[1..] {
        let weight = total(*label);
        if weight > best.1 {
            best = (*label, weight);
        }
    }
    best.0
}

/// How much of each pixel is covered by the lines on which `place` is an integer.
fn lines(place: &[f32], size: [usize; 2]) -> Vec<f32> {
    let [width, height] = size;
    let mut cover = Vec::with_capacity(place.len());
    for y in 0..height {
        let (above, below) = (y.saturating_sub(1), (y + 1).min(height - 1));
        for x in 0..width {
            let (left, right) = (x.saturating_sub(1), (x + 1).min(width - 1));
            let slope =
                |a: usize, b: usize, steps: usize| (place[b] - place[a]) / steps.max(1) as f32;
            let dx = slope(y * width + left, y * width + right, right - left);
            let dy = slope(above * width + x, below * width + x, below - above);
            let value = place[y * width + x];
            let steep = (dx * dx + dy * dy).sqrt().max(1e-6);
            let distance = (value - value.round()).abs() / steep;
            cover.push((1.1 - distance).clamp(0.0, 1.0));
        }
    }
    cover
}

/// The range between the half per cent of darkest and of brightest voxels, never empty.
fn window(values: &[f32]) -> (f32, f32) {
    let step = (values.len() / 100_000) | 1;
    let mut sample: Vec<f32> = values.iter().copied().step_by(step).collect();
    let low = quantile(&mut sample, 0.005);
    let high = quantile(&mut sample, 0.995);
    if high > low {
        return (low, high);
    }
    let all = |pick: fn(f32, f32) -> f32| values.iter().copied().fold(low, pick);
    let (low, high) = (all(f32::min), all(f32::max));
    if high > low {
        (low, high)
    } else {
        (low, low + low.abs().max(1.0))
    }
}

/// The value below which this share of the values lies; 0 for none. Reorders them.
fn quantile(values: &mut [f32], share: f64) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let rank = ((values.len() - 1) as f64 * share).round() as usize;
    *values.select_nth_unstable_by(rank, f32::total_cmp).1
}

fn round_up(value: f32, steps: &[f32]) -> f32 {
    let last = steps[steps.len() - 1];
    steps.iter().copied().find(|s| *s >= value).unwrap_or(last)
}
