//! The element types of the kernels.

use candle_core::{CpuStorage, DType};
use half::f16;

use super::lanes::{Halves, Lanes, Plain};

/// `f32`, `f64` or (where only storage is concerned) `f16`: the element of a CPU kernel, with its vector types.
pub trait Real:
    Copy
    + Send
    + Sync
    + PartialOrd
    + std::fmt::Debug
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + std::ops::SubAssign
    + std::ops::MulAssign
    + candle_core::WithDType
    + 'static
{
    /// The tensor engine's name of the type.
    const KIND: DType;
    /// 512-bit vectors of it.
    type Wide: Lanes<Element = Self>;
    /// 256-bit vectors of it.
    type Middle: Lanes<Element = Self>;
    /// Plain arrays of it.
    type Portable: Lanes<Element = Self>;

    /// Rounds a double to this type.
    fn of(value: f64) -> Self;
    /// Rounds to single precision.
    fn narrow(self) -> f32;
    /// Widens to a double.
    fn wide(self) -> f64;
    /// The elements of a CPU storage of this type.
    fn slice(storage: &CpuStorage) -> Option<&[Self]>;
    /// The elements of a CPU storage of this type, to be changed.
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
    /// A CPU storage of these elements.
    fn storage(values: Vec<Self>) -> CpuStorage;
}

macro_rules! real {
    ($t:ty, $variant:ident, $of:expr, $narrow:expr, $wide:ty, $middle:ty, $portable:ty) => {
        impl Real for $t {
            const KIND: DType = DType::$variant;
            type Wide = $wide;
            type Middle = $middle;
            type Portable = $portable;
            #[inline(always)]
            fn of(value: f64) -> Self {
                $of(value)
            }
            #[inline(always)]
            fn narrow(self) -> f32 {
                $narrow(self)
            }
            #[inline(always)]
            fn wide(self) -> f64 {
                f64::from(self)
            }
            fn slice(storage: &CpuStorage) -> Option<&[Self]> {
                match storage {
                    CpuStorage::$variant(v) => Some(v),
                    _ => None,
                }
            }
            fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(v) => Some(v),
                    _ => None,
                }
            }
            fn storage(values: Vec<Self>) -> CpuStorage {
                CpuStorage::$variant(values)
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use crate::ops::lanes;
    pub type Wide32 = lanes::Avx512F32;
    pub type Middle32 = lanes::Avx2F32;
    pub type Wide64 = lanes::Avx512F64;
    pub type Middle64 = lanes::Avx2F64;
}
#[cfg(not(target_arch = "x86_64"))]
mod vectors {
    use crate::ops::lanes::Plain;
    pub type Wide32 = Plain<f32, 8>;
    pub type Middle32 = Plain<f32, 8>;
    pub type Wide64 = Plain<f64, 4>;
    pub type Middle64 = Plain<f64, 4>;
}
use vectors::{Middle32, Middle64, Wide32, Wide64};

real!(f32, F32, |v| v as f32, |v| v, Wide32, Middle32, Plain<f32, 8>);
real!(f64, F64, |v| v, |v| v as f32, Wide64, Middle64, Plain<f64, 4>);
// half precision stores, single precision computes
real!(
    f16,
    F16,
    f16::from_f64,
    f16::to_f32,
    Halves<Wide32>,
    Halves<Middle32>,
    Halves<Plain<f32, 8>>
);
