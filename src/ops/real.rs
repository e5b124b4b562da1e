//! The element types of the kernels.

use candle_core::{CpuStorage, DType};

use super::lanes::Lanes;

/// `f32` or `f64`: the element of a CPU kernel, with its vector types.
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
}

macro_rules! real {
    ($t:ty, $variant:ident, $wide:ty, $middle:ty, $portable:ty) => {
        impl Real for $t {
            const KIND: DType = DType::$variant;
            type Wide = $wide;
            type Middle = $middle;
            type Portable = $portable;
            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $t
            }
            #[inline(always)]
            fn narrow(self) -> f32 {
                self as f32
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
        }
    };
}

#[cfg(target_arch = "x86_64")]
real!(f32, F32, super::lanes::Avx512F32, super::lanes::Avx2F32, super::lanes::Plain<f32, 8>);
#[cfg(target_arch = "x86_64")]
real!(f64, F64, super::lanes::Avx512F64, super::lanes::Avx2F64, super::lanes::Plain<f64, 4>);
#[cfg(not(target_arch = "x86_64"))]
real!(f32, F32, super::lanes::Plain<f32, 8>, super::lanes::Plain<f32, 8>, super::lanes::Plain<f32, 8>);
#[cfg(not(target_arch = "x86_64"))]
real!(f64, F64, super::lanes::Plain<f64, 4>, super::lanes::Plain<f64, 4>, super::lanes::Plain<f64, 4>);
