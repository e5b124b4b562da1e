//! In which precision kernels compute.

use candle_core::{DType, Tensor};

/// The numbers that a kernel computes with: `Real` of kernels/prelude.cuh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::ops) enum Precision {
    /// Of 32 bits.
    Single,
    /// Of 64 bits.
    Double,
}

impl Precision {
    /// That of an operator on a tensor: double for doubles, single for all that is shorter.
    pub fn of(tensor: &Tensor) -> Self {
        match tensor.dtype() {
            DType::F64 => Self::Double,
            _ => Self::Single,
        }
    }

    /// The type of such numbers.
    pub fn dtype(self) -> DType {
        match self {
            Self::Single => DType::F32,
            Self::Double => DType::F64,
        }
    }

    /// The type of numbers stored in half of the precision: `Half` of kernels/prelude.cuh.
    pub fn half(self) -> DType {
        match self {
            Self::Single => DType::F16,
            Self::Double => DType::F32,
        }
    }

    /// `REAL` of kernels/prelude.cuh.
    pub fn bits(self) -> usize {
        8 * self.dtype().size_in_bytes()
    }
}

/// Calls `$body` with `$t` standing for the numbers of a precision.
macro_rules! with_precision {
    ($precision:expr, $t:ident => $body:expr) => {
        match $precision {
            $crate::ops::device::Precision::Single => {
                type $t = f32;
                $body
            }
            $crate::ops::device::Precision::Double => {
                type $t = f64;
                $body
            }
        }
    };
}
pub(in crate::ops) use with_precision;
