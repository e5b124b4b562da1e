//! Transforms by name.

use std::sync::Arc;

use super::{BSpline, Compositive, Displacement, GlobalAffine, Transform, Velocity};

/// All transforms of the crate, with their default settings.
pub(crate) fn all_transforms() -> [Arc<dyn Transform>; 5] {
    [
        Arc::new(Displacement),
        Arc::new(Compositive),
        Arc::new(Velocity::default()),
        Arc::new(BSpline::default()),
        Arc::new(GlobalAffine),
    ]
}

/// The transform of a name, such as `compositive`, with its default settings; none where there is none.
pub fn transform_named(name: &str) -> Option<Arc<dyn Transform>> {
    all_transforms()
        .into_iter()
        .find(|transform| transform.name() == name)
}
