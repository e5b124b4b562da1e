//! Kernels on a GPU, by the driver that the tensor engine uses.

use std::collections::HashMap;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};

use candle_core::cuda_backend::cudarc::driver::PushKernelArg;
use candle_core::cuda_backend::cudarc::driver::{self, sys, DevicePtr, LaunchConfig};
use candle_core::cuda_backend::cudarc::nvrtc;
use candle_core::{CudaDevice, CudaStorage, DType, Device, Tensor};

use super::cache::Cache;
use super::launcher::THREADS;
use super::pool;
use super::source::Part;
use super::{Argument, Launcher, Precision, Source};
use crate::{Error, Result};

/// Makes a GPU ready.
pub(super) fn open(index: usize) -> Result<Device> {
    let missing = |reason: String| Error::NoCudaDevice { reason };
    // a library that is missing may end in a panic of the driver's interface
    let count = catch_unwind(driver::CudaContext::device_count)
        .map_err(|_| missing("the CUDA driver is not installed".into()))?
        .map_err(|error| missing(in_words(&error)))? as usize;
    if count == 0 {
        return Err(missing("the driver finds none".into()));
    }
    if index >= count {
        return Err(Error::CudaIndex { index, count });
    }
    check_versions(index)?;
    // a stream of its own: kernels of all threads run in the order of their launches
    let device = catch_unwind(|| Device::new_cuda_with_stream(index))
        .map_err(|_| missing("cuBLAS or cuRAND is not installed".into()))?
        .map_err(|error| missing(error.to_string()))?;
    if let Device::Cuda(cuda) = &device {
        // SAFETY: all work of the device is on that one stream.
        unsafe { cuda.disable_event_tracking() };
        pool::keep(cuda);
    }
    probe(&device)?;
    Ok(device)
}

/// Compares what the driver knows with what the compiler writes.
fn check_versions(index: usize) -> Result<()> {
    let mut known = 0;
    // SAFETY: the call writes one number.
    let driver = unsafe { sys::cuDriverGetVersion(&mut known) };
    let [major, minor] = compiler_version().ok_or_else(|| Error::NoCudaDevice {
        reason: "NVRTC, the compiler of the kernels, is not installed".into(),
    })?;
    if driver == sys::CUresult::CUDA_SUCCESS && known < 1000 * major + 10 * minor {
        return Err(Error::CudaDriver {
            index,
            driver: format!("{}.{}", known / 1000, known % 1000 / 10),
            compiler: format!("{major}.{minor}"),
        });
    }
    Ok(())
}

/// The version of NVRTC, where it is installed.
fn compiler_version() -> Option<[i32; 2]> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the call writes two numbers.
    let said = unsafe { nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
    (said == nvrtc::sys::nvrtcResult::NVRTC_SUCCESS).then_some([major, minor])
}

/// Runs a kernel and reads what it left.
fn probe(device: &Device) -> Result<()> {
    let x = Tensor::zeros(1, DType::F32, device)?;
    if let Some(launcher) = Launcher::of(&x) {
        let arguments = [
            Argument::count(1)?,
            launcher.number(1.0),
            launcher.output(&x, 1)?,
        ];
        launcher.launch(&Source::VECTOR, "fill_full", 1, &arguments)?;
    }
    let found: Vec<f32> = x.to_vec1()?;
    if found == [1.0] {
        return Ok(());
    }
    Err(Error::CudaKernel {
        kernel: "fill".into(),
        reason: format!("left {found:?}, expected 1"),
    })
}

