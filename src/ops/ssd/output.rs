//! Where a pass leaves gradients and blocks.

use crate::ops::lanes::{Lanes, Stores};
use crate::ops::near::{Near, Neighbourhood};
use crate::ops::pull::{packed, pull, pull_block};
use crate::ops::real::Real;
use crate::ops::rows::Shared;
use crate::ops::sample::Frame;
use half::f16;

/// What a pass does with the displacement itself.
#[derive(Clone, Copy)]
pub(super) struct Smoothness {
    /// Weights of its differences, whose energy and gradient come along.
    pub weight: Option<[[f64; 3]; 3]>,
    /// Whether gradient and blocks are carried to compositive steps.
    pub pull: bool,
}

/// What a pass writes, beside the energies that it returns.
pub(super) enum Output<'a, T> {
    None,
    /// Gradient and blocks.
    Model(Model, Stored<'a, T>, Stored<'a, T>),
}

/// Which blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    /// Of one channel, the vector whose outer product is the block.
    Vector,
    /// Gauss-Newton.
    Blocks,
    /// The Hessian.
    Newton,
}

/// Where gradients and blocks go.
pub(super) enum Stored<'a, T> {
    Full(&'a mut [T]),
    /// As halves, times a factor that keeps them in range.
    Half(&'a mut [f16], f64),
}

impl<T> Stored<'_, T> {
    pub fn len(&self) -> usize {
        match self {
            Self::Full(blocks) => blocks.len(),
            Self::Half(blocks, _) => blocks.len(),
        }
    }
}

/// [`Stored`], shared between tasks.
#[derive(Clone, Copy)]
struct Planes<T> {
    full: Shared<T>,
    /// In place of `full`, with the factor of what is stored.
    halves: Option<(Shared<f16>, f64)>,
    stores: Stores,
}

impl<T: Real> Planes<T> {
    fn of(stored: Stored<'_, T>) -> Self {
        match stored {
            Stored::Full(values) => Self {
                stores: Stores::of(size_of_val(values)),
                full: Shared::new(values),
                halves: None,
            },
            Stored::Half(values, factor) => Self {
                stores: Stores::of(size_of_val(values)),
                full: Shared::new(&mut []),
                halves: Some((Shared::new(values), factor)),
            },
        }
    }

    /// Stores the first `count` lanes from element `at` on.
    #[inline(always)]
    unsafe fn put<L: Lanes<Element = T>>(&self, lanes: L, at: usize, count: usize) {
        // SAFETY: the caller's lanes lie within the planes.
        unsafe {
            match self.halves {
                Some((halves, factor)) => {
                    let scaled = lanes.mul(L::constant(factor));
                    self.stores.put_halves(scaled, halves.at(at), count);
                }
                None => self.stores.put(lanes, self.full.at(at), count),
            }
        }
    }
}

/// Gradients and blocks of a whole grid, written by tasks that each have rows of their own.
#[derive(Clone, Copy)]
pub(super) struct Sink<'a, T, const D: usize> {
    frame: &'a Frame<T, D>,
    smoothness: Smoothness,
    /// What is written; none where values are all that is asked for.
    pub mode: Option<Model>,
    first: Planes<T>,
    second: Planes<T>,
}

impl<'a, T: Real, const D: usize> Sink<'a, T, D> {
    /// The tensors of an output, which must be as long as the grid asks for.
    pub fn new(frame: &'a Frame<T, D>, smoothness: Smoothness, output: Output<'_, T>) -> Self {
        let (mode, first, second) = match output {
            Output::None => (None, Stored::Full(&mut [][..]), Stored::Full(&mut [][..])),
            Output::Model(model, gradient, blocks) => {
                let n = frame.voxels();
                assert_eq!(gradient.len(), n * D, "gradient");
                assert_eq!(blocks.len(), n * entries::<D>(model), "blocks");
                (Some(model), gradient, blocks)
            }
        };
        Self {
            frame,
            smoothness,
            mode,
            first: Planes::of(first),
            second: Planes::of(second),
        }
    }

    /// The differences of a displacement, where the pass takes them along.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub unsafe fn near<'b, L: Lanes<Element = T>>(
        &'b self,
        u: Option<&[T]>,
    ) -> Option<Neighbourhood<'b, L, D>> {
        let (weight, u) = (self.smoothness.weight.as_ref()?, u?);
        // SAFETY: the caller's promise; the displacement covers the grid.
        unsafe { Some(Neighbourhood::new(u.as_ptr(), &self.frame.fixed, weight)) }
    }

    /// What a task does after all its voxels.
    #[inline(always)]
    pub fn settle(&self) {
        self.first.stores.settle();
        self.second.stores.settle();
    }

    /// Stores gradient and block of the first `count` lanes from voxel `at` on, with what the differences add.
    #[inline(always)]
    pub unsafe fn put<L: Lanes<Element = T>, const WHAT: usize>(
        &self,
        near: Option<&Near<L, D>>,
        (at, count): (usize, usize),
        mut gradient: [L; D],
        mut block: [L; 6],
    ) {
        let n = self.frame.voxels();
        // SAFETY: the contract of `run`.
        unsafe {
            if let Some(near) = near {
                for a in 0..D {
                    gradient[a] = gradient[a].add(near.force[a]);
                }
                if self.smoothness.pull {
                    gradient = pull(&near.slope, gradient);
                    if WHAT == 1 {
                        let mut vector = gradient;
                        vector.copy_from_slice(&block[..D]);
                        block[..D].copy_from_slice(&pull(&near.slope, vector));
                    } else {
                        block = pull_block(&near.slope, block);
                    }
                }
            }
            for a in 0..D {
                self.first.put(gradient[a], a * n + at, count);
            }
            let entries = if WHAT == 1 { D } else { D * (D + 1) / 2 };
            for e in 0..entries {
                self.second.put(block[e], e * n + at, count);
            }
        }
    }
}

/// Planes of the blocks of a model.
fn entries<const D: usize>(model: Model) -> usize {
    match model {
        Model::Vector => D,
        _ => D * (D + 1) / 2,
    }
}

/// `B' H B` for the packed symmetric Hessian.
#[inline(always)]
pub(super) unsafe fn pull_hessian<L: Lanes, const D: usize>(
    frame: &Frame<L::Element, D>,
    h: [L; 6],
) -> [L; 6] {
    // SAFETY: within a kernel.
    unsafe {
        let mut half = [[h[0]; D]; D]; // H B
        for a in 0..D {
            for b in 0..D {
                let mut sum = h[packed::<D>(a, 0)].mul(L::splat(frame.matrix[0][b]));
                for k in 1..D {
                    sum = h[packed::<D>(a, k)].fma(L::splat(frame.matrix[k][b]), sum);
                }
                half[a][b] = sum;
            }
        }
        let mut out = h;
        let mut at = 0;
        for a in 0..D {
            for b in a..D {
                let mut sum = half[0][b].mul(L::splat(frame.matrix[0][a]));
                for k in 1..D {
                    sum = half[k][b].fma(L::splat(frame.matrix[k][a]), sum);
                }
                out[at] = sum;
                at += 1;
            }
        }
        out
    }
}
