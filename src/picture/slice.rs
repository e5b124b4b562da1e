//! Orthogonal slices as a person expects them: right, anterior and superior point right and up.

use crate::Grid;

/// One of the three orthogonal views, as world axes (0 right, 1 anterior, 2 superior).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct View {
    pub(super) name: &'static str,
    pub(super) horizontal: usize,
    pub(super) vertical: usize,
    pub(super) normal: usize,
}

const VIEWS: [View; 3] = [
    View {
        name: "Axial",
        horizontal: 0,
        vertical: 1,
        normal: 2,
    },
    View {
        name: "Coronal",
        horizontal: 0,
        vertical: 2,
        normal: 1,
    },
    View {
        name: "Sagittal",
        horizontal: 1,
        vertical: 2,
        normal: 0,
    },
];

/// Which array axis lies along which world axis, where the slices cut, and how much of them is shown.
///
/// All arrays below are indexed by world axis, counted so that larger is further right, anterior, superior.
pub(super) struct Display {
    rank: usize,
    /// Array axis along the world axis.
    pub(super) axis: [usize; 3],
    /// Whether the array axis runs the same way.
    pub(super) forward: [bool; 3],
    size: [usize; 3],
    stride: [usize; 3],
    /// Millimetres a voxel.
    pub(super) spacing: [f64; 3],
    /// Where the slices cut.
    cut: [usize; 3],
    /// First voxel shown, and how many.
    shown: [(usize, usize); 3],
}

/// A slice of values, first row on top.
pub(super) struct Plane<T> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) values: Vec<T>,
}

impl<T> Plane<T> {
    pub(super) fn map<U>(self, map: impl Fn(T) -> U) -> Plane<U> {
        Plane {
            width: self.width,
            height: self.height,
            values: self.values.into_iter().map(map).collect(),
        }
    }
}

impl Display {
    /// Cuts through the centre of mass of `image` above `floor`, shows everything.
    pub(super) fn new(grid: &Grid, image: &[f32], floor: f32) -> Self {
        let rank = grid.rank();
        let direction = grid.direction();
        let agreement = |axes: &[usize; 3]| -> f64 {
            (0..rank)
                .map(|world| direction[world][axes[world]].abs())
                .sum()
        };
        let orders: &[[usize; 3]] = if rank == 3 {
            &[
                [0, 1, 2],
                [0, 2, 1],
                [1, 0, 2],
                [1, 2, 0],
                [2, 0, 1],
                [2, 1, 0],
            ]
        } else {
            &[[0, 1, 2], [1, 0, 2]]
        };
        let axis = orders[1..].iter().fold(orders[0], |best, order| {
            if agreement(order) > agreement(&best) {
                *order
            } else {
                best
            }
        });
        let extent = |a: usize| grid.size().get(a).copied().unwrap_or(1);
        let strides = [1, extent(0), extent(0) * extent(1)];
        let forward: [bool; 3] = std::array::from_fn(|w| w >= rank || direction[w][axis[w]] >= 0.0);
        let size = axis.map(extent);
        let centre = centre_of_mass(image, [extent(0), extent(1), extent(2)], floor);
        let cut = std::array::from_fn(|w| {
            let index = centre[axis[w]];
            if forward[w] {
                index
            } else {
                size[w] - 1 - index
            }
        });
        Self {
            rank,
            axis,
            forward,
            size,
            stride: axis.map(|a| strides[a]),
            spacing: axis.map(|a| grid.spacing().get(a).copied().unwrap_or(1.0)),
            cut,
            shown: size.map(|n| (0, n)),
        }
    }

