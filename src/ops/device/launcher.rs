//! Kernels launched where a tensor lies.

use candle_core::{DType, Device, Tensor};

use super::precision::with_precision;
use super::{Argument, Precision, Source};
use crate::ops::real::Real;
use crate::Result;

/// Threads of a block; `THREADS` of kernels/prelude.cuh.
pub(super) const THREADS: usize = 256;

/// Most blocks of a launch: enough to fill a large GPU, few enough for one block to add up what they leave.
pub(super) const BLOCKS: usize = 2048;

/// What launches the kernels for a tensor.
///
/// Kernels of one device run in the order of their launches, on the stream of the tensor engine; nothing waits for them but
/// the sums that are returned.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Launcher {
    place: Place,
    precision: Precision,
}

/// Where kernels run.
#[derive(Debug, Clone)]
enum Place {
    /// A GPU.
    #[cfg(feature = "cuda")]
    Cuda(candle_core::CudaDevice),
    /// The host, in tests.
    #[cfg(test)]
    Emulated,
}

impl Launcher {
    /// That of a tensor's device, for kernels in its precision; none for the CPU.
    pub fn of(tensor: &Tensor) -> Option<Self> {
        let precision = Precision::of(tensor);
        #[cfg(test)]
        if super::emulator::is_on() {
            let place = Place::Emulated;
            return Some(Self { place, precision });
        }
        match tensor.device() {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => {
                let place = Place::Cuda(device.clone());
                Some(Self { place, precision })
            }
            _ => None,
        }
    }

    /// The device.
    pub fn device(&self) -> Device {
        match &self.place {
            #[cfg(feature = "cuda")]
            Place::Cuda(device) => Device::Cuda(device.clone()),
            #[cfg(test)]
            Place::Emulated => Device::Cpu,
        }
    }

    /// The precision of the kernels.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// A number in that precision.
    pub fn number(&self, value: f64) -> Argument {
        with_precision!(self.precision, T => Argument::of(<T as Real>::of(value)))
    }

    /// A tensor of so many elements of that precision that is read.
    ///
    /// The kernel must be launched while the tensor lives.
    pub fn input(&self, tensor: &Tensor, elements: usize) -> Result<Argument> {
        Argument::input_of(tensor, self.precision.dtype(), elements)
    }

    /// [`Launcher::input`], or none.
    pub fn optional(&self, tensor: Option<&Tensor>, elements: usize) -> Result<Argument> {
        tensor.map_or(Ok(Argument::none()), |tensor| self.input(tensor, elements))
    }

    /// A tensor of so many elements of that precision that is written.
    pub fn output(&self, tensor: &Tensor, elements: usize) -> Result<Argument> {
        Argument::output_of(tensor, self.precision.dtype(), elements)
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

    /// Launches a kernel whose blocks take so many tasks, a block one after the other.
    pub fn blocks(
        &self,
        source: &'static Source,
        kernel: &str,
        tasks: usize,
        arguments: &[Argument],
    ) -> Result<()> {
        self.run(source, kernel, tasks.clamp(1, BLOCKS), arguments)
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
        let compiled = (source, self.precision);
        match &self.place {
            #[cfg(feature = "cuda")]
            Place::Cuda(device) => super::cuda::launch(device, compiled, kernel, blocks, arguments),
            #[cfg(test)]
            Place::Emulated => super::emulator::launch(compiled, kernel, blocks, arguments),
        }
    }
}

/// Blocks for so many voxels: a fixed number, so that sums are grouped the same way on every device.
fn blocks_for(n: usize) -> usize {
    n.div_ceil(THREADS).clamp(1, BLOCKS)
}