/// Launches a kernel on the stream of the device.
pub(super) fn launch(
    device: &CudaDevice,
    (source, precision): (&'static Source, Precision),
    kernel: &str,
    blocks: usize,
    arguments: &[Argument],
) -> Result<()> {
    let fault = |reason| source.fault(kernel, reason);
    let part = Part::with(kernel, precision);
    let ptx = compiled(device, source, part)?;
    let module = format!(
        "stillpoint_{}_{}_{}_{}",
        source.name,
        part.rank,
        part.storage,
        precision.bits()
    );
    let function = device
        .get_or_load_custom_func(kernel, &module, &ptx)
        .map_err(|error| fault(error.to_string()))?;
    let mut builder = function.builder();
    for argument in arguments {
        // the driver reads as many bytes from there as the kernel declares
        builder.arg(&argument.words()[0]);
    }
    let config = LaunchConfig {
        grid_dim: (blocks as u32, 1, 1),
        block_dim: (THREADS as u32, 1, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: the twins pass what the kernel declares, and tensors of the lengths that it reaches.
    unsafe { builder.launch(config) }.map_err(|error| fault(in_words(&error)))?;
    Ok(())
}

/// A part of a source compiled for the architecture of a device, once for all devices of it.
fn compiled(device: &CudaDevice, source: &'static Source, part: Part) -> Result<Arc<str>> {
    type Key = (&'static str, Part, (i32, i32));
    static COMPILED: Mutex<Option<HashMap<Key, Arc<str>>>> = Mutex::new(None);
    let fault = |reason| source.fault("all kernels", reason);
    let stream = device.cuda_stream();
    let architecture = stream
        .context()
        .compute_capability()
        .map_err(|error| fault(in_words(&error)))?;
    let mut all = COMPILED.lock().unwrap_or_else(|e| e.into_inner());
    let all = all.get_or_insert_default();
    let key = (source.name, part, architecture);
    if let Some(ptx) = all.get(&key) {
        return Ok(ptx.clone());
    }
    let (major, minor) = architecture;
    let options: Vec<String> = [format!("--gpu-architecture=compute_{major}{minor}")]
        .into_iter()
        .chain(part.options())
        .collect();
    let (cache, compiler) = (Cache::of_user(), format!("{:?}", compiler_version()));
    let mut made_of = vec![source.text, compiler.as_str()];
    made_of.extend(options.iter().map(String::as_str));
    if let Some(kept) = cache.as_ref().and_then(|cache| cache.read(&made_of)) {
        let ptx: Arc<str> = kept.into();
        all.insert(key, ptx.clone());
        return Ok(ptx);
    }
    let made = nvrtc::CompileOptions {
        options: options.clone(),
        name: Some(format!("{}.cu", source.name)),
        ..Default::default()
    };
    let ptx = nvrtc::compile_ptx_with_opts(source.text, made).map_err(|error| {
        fault(match error {
            nvrtc::CompileError::CompileError { log, .. } => log.to_string_lossy().into_owned(),
            other => format!("{other:?}"),
        })
    })?;
    let ptx: Arc<str> = ptx.to_src().into();
    if let Some(cache) = cache {
        cache.write(&made_of, &ptx);
    }
    all.insert(key, ptx.clone());
    Ok(ptx)
}

/// The address of element `start` of a storage.
pub(super) fn address(storage: &CudaStorage, start: usize) -> Result<u64> {
    let stream = storage.device.cuda_stream();
    macro_rules! of {
        ($t:ty) => {{
            let slice = storage.as_cuda_slice::<$t>()?;
            let (first, _) = slice.device_ptr(&stream);
            first + (start * size_of::<$t>()) as u64
        }};
    }
    use candle_core::backend::BackendStorage;
    Ok(match storage.dtype() {
        DType::U8 => of!(u8),
        DType::U32 => of!(u32),
        DType::I64 => of!(i64),
        DType::F16 => of!(half::f16),
        DType::F32 => of!(f32),
        DType::F64 => of!(f64),
        other => {
            return Err(Error::on_device(format!(
                "an operator on elements of {other:?}"
            )));
        }
    })
}

/// What the driver says of an error.
fn in_words(error: &driver::DriverError) -> String {
    match catch_unwind(|| {
        error
            .error_string()
            .map(|text| text.to_string_lossy().into_owned())
    }) {
        Ok(Ok(text)) => text,
        // without a driver there is nobody to ask
        _ => format!("{:?}", error.0),
    }
}
