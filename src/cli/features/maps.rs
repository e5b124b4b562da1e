//! Feature maps of images.

use crate::features::{FeatureLevel, FeatureNetwork, Level};
use crate::image::Image;
use crate::registration::LevelMap;
use crate::{Error, Result};

/// The maps of one image, or of a fixed and a moving one, on `levels` alone where they are given.
pub(super) fn maps_of(
    network: &dyn FeatureNetwork,
    images: &[Image],
    levels: Option<&[usize]>,
) -> Result<Vec<Vec<LevelMap>>> {
    let own = network.shrinks();
    if let Some(other) = levels.and_then(|l| l.iter().find(|shrink| !own.contains(shrink))) {
        return Err(Error::argument(
            "--levels",
            format!(
                "there are features for levels {own:?} and for none that is {other} times coarser"
            ),
        ));
    }
    let fixed = images[0].grid();
    let mut all = Vec::with_capacity(images.len());
    for (k, image) in images.iter().enumerate() {
        let (_, level) = Level::scaled(image, ["fixed image", "moving image"][k.min(1)])?;
        let batch = level.features.unsqueeze(0)?;
        let pyramid = match k {
            0 => network.fixed_pyramid(&batch, &level.grid)?,
            _ => network.moving_pyramid(&batch, &level.grid, fixed)?,
        };
        let wanted = |map: &FeatureLevel| levels.is_none_or(|l| l.contains(&map.shrink));
        let maps = pyramid.into_iter().filter(wanted).map(LevelMap::of);
        all.push(maps.collect::<Result<_>>()?);
    }
    Ok(all)
}
