//! Local correlation on a GPU: kernels/lncc.cu.

use candle_core::Tensor;

use super::memory::{images, MOMENTS};
use super::Windows;
use crate::ops::device::{Argument, Doubles, Launcher, Plain, Size, Source};
use crate::Result;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Boxes {
    size: Size,
    radius: Size,
}

// SAFETY: `struct Boxes` of the kernel.
unsafe impl Plain for Boxes {}

/// One minus the mean, and the gradients of `factor` times that with respect to the first `OF` of two contiguous images.
///
/// A volume at a time: sums over boxes take 80 bytes for each of its voxels.
pub(super) fn of<const OF: usize>(
    launcher: &Launcher,
    windows: &Windows,
    [first, second]: &[Tensor; 2],
    factor: f64,
) -> Result<(f64, [Tensor; OF])> {
    let (n, count) = (windows.size.iter().product(), first.elem_count());
    let volume = |tensor: &Tensor, k| tensor.reshape((count / n, n))?.narrow(0, k, 1);
    let gradients = (0..OF)
        .map(|_| launcher.empty(first.dims(), launcher.precision().dtype()))
        .collect::<Result<Vec<_>>>()?;
    let pass = Pass {
        launcher,
        boxes: Argument::of(Boxes {
            size: Size::of(&windows.size)?,
            radius: Size::of(&windows.radius)?,
        }),
        n,
        sums: [
            Doubles::new(launcher, MOMENTS * n)?,
            Doubles::new(launcher, MOMENTS * n)?,
        ],
    };
    let mut total = 0.0;
    for k in 0..count / n {
        let images = [volume(first, k)?, volume(second, k)?];
        total += pass.correlation(&images, OF)?;
        let written = gradients
            .iter()
            .map(|gradient| Ok(volume(gradient, k)?))
            .collect::<Result<Vec<_>>>()?;
        if OF > 0 {
            pass.gradients(&images, -factor / count as f64, &written)?;
        }
    }
    let gradients = std::array::from_fn(|k| gradients[k].clone());
    Ok((1.0 - total / count as f64, gradients))
}

/// One volume, with room for sums over boxes.
struct Pass<'a> {
    launcher: &'a Launcher,
    boxes: Argument,
    n: usize,
    sums: [Doubles; 2],
}

impl Pass<'_> {
    /// The sum of squared correlations; coefficients of the gradients by the first `of` images go to the first of the sums.
    fn correlation(&self, [first, second]: &[Tensor; 2], of: usize) -> Result<f64> {
        let arguments = [
            self.boxes.clone(),
            self.launcher.input(first, self.n)?,
            self.launcher.input(second, self.n)?,
            self.sums[0].output()?,
        ];
        self.launch("moments_x", &arguments)?;
        self.across("y", MOMENTS, 0)?;
        let kernel = format!("correlate_{}", ["alone", "for_first", "for_both"][of]);
        let arguments = vec![
            self.boxes.clone(),
            self.sums[1].input()?,
            self.sums[0].output()?,
        ];
        let [sum] = self
            .launcher
            .sums(&Source::LNCC, &kernel, self.n, arguments)?;
        Ok(sum)
    }

    /// Gradients of `factor` times that sum, from the coefficients.
    fn gradients(
        &self,
        [first, second]: &[Tensor; 2],
        factor: f64,
        written: &[Tensor],
    ) -> Result<()> {
        self.across("x", images(written.len()), 0)?;
        self.across("y", images(written.len()), 1)?;
        let written_to = |k: usize| match written.get(k) {
            Some(gradient) => self.launcher.output(gradient, self.n),
            None => Ok(Argument::none()),
        };
        let arguments = [
            self.boxes.clone(),
            Argument::of(factor),
            self.launcher.input(first, self.n)?,
            self.launcher.input(second, self.n)?,
            self.sums[0].input()?,
            written_to(0)?,
            written_to(1)?,
        ];
        let kernel = format!("mix_{}", ["for_first", "for_both"][written.len() - 1]);
        self.launch(&kernel, &arguments)
    }

    /// Sums over the windows along an axis, from sums `from` to the others.
    fn across(&self, axis: &str, images: usize, from: usize) -> Result<()> {
        let arguments = [
            self.boxes.clone(),
            Argument::count(images)?,
            self.sums[from].input()?,
            self.sums[1 - from].output()?,
        ];
        self.launch(&format!("across_{axis}"), &arguments)
    }

    fn launch(&self, kernel: &str, arguments: &[Argument]) -> Result<()> {
        self.launcher
            .launch(&Source::LNCC, kernel, self.n, arguments)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::super::Windows;
    use crate::ops::{noise, Stage, PRECISIONS};

    fn compare<const OF: usize>(
        stage: &Stage,
        images: &[Tensor; 2],
        window: &[usize],
        tolerance: f64,
    ) {
        let there = images.each_ref().map(|image| stage.put(image));
        let windows = Windows::new(&images[0], &images[1], window).unwrap();
        let (expected, of_here) = windows.of::<OF>(images, 0.7).unwrap();
        let (got, of_there) = stage.run(|| windows.of::<OF>(&there, 0.7).unwrap());
        let what = format!("{:?}, {window:?}, {OF}", images[0].dims());
        stage.numbers(&what, &[expected], &[got], 1e-10);
        for (expected, got) in of_here.iter().zip(&of_there) {
            stage.same(&what, &[expected], &[got], tolerance);
        }
    }

    #[test]
    fn values_and_gradients_as_on_the_cpu() {
        let sizes = [
            (&[17, 12][..], &[5, 3][..]),
            (&[13, 9, 7], &[5, 7, 3]),
            // windows as large as the volume, an axis of one voxel, windows of one along an axis
            (&[5, 1, 4], &[3, 3, 9]),
            (&[6, 5], &[1, 3]),
        ];
        for stage in Stage::all() {
            for (size, window) in sizes {
                // two pairs of three channels, far from zero, that share a part
                let part = noise(6, size, 1);
                let image = |seed| {
                    let own = (noise(6, size, seed) + &part).unwrap();
                    let mut shape = vec![2, 3];
                    shape.extend(size.iter().rev());
                    ((own * 0.2).unwrap() + 3.0)
                        .unwrap()
                        .reshape(shape)
                        .unwrap()
                };
                for (dtype, share) in PRECISIONS {
                    let images = [2, 3].map(|seed| image(seed).to_dtype(dtype).unwrap());
                    // sums of doubles run over other windows on the CPU, so that differences of them are less exact
                    let tolerance = (1e-6 * share).max(1e-11);
                    compare::<0>(&stage, &images, window, tolerance);
                    compare::<1>(&stage, &images, window, tolerance);
                    compare::<2>(&stage, &images, window, tolerance);
                }
            }
        }
    }
}
