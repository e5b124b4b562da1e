//! Separable filters on a GPU: kernels/separable.cu.

use candle_core::{DType, Tensor};

use super::Table;
use crate::ops::device::{with_precision, Argument, Launcher, Source};
use crate::ops::real::Real;
use crate::Result;

/// Filters along the axis `dim` of a contiguous tensor.
pub(super) fn along_axis(
    launcher: &Launcher,
    x: &Tensor,
    dim: usize,
    table: &Table,
) -> Result<Tensor> {
    let (inputs, outputs) = (table.inputs(), table.outputs());
    let mut shape = x.dims().to_vec();
    shape[dim] = outputs;
    let inner: usize = shape[dim + 1..].iter().product();
    let device = launcher.device();
    let start: Vec<u32> = table.start().iter().map(|&s| s as u32).collect();
    let start = Tensor::new(start, &device)?;
    let weights = with_precision!(launcher.precision(), T => {
        let weights: Vec<T> = table.weights().iter().map(|&w| <T as Real>::of(w)).collect();
        Tensor::new(weights, &device)
    })?;
    let out = launcher.empty(&shape, launcher.precision().dtype())?;
    let n = out.elem_count();
    let arguments = [
        Argument::count(n)?,
        Argument::count(inputs)?,
        Argument::count(outputs)?,
        Argument::count(inner)?,
        Argument::count(table.taps())?,
        Argument::input_of(&start, DType::U32, outputs)?,
        launcher.input(&weights, outputs * table.taps())?,
        launcher.input(x, n / outputs * inputs)?,
        launcher.output(&out, n)?,
    ];
    launcher.launch(&Source::SEPARABLE, "along_axis", n, &arguments)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use crate::ops::{
        average_pool, noise_in, resize, resize_adjoint, smooth, smooth_adjoint, Stage, PRECISIONS,
    };
    use crate::Result;
    use candle_core::Tensor;

    #[test]
    fn filters_as_on_the_cpu() {
        type Filter<'a> = (&'a str, &'a dyn Fn(&Tensor) -> Result<Tensor>);
        for stage in Stage::all() {
            for (size, (dtype, share)) in [&[17, 12][..], &[9, 1, 6], &[13, 11, 7]]
                .into_iter()
                .flat_map(|size| PRECISIONS.map(|precision| (size, precision)))
            {
                let x = noise_in(dtype, 2, size, 1);
                let y = stage.put(&x);
                let sigma = &[1.3, 0.0, 0.6][..size.len()];
                let to = &[8, 15, 9][..size.len()];
                let filters: [Filter; 5] = [
                    ("smooth", &|x| smooth(x, sigma)),
                    ("smooth adjoint", &|x| smooth_adjoint(x, sigma)),
                    ("resize", &|x| resize(x, to)),
                    ("resize adjoint", &|x| resize_adjoint(x, to)),
                    ("pool", &|x| average_pool(x, &vec![2; size.len()])),
                ];
                for (what, filter) in filters {
                    let expected = filter(&x).unwrap();
                    let got = stage.run(|| filter(&y)).unwrap();
                    stage.same(what, &[&expected], &[&got], 1e-6 * share);
                }
            }
        }
    }
}
