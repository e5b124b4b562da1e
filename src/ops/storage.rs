//! The elements of tensors as slices, for the CPU kernels.

use std::cell::Cell;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp1, Layout, Storage, Tensor};

use super::device::is_cpu;
use super::real::Real;
use super::rows::Shared;
use crate::{Error, Result};

/// The elements of a contiguous CPU storage.
pub(crate) fn slice<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let (start, end) = contiguous(layout)?;
    let all = T::slice(storage).ok_or_else(|| {
        Error::argument(
            "tensor",
            format!(
                "expected elements of {:?}, got {:?}; convert one of the tensors",
                T::KIND,
                storage.dtype()
            ),
        )
    })?;
    Ok(&all[start..end])
}

/// `length` elements as `work` writes them, without being set to zero first.
///
/// # Safety
/// `work` writes every element.
pub(crate) unsafe fn computed<T: Real>(length: usize, work: impl FnOnce(Shared<T>)) -> Vec<T> {
    let mut values = Vec::with_capacity(length);
    work(Shared::of(values.as_mut_ptr()));
    // SAFETY: the caller's promise.
    unsafe { values.set_len(length) };
    values
}

/// Calls `work` with the elements of a contiguous CPU tensor.
pub(crate) fn read<T: Real, R>(tensor: &Tensor, work: impl FnOnce(&[T]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let (start, end) = contiguous(layout)?;
    match &*storage {
        Storage::Cpu(cpu) if is_cpu(tensor.device()) => match T::slice(cpu) {
            Some(all) => Ok(work(&all[start..end])),
            None => Err(wrong_type::<T>(tensor)),
        },
        _ => Err(no_twin()),
    }
}

/// What an operator says of a tensor that lies where it has no twin.
fn no_twin() -> Error {
    Error::on_device("an operator of this registration")
}

/// Calls `work` with the elements of a contiguous CPU tensor, to be changed in place.
///
/// The tensor is locked meanwhile: it must not be read inside `work`.
pub(crate) fn write<T: Real, R>(tensor: &Tensor, work: impl FnOnce(&mut [T]) -> R) -> Result<R> {
    struct Write<T, R, F: FnOnce(&mut [T]) -> R> {
        work: Cell<Option<F>>,
        result: Cell<Option<R>>,
        element: std::marker::PhantomData<T>,
    }
    impl<T: Real, R, F: FnOnce(&mut [T]) -> R> InplaceOp1 for Write<T, R, F> {
        fn name(&self) -> &'static str {
            "write"
        }
        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
            let (start, end) = contiguous(layout).map_err(candle_core::Error::wrap)?;
            if let (Some(all), Some(work)) = (T::slice_mut(storage), self.work.take()) {
                self.result.set(Some(work(&mut all[start..end])));
            }
            Ok(())
        }
    }
    if !is_cpu(tensor.device()) {
        return Err(no_twin());
    }
    let op = Write {
        work: Cell::new(Some(work)),
        result: Cell::new(None),
        element: std::marker::PhantomData,
    };
    tensor.inplace_op1(&op)?;
    op.result.take().ok_or_else(|| wrong_type::<T>(tensor))
}

fn contiguous(layout: &Layout) -> Result<(usize, usize)> {
    layout.contiguous_offsets().ok_or_else(|| {
        Error::argument(
            "tensor",
            format!(
                "needs contiguous elements, got strides {:?}",
                layout.stride()
            ),
        )
    })
}

fn wrong_type<T: Real>(tensor: &Tensor) -> Error {
    Error::argument(
        "tensor",
        format!(
            "expected elements of {:?}, got {:?}",
            T::KIND,
            tensor.dtype()
        ),
    )
}

/// Calls `$body` with `$t` standing for the element type of a floating tensor.
macro_rules! with_real {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            other => Err($crate::Error::argument(
                "tensor",
                format!("expected elements of F32 or F64, got {other:?}"),
            )),
        }
    };
}
pub(crate) use with_real;

/// [`with_real`] for operations that also take half-precision storage.
macro_rules! with_stored {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F16 => {
                type $t = half::f16;
                $body
            }
            other => $crate::ops::storage::with_real!(other, $t => $body),
        }
    };
}
pub(crate) use with_stored;

/// Calls `$body` with `$s` standing for the element type of features and `$t` for that of what is computed from them.
macro_rules! with_features {
    ($dtype:expr, $t:ident, $s:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F16 => {
                type $t = f32;
                type $s = half::f16;
                $body
            }
            other => $crate::ops::storage::with_real!(other, $t => {
                type $s = $t;
                $body
            }),
        }
    };
}
pub(crate) use with_features;
