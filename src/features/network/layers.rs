//! The parts that networks are built of.

use candle_core::Tensor;

use super::config::{HeadActivation, NetworkConfig, Normalisation};
use super::joined::Joined;
use super::parameters::{Gradients, Maker, Parameter};
use crate::ops::{
    add_centred, centre, convolve, convolve_adjoint, convolve_bias_gradient,
    convolve_weight_gradient, spatial, tanh, tanh_pull_back, Cotangent, Normalised,
};
use crate::Result;

/// Weights `[outputs, inputs]` with a kernel of `size` along each axis.
fn kernel_shape(outputs: usize, inputs: usize, size: usize, rank: usize) -> Vec<usize> {
    let mut shape = vec![outputs, inputs];
    shape.resize(rank + 2, size);
    shape
}

/// The weights of a convolution.
#[derive(Debug)]
enum Kernel {
    Plain(Parameter),
    /// Kernels of five, three and one voxels, and the identity.
    Sum([Parameter; 3]),
}

impl Kernel {
    /// All that is added up as one kernel: convolved once.
    fn merged(&self) -> Result<Tensor> {
        match self {
            Self::Plain(weight) => Ok(weight.value.clone()),
            Self::Sum([five, three, one]) => {
                let sum = five.value.copy()?;
                let (width, dtype) = (sum.dims()[0], sum.dtype());
                let identity = Tensor::eye(width, dtype, sum.device())?;
                for part in [
                    &three.value,
                    &one.value,
                    &identity.reshape(one.value.dims())?,
                ] {
                    add_centred(part, &sum)?;
                }
                Ok(sum)
            }
        }
    }

    /// Sizes, fastest axis first.
    fn size(&self) -> Vec<usize> {
        let (Self::Plain(largest) | Self::Sum([largest, ..])) = self;
        let dims = largest.value.dims();
        dims[2..].iter().rev().copied().collect()
    }

    /// Carries the gradient of the merged kernel to its parts.
    fn pull_back(&self, gradient: Tensor, to: &mut Gradients) -> Result<()> {
        match self {
            Self::Plain(weight) => to.add(weight, gradient),
            Self::Sum([five, three, one]) => {
                to.add(three, centre(&gradient, 1)?)?;
                to.add(one, centre(&gradient, 2)?)?;
                to.add(five, gradient)
            }
        }
    }
}

/// Convolution, normalisation, rectifier.
#[derive(Debug)]
pub(super) struct Block {
    kernel: Kernel,
    gain: Parameter,
    offset: Parameter,
    groups: usize,
    slope: f64,
}