    pub(super) fn views(&self) -> &'static [View] {
        if self.rank == 3 {
            &VIEWS
        } else {
            &VIEWS[..1]
        }
    }

    /// The array index at which the slices cut.
    pub(super) fn cut_index(&self) -> [usize; 3] {
        let mut index = [0; 3];
        for w in 0..3 {
            index[self.axis[w]] = if self.forward[w] {
                self.cut[w]
            } else {
                self.size[w] - 1 - self.cut[w]
            };
        }
        index
    }

    /// Millimetres shown, across and down.
    pub(super) fn extent(&self, view: View) -> [f64; 2] {
        [view.horizontal, view.vertical].map(|w| self.shown[w].1 as f64 * self.spacing[w])
    }

    /// Millimetres from the first voxels' edges to the left and lower edge of what is shown.
    pub(super) fn corner(&self, view: View) -> [f64; 2] {
        [view.horizontal, view.vertical].map(|w| self.shown[w].0 as f64 * self.spacing[w])
    }

    /// The slice of `values`, cropped to what is shown.
    pub(super) fn plane<T: Copy>(&self, values: &[T], view: View) -> Plane<T> {
        let offset = |w: usize, index: usize| {
            self.stride[w]
                * if self.forward[w] {
                    index
                } else {
                    self.size[w] - 1 - index
                }
        };
        let base = offset(view.normal, self.cut[view.normal]);
        let (left, width) = self.shown[view.horizontal];
        let (low, height) = self.shown[view.vertical];
        let columns: Vec<usize> = (left..left + width)
            .map(|index| offset(view.horizontal, index))
            .collect();
        let mut plane = Vec::with_capacity(width * height);
        for index in (low..low + height).rev() {
            let row = base + offset(view.vertical, index);
            plane.extend(columns.iter().map(|column| values[row + column]));
        }
        Plane {
            width,
            height,
            values: plane,
        }
    }

    /// Shows only what holds something: where any slice of any image lies above its threshold, and a margin.
    pub(super) fn crop(&mut self, images: &[(&[f32], f32)]) {
        let mut bounds = [(usize::MAX, 0); 3];
        for &(values, threshold) in images {
            for &view in self.views() {
                let plane = self.plane(values, view);
                for (row, line) in plane.values.chunks_exact(plane.width).enumerate() {
                    let inside = |v: &f32| *v > threshold;
                    let Some(first) = line.iter().position(inside) else {
                        continue;
                    };
                    let last = line.iter().rposition(inside).unwrap_or(first);
                    let up = plane.height - 1 - row;
                    let across = &mut bounds[view.horizontal];
                    *across = (across.0.min(first), across.1.max(last));
                    let along = &mut bounds[view.vertical];
                    *along = (along.0.min(up), along.1.max(up));
                }
            }
        }
        for w in 0..self.rank {
            let (first, last) = bounds[w];
            if first > last {
                continue;
            }
            let margin = 2 + (last - first) / 25;
            let start = first.saturating_sub(margin);
            let end = (last + margin + 1).min(self.size[w]);
            // A sliver of background is not worth hiding.
            if (end - start) * 20 < self.size[w] * 19 {
                self.shown[w] = (start, end - start);
            }
        }
    }

    /// Letters at the left, right, top and bottom edge of a view.
    pub(super) fn letters(view: View) -> [&'static str; 4] {
        const LOW: [&str; 3] = ["L", "P", "I"];
        const HIGH: [&str; 3] = ["R", "A", "S"];
        [
            LOW[view.horizontal],
            HIGH[view.horizontal],
            HIGH[view.vertical],
            LOW[view.vertical],
        ]
    }
}

/// Nearest voxel to the centre of mass above `floor`, on a thinned grid; the middle where there is no mass.
fn centre_of_mass(image: &[f32], size: [usize; 3], floor: f32) -> [usize; 3] {
    let voxels: usize = size.iter().product();
    let step = if voxels > 1 << 19 { 4 } else { 1 };
    let (mut mass, mut moment) = (0.0f64, [0.0f64; 3]);
    for k in (0..size[2]).step_by(step) {
        for j in (0..size[1]).step_by(step) {
            let row = (k * size[1] + j) * size[0];
            let (mut line, mut first) = (0.0f64, 0.0f64);
            for i in 0..size[0] {
                let weight = f64::from((image[row + i] - floor).max(0.0));
                line += weight;
                first += weight * i as f64;
            }
            mass += line;
            moment[0] += first;
            moment[1] += line * j as f64;
            moment[2] += line * k as f64;
        }
    }
    std::array::from_fn(|a| {
        if mass > 0.0 && mass.is_finite() {
            ((moment[a] / mass).round() as usize).min(size[a] - 1)
        } else {
            size[a] / 2
        }
    })
}

/// Interpolation weights of one axis: for each output sample, the first input sample and its weights.
pub(super) struct Taps {
    input: usize,
    taps: Vec<(usize, Vec<f32>)>,
}

/// How a slice is brought to the page's resolution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kernel {
    /// Straight lines between voxels.
    Linear,
    /// Catmull-Rom: crisp.
    Cubic,
}

