//! Whole tensors on a GPU: kernels/vector.cu.

use candle_core::Tensor;

use crate::ops::device::{Argument, Launcher, Source};
use crate::Result;

pub(super) fn combine(launcher: &Launcher, a: f64, x: &Tensor, b: f64, y: &Tensor) -> Result<()> {
    let (n, stored) = (x.elem_count(), launcher.stored(x)?);
    let arguments = [
        Argument::count(n)?,
        launcher.number(a),
        stored.input(x, n)?,
        launcher.number(b),
        stored.output(y, n)?,
    ];
    let kernel = format!("combine_{}", stored.name());
    launcher.launch(&Source::VECTOR, &kernel, n, &arguments)
}

pub(super) fn dot(launcher: &Launcher, x: &Tensor, y: &Tensor) -> Result<f64> {
    let (n, stored) = (x.elem_count(), launcher.stored(x)?);
    let arguments = vec![
        Argument::count(n)?,
        stored.input(x, n)?,
        stored.input(y, n)?,
    ];
    let kernel = format!("dot_{}", stored.name());
    let [sum] = launcher.sums(&Source::VECTOR, &kernel, n, arguments)?;
    Ok(sum)
}

pub(super) fn scale(launcher: &Launcher, factor: f64, from: &Tensor, to: &Tensor) -> Result<()> {
    let n = from.elem_count();
    let (given, wanted) = (launcher.stored(from)?, launcher.stored(to)?);
    let arguments = [
        Argument::count(n)?,
        launcher.number(factor),
        given.input(from, n)?,
        wanted.output(to, n)?,
    ];
    let kernel = format!("scale_{}_to_{}", given.name(), wanted.name());
    launcher.launch(&Source::VECTOR, &kernel, n, &arguments)
}

pub(super) fn fill(launcher: &Launcher, value: f64, x: &Tensor) -> Result<()> {
    let (n, stored) = (x.elem_count(), launcher.stored(x)?);
    let arguments = [
        Argument::count(n)?,
        launcher.number(value),
        stored.output(x, n)?,
    ];
    let kernel = format!("fill_{}", stored.name());
    launcher.launch(&Source::VECTOR, &kernel, n, &arguments)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use crate::ops::{clear, combine, convert, copy, dot, noise, noise_in, Stage, PRECISIONS};

    #[test]
    fn whole_tensors_as_on_the_cpu() {
        for stage in Stage::all() {
            for (size, (dtype, share)) in [&[1, 1][..], &[37, 29, 11]]
                .into_iter()
                .flat_map(|size| PRECISIONS.map(|precision| (size, precision)))
            {
                let [x, y] = [1, 2].map(|seed| noise_in(dtype, 3, size, seed));
                let [a, b, c] = [&x, &y, &y].map(|t| stage.put(t));
                let expected = dot(&x, &y).unwrap();
                let got = stage.run(|| dot(&a, &b)).unwrap();
                stage.numbers("dot", &[expected], &[got], 1e-12);
                combine(0.3, &x, -1.7, &y).unwrap();
                stage.run(|| combine(0.3, &a, -1.7, &b)).unwrap();
                stage.same("combine", &[&y], &[&b], 1e-6 * share);
                convert(0.25, &x, &y).unwrap();
                stage.run(|| convert(0.25, &a, &b)).unwrap();
                stage.same("convert", &[&y], &[&b], 0.0);
                copy(&x, &y).unwrap();
                stage.run(|| copy(&a, &c)).unwrap();
                stage.same("copy", &[&y], &[&c], 0.0);
                clear(&y).unwrap();
                stage.run(|| clear(&c)).unwrap();
                stage.same("clear", &[&y], &[&c], 0.0);
            }
        }
    }

    #[test]
    fn halves_as_on_the_cpu() {
        for stage in Stage::all() {
            let size = &[37, 29, 11];
            let full = [1, 2].map(|seed| noise(3, size, seed));
            let half = full.each_ref().map(|t| t.to_dtype(DType::F16).unwrap());
            let [x, y] = &half;
            let [a, b] = half.each_ref().map(|t| stage.put(t));
            let expected = dot(x, y).unwrap();
            let got = stage.run(|| dot(&a, &b)).unwrap();
            stage.numbers("dot", &[expected], &[got], 1e-12);
            combine(0.3, x, -1.7, y).unwrap();
            stage.run(|| combine(0.3, &a, -1.7, &b)).unwrap();
            // one unit in the last place of the largest
            stage.same("combine", &[y], &[&b], 1e-3);
            let wide = stage.put(&full[0]);
            convert(1e4, x, &full[0]).unwrap();
            stage.run(|| convert(1e4, &a, &wide)).unwrap();
            stage.same("widened", &[&full[0]], &[&wide], 0.0);
            // small ones are subnormal in half precision
            convert(1e-9, &full[0], x).unwrap();
            stage.run(|| convert(1e-9, &wide, &a)).unwrap();
            stage.same("narrowed", &[x], &[&a], 0.0);
            clear(y).unwrap();
            stage.run(|| clear(&b)).unwrap();
            stage.same("clear", &[y], &[&b], 0.0);
        }
    }

    #[test]
    fn double_precision_to_single_and_back() {
        for stage in Stage::all() {
            let size = &[37, 29, 11];
            let double = (noise_in(DType::F64, 3, size, 1) / 3.0).unwrap();
            let single = noise(3, size, 2);
            let [a, b] = [&double, &single].map(|t| stage.put(t));
            convert(0.3, &double, &single).unwrap();
            stage.run(|| convert(0.3, &a, &b)).unwrap();
            stage.same("narrowed", &[&single], &[&b], 0.0);
            convert(0.7, &single, &double).unwrap();
            stage.run(|| convert(0.7, &b, &a)).unwrap();
            stage.same("widened", &[&double], &[&a], 0.0);
        }
    }

    #[test]
    fn parts_of_a_tensor_keep_to_themselves() {
        for stage in Stage::all() {
            let whole = noise(4, &[9, 7], 3);
            let (there, x) = (stage.put(&whole), stage.put(&noise(2, &[9, 7], 4)));
            let part = there.narrow(0, 1, 2).unwrap();
            stage.run(|| copy(&x, &part)).unwrap();
            let rows = |t: &candle_core::Tensor, row| t.narrow(0, row, 1).unwrap();
            stage.same("before", &[&rows(&whole, 0)], &[&rows(&there, 0)], 0.0);
            stage.same(
                "copied",
                &[&rows(&x, 0), &rows(&x, 1)],
                &[&rows(&there, 1), &rows(&there, 2)],
                0.0,
            );
            stage.same("after", &[&rows(&whole, 3)], &[&rows(&there, 3)], 0.0);
        }
    }
}
