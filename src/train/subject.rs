//! What is registered in a training: an image with labels or landmarks.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::{DataConfig, SliceConfig};
use crate::features::{IntensityRange, Level};
use crate::image::{
    distinct, label_shares, read_image_with, read_labels, Image, ImageOptions, Labels, PointSpace,
    Points,
};
use crate::ops::resize;
use crate::{Error, Grid, Result};

/// An image on the common scale of intensities, with what is known of it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// For messages.
    pub name: String,
    /// Intensities `[channels, (nz,) ny, nx]`, single precision, about 0 to 1, and where they lie.
    pub image: Level,
    /// A label a voxel; 0 is none.
    pub labels: Option<Vec<u32>>,
    /// Points that correspond to those of other subjects by their order, RAS mm.
    pub landmarks: Option<Vec<[f64; 3]>>,
}

/// The files of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SubjectFiles {
    pub name: String,
    pub image: PathBuf,
    pub labels: Option<PathBuf>,
    pub landmarks: Option<PathBuf>,
}

impl Subject {
    /// Reads a subject; `channels` and `rank` are those of the network.
    pub(super) fn read(files: &SubjectFiles, data: &DataConfig, channels: usize) -> Result<Self> {
        let options = ImageOptions {
            channels: channels > 1,
            ..ImageOptions::default()
        };
        let mut image = read_image_with(&files.image, &options)?;
        if image.channels() != channels {
            return Err(Error::format(
                &files.image,
                format!(
                    "expected {channels} channels as the network, found {}",
                    image.channels()
                ),
            ));
        }
        let mut labels = None;
        if let Some(path) = &files.labels {
            let read = read_labels(path)?;
            if !read.grid().matches(image.grid(), 0.5) {
                return Err(Error::format(
                    path,
                    format!(
                        "its grid is not that of {}: expected {}, found {}",
                        files.image.display(),
                        image.grid().describe(),
                        read.grid().describe()
                    ),
                ));
            }
            labels = Some(read);
        }
        let landmarks = match &files.landmarks {
            Some(path) => Some(Points::read(path, PointSpace::Lps)?.positions),
            None => None,
        };
        if let Some(spacing) = data.spacing {
            let grid = respaced(image.grid(), spacing)?;
            labels = labels.map(|l| relabelled(&l, &grid)).transpose()?;
            image = resampled(&image, &grid)?;
        }
        Self::new(
            &files.name,
            image,
            labels.map(Labels::into_values),
            landmarks,
            &data.label_ids,
        )
    }

    /// A subject from its parts; `ids` are the labels that count, all where it is empty.
    ///
    /// # Errors
    /// [`Error::Data`] when the image is constant or not finite, [`Error::Shape`] when labels are not one a voxel.
    pub fn new(
        name: &str,
        image: Image,
        labels: Option<Vec<u32>>,
        landmarks: Option<Vec<[f64; 3]>>,
        ids: &[u32],
    ) -> Result<Self> {
        let (_, image) = Level::scaled(&image, name)?;
        let voxels = image.grid.voxels();
        let mut labels = labels;
        if let Some(labels) = &mut labels {
            if labels.len() != voxels {
                return Err(Error::Shape {
                    what: "labels of a subject",
                    expected: vec![voxels],
                    got: vec![labels.len()],
                });
            }
            if !ids.is_empty() {
                for label in labels.iter_mut().filter(|label| !ids.contains(label)) {
                    *label = 0;
                }
            }
        }
        Ok(Self {
            name: name.into(),
            image,
            labels,
            landmarks,
        })
    }

