//! What is minimised, how, and what the report says about it.
//!
//! # The energy
//!
//! The deformable stage looks for the displacement `u` that makes
//!
//! ```text
//! E(u) = 1/2 sum_x m(x) sum_c w_c (M_c(A (x + u(x))) - F_c(x))^2  +  lambda g R(u)
//! ```
//!
//! small. The first part is the likeness, the second the smoothness.
//!
//! * `F` and `M` are the features that are compared, any number of channels `c`, with weights `w_c`; see
//!   [below](#what-is-compared).
//! * `A` is what the linear stages found. It stays as it is while `u` is sought.
//! * `m` is 1 where both images and both masks are, 0 elsewhere.
//! * `R` is the [`Regulariser`](crate::Regulariser); by default [`Diffusion`](crate::Diffusion), half the sum of the
//!   squared derivatives of `u`, millimetres by millimetres, so that anisotropic voxels are treated as what they are.
//! * `g` is the weighted [`gradient_energy`](crate::gradient_energy) of the fixed features on this level: the mean
//!   squared gradient where there is structure.
//!
//! There is no other smoothness hidden in the solver. Its start, its damping and its step rules decide how it travels,
//! not where the energy is lowest.
//!
//! # What is compared
//!
//! `--features`, or [`Features`](crate::Features):
//!
//! | | coarse levels | full resolution | for |
//! |---|---|---|---|
//! | `coarse-mind` (default) | intensities and MIND | intensities | images of one kind |
//! | `intensities` | intensities | intensities | speed; comparison |
//! | `mind` | MIND | MIND | contrasts that differ or are inverted |
//! | `both` | intensities and MIND | intensities and MIND | motion that slides, small images; two to three times slower |
//!
//! **Intensities** are mapped so that the background of each image is 0 and the 99th percentile of its foreground is 1
//! ([`IntensityRange`](crate::IntensityRange)). This compares brightness with brightness: both images should show the same
//! contrast (T1 with T1, CT with CT).
//!
//! **MIND** descriptors ([`mind`](crate::mind), Heinrich et al. 2013, doi:10.1007/978-3-642-40811-3_24) say how alike the
//! neighbours of a voxel are, in 12 channels (4 in two dimensions). They do not depend on gain, offset or sign of the
//! contrast. The neighbours are two voxels of the level's finest axis away, in millimetres along the axes of the fixed
//! grid; in the moving image they lie where `A` carries them, so spacing and orientation of the two grids may differ.
//! Beside intensities they weigh twice as much, at full resolution 0.4 times as much, both measured by their gradient
//! energy. A mask tells which voxels count,
//! but descriptors within three voxels of its border still see what is behind it.
//!
//! Descriptors find the right place from farther away, intensities then tell more tissues apart. Measured with the
//! defaults otherwise (affine and compositive stage), mean Dice or landmark error:
//!
//! | | start | `intensities` | `coarse-mind` | `mind` | `both` |
//! |---|---|---|---|---|---|
//! | liver, 4D-MRI of breathing: 32 landmarks, mm, two pairs | 20.1, 22.1 | 6.3, 6.2 | 2.7, 2.9 | 2.6, 3.0 | 2.6, 2.9 |
//! | the same, six pairs of three other people, mm | 12.2 | 3.5 | 2.1 | 2.1 | 2.1 |
//! | hippocampus, 59 pairs, 2 labels | 0.518 | 0.738 | 0.745 | 0.734 | 0.749 |
//! | mouse brain, 6 pairs, 37 labels | 0.348 | 0.781 | 0.829 | 0.840 | 0.851 |
//! | human brain at 1 mm, 3 pairs, 138 labels | 0.170 | 0.628 | 0.640 | 0.573 | 0.636 |
//! | human brain, slices, 19 pairs, 27 labels | 0.341 | 0.495 | 0.499 | 0.410 | 0.492 |
//!
//! The share and the reach of the descriptors were chosen on these sets, so read them as a comparison of the four, not as a
//! promise; only the second row was not looked at before, its pairs run from 1.0 to 4.0 mm with the default. What is left
//! is mostly tissue that slides along the chest wall, which a map without folds can follow only so far. None of the maps
//! folds.
//!
//! Linear stages, and certified runs unless you ask for more, compare intensities alone.
//!
//! # What lambda means
//!
//! Because of `g`, lambda is a pure number. At an edge of typical strength, a misfit of `d` voxels costs about
//! `1/2 g d^2`; neighbours that move apart by `d` voxels cost `lambda/2 g d^2`. So **lambda is the price of
//! stretching in units of the price of missing an edge.** Multiply an image by 1000, stack more channels, go one
//! level up: it means the same.
//!
//! The default is 0.2 ([`Deformation::LAMBDA`](crate::Deformation)). Halve or double it to notice a difference:
//!
//! * larger (0.5 to 2): smoother, fewer details, better conditioned; for noisy images, large voxels, or when the
//!   determinants in the report run far from 1 without an anatomical reason;
//! * smaller (0.05 to 0.1): follows details, noise among them. Likeness always improves; whether anatomy does, only
//!   labels or landmarks tell. Do not judge a lambda by the difference image.
//!
//! # Levels
//!
//! The problem is solved on coarse grids first; each level starts from the result of the coarser one.
//! `--levels 4x2x1` names by how much each grid is coarser than the finest axis; axes that are coarse already shrink
//! less, so that thick slices become more isotropic. By default 4, 2, 1 are used as far as the image has at least 16
//! voxels along its longest axis there. More levels reach farther, since motion that is large in voxels is found on
//! coarse grids; the finest level costs most. A last level of 2 is about eight times cheaper in 3D and often good
//! enough for a first look.
//!
//! # The fast mode: Gauss-Newton
//!
//! [`GaussNewton`](crate::GaussNewton) is the default. At each iteration the residual is linearised,
//! `M(x + u + e) - F ~ r + J' e`, and the quadratic model
//!
//! ```text
//! (J J' + 3 lambda g L) e = -gradient            L the operator of R
//! ```
//!
//! is solved by conjugate gradients, to a tenth of its residual and with 30 products at most. (The energy's own
//! weight is `lambda g`; twice as much is added to the model alone, which damps rough steps and leaves the minimum
//! where it is.) The step is halved until the energy falls. A level ends when an iteration lowers the energy by less
//! than 1 %, or after 20 iterations.
//!
//! Because it uses curvature, it needs some tens of iterations where gradient descent needs hundreds, and the inner
//! solves cost the same for any number of channels. It uses linear interpolation and single precision (half, for the
//! model inside). **It stops early on purpose**: the result is good and cheap, and it is not a minimum in the strict
//! sense. With linear interpolation the energy has a kink at every plane of voxels, so the gradient would not go to
//! zero anyway; a final gradient of 0.05 to 0.3 of the first is normal.
//!
//! # The certified mode
//!
//! `--certify`, or [`Deformation::certified`](crate::Deformation::certified), runs to a minimum and shows that it is
//! one, for work that rests on it: differentiating through the solve, comparing energies, a claim that a local optimum
//! was found. Four things change.
//!
//! 1. Cubic B-spline interpolation and double precision: the energy is twice continuously differentiable.
//! 2. [`TrustRegion`](crate::TrustRegion): Newton's method with the true Hessian near the minimum, and with the Hessian
//!    made positive semidefinite far from it. Steps stay within the region where the quadratic model was right (Nocedal
//!    and Wright, Numerical Optimization, 2006, chapter 7). Where the gradient gathers in a few places, as where a fold is
//!    about to form, boxes around them are solved apart before the whole takes its next step.
//! 3. With a transform that must not fold, a [`FoldBarrier`](crate::FoldBarrier) is part of the energy: zero where
//!    volumes stay above 0.3 of what they were, growing without bound as one of them vanishes. Without it the minimum of
//!    the energy may lie among folded maps; the solver would come to rest at the border of those allowed, and such a
//!    point is no minimum. The report gives its value beside the other two parts of the energy; where no volume
//!    shrinks so far, it is zero.
//! 4. Lambda is 1 unless you choose it. A smaller one leaves more to the data, whose energy is not convex: more
//!    iterations, and sooner or later no certificate.
//!
//! The certificate of a level ([`Certificate`](crate::Certificate)) holds when
//!
//! * **stationary**: `||g|| / ||g_0|| <= 1e-6`, with `g_0` the gradient at the start of the level, and
//! * **curved upwards**: a search of Lanczos steps with the Hessian, from a random vector, met no negative curvature.
//!   The number of steps and the smallest Ritz value they found are in the report; it bounds the smallest eigenvalue of
//!   the preconditioned Hessian from above, ever more closely with more steps.
//!
//! Then the result is a strict *local* minimum, as far as a Krylov space can tell. It is not a global one, and a
//! certificate is no proof of anatomical truth: it says that the solver did its work. The mode costs many times as
//! much as the fast one. Where it fails, the report says on which level and why; a larger lambda makes the energy more
//! convex and the certificate likelier.
//!
//! ```
//! # fn main() -> stillpoint::Result<()> {
//! use stillpoint::{AlignmentStart, Deformation, Image, Phantom, Registration};
//! let phantom = Phantom::pair(&[40, 48], &[4.0, 4.0], 1)?;
//! let image = |values: &[f32]| Image::new(phantom.grid.clone(), 1, values.to_vec());
//! let registration = Registration {
//!     start: AlignmentStart::Identity,
//!     linear: vec![],
//!     deformation: Some(Deformation::certified()),
//!     ..Registration::default()
//! };
//! let registered = registration.run(&image(&phantom.fixed)?, &image(&phantom.moving)?, &mut |_| Ok(()))?;
//! for level in &registered.deformable.unwrap().levels {
//!     println!("{:?}: {:?} after {} iterations", level.size, level.status, level.iterations.len() - 1);
//!     assert!(level.certificate.gradient_ratio <= 1e-6);
//!     assert!(level.certificate.strict_minimum);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # How a level ended
//!
//! A solve that does not converge is no error: the best iterate comes back with a [`Status`](crate::Status).
//!
//! | status | meaning | what to do |
//! |---|---|---|
//! | `converged` | the gradient fell below its tolerance | nothing |
//! | `small-decrease` | the early stop of the fast mode | nothing: the usual end |
//! | `max-steps` | the iterations are used up | allow more with `--iterations`, or accept it if the energy is flat |
//! | `skipped` | `--iterations` asks for none on this level: the coarser result goes through | nothing |
//! | `stalled` | no step lowers the energy any more | on a fine level mostly the kinks of linear interpolation; `--certify` has none |
//! | `at-boundary` | the way down leads into folded maps, or to the border of the barrier | a larger lambda, or `--transform displacement` to see where it wants to fold |
//! | `non-finite` | a value was not finite; the last good iterate came back | look at the images |
//!
//! # The figures of the report
//!
//! `P_report.json` holds everything; the summary and the page show the most important.
//!
//! | figure | what it is | what is good |
//! |---|---|---|
//! | Dice, before to after | overlap of labels, only where labels were given; they never steer the registration | structure by structure: small ones are always lower. The only figure here, with landmarks, that sees anatomy |
//! | RMS difference | intensities on their common scale | falls. Says little about anatomy: enough freedom makes any two images alike |
//! | folds, central | voxels with a Jacobian determinant not above 0, by central differences, as the literature counts | 0 |
//! | folds, digital | voxels where one of the small tetrahedra around is turned over (Liu et al., IJCV 2024, arXiv:2212.06060); stricter, since central differences miss checkerboards | 0 with `compositive`, by construction |
//! | determinant, smallest to largest | volume change: 0.5 means shrunk to half | within about 0.2 to 5 |
//! | SD of log determinant | how uneven the volume change is | lower at equal Dice |
//! | inverse consistency | distance between `x` and the inverse warp of the warp of `x`, mm | a small part of a voxel. Large only where the inverse had to be found at the border |
//! | start; energy of a linear stage | 1 - squared correlation, 0 to 1 | falls; a stage that gains nothing is dropped and listed under `warnings` |
//! | certified minima | levels with a certificate, of all levels | all of them |
//!
//! Read `warnings` first: it is empty for a run without doubts. `notes` hold what may be worth a look, such as a
//! voxel size that does not seem to fit.
//!
//! # The same bits
//!
//! Sums run in fixed order, so images, warps and reports are the same for any number of threads, and from run to run.
//! In the report only the object `run` (threads, seconds, memory) differs. Another instruction set (AVX-512, AVX2,
//! none of them) may change the last bits; its name is in the report.
