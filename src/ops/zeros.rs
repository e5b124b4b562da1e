//! Tensors to be filled.

use candle_core::{DType, Device, Shape, Tensor};
use half::f16;
use half::vec::HalfBitsVecExt;

use super::device::is_cpu;
use crate::Result;

/// A tensor of zeros. On the CPU fresh pages stay untouched until they are used, halves too: to touch them here would be to
/// do it on one thread.
pub(crate) fn zeros(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    if dtype == DType::F16 && is_cpu(device) {
        let bits = vec![0u16; shape.elem_count()];
        return Ok(Tensor::from_vec(
            bits.reinterpret_into::<f16>(),
            shape,
            device,
        )?);
    }
    Ok(Tensor::zeros(shape, dtype, device)?)
}
