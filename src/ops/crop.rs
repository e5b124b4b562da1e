//! Part of a grid, and channels put together.

use candle_core::Tensor;

use super::diffusion::size;
use super::rows::for_rows;
use super::storage::{computed, read, with_stored};
use super::vector::copy;
use super::zeros::zeros;
use crate::Result;

/// The voxels of a tensor `[channels, (nz,) ny, nx]` from `start` on, `part` of them along each axis (fastest first), as a
/// tensor of its own. Nothing is recorded.
pub(crate) fn crop(whole: &Tensor, start: &[usize], part: &[usize]) -> Result<Tensor> {
    let all = size(whole);
    let rank = all.len();
    assert!(
        (0..rank).all(|a| start[a] + part[a] <= all[a]),
        "{part:?} from {start:?} on do not lie within {all:?}"
    );
    let channels = whole.dims()[0];
    let mut shape = vec![channels];
    shape.extend(part.iter().rev());
    let rows: usize = part[1..].iter().product();
    let (n, width): (usize, usize) = (all.iter().product(), part[0]);
    with_stored!(whole.dtype(), T => {
        let values: Vec<T> = read::<T, _>(whole, |from| {
            let work = |to: super::rows::Shared<T>| {
                for_rows(rows * channels, width, |run| {
                    for line in run {
                        let (c, row) = (line / rows, line % rows);
                        let mut source = start[1] + row % part[1];
                        if rank == 3 {
                            source += (start[2] + row / part[1]) * all[1];
                        }
                        let from = &from[c * n + source * all[0] + start[0]..][..width];
                        // SAFETY: each task its own rows of the part.
                        unsafe { to.at(line * width).copy_from_nonoverlapping(from.as_ptr(), width) };
                    }
                });
            };
            // SAFETY: every row of every channel is written.
            unsafe { computed(rows * channels * width, work) }
        })?;
        Ok(Tensor::from_vec(values, shape, whole.device())?)
    })
}

/// The channels of two tensors on one grid, the first one's first. Nothing is recorded.
pub(crate) fn beside(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    let [a, b] = [first.dims()[0], second.dims()[0]];
    let mut shape = first.dims().to_vec();
    shape[0] = a + b;
    let both = zeros(shape, first.dtype(), first.device())?;
    copy(first, &both.narrow(0, 0, a)?)?;
    copy(second, &both.narrow(0, a, b)?)?;
    Ok(both)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn counting(shape: &[usize], dtype: DType) -> Tensor {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|v| v as f32).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        tensor.to_dtype(dtype).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        let flat = tensor.to_dtype(DType::F64).unwrap();
        flat.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn parts_are_those_of_the_tensor_engine() {
        for dtype in [DType::F16, DType::F32, DType::F64] {
            let x = counting(&[2, 3, 4, 5], dtype);
            let part = crop(&x, &[1, 0, 2], &[3, 4, 1]).unwrap();
            let expected = x.narrow(3, 1, 3).unwrap().narrow(1, 2, 1).unwrap();
            assert_eq!(part.dims(), expected.dims());
            assert_eq!(values(&part), values(&expected));
            let x = counting(&[3, 6, 7], dtype);
            let part = crop(&x, &[2, 1], &[5, 4]).unwrap();
            let expected = x.narrow(2, 2, 5).unwrap().narrow(1, 1, 4).unwrap();
            assert_eq!(values(&part), values(&expected));
        }
    }

    #[test]
    #[should_panic(expected = "do not lie within")]
    fn parts_lie_inside() {
        let _ = crop(&counting(&[1, 4, 4], DType::F32), &[1, 0], &[4, 4]);
    }

    #[test]
    fn channels_are_put_together_as_by_the_tensor_engine() {
        for dtype in [DType::F32, DType::F64] {
            let (a, b) = (counting(&[2, 3, 700], dtype), counting(&[1, 3, 700], dtype));
            let b = (b + 0.5).unwrap();
            let expected = Tensor::cat(&[&a, &b], 0).unwrap();
            assert_eq!(values(&beside(&a, &b).unwrap()), values(&expected));
        }
    }
}
