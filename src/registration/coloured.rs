//! Feature maps as colours.

use crate::evaluation::{percentile, PrincipalComponents};
use crate::features::FeatureLevel;
use crate::image::Image;
use crate::picture::{ColouredMap, ColouredRow};
use crate::{Error, Grid, Result};

/// The maps of one image on one level, planar.
pub(crate) struct LevelMap {
    pub shrink: usize,
    pub grid: Grid,
    pub channels: usize,
    pub values: Vec<f32>,
}

impl LevelMap {
    /// Of the first image of a batch.
    pub fn of(level: FeatureLevel) -> Result<Self> {
        let values: Vec<f32> = level.features.get(0)?.flatten_all()?.to_vec1()?;
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::data(
                "features",
                format!("are not finite on level {}", level.shrink),
            ));
        }
        Ok(Self {
            shrink: level.shrink,
            channels: level.features.dims()[1],
            grid: level.grid,
            values,
        })
    }

    /// An image with a channel for each feature.
    pub fn image(&self) -> Result<Image> {
        Image::new(self.grid.clone(), self.channels, self.values.clone())
    }
}

/// Percentiles of a component that become 0 and 1.
const ENDS: [f64; 2] = [2.0, 98.0];

/// The leading components of all levels as colours, the same for all images, and their shares of the variance.
pub(crate) fn coloured(
    images: &[Vec<LevelMap>],
    names: &[String],
) -> (Vec<ColouredRow>, Vec<Vec<f64>>) {
    let (mut rows, mut shares) = (Vec::new(), Vec::new());
    for number in 0..images[0].len() {
        let levels: Vec<&LevelMap> = images.iter().map(|maps| &maps[number]).collect();
        let values: Vec<&[f32]> = levels.iter().map(|level| &level.values[..]).collect();
        let components = PrincipalComponents::of(&values, levels[0].channels);
        let mut projected: Vec<[Vec<f32>; 3]> =
            values.iter().map(|map| components.project(map)).collect();
        for k in 0..3 {
            let all = projected.iter().flat_map(|map| &map[k]);
            let all: Vec<f64> = all.map(|v| f64::from(*v)).collect();
            let [low, high] = ENDS.map(|p| percentile(&all, p) as f32);
            let scale = if high > low { 1.0 / (high - low) } else { 0.0 };
            for map in &mut projected {
                map[k].iter_mut().for_each(|v| *v = (*v - low) * scale);
            }
        }
        let maps = levels.iter().zip(projected).zip(names);
        let share: f64 = components.shares.iter().sum();
        rows.push(ColouredRow {
            title: format!(
                "Level {}: {} channels, {:.0} % of their variance",
                levels[0].shrink,
                levels[0].channels,
                100.0 * share
            ),
            maps: maps
                .map(|((level, colours), name)| ColouredMap {
                    name: name.clone(),
                    grid: level.grid.clone(),
                    colours,
                })
                .collect(),
        });
        shares.push(components.shares);
    }
    (rows, shares)
}
