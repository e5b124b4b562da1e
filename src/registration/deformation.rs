//! The deformable stage.

use std::sync::Arc;

use candle_core::{DType, Device};

use crate::features::{level_grid, Features};
use crate::ops::{FoldBarrier, Interpolation};
use crate::regulariser::{Diffusion, Regulariser};
use crate::solver::{GaussNewton, Multilevel, Solver, TrustRegion};
use crate::transform::{Compositive, Transform};
use crate::{Error, Grid, Result};

/// How two aligned images are deformed onto each other.
#[derive(Debug, Clone)]
pub struct Deformation {
    /// The parametrisation.
    pub transform: Arc<dyn Transform>,
    /// What of the images is compared.
    pub features: Features,
    /// What keeps it smooth.
    pub regulariser: Arc<dyn Regulariser>,
    /// Weight of the regulariser, relative to the images' gradient energy.
    pub lambda: f64,
    /// Shrink factors of the levels, coarse first; none chooses by the image's size.
    pub levels: Option<Vec<usize>>,
    /// Most outer iterations on each level; none takes the solver's own.
    pub iterations: Option<Vec<usize>>,
    /// A level ends once an iteration lowers its energy by less than this share; certified runs end at their minimum instead.
    pub decrease: f64,
    /// Run to a certified minimum: cubic interpolation, double precision, trust region, and a [`FoldBarrier`] in the
    /// energy when the transform must not fold. See [`Deformation::certified`].
    pub certify: bool,
    /// Another solver than the mode's own, for all levels.
    pub solver: Option<Arc<dyn Solver>>,
    /// Where the levels are solved; the result comes back to the CPU. See
    /// [`DeviceChoice`](crate::DeviceChoice).
    pub device: Device,
}

const BARRIER: FoldBarrier = FoldBarrier {
    weight: 3.0,
    threshold: 0.3,
};

impl Default for Deformation {
    fn default() -> Self {
        Self {
            transform: Arc::new(Compositive),
            features: Features::default(),
            regulariser: Arc::new(Diffusion),
            lambda: Self::LAMBDA,
            levels: None,
            iterations: None,
            decrease: Self::DECREASE,
            certify: false,
            solver: None,
            device: Device::Cpu,
        }
    }
}

/// A level is left out when its longest axis would have fewer voxels.
const FEWEST: usize = 16;

impl Deformation {
    /// The default weight of the regulariser.
    pub const LAMBDA: f64 = 0.2;

    /// The default share of the energy below which an iteration is the last: a smaller one comes closer to the minimum, for more
    /// iterations.
    pub const DECREASE: f64 = 1e-2;

    /// The default weight of the regulariser in a certified run. A smaller one leaves more to the data, whose energy is
    /// not convex: more iterations, and sooner or later no certificate.
    pub const CERTIFIED_LAMBDA: f64 = 1.0;

    /// A run to a certified minimum with its default weight, comparing intensities alone.
    pub fn certified() -> Self {
        Self {
            certify: true,
            features: Features::Intensities,
            lambda: Self::CERTIFIED_LAMBDA,
            ..Self::default()
        }
    }

    /// The barrier that is part of the energy, its weight relative to the gradient energy: that of certified runs with a
    /// transform that must not fold.
    pub fn barrier(&self) -> Option<FoldBarrier> {
        (self.certify && self.transform.must_not_fold()).then_some(BARRIER)
    }

    /// The shrink factors for a fixed grid: those asked for, else 4x2x1 without levels too small to show anything.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the iterations are not one number a level.
    pub fn shrinks(&self, fixed: &Grid) -> Result<Vec<usize>> {
        let shrinks = match &self.levels {
            Some(levels) => levels.clone(),
            None => {
                let mut shrinks = vec![1];
                for shrink in [2, 4] {
                    if level_grid(fixed, shrink)?
                        .size()
                        .iter()
                        .any(|&n| n >= FEWEST)
                    {
                        shrinks.insert(0, shrink);
                    }
                }
                shrinks
            }
        };
        if self
            .iterations
            .as_ref()
            .is_some_and(|i| i.len() != shrinks.len())
        {
            return Err(Error::argument(
                "iterations",
                format!(
                    "give one number a level: there are {} levels",
                    shrinks.len()
                ),
            ));
        }
        Ok(shrinks)
    }

    /// Element type of parameters and energies: double precision in a certified run, else single.
    pub(crate) fn dtype(&self) -> DType {
        if self.certify {
            DType::F64
        } else {
            DType::F32
        }
    }

    /// The levels with their solvers.
    pub(crate) fn multilevel(&self, shrinks: Vec<usize>) -> Multilevel {
        Multilevel {
            solvers: (0..shrinks.len()).map(|level| self.solver(level)).collect(),
            shrinks,
            features: self.features,
            transform: self
                .transform
                .smooth()
                .filter(|_| self.certify)
                .unwrap_or_else(|| self.transform.clone()),
            regulariser: self.regulariser.clone(),
            lambda: self.lambda,
            damping: if self.certify { 0.0 } else { 2.0 },
            dtype: self.dtype(),
            interpolation: if self.certify {
                Interpolation::Cubic
            } else {
                Interpolation::Linear
            },
            barrier: self.barrier(),
            device: self.device.clone(),
            differentiated: false,
        }
    }

    fn solver(&self, level: usize) -> Arc<dyn Solver> {
        if let Some(solver) = &self.solver {
            return solver.clone();
        }
        let steps = self.iterations.as_ref().map(|i| i[level]);
        if self.certify {
            let mut solver = TrustRegion::default();
            solver.steps = steps.unwrap_or(solver.steps);
            Arc::new(solver)
        } else {
            let solver = GaussNewton::default();
            Arc::new(GaussNewton {
                steps: steps.unwrap_or(solver.steps),
                decrease: self.decrease,
                ..solver
            })
        }
    }
}