impl Block {
    /// With a kernel of three voxels.
    pub(super) fn plain(
        maker: &mut Maker,
        name: &str,
        config: &NetworkConfig,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self> {
        let shape = kernel_shape(outputs, inputs, 3, config.rank);
        let weight = maker.normal(format!("{name}.weight"), &shape, he_gain(config.slope))?;
        Self::new(maker, name, config, outputs, Kernel::Plain(weight))
    }

    /// With kernels of five, three and one voxels and the identity.
    pub(super) fn large(
        maker: &mut Maker,
        name: &str,
        config: &NetworkConfig,
        width: usize,
    ) -> Result<Self> {
        let mut weight = |size: usize| {
            let shape = kernel_shape(width, width, size, config.rank);
            let name = format!("{name}.weight{size}");
            maker.normal(name, &shape, he_gain(config.slope))
        };
        let kernel = Kernel::Sum([weight(5)?, weight(3)?, weight(1)?]);
        Self::new(maker, name, config, width, kernel)
    }

    fn new(
        maker: &mut Maker,
        name: &str,
        config: &NetworkConfig,
        outputs: usize,
        kernel: Kernel,
    ) -> Result<Self> {
        Ok(Self {
            kernel,
            gain: maker.constant(format!("{name}.gain"), &[outputs], 1.0)?,
            offset: maker.constant(format!("{name}.offset"), &[outputs], 0.0)?,
            groups: match config.normalisation {
                Normalisation::Instance => outputs,
                Normalisation::Group(groups) => groups,
            },
            slope: config.slope,
        })
    }

    /// Strides fastest axis first. What it is given is let go before the normalisation takes memory.
    pub(super) fn apply(&self, x: Tensor, stride: &[usize]) -> Result<Normalised> {
        let sums = convolve(&x, &self.kernel.merged()?, None, stride)?;
        drop(x);
        self.normalised(sums)
    }

    /// On the channels of two maps.
    pub(super) fn apply_joined(&self, maps: Joined) -> Result<Normalised> {
        let sums = maps.convolved(&self.kernel.merged()?)?;
        drop(maps);
        self.normalised(sums)
    }

    fn normalised(&self, sums: Tensor) -> Result<Normalised> {
        let (gain, offset) = (self.gain.value.clone(), self.offset.value.clone());
        Normalised::new(sums, gain, offset, self.groups, self.slope)
    }

    /// The cotangent of the convolution's result from that of the block's.
    pub(super) fn pull_to_sums(
        &self,
        sums: &Normalised,
        cotangent: &Tensor,
        to: &mut Gradients,
    ) -> Result<Tensor> {
        let [of_sums, of_gain, of_offset] = sums.pull_back(cotangent)?;
        to.add(&self.gain, of_gain)?;
        to.add(&self.offset, of_offset)?;
        Ok(of_sums)
    }

    /// Adds the gradient of the kernel, from what the block was applied to and the cotangent of the convolution's result.
    pub(super) fn pull_to_weights(
        &self,
        x: &Tensor,
        sums: &Tensor,
        stride: &[usize],
        to: &mut Gradients,
    ) -> Result<()> {
        let gradient = convolve_weight_gradient(x, sums, stride, &self.kernel.size())?;
        self.kernel.pull_back(gradient, to)
    }

    /// The cotangent of what the block was applied to, on a grid of `size`, from that of the convolution's result.
    pub(super) fn pull_to_input(
        &self,
        sums: &Tensor,
        stride: &[usize],
        size: &[usize],
    ) -> Result<Tensor> {
        convolve_adjoint(sums, &self.kernel.merged()?, stride, size)
    }

    /// The cotangents of two maps that the block was applied to, and the gradient of its kernel.
    pub(super) fn pull_to_joined(
        &self,
        maps: Joined,
        sums: &Tensor,
        to: &mut Gradients,
    ) -> Result<[Tensor; 2]> {
        let (gradient, cotangents) = maps.pull_back(&self.kernel.merged()?, sums)?;
        self.kernel.pull_back(gradient, to)?;
        Ok(cotangents)
    }
}

/// The gain that keeps the variance through a rectifier with this slope below zero.
fn he_gain(slope: f64) -> f64 {
    2.0 / (1.0 + slope * slope)
}

/// A convolution with bias that ends in feature channels.
#[derive(Debug)]
pub(super) struct Head {
    weight: Parameter,
    bias: Parameter,
    activation: HeadActivation,
}

impl Head {
    /// At zero where the features are added to others.
    pub(super) fn new(
        maker: &mut Maker,
        name: &str,
        config: &NetworkConfig,
        inputs: usize,
    ) -> Result<Self> {
        let shape = kernel_shape(config.outputs, inputs, 3, config.rank);
        let weight = format!("{name}.weight");
        Ok(Self {
            weight: if config.base.is_some() {
                maker.constant(weight, &shape, 0.0)?
            } else {
                maker.normal(weight, &shape, 1.0)?
            },
            bias: maker.constant(format!("{name}.bias"), &[config.outputs], 0.0)?,
            activation: config.head,
        })
    }

    /// What it is given is let go as soon as it is read.
    pub(super) fn apply(&self, x: Tensor) -> Result<Tensor> {
        let stride = vec![1; x.rank() - 2];
        let out = convolve(&x, &self.weight.value, Some(&self.bias.value), &stride)?;
        drop(x);
        match self.activation {
            HeadActivation::Linear => Ok(out),
            HeadActivation::Tanh => tanh(&out),
        }
    }

    /// The cotangent of `x`, which it was applied to.
    pub(super) fn pull_back(
        &self,
        x: Tensor,
        out: Cotangent,
        to: &mut Gradients,
    ) -> Result<Tensor> {
        let cotangent = match self.activation {
            HeadActivation::Linear => out.cotangent,
            HeadActivation::Tanh => tanh_pull_back(&out.result, &out.cotangent)?,
        };
        drop(out.result);
        let rank = x.rank() - 2;
        let (stride, size) = (vec![1; rank], spatial(&x));
        let gradient = convolve_weight_gradient(&x, &cotangent, &stride, &vec![3; rank])?;
        drop(x);
        to.add(&self.weight, gradient)?;
        to.add(&self.bias, convolve_bias_gradient(&cotangent)?)?;
        convolve_adjoint(&cotangent, &self.weight.value, &stride, &size)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn large_kernels_are_the_sum_of_their_parts() {
        for rank in [2, 3] {
            let config = NetworkConfig::large_kernel_unet(rank, 1, 4);
            let mut maker = Maker::new(1, DType::F64, &Device::Cpu);
            let block = Block::large(&mut maker, "block", &config, 4).unwrap();
            let size = [9, 6, 7];
            let shape: Vec<usize> = [&[2, 4], &size[..rank]].concat();
            let x = maker.normal("x".into(), &shape, 1.0).unwrap().value;
            let unit = vec![1; rank];
            let with = |w: &Tensor| convolve(&x, w, None, &unit).unwrap();
            let Kernel::Sum(parts) = &block.kernel else {
                panic!("not a sum of kernels")
            };
            let [five, three, one] = parts.each_ref().map(|p| with(&p.value));
            let parts = (((five + three).unwrap() + one).unwrap() + &x).unwrap();
            let gap = (parts - with(&block.kernel.merged().unwrap())).unwrap();
            let gap = gap
                .abs()
                .unwrap()
                .max_all()
                .unwrap()
                .to_scalar::<f64>()
                .unwrap();
            assert!(gap < 1e-12, "{gap}");
        }
    }
}
