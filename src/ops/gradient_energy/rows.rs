//! Rows of features as they are computed with.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::ops::real::Real;

/// An element of which rows are read at its own precision, or at a wider one.
pub(super) trait Rows: Real {
    type Computed: Real;

    /// A row; `room` may hold it.
    fn row<'a>(row: &'a [Self], room: &'a mut Vec<Self::Computed>) -> &'a [Self::Computed];
}

macro_rules! own {
    ($t:ty) => {
        impl Rows for $t {
            type Computed = $t;

            #[inline(always)]
            fn row<'a>(row: &'a [$t], _: &'a mut Vec<$t>) -> &'a [$t] {
                row
            }
        }
    };
}
own!(f32);
own!(f64);

impl Rows for f16 {
    type Computed = f32;

    #[inline(always)]
    fn row<'a>(row: &'a [f16], room: &'a mut Vec<f32>) -> &'a [f32] {
        room.resize(row.len(), 0.0);
        row.convert_to_f32_slice(room);
        room
    }
}