impl Taps {
    /// `input` samples to `output` samples over the same extent; kernels widen when there are fewer of them.
    pub(super) fn new(input: usize, output: usize, kernel: Kernel) -> Self {
        let ratio = input as f32 / output as f32;
        let wide = ratio.max(1.0);
        let (reach, weigh): (f32, fn(f32) -> f32) = match kernel {
            Kernel::Linear => (1.0, |t| (1.0 - t).max(0.0)),
            Kernel::Cubic => (2.0, |t| {
                if t < 1.0 {
                    (1.5 * t - 2.5) * t * t + 1.0
                } else if t < 2.0 {
                    ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
                } else {
                    0.0
                }
            }),
        };
        let taps = (0..output)
            .map(|o| {
                let centre = (o as f32 + 0.5) * ratio - 0.5;
                let first = (centre - reach * wide).ceil() as i64;
                let last = (centre + reach * wide).floor() as i64;
                let edge = input as i64 - 1;
                let start = first.clamp(0, edge) as usize;
                let mut weights = vec![0.0; last.clamp(0, edge) as usize - start + 1];
                for i in first..=last {
                    let t = (i as f32 - centre).abs() / wide;
                    weights[i.clamp(0, edge) as usize - start] += weigh(t);
                }
                let sum: f32 = weights.iter().sum();
                weights.iter_mut().for_each(|w| *w /= sum);
                (start, weights)
            })
            .collect();
        Self { input, taps }
    }

    fn at(&self, output: usize, sample: impl Fn(usize) -> f32) -> f32 {
        let (start, weights) = &self.taps[output];
        weights
            .iter()
            .enumerate()
            .map(|(i, w)| w * sample(start + i))
            .sum()
    }
}

impl Plane<f32> {
    /// The plane at another resolution.
    pub(super) fn resample(&self, across: &Taps, down: &Taps) -> Self {
        debug_assert_eq!((across.input, down.input), (self.width, self.height));
        let (width, height) = (across.taps.len(), down.taps.len());
        let mut rows = Vec::with_capacity(width * self.height);
        for line in self.values.chunks_exact(self.width) {
            rows.extend((0..width).map(|x| across.at(x, |i| line[i])));
        }
        let mut values = vec![0.0; width * height];
        for (y, out) in values.chunks_exact_mut(width).enumerate() {
            let (start, weights) = &down.taps[y];
            for (i, weight) in weights.iter().enumerate() {
                let line = &rows[(start + i) * width..][..width];
                for (o, v) in out.iter_mut().zip(line) {
                    *o += weight * v;
                }
            }
        }
        Self {
            width,
            height,
            values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_and_permuted_grid_is_shown_upright() {
        // Array axes run posterior, superior, left: i = -A, j = S, k = -R.
        let direction = [[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        let grid = Grid::new(&[3, 4, 5], &[1.0, 2.0, 3.0], [0.0; 3], direction).unwrap();
        let mut image = vec![0.0; 60];
        // Voxel furthest right (k = 0), anterior (i = 0) and superior (j = 3).
        image[3 * 3] = 1.0;
        let display = Display::new(&grid, &image, 0.0);
        assert_eq!(display.cut_index(), [0, 3, 0]);
        let axial = display.plane(&image, VIEWS[0]);
        assert_eq!((axial.width, axial.height), (5, 3));
        assert_eq!(
            axial.values.iter().position(|v| *v == 1.0),
            Some(4),
            "right end of the top row"
        );
        assert_eq!(display.extent(VIEWS[0]), [15.0, 3.0]);
        let sagittal = display.plane(&image, VIEWS[2]);
        assert_eq!((sagittal.width, sagittal.height), (3, 4));
        assert_eq!(sagittal.values.iter().position(|v| *v == 1.0), Some(2));
    }

    #[test]
    fn resampling_keeps_constants_and_ramps() {
        for kernel in [Kernel::Linear, Kernel::Cubic] {
            for output in [3, 10, 47] {
                let plane = Plane {
                    width: 10,
                    height: 1,
                    values: (0..10).map(|i| i as f32).collect(),
                };
                let out = plane.resample(
                    &Taps::new(10, output, kernel),
                    &Taps::new(1, 2, Kernel::Linear),
                );
                assert_eq!(out.values.len(), 2 * output);
                let middle = out.values[output / 2];
                let expected = ((output / 2) as f32 + 0.5) * 10.0 / output as f32 - 0.5;
                assert!((middle - expected).abs() < 1e-4, "{middle} {expected}");
            }
        }
    }
}
