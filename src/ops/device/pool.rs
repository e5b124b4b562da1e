//! The pool that a GPU's memory is taken from.

use candle_core::cuda_backend::cudarc::driver::result::{device, mem_pool};
use candle_core::cuda_backend::cudarc::driver::sys::{CUmemPool_attribute, CUmemoryPool};
use candle_core::CudaDevice;

fn pool(gpu: &CudaDevice) -> Option<CUmemoryPool> {
    let stream = gpu.cuda_stream();
    // SAFETY: the device is open.
    unsafe { device::get_default_mem_pool(stream.context().cu_device()) }.ok()
}

/// Keeps what is given back for later: every sum takes a little memory and then waits for the device, at which the driver
/// would otherwise hand all that is unused back to the system.
pub(super) fn keep(gpu: &CudaDevice) {
    let mut threshold = u64::MAX;
    if let Some(pool) = pool(gpu) {
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // where the driver has no such pool, it takes and gives memory its own way
        // SAFETY: the attribute is a 64-bit number.
        let _ = unsafe {
            mem_pool::set_attribute(pool, attribute, std::ptr::from_mut(&mut threshold).cast())
        };
    }
}

/// Memory that can be taken, in bytes: what the system has free, and what the pool keeps unused.
pub(super) fn free_memory(gpu: &CudaDevice) -> Option<u64> {
    let (free, _) = gpu.cuda_stream().context().mem_get_info().ok()?;
    let number = |attribute: CUmemPool_attribute| {
        let mut bytes = 0u64;
        // SAFETY: the attribute is a 64-bit number.
        unsafe {
            mem_pool::get_attribute(pool(gpu)?, attribute, std::ptr::from_mut(&mut bytes).cast())
        }
        .ok()?;
        Some(bytes)
    };
    let reserved = number(CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    let used = number(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
    let unused = reserved
        .zip(used)
        .map_or(0, |(reserved, used)| reserved.saturating_sub(used));
    Some(free as u64 + unused)
}
