//! Where a tensor lies decides which twin of an operator runs: the one for the CPU, or the one for a GPU.
//!
//! A twin for GPUs is a kernel in `kernels/` and the Rust that launches it, `cuda.rs` in the operator's folder. It is built
//! with the feature `cuda`, and in tests, where the kernels run on the host.

mod choice;

#[cfg(any(feature = "cuda", test))]
mod argument;
#[cfg(any(feature = "cuda", test))]
mod cache;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod emulator;
#[cfg(any(feature = "cuda", test))]
mod geometry;
#[cfg(any(feature = "cuda", test))]
mod launcher;
#[cfg(test)]
mod nvrtc;
#[cfg(feature = "cuda")]
mod pool;
#[cfg(any(feature = "cuda", test))]
mod precision;
#[cfg(any(feature = "cuda", test))]
mod source;
#[cfg(test)]
mod stage;
#[cfg(any(feature = "cuda", test))]
mod stored;

use candle_core::{Device, DeviceLocation};

use crate::Error;

pub use choice::{DeviceChoice, Opened};

#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use argument::{Argument, Plain};
#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use geometry::{rank, Size, Weights};
#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use launcher::Launcher;
#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use precision::{with_precision, Precision};
#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use source::Source;
#[cfg(test)]
pub(crate) use stage::{noise, noise_in, Stage, PRECISIONS};
#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) use stored::Stored;

/// Returns what the twin for GPUs says where `$tensor` lies on one.
macro_rules! twin {
    ($tensor:expr, $launcher:ident => $work:expr) => {
        #[cfg(any(feature = "cuda", test))]
        if let Some($launcher) = $crate::ops::device::Launcher::of($tensor) {
            return $work;
        }
    };
}
pub(in crate::ops) use twin;

/// Whether the twins for the CPU run for tensors of a device.
pub(crate) fn is_cpu(device: &Device) -> bool {
    #[cfg(test)]
    if emulator::is_on() {
        return false;
    }
    matches!(device, Device::Cpu)
}

/// The name of a device, as on the command line.
pub(crate) fn device_name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".into(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// The error itself, or [`Error::CudaMemory`] where it says that memory ran out on the device.
pub(crate) fn of_device(error: Error, device: &Device) -> Error {
    match error {
        Error::Tensor(source) if source.to_string().contains("OUT_OF_MEMORY") => {
            Error::CudaMemory {
                device: device_name(device),
                source,
            }
        }
        other => other,
    }
}

/// Memory that is free on a device, in bytes; none where it is not known.
pub(crate) fn free_memory(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => pool::free_memory(device),
        _ => None,
    }
}
