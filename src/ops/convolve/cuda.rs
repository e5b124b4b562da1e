//! Convolution and its adjoints on a GPU: kernels/convolve.cu.

use candle_core::Tensor;

use super::Sizes;
use crate::ops::device::{Argument, Doubles, Launcher, Pieces, Plain, Size, Source};
use crate::Result;

/// Channels of the result that a thread has: `OUTPUTS` of the kernel.
const OUTPUTS: usize = 8;

/// Voxels one above the other that it has: `ROWS` of the kernel.
const ROWS: usize = 4;

/// Channels of the images that a block has for the weights: `CHANNELS` of the kernel.
const CHANNELS: usize = 4;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Convolution {
    from: Size,
    to: Size,
    kernel: Size,
    stride: Size,
    inputs: i32,
    outputs: i32,
    split: i32,
}

// SAFETY: `struct Convolution` of the kernel.
unsafe impl Plain for Convolution {}

impl Convolution {
    /// Between two sizes of voxels, from channels of the images to so many others.
    fn of(
        sizes: &Sizes,
        [from, to]: [[usize; 3]; 2],
        [inputs, outputs]: [i32; 2],
        images: Images<'_>,
    ) -> Result<Self> {
        Ok(Self {
            from: Size::of(&from)?,
            to: Size::of(&to)?,
            kernel: Size::of(&sizes.kernel)?,
            stride: Size::of(&sizes.stride)?,
            inputs,
            outputs,
            split: images.split() as i32,
        })
    }
}

/// Images of a convolution, in one tensor or in two whose channels lie one after the other; contiguous.
#[derive(Clone, Copy)]
pub(super) struct Images<'a> {
    pub first: &'a Tensor,
    pub second: Option<&'a Tensor>,
}

impl<'a> Images<'a> {
    /// Of one tensor or of two.
    pub fn of(tensors: &[&'a Tensor]) -> Self {
        Self {
            first: tensors[0],
            second: tensors.get(1).copied(),
        }
    }

    fn split(self) -> usize {
        self.first.dims()[1]
    }

    fn arguments(self, launcher: &Launcher) -> Result<[Argument; 2]> {
        let input = |tensor: &Tensor| launcher.input(tensor, tensor.elem_count());
        Ok([
            input(self.first)?,
            self.second.map_or(Ok(Argument::none()), input)?,
        ])
    }
}

/// Which weights a gather takes: how many outputs, inputs and entries of the kernel, where those of the first output and input
/// begin, and how far those of the next ones lie; from the last entry to the first where `flipped` is one.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Packing {
    outputs: i32,
    inputs: i32,
    entries: i32,
    start: i32,
    across: i32,
    along: i32,
    flipped: i32,
}

// SAFETY: `struct Packing` of the kernel.
unsafe impl Plain for Packing {}

/// The convolution, in the shape `[batch, outputs, (nz,) ny, nx]` of so many axes.
pub(super) fn forward(
    launcher: &Launcher,
    sizes: &Sizes,
    images: Images<'_>,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let entries = sizes.entries() as i32;
    let gather = Gather {
        kernel: "gather_forward",
        between: [sizes.size, sizes.result()],
        packing: Packing {
            outputs: sizes.outputs as i32,
            inputs: sizes.inputs as i32,
            entries,
            start: 0,
            across: sizes.inputs as i32 * entries,
            along: entries,
            flipped: 0,
        },
    };
    gather.run(launcher, sizes, images, weight, bias)
}

/// Its adjoint to the input channels from `first` on, `channels` of them.
pub(super) fn to_images(
    launcher: &Launcher,
    sizes: &Sizes,
    cotangent: &Tensor,
    weight: &Tensor,
    first: usize,
    channels: usize,
) -> Result<Tensor> {
    let entries = sizes.entries() as i32;
    let flipped = sizes.stride == [1; 3];
    let gather = Gather {
        kernel: if flipped {
            "gather_forward"
        } else {
            "gather_back"
        },
        between: [sizes.result(), sizes.size],
        packing: Packing {
            outputs: channels as i32,
            inputs: sizes.outputs as i32,
            entries,
            start: first as i32 * entries,
            across: entries,
            along: sizes.inputs as i32 * entries,
            flipped: i32::from(flipped),
        },
    };
    gather.run(launcher, sizes, Images::of(&[cotangent]), weight, None)
}

/// A pass that gathers results from the voxels beside them.
struct Gather {
    kernel: &'static str,
    /// The sizes that are read and written.
    between: [[usize; 3]; 2],
    packing: Packing,
}

