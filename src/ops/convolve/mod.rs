//! Convolution of channels with small kernels, and its adjoints.

mod axis;
mod centred;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod gather;
mod gradient;
mod op;
mod weights;
mod window;
mod winograd;

use axis::{outputs, Axis};
pub(crate) use centred::{add_centred, centre};
use gather::{gather, PackedWeights};
pub(crate) use gradient::convolve_bias_gradient;
pub use gradient::{convolve_adjoint, convolve_weight_gradient};
pub use op::{convolve, convolve_joined};
use window::Window;
use winograd::Winograd;

use super::real::Real;
use super::rows::Shared;
use crate::{Error, Result};

/// Volumes `[batch, channels, z, y, x]` of one or more tensors, channels one after the other.
pub(super) struct Channels<'a, T> {
    parts: Vec<(&'a [T], usize)>,
    batch: usize,
    voxels: usize,
}

impl<'a, T: Real> Channels<'a, T> {
    /// Of tensors and their numbers of channels.
    fn new(parts: Vec<(&'a [T], usize)>, batch: usize, voxels: usize) -> Self {
        for (values, channels) in &parts {
            assert_eq!(values.len(), batch * channels * voxels, "convolution");
        }
        Self {
            parts,
            batch,
            voxels,
        }
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn count(&self) -> usize {
        self.parts.iter().map(|p| p.1).sum()
    }

    fn volume(&self, item: usize, mut channel: usize) -> &'a [T] {
        for (values, channels) in &self.parts {
            if channel < *channels {
                let at = (item * channels + channel) * self.voxels;
                return &values[at..at + self.voxels];
            }
            channel -= channels;
        }
        unreachable!("channel beyond the tensors")
    }
}

/// Sizes of a convolution, fastest axis first; two dimensions are three with one plane.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sizes {
    batch: usize,
    inputs: usize,
    outputs: usize,
    size: [usize; 3],
    kernel: [usize; 3],
    stride: [usize; 3],
}

impl Sizes {
    /// Of shapes of images, of which `inputs` channels are taken, and weight.
    fn new(images: &[usize], inputs: usize, shape: &[usize], stride: &[usize]) -> Result<Self> {
        let rank = stride.len();
        if !(2..=3).contains(&rank) || images.len() != rank + 2 {
            return Err(Error::Shape {
                what: "images of a convolution (batch, channels, then an axis for each stride)",
                expected: vec![0; rank + 2],
                got: images.to_vec(),
            });
        }
        if shape.len() != rank + 2 || shape[1] != inputs {
            let mut expected = vec![0, inputs];
            expected.extend(shape.iter().skip(2));
            return Err(Error::Shape {
                what: "weight of a convolution (outputs, inputs, then the kernel)",
                expected,
                got: shape.to_vec(),
            });
        }
        if shape[2..].iter().any(|k| k % 2 == 0) {
            return Err(Error::argument(
                "weight",
                format!("kernel sizes must be odd, got {:?}", &shape[2..]),
            ));
        }
        if stride.contains(&0) {
            return Err(Error::argument(
                "stride",
                "must be at least 1 along every axis",
            ));
        }
        let fastest =
            |dims: &[usize]| std::array::from_fn(|a| if a < rank { dims[rank - 1 - a] } else { 1 });
        Ok(Self {
            batch: images[0],
            inputs,
            outputs: shape[0],
            size: fastest(&images[2..]),
            kernel: fastest(&shape[2..]),
            stride: std::array::from_fn(|a| stride.get(a).copied().unwrap_or(1)),
        })
    }

    /// The shape of the result, of as many axes as the images have.
    fn shape(&self, rank: usize) -> Vec<usize> {
        let mut shape = vec![self.batch, self.outputs];
        shape.extend(self.result()[..rank - 2].iter().rev());
        shape
    }

    fn voxels(&self) -> usize {
        self.size.iter().product()
    }

    fn result(&self) -> [usize; 3] {
        std::array::from_fn(|a| outputs(self.size[a], self.stride[a]))
    }

    fn result_voxels(&self) -> usize {
        self.result().iter().product()
    }

    fn entries(&self) -> usize {
        self.kernel.iter().product()
    }

    fn axes(&self) -> [Axis; 3] {
        std::array::from_fn(|a| Axis::forward(self.size[a], self.kernel[a], self.stride[a]))
    }

    /// `out[o] = bias[o] + sum_c weight[o, c] * in[c]`.
    fn forward<T: Real>(
        &self,
        source: &Channels<'_, T>,
        weight: &[T],
        bias: Option<&[T]>,
        out: Shared<T>,
    ) {
        let (inputs, n) = (self.inputs, self.entries());
        let weight = |o: usize, c: usize, k: usize| weight[(o * inputs + c) * n + k];
        self.sums(self.axes(), self.outputs, bias, weight, source, out);
    }

    /// `out[o] = bias[o] + sum_c weight[o, c] * in[c]` along these axes, with `weight(o, c, entry of the kernel)`.
    fn sums<T: Real>(
        &self,
        axes: [Axis; 3],
        outputs: usize,
        bias: Option<&[T]>,
        weight: impl Fn(usize, usize, usize) -> T + Sync,
        source: &Channels<'_, T>,
        out: Shared<T>,
    ) {
        let inputs = source.count();
        if let Some(winograd) = Winograd::of_results(&axes, inputs) {
            winograd.gather(outputs, self.kernel, bias, weight, source, out);
            return;
        }
        let window = Window::new(axes, inputs, gather::MOST);
        let (offsets, entries) = window.taps(inputs, self.kernel);
        let packed = PackedWeights::new(outputs, inputs, &entries, bias, weight);
        gather(&window, &offsets, &packed, source, out);
    }

    /// The adjoint with respect to the input channels from `first` on, `channels` of them.
    fn backward_data<T: Real>(
        &self,
        cotangent: &[T],
        weight: &[T],
        first: usize,
        channels: usize,
        out: Shared<T>,
    ) {
        let source = Channels::new(
            vec![(cotangent, self.outputs)],
            self.batch,
            self.result_voxels(),
        );
        let (inputs, n) = (self.inputs, self.entries());
        let [x, y, z]: [Vec<Axis>; 3] =
            std::array::from_fn(|a| Axis::transposed(self.size[a], self.kernel[a], self.stride[a]));
        for z in &z {
            for y in &y {
                for x in &x {
                    let axes = [x.clone(), y.clone(), z.clone()];
                    let weight =
                        |c: usize, o: usize, k: usize| weight[(o * inputs + first + c) * n + k];
                    self.sums(axes, channels, None, weight, &source, out);
                }
            }
        }
    }

    /// The adjoint with respect to the weights, `[outputs, inputs, kernel]`.
    fn backward_weights<T: Real>(&self, source: &Channels<'_, T>, cotangent: &[T]) -> Vec<T> {
        let cotangent = Channels::new(
            vec![(cotangent, self.outputs)],
            self.batch,
            self.result_voxels(),
        );
        if let Some(winograd) = Winograd::of_weights(&self.axes(), self.inputs, self.outputs) {
            return winograd.correlate(self.kernel, source, &cotangent);
        }
        let window = Window::new(self.axes(), self.inputs, weights::MOST);
        let (offsets, _) = window.taps(self.inputs, self.kernel);
        weights::correlate(&window, &offsets, source, &cotangent)
    }
}
