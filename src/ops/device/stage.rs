//! Devices on which tests compare twins with those for the CPU.

use candle_core::{DType, Device, Tensor};

use super::emulator;
use crate::Rng;

/// A device of which the twins are tested: the emulator, or a GPU.
pub(crate) struct Stage {
    device: Device,
    name: &'static str,
}

impl Stage {
    /// All that are at hand. Says aloud what is not.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        if emulator::is_available() {
            let device = Device::Cpu;
            all.push(Self {
                device,
                name: "emulator",
            });
        } else {
            eprintln!(
                "skipped: no C++ compiler (CXX, c++, g++ or clang++) to emulate kernels with"
            );
        }
        #[cfg(feature = "cuda")]
        match super::DeviceChoice::Cuda(0).open() {
            Ok(opened) => all.push(Self {
                device: opened.device,
                name: "GPU",
            }),
            Err(error) => eprintln!("skipped: {error}"),
        }
        all
    }

    /// The device of its tensors.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A copy of a tensor on the device.
    pub fn put(&self, tensor: &Tensor) -> Tensor {
        match self.device {
            Device::Cpu => tensor.copy().unwrap(),
            _ => tensor.to_device(&self.device).unwrap(),
        }
    }

    /// Calls `work` so that twins of the device run.
    pub fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        match self.device {
            Device::Cpu => emulator::emulated(work),
            _ => work(),
        }
    }

    /// Compares tensors of this device with those of the CPU.
    #[track_caller]
    pub fn same(&self, what: &str, expected: &[&Tensor], got: &[&Tensor], tolerance: f64) {
        assert_eq!(expected.len(), got.len());
        for (k, (expected, got)) in expected.iter().zip(got).enumerate() {
            let what = format!("{}, {what}, tensor {k}", self.name);
            alike(&what, &elements(expected), &elements(got), tolerance);
        }
    }

    /// Compares numbers of this device with those of the CPU.
    #[track_caller]
    pub fn numbers(&self, what: &str, expected: &[f64], got: &[f64], tolerance: f64) {
        alike(&format!("{}, {what}", self.name), expected, got, tolerance);
    }
}

/// Elements of a tensor of any device as doubles.
fn elements(tensor: &Tensor) -> Vec<f64> {
    let on_host = tensor.to_device(&Device::Cpu).unwrap();
    let flat = on_host.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    flat.to_vec1().unwrap()
}

/// Asserts that two lists differ by less than `tolerance` of the largest expected value.
#[track_caller]
fn alike(what: &str, expected: &[f64], got: &[f64], tolerance: f64) {
    assert_eq!(expected.len(), got.len(), "{what}");
    let scale = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    for (k, (expected, got)) in expected.iter().zip(got).enumerate() {
        let difference = (expected - got).abs();
        assert!(
            difference <= tolerance * scale,
            "{what}, element {k}: expected {expected}, got {got}, tolerance {}",
            tolerance * scale
        );
    }
}

/// The precisions of kernels, each with what a tolerance of single precision is multiplied by.
pub(crate) const PRECISIONS: [(DType, f64); 2] = [(DType::F32, 1.0), (DType::F64, 1e-8)];

/// [`noise`] in a precision.
pub(crate) fn noise_in(dtype: DType, planes: usize, size: &[usize], seed: u64) -> Tensor {
    noise(planes, size, seed).to_dtype(dtype).unwrap()
}

/// Normal numbers on a grid of `size` (fastest first), single precision.
pub(crate) fn noise(planes: usize, size: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let count = planes * size.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|_| rng.normal() as f32).collect();
    let mut shape = vec![planes];
    shape.extend(size.iter().rev());
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}
