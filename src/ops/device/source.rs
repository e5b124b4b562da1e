//! The sources of the kernels.

/// A source of kernels with all that it needs: neither NVRTC nor a test looks for another file.
#[derive(Debug)]
pub(in crate::ops) struct Source {
    /// The stem of its file.
    pub name: &'static str,
    /// What is compiled.
    pub text: &'static str,
}

macro_rules! sources {
    ($($(#[$doc:meta])* $constant:ident $stem:literal;)*) => {
        impl Source {
            $(
                $(#[$doc])*
                pub const $constant: Self = Self {
                    name: $stem,
                    text: concat!(
                        include_str!("../../../kernels/prelude.cuh"),
                        include_str!("../../../kernels/sample.cuh"),
                        include_str!("../../../kernels/near.cuh"),
                        "#line 1 \"", $stem, ".cu\"\n",
                        include_str!(concat!("../../../kernels/", $stem, ".cu")),
                    ),
                };
            )*

            /// All of them.
            #[cfg(test)]
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];
        }
    };
}

sources! {
    /// Products with voxel blocks and their inverses.
    BLOCKS "blocks";
    /// B-spline coefficients.
    BSPLINE "bspline";
    /// Where the moving grid is met.
    COVERAGE "coverage";
    /// Squared differences.
    DIFFUSION "diffusion";
    /// Composition, and steps that fold nowhere.
    DISPLACEMENT "displacement";
    /// Squared gradients of features.
    GRADIENT_ENERGY "gradient_energy";
    /// Corner determinants.
    JACOBIAN "jacobian";
    /// The last step of reductions.
    REDUCE "reduce";
    /// Filters along an axis.
    SEPARABLE "separable";
    /// The fused pass.
    SSD "ssd";
    /// Whole tensors.
    VECTOR "vector";
    /// Moved images.
    WARP "warp";
}
