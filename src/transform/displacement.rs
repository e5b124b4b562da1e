//! The free-form displacement.

use super::Transform;

/// Free-form displacement: `theta = u`, updated by addition. It may fold where the data ask for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Displacement;

impl Transform for Displacement {
    fn name(&self) -> &'static str {
        "displacement"
    }

    fn is_field(&self) -> bool {
        true
    }
}