    /// The labels that occur, ascending, without 0.
    pub fn ids(&self) -> Vec<u32> {
        distinct(self.labels.as_deref().unwrap_or(&[]))
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> u64 {
        let labels = self.labels.as_ref().map_or(0, Vec::len);
        4 * (self.image.features.elem_count() + labels) as u64
    }

    /// The slices that are asked for, those that the volume has, each with its place in mm.
    pub(super) fn slices(&self, slices: &SliceConfig) -> Result<Vec<(f64, Self)>> {
        let grid = &self.image.grid;
        if grid.rank() != 3 {
            return Err(Error::data(
                &self.name,
                "slices are asked for, but it has two dimensions; leave [data.slices] out",
            ));
        }
        let frame = Frame::of(grid)?;
        let values = self.image.features.flatten_all()?.to_vec1::<f32>()?;
        let channels = values.len() / grid.voxels();
        let weight = |v: usize| match &self.labels {
            Some(labels) => labels[v] != 0,
            None => values[v] > 0.1,
        };
        let centre = centre_of(grid, weight);
        let mut found = Vec::new();
        let count = ((slices.to - slices.from) / slices.every + 1e-9).floor() as usize;
        for step in 0..=count {
            let place = slices.from + step as f64 * slices.every;
            let Some(plane) = frame.plane(grid, centre, place) else {
                continue;
            };
            let mut image = Vec::with_capacity(channels * plane.voxels.len());
            for c in 0..channels {
                let channel = &values[c * grid.voxels()..];
                image.extend(plane.voxels.iter().map(|&v| channel[v]));
            }
            let labels = self
                .labels
                .as_ref()
                .map(|labels| plane.voxels.iter().map(|&v| labels[v]).collect());
            let mut shape = vec![channels];
            shape.extend(plane.grid.shape());
            // a slice is an image of its own: it gets a scale of its own
            let slice = Image::new(plane.grid.clone(), channels, image)?;
            let name = format!("{} at {place:+.0} mm", self.name);
            match Self::new(&name, slice, labels, None, &[]) {
                Ok(slice) => found.push((place, slice)),
                // nothing but background
                Err(Error::Data { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if found.is_empty() {
            return Err(Error::data(
                &self.name,
                format!(
                    "has none of the slices asked for, from {} to {} mm around its middle",
                    slices.from, slices.to
                ),
            ));
        }
        Ok(found)
    }

    /// The share of each label in each voxel of a grid of the same field of view, `[ids, (nz,) ny, nx]`.
    pub(super) fn shares(&self, ids: &[u32], grid: &Grid) -> Result<Tensor> {
        let labels = self.labels.as_deref().unwrap_or(&[]);
        label_shares(labels, &self.image.grid, ids, grid)
    }
}

/// The mean index of the voxels that count; the middle of the grid where none does.
fn centre_of(grid: &Grid, counts: impl Fn(usize) -> bool) -> [f64; 3] {
    let (mut sum, mut count) = ([0.0; 3], 0.0);
    for v in (0..grid.voxels()).filter(|&v| counts(v)) {
        let index = grid.index_of(v);
        for a in 0..3 {
            sum[a] += index[a] as f64;
        }
        count += 1.0;
    }
    if count == 0.0 {
        return std::array::from_fn(|a| 0.5 * (grid.size()[a] - 1) as f64);
    }
    sum.map(|s| s / count)
}

/// Which axis of a grid runs along which axis of the world.
struct Frame {
    /// The grid axis along each world axis.
    axis: [usize; 3],
    /// Whether it runs the other way.
    reversed: [bool; 3],
}

/// A slice: its grid, and the voxel of the volume for each of its voxels.
struct SlicePlane {
    grid: Grid,
    voxels: Vec<usize>,
}

impl Frame {
    fn of(grid: &Grid) -> Result<Self> {
        let direction = grid.direction();
        let mut taken = [false; 3];
        let mut frame = Self {
            axis: [0; 3],
            reversed: [false; 3],
        };
        for world in [2, 1, 0] {
            let best = (0..3)
                .filter(|&a| !taken[a])
                .max_by(|&a, &b| {
                    direction[world][a]
                        .abs()
                        .total_cmp(&direction[world][b].abs())
                })
                .ok_or_else(|| Error::argument("grid", "has fewer than three axes"))?;
            taken[best] = true;
            frame.axis[world] = best;
            frame.reversed[world] = direction[world][best] < 0.0;
        }
        Ok(frame)
    }

    /// The slice `place` mm above the centre, its axes towards right and front; none outside the volume.
    fn plane(&self, grid: &Grid, centre: [f64; 3], place: f64) -> Option<SlicePlane> {
        let [x, y, z] = self.axis;
        let sign = if self.reversed[2] { -1.0 } else { 1.0 };
        let at = (centre[z] + sign * place / grid.spacing()[z]).round();
        if at < 0.0 || at >= grid.size()[z] as f64 {
            return None;
        }
        let stride = [1, grid.size()[0], grid.size()[0] * grid.size()[1]];
        let along = |world: usize, i: usize| {
            let axis = self.axis[world];
            if self.reversed[world] {
                (grid.size()[axis] - 1 - i) * stride[axis]
            } else {
                i * stride[axis]
            }
        };
        let (nx, ny) = (grid.size()[x], grid.size()[y]);
        let mut voxels = Vec::with_capacity(nx * ny);
        for j in 0..ny {
            for i in 0..nx {
                voxels.push(at as usize * stride[z] + along(0, i) + along(1, j));
            }
        }
        let middle = |world: usize| {
            let axis = self.axis[world];
            let c = centre[axis];
            let from_low = if self.reversed[world] {
                (grid.size()[axis] - 1) as f64 - c
            } else {
                c
            };
            -from_low * grid.spacing()[axis]
        };
        let identity = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let spacing = [grid.spacing()[x], grid.spacing()[y]];
        let grid = Grid::new(&[nx, ny], &spacing, [middle(0), middle(1), 0.0], identity).ok()?;
        Some(SlicePlane { grid, voxels })
    }
}

/// A grid of the same field of view with about this spacing.
fn respaced(grid: &Grid, spacing: f64) -> Result<Grid> {
    let size: Vec<usize> = (0..grid.rank())
        .map(|a| ((grid.size()[a] as f64 * grid.spacing()[a] / spacing).round() as usize).max(1))
        .collect();
    grid.resized(&size)
}

fn resampled(image: &Image, grid: &Grid) -> Result<Image> {
    let mut shape = vec![image.channels()];
    shape.extend(image.grid().shape());
    let values = Tensor::from_slice(image.values(), shape, &Device::Cpu)?;
    let values = resize(&values, grid.size())?.flatten_all()?.to_vec1()?;
    Image::new(grid.clone(), image.channels(), values)
}

/// The label with the largest share of each new voxel.
fn relabelled(labels: &Labels, grid: &Grid) -> Result<Labels> {
    let mut best = vec![(0f32, 0u32); grid.voxels()];
    let mut ids = labels.ids();
    ids.push(0);
    for id in ids {
        let share = label_shares(labels.values(), labels.grid(), &[id], grid)?;
        for (best, share) in best.iter_mut().zip(share.flatten_all()?.to_vec1()?) {
            if share > best.0 {
                *best = (share, id);
            }
        }
    }
    Labels::new(grid.clone(), best.into_iter().map(|(_, id)| id).collect())
}

/// A file's name without an ending, if it has that.
pub(super) fn stem(path: &Path, ending: Option<&str>) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let endings: &[&str] = match &ending {
        Some(ending) => std::slice::from_ref(ending),
        None => &[".nii.gz", ".nii", ".mha", ".mhd"],
    };
    endings
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .filter(|stem| !stem.is_empty() && !stem.starts_with('.'))
        .map(str::to_owned)
}

impl Subject {
    /// The range of its intensities brought to 0..1 again, after they were changed.
    pub(super) fn rescaled(&mut self) -> Result<()> {
        let mut values = self.image.features.flatten_all()?.to_vec1::<f32>()?;
        IntensityRange::of(&values, &self.name)?.apply(&mut values);
        self.image.features = Tensor::from_vec(values, self.image.features.shape(), &Device::Cpu)?;
        Ok(())
    }
}
