//! Kernels launched where a tensor lies.

use candle_core::{DType, Device, Tensor};

use super::{Argument, Source};
use crate::Result;

/// Threads of a block; `THREADS` of kernels/prelude.cuh.
pub(super) const THREADS: usize = 256;

/// Most blocks of a launch: enough to fill a large GPU, few enough for one block to add up what they leave.
const BLOCKS: usize = 2048;

/// What launches the kernels for a tensor.
///
/// Kernels of one device run in the order of their launches, on the stream of the tensor engine; nothing waits for them but
/// the sums that are returned.
#[derive(Debug, Clone)]
pub(in crate::ops) enum Launcher {
    /// A GPU.
    #[cfg(feature = "cuda")]
    Cuda(candle_core::CudaDevice),
    /// The host, in tests.
    #[cfg(test)]
    Emulated,
}

impl Launcher {
    /// That of a tensor's device; none for the CPU.
    pub fn of(tensor: &Tensor) -> Option<Self> {
        #[cfg(test)]
        if super::emulator::is_on() {
            return Some(Self::Emulated);
        }
        match tensor.device() {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => Some(Self::Cuda(device.clone())),
            _ => None,
        }
    }

    /// The device.
    pub fn device(&self) -> Device {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda(device) => Device::Cuda(device.clone()),
            #[cfg(test)]
            Self::Emulated => Device::Cpu,
        }
    }

    /// A tensor that a kernel will fill.
    pub fn empty(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        // SAFETY: callers launch a kernel that writes every element before another one reads any.
        Ok(unsafe { Tensor::empty(shape, dtype, &self.device()) }?)
    }

    /// Launches a kernel for `n` voxels.
    pub fn launch(
        &self,
        source: &'static Source,
        kernel: &str,
        n: usize,
        arguments: &[Argument],
    ) -> Result<()> {
        self.run(source, kernel, blocks_for(n), arguments)
    }

    /// Launches a kernel for `n` voxels that leaves `K` doubles a block, of which it gets the place as its last argument;
    /// returns their sums.
    pub fn sums<const K: usize>(
        &self,
        source: &'static Source,
        kernel: &str,
        n: usize,
        arguments: Vec<Argument>,
    ) -> Result<[f64; K]> {
        let last = const {
            match K {
                1 => "one_sum",
                2 => "two_sums",
                _ => panic!("kernels/reduce.cu adds up one or two numbers"),
            }
        };
        let sums = self.reduced(source, kernel, n, arguments, (K, last))?;
        Ok(std::array::from_fn(|k| sums[k]))
    }

    /// [`Launcher::sums`] for a kernel that leaves one double a block, of which the smallest is returned.
    pub fn smallest(
        &self,
        source: &'static Source,
        kernel: &str,
        n: usize,
        arguments: Vec<Argument>,
    ) -> Result<f64> {
        Ok(self.reduced(source, kernel, n, arguments, (1, "smallest"))?[0])
    }

    fn reduced(
        &self,
        source: &'static Source,
        kernel: &str,
        n: usize,
        mut arguments: Vec<Argument>,
        (width, last): (usize, &str),
    ) -> Result<Vec<f64>> {
        let blocks = blocks_for(n);
        let parts = self.empty(&[blocks * width], DType::F64)?;
        let result = self.empty(&[width], DType::F64)?;
        arguments.push(Argument::output_of(&parts, DType::F64, blocks * width)?);
        self.run(source, kernel, blocks, &arguments)?;
        let put_together = [
            Argument::input_of(&parts, DType::F64, blocks * width)?,
            Argument::count(blocks)?,
            Argument::output_of(&result, DType::F64, width)?,
        ];
        self.run(&Source::REDUCE, last, 1, &put_together)?;
        Ok(result.to_vec1()?)
    }

    fn run(
        &self,
        source: &'static Source,
        kernel: &str,
        blocks: usize,
        arguments: &[Argument],
    ) -> Result<()> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda(device) => super::cuda::launch(device, source, kernel, blocks, arguments),
            #[cfg(test)]
            Self::Emulated => super::emulator::launch(source, kernel, blocks, arguments),
        }
    }
}

/// Blocks for so many voxels: a fixed number, so that sums are grouped the same way on every device.
fn blocks_for(n: usize) -> usize {
    n.div_ceil(THREADS).clamp(1, BLOCKS)
}