impl Gather {
    fn run(
        self,
        launcher: &Launcher,
        sizes: &Sizes,
        images: Images<'_>,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let [_, to] = self.between;
        let Packing {
            outputs, inputs, ..
        } = self.packing;
        // the weights fit into the count of elements, or those of a tensor would not
        Argument::count(weight.elem_count())?;
        let channels = outputs as usize;
        let room = channels.next_multiple_of(OUTPUTS) * inputs as usize * sizes.entries();
        let packed = launcher.empty(&[room], launcher.precision().dtype())?;
        let arguments = [
            Argument::count(room)?,
            Argument::of(self.packing),
            launcher.input(weight, weight.elem_count())?,
            launcher.output(&packed, room)?,
        ];
        launcher.launch(&Source::CONVOLVE, "pack_weights", room, &arguments)?;

        let of = Convolution::of(sizes, self.between, [inputs, outputs], images)?;
        let rank = weight.rank() - 2;
        let mut shape = vec![sizes.batch, channels];
        shape.extend(to[..rank].iter().rev());
        let out = launcher.empty(&shape, launcher.precision().dtype())?;
        let n = sizes.batch * channels.div_ceil(OUTPUTS) * to[0] * to[1].div_ceil(ROWS) * to[2];
        let [first, second] = images.arguments(launcher)?;
        let arguments = [
            Argument::count(n)?,
            Argument::of(of),
            first,
            second,
            launcher.input(&packed, room)?,
            launcher.optional(bias, channels)?,
            launcher.output(&out, out.elem_count())?,
        ];
        launcher.launch(&Source::CONVOLVE, self.kernel, n, &arguments)?;
        Ok(out)
    }
}

/// Its adjoint to the weight, whose shape is `weight`.
pub(super) fn to_weight(
    launcher: &Launcher,
    sizes: &Sizes,
    images: Images<'_>,
    cotangent: &Tensor,
    weight: &[usize],
) -> Result<Tensor> {
    let channels = [sizes.inputs as i32, sizes.outputs as i32];
    let of = Convolution::of(sizes, [sizes.size, sizes.result()], channels, images)?;
    let tiles = sizes.outputs.div_ceil(OUTPUTS) * sizes.inputs.div_ceil(CHANNELS) * sizes.entries();
    let pieces = Pieces::of(tiles, sizes.batch * sizes.result_voxels());
    let parts = Doubles::new(launcher, pieces.tasks() * OUTPUTS * CHANNELS)?;
    let [first, second] = images.arguments(launcher)?;
    let arguments = [
        Argument::of(of),
        pieces.argument()?,
        first,
        second,
        launcher.input(cotangent, cotangent.elem_count())?,
        parts.output()?,
    ];
    launcher.blocks(
        &Source::CONVOLVE,
        "correlate_weights",
        pieces.tasks(),
        &arguments,
    )?;
    let out = launcher.empty(weight, launcher.precision().dtype())?;
    let n = out.elem_count();
    let arguments = [
        Argument::count(n)?,
        Argument::of(of),
        pieces.argument()?,
        parts.input()?,
        launcher.output(&out, n)?,
    ];
    launcher.launch(&Source::CONVOLVE, "collect_weights", n, &arguments)?;
    Ok(out)
}

