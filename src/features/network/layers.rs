//! The parts that networks are built of.

use candle_core::{Device, Tensor};

use super::config::{HeadActivation, NetworkConfig, Normalisation};
use super::joined::Joined;
use super::parameters::Maker;
use crate::ops::{convolve, normalise, tanh};
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
    Plain(Tensor),
    /// Kernels of five, three and one voxels, and the identity as a kernel of five.
    Sum([Tensor; 4]),
}

impl Kernel {
    fn merged(&self) -> Result<Tensor> {
        match self {
            Self::Plain(weight) => Ok(weight.clone()),
            Self::Sum([five, three, one, identity]) => {
                let widened = |small: &Tensor, by: usize| -> Result<Tensor> {
                    let mut wide = small.clone();
                    for dim in 2..small.rank() {
                        wide = wide.pad_with_zeros(dim, by, by)?;
                    }
                    Ok(wide)
                };
                Ok((((five + widened(three, 1)?)? + widened(one, 2)?)? + identity)?)
            }
        }
    }
}

/// Convolution, normalisation, rectifier.
#[derive(Debug)]
pub(super) struct Block {
    kernel: Kernel,
    gain: Tensor,
    offset: Tensor,
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
        let rank = config.rank;
        let mut weight = |size: usize| {
            let shape = kernel_shape(width, width, size, rank);
            maker.normal(
                format!("{name}.weight{size}"),
                &shape,
                he_gain(config.slope),
            )
        };
        let [five, three, one] = [weight(5)?, weight(3)?, weight(1)?];
        let mut identity = Tensor::eye(width, maker.dtype(), &Device::Cpu)?
            .reshape(kernel_shape(width, width, 1, rank))?;
        for dim in 2..rank + 2 {
            identity = identity.pad_with_zeros(dim, 2, 2)?;
        }
        let kernel = Kernel::Sum([five, three, one, identity]);
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
    pub(super) fn apply(&self, x: Tensor, stride: &[usize]) -> Result<Tensor> {
        let sums = convolve(&x, &self.kernel.merged()?, None, stride)?;
        drop(x);
        self.finish(&sums)
    }

    /// On the channels of two maps.
    pub(super) fn apply_joined(&self, maps: Joined) -> Result<Tensor> {
        let sums = maps.convolved(&self.kernel.merged()?)?;
        drop(maps);
        self.finish(&sums)
    }

    fn finish(&self, sums: &Tensor) -> Result<Tensor> {
        normalise(sums, &self.gain, &self.offset, self.groups, self.slope)
    }
}

/// The gain that keeps the variance through a rectifier with this slope below zero.
fn he_gain(slope: f64) -> f64 {
    2.0 / (1.0 + slope * slope)
}

/// A convolution with bias that ends in feature channels.
#[derive(Debug)]
pub(super) struct Head {
    weight: Tensor,
    bias: Tensor,
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
        let out = convolve(&x, &self.weight, Some(&self.bias), &stride)?;
        drop(x);
        match self.activation {
            HeadActivation::Linear => Ok(out),
            HeadActivation::Tanh => tanh(&out),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    #[test]
    fn large_kernels_are_the_sum_of_their_parts() {
        for rank in [2, 3] {
            let config = NetworkConfig::large_kernel_unet(rank, 1, 4);
            let mut maker = Maker::new(1, DType::F64);
            let block = Block::large(&mut maker, "block", &config, 4).unwrap();
            let size = [9, 6, 7];
            let shape: Vec<usize> = [&[2, 4], &size[..rank]].concat();
            let x = maker.normal("x".into(), &shape, 1.0).unwrap();
            let unit = vec![1; rank];
            let with = |w: &Tensor| convolve(&x, w, None, &unit).unwrap();
            let Kernel::Sum([five, three, one, _]) = &block.kernel else {
                panic!("not a sum of kernels")
            };
            let parts = (((with(five) + with(three)).unwrap() + with(one)).unwrap() + &x).unwrap();
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
