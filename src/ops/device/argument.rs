//! Arguments of kernels.

use std::cell::Cell;

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Storage, Tensor};

use crate::{Error, Result};

/// A value as a kernel takes it: its bytes, as long as the launch lasts.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Argument(Box<[u64]>);

/// Values that are only bits, laid out as in C.
///
/// # Safety
/// The type is `repr(C)` without padding or a number, and the kernel declares the same.
pub(in crate::ops) unsafe trait Plain: Copy {}

// SAFETY: numbers.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for f64 {}
// SAFETY: as above; an address is a pointer to the kernel.
unsafe impl Plain for u64 {}

impl Argument {
    /// A number or structure.
    pub fn of<T: Plain>(value: T) -> Self {
        let mut words = vec![0u64; size_of::<T>().div_ceil(8).max(1)];
        // SAFETY: the words hold so many bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(
                std::ptr::from_ref(&value).cast::<u8>(),
                words.as_mut_ptr().cast(),
                size_of::<T>(),
            );
        }
        Self(words.into())
    }

    /// A count of voxels or elements.
    ///
    /// # Errors
    /// [`Error::NotOnDevice`] for more than kernels count.
    pub fn count(count: usize) -> Result<Self> {
        Ok(Self::of(counted(count)?))
    }

    /// No tensor.
    pub fn none() -> Self {
        Self::of(0u64)
    }

    /// A tensor of so many elements that is read.
    ///
    /// The kernel must be launched while the tensor lives.
    pub fn input_of(tensor: &Tensor, dtype: DType, elements: usize) -> Result<Self> {
        check(tensor, dtype, elements)?;
        let (storage, layout) = tensor.storage_and_layout();
        let start = start(layout)?;
        match &*storage {
            Storage::Cpu(storage) => Ok(Self::of(address_on_host(storage, start))),
            #[cfg(feature = "cuda")]
            Storage::Cuda(storage) => Ok(Self::of(super::cuda::address(storage, start)?)),
            _ => Err(Error::on_device("tensors of this device")),
        }
    }

    /// A tensor of so many elements that is written.
    pub fn output_of(tensor: &Tensor, dtype: DType, elements: usize) -> Result<Self> {
        check(tensor, dtype, elements)?;
        let op = Locate::default();
        tensor.inplace_op1(&op)?;
        Ok(Self::of(op.0.get()))
    }

    /// The words of the value; the first one is where the kernel finds it.
    pub fn words(&self) -> &[u64] {
        &self.0
    }
}

/// A count as kernels take it.
pub(super) fn counted(count: usize) -> Result<i32> {
    // a thread steps beyond the last voxel by all threads at most
    const MOST: usize = 1 << 30;
    if count > MOST {
        return Err(Error::on_device(format!(
            "a volume of {count} elements, more than {MOST},"
        )));
    }
    Ok(count as i32)
}

fn check(tensor: &Tensor, dtype: DType, elements: usize) -> Result<()> {
    if tensor.dtype() != dtype {
        return Err(Error::on_device(format!(
            "an operator on elements of {:?}, other than {dtype:?},",
            tensor.dtype()
        )));
    }
    assert_eq!(
        tensor.elem_count(),
        elements,
        "elements of a kernel's tensor"
    );
    Ok(())
}

fn start(layout: &Layout) -> Result<usize> {
    let (start, _) = layout.contiguous_offsets().ok_or_else(|| {
        Error::argument(
            "tensor",
            format!(
                "needs contiguous elements, got strides {:?}",
                layout.stride()
            ),
        )
    })?;
    Ok(start)
}

/// Finds the address of the elements of a tensor that is to be written.
#[derive(Default)]
struct Locate(Cell<u64>);

impl InplaceOp1 for Locate {
    fn name(&self) -> &'static str {
        "locate"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let start = start(layout).map_err(candle_core::Error::wrap)?;
        self.0.set(address_on_host(storage, start));
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &mut candle_core::CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<()> {
        let find = || super::cuda::address(storage, start(layout)?);
        self.0.set(find().map_err(candle_core::Error::wrap)?);
        Ok(())
    }
}

/// The address of element `start`.
fn address_on_host(storage: &CpuStorage, start: usize) -> u64 {
    let (first, size) = match storage {
        CpuStorage::U8(v) => (v.as_ptr() as u64, 1),
        CpuStorage::U32(v) => (v.as_ptr() as u64, 4),
        CpuStorage::I64(v) => (v.as_ptr() as u64, 8),
        CpuStorage::F16(v) => (v.as_ptr() as u64, 2),
        CpuStorage::F32(v) => (v.as_ptr() as u64, 4),
        CpuStorage::F64(v) => (v.as_ptr() as u64, 8),
        _ => unreachable!("kernels take no other elements"),
    };
    first + (start * size) as u64
}