/// Its adjoint to the bias: the sum of each of so many channels of each item.
pub(super) fn to_bias(
    launcher: &Launcher,
    cotangent: &Tensor,
    [batch, channels, voxels]: [usize; 3],
) -> Result<Tensor> {
    let pieces = Pieces::of(batch * channels, voxels);
    let parts = Doubles::new(launcher, pieces.tasks())?;
    let arguments = [
        pieces.argument()?,
        launcher.input(cotangent, batch * channels * voxels)?,
        parts.output()?,
    ];
    launcher.blocks(&Source::CONVOLVE, "sum_bias", pieces.tasks(), &arguments)?;
    let out = launcher.empty(&[channels], launcher.precision().dtype())?;
    let arguments = [
        Argument::count(channels)?,
        pieces.argument()?,
        parts.input()?,
        launcher.output(&out, channels)?,
    ];
    launcher.launch(&Source::CONVOLVE, "collect_bias", channels, &arguments)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use candle_core::{Tensor, Var};

    use crate::ops::{
        convolve, convolve_bias_gradient, convolve_joined, noise_in, Stage, PRECISIONS,
    };

    /// Images `[batch, channels, ...]`, a size fastest first.
    fn images(
        dtype: candle_core::DType,
        [batch, channels]: [usize; 2],
        size: &[usize],
        seed: u64,
    ) -> Tensor {
        let shape: Vec<usize> = [batch, channels]
            .into_iter()
            .chain(size.iter().rev().copied())
            .collect();
        noise_in(dtype, batch * channels, size, seed)
            .reshape(shape)
            .unwrap()
    }

    /// Channels that fill no tile, sizes that fill no row of threads, kernels of one, three and five voxels, longer along one axis.
    #[test]
    fn values_and_gradients_as_on_the_cpu() {
        for stage in Stage::all() {
            for (size, kernel, stride, channels) in [
                (&[17, 13][..], &[3, 3][..], &[1, 1][..], [3, 9]),
                (&[9, 14], &[5, 3], &[2, 1], [5, 4]),
                (&[11, 9, 6], &[3, 3, 3], &[1, 1, 1], [2, 16]),
                (&[9, 11, 7], &[3, 3, 3], &[2, 2, 2], [9, 3]),
                (&[8, 7, 5], &[5, 5, 5], &[1, 1, 1], [4, 4]),
                (&[5, 1, 6], &[1, 3, 1], &[1, 2, 3], [1, 1]),
            ] {
                for (dtype, share) in PRECISIONS {
                    let [inputs, outputs] = channels;
                    // seen along other axes than they lie
                    let x = images(dtype, [inputs, 2], size, 1);
                    let w = images(dtype, [inputs, outputs], kernel, 2);
                    let b = noise_in(dtype, outputs, &[1, 1], 3).flatten_all().unwrap();
                    for biased in [false, true] {
                        let all = |put: &dyn Fn(&Tensor) -> Tensor| -> Vec<Tensor> {
                            let leaves = [&x, &w, &b].map(|t| Var::from_tensor(&put(t)).unwrap());
                            let [x, w] = [0, 1].map(|k| leaves[k].transpose(0, 1).unwrap());
                            let b = biased.then_some(leaves[2].as_tensor());
                            let out = convolve(&x, &w, b, stride).unwrap();
                            let g = images(dtype, [2, outputs], &size_of(&out), 4);
                            let loss = (&out * put(&g)).unwrap().sum_all().unwrap();
                            let store = loss.backward().unwrap();
                            let count = if biased { 3 } else { 2 };
                            let gradients = leaves[..count]
                                .iter()
                                .map(|leaf| store.get(leaf).unwrap().clone());
                            std::iter::once(out.detach()).chain(gradients).collect()
                        };
                        let expected = all(&Tensor::clone);
                        let got = stage.run(|| all(&|t| stage.put(t)));
                        let what = format!("{size:?} {kernel:?} {stride:?} {channels:?} {biased}");
                        let [expected, got] =
                            [&expected, &got].map(|all| all.iter().collect::<Vec<_>>());
                        // filtered sums of the CPU round more than plain ones
                        stage.same(&what, &expected, &got, 2e-5 * share);
                    }
                }
            }
        }
    }

    #[test]
    fn joined_channels_as_on_the_cpu() {
        for stage in Stage::all() {
            for (size, [first, second], outputs) in
                [(&[13, 10][..], [3, 6], 5), (&[9, 7, 6], [8, 3], 8)]
            {
                for (dtype, share) in PRECISIONS {
                    let kernel = vec![3; size.len()];
                    let a = images(dtype, [2, first], size, 1);
                    let b = images(dtype, [2, second], size, 2);
                    let w = images(dtype, [outputs, first + second], &kernel, 3);
                    let g = images(dtype, [2, outputs], size, 4);
                    let all = |put: &dyn Fn(&Tensor) -> Tensor| -> Vec<Tensor> {
                        let leaves = [&a, &b, &w].map(|t| Var::from_tensor(&put(t)).unwrap());
                        let [a, b, w] = leaves.each_ref().map(Var::as_tensor);
                        let out = convolve_joined(a, b, w).unwrap();
                        let loss = (&out * put(&g)).unwrap().sum_all().unwrap();
                        let store = loss.backward().unwrap();
                        let gradients = leaves.iter().map(|leaf| store.get(leaf).unwrap().clone());
                        std::iter::once(out.detach()).chain(gradients).collect()
                    };
                    let expected = all(&Tensor::clone);
                    let got = stage.run(|| all(&|t| stage.put(t)));
                    let [expected, got] =
                        [&expected, &got].map(|all| all.iter().collect::<Vec<_>>());
                    stage.same(&format!("{size:?}"), &expected, &got, 3e-6 * share);
                }
            }
        }
    }

    /// More voxels than one piece of a sum takes.
    #[test]
    fn sums_of_many_pieces_as_on_the_cpu() {
        for stage in Stage::all() {
            for (dtype, share) in PRECISIONS {
                let g = images(dtype, [2, 3], &[70, 61], 1);
                let x = images(dtype, [2, 1], &[70, 61], 2);
                let of = |x: &Tensor, g: &Tensor| {
                    [
                        convolve_bias_gradient(g).unwrap(),
                        crate::convolve_weight_gradient(x, g, &[1, 1], &[3, 1]).unwrap(),
                    ]
                };
                let expected = of(&x, &g);
                let (x, g) = (stage.put(&x), stage.put(&g));
                let got = stage.run(|| of(&x, &g));
                let [expected, got] = [&expected, &got].map(|all| all.iter().collect::<Vec<_>>());
                for (expected, got) in expected.iter().zip(&got) {
                    stage.same("sums", &[expected], &[got], 3e-6 * share);
                }
            }
        }
    }

    fn size_of(images: &Tensor) -> Vec<usize> {
        images.dims()[2..].iter().rev().copied().collect()
    }
}
