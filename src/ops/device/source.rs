//! The sources of the kernels.

#[cfg(any(feature = "cuda", unix))]
use super::Precision;
use crate::Error;

/// A source of kernels with all that it needs: neither NVRTC nor a test looks for another file.
#[derive(Debug)]
pub(in crate::ops) struct Source {
    /// The stem of its file.
    pub name: &'static str,
    /// What is compiled.
    pub text: &'static str,
}

impl Source {
    /// What is said of a kernel that cannot be compiled, loaded or launched.
    pub(super) fn fault(&self, kernel: &str, reason: String) -> Error {
        Error::CudaKernel {
            kernel: format!("{}: {kernel}", self.name),
            reason,
        }
    }
}

/// The kernels of a source that are compiled together; 0 for all ranks, or all storages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg(any(feature = "cuda", unix))]
pub(super) struct Part {
    pub rank: u32,
    /// 16 for kernels that store in half of the precision, 32 for those that do not.
    pub storage: u32,
    pub precision: Precision,
}

#[cfg(any(feature = "cuda", unix))]
impl Part {
    /// The part that a kernel of a precision belongs to, by its name: the last word is the rank, if it has one.
    pub fn with(kernel: &str, precision: Precision) -> Self {
        let mut words = kernel.split('_').rev();
        let rank = match words.next() {
            Some("2") => 2,
            Some("3") => 3,
            _ => 0,
        };
        let storage = if words.any(|word| word == "half") {
            16
        } else {
            32
        };
        Self {
            rank,
            storage,
            precision,
        }
    }

    /// Options of the compiler.
    pub fn options(self) -> [String; 3] {
        [
            format!("--define-macro=RANK={}", self.rank),
            format!("--define-macro=STORAGE={}", self.storage),
            format!("--define-macro=REAL={}", self.precision.bits()),
        ]
    }
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
    /// The barrier against folding.
    BARRIER "barrier";
    /// Products with voxel blocks and their inverses.
    BLOCKS "blocks";
    /// B-spline coefficients.
    BSPLINE "bspline";
    /// Convolution of channels and its adjoints.
    CONVOLVE "convolve";
    /// Where the moving grid is met.
    COVERAGE "coverage";
    /// Squared differences.
    DIFFUSION "diffusion";
    /// Divergences.
    DIVERGENCE "divergence";
    /// Composition, and steps that fold nowhere.
    DISPLACEMENT "displacement";
    /// Squared gradients of features.
    GRADIENT_ENERGY "gradient_energy";
    /// Corner determinants.
    JACOBIAN "jacobian";
    /// Corresponding points.
    LANDMARKS "landmarks";
    /// Local correlation.
    LNCC "lncc";
    /// Self-similarity descriptors.
    MIND "mind";
    /// Normalisation of channels.
    NORMALISE "normalise";
    /// The last step of reductions.
    REDUCE "reduce";
    /// Filters along an axis.
    SEPARABLE "separable";
    /// The fused pass.
    SSD "ssd";
    /// The way back from it to its data.
    SSD_PULLBACK "ssd_pullback";
    /// The hyperbolic tangent.
    TANH "tanh";
    /// Between a grid and the one below.
    TRANSFER "transfer";
    /// Whole tensors.
    VECTOR "vector";
    /// Moved images.
    WARP "warp";
    /// What moved images hand back.
    WARP_ADJOINT "warp_adjoint";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands between `after` and the next parenthesis, wherever that is a name.
    fn names<'a>(text: &'a str, after: &str) -> Vec<&'a str> {
        let parts = text.split(after).skip(1);
        let name = |part: &'a str| part.split(['(', ',', '\n', ';']).next().unwrap_or_default();
        let last = parts.map(|part| name(part).rsplit(' ').next().unwrap_or_default());
        last.filter(|name| !name.is_empty()).collect()
    }

    /// A kernel has the name of no other function: the compiler for GPUs refuses that, the emulator does not.
    #[test]
    fn kernels_have_names_of_their_own() {
        for source in Source::ALL {
            let kernels = names(source.text, "\nKERNEL(");
            let functions = names(source.text, "__device__ ");
            assert!(functions.contains(&"block_sums"), "{functions:?}");
            for kernel in kernels {
                assert!(!functions.contains(&kernel), "{}: {kernel}", source.name);
            }
        }
    }
}
