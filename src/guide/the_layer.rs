//! Registration as a layer of a network, and which gradient to choose.
//!
//! # What the layer is
//!
//! A network makes feature maps of the fixed and of the moving image, level by level
//! ([`FeatureNetwork`](crate::FeatureNetwork)). [`RegistrationLayer`](crate::RegistrationLayer) aligns them with the
//! solver that registers images, and returns the optimum of each level. No graph is kept of the iterations: at the optimum
//! the gradient `g` of the energy is zero, and that equation alone says how the optimum moves with its data
//! (implicit function theorem). With `H` the Hessian there and `v` what the loss says of the optimum,
//!
//! ```text
//! H q = v,      dL/d data = -(dg/d data)' q
//! ```
//!
//! One linear system a level, by the products that the solver itself uses. Memory does not depend on the number of iterations.
//!
//! ```
//! use candle_core::{DType, Device, Tensor, Var};
//! use stillpoint::{FeatureLevel, Grid, LayerInput, RegistrationLayer};
//!
//! # fn main() -> stillpoint::Result<()> {
//! let straight = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
//! let grid = Grid::new(&[24, 20], &[1.0, 1.0], [0.0; 3], straight)?;
//! // a blob, and the same a voxel and a half farther along x: batch 1, one channel
//! let blob = |at: f64| -> stillpoint::Result<Tensor> {
//!     let values: Vec<f32> = (0..480)
//!         .map(|v| ((v % 24) as f64 - at, (v / 24) as f64 - 10.0))
//!         .map(|(x, y)| (-(x * x + y * y) / 18.0).exp() as f32)
//!         .collect();
//!     Ok(Tensor::from_vec(values, (1, 1, 20, 24), &Device::Cpu)?)
//! };
//! let level = |features: Tensor| vec![FeatureLevel { shrink: 1, features, grid: grid.clone() }];
//! // what a network would compute: here a gain, which is to be learned
//! let gain = Var::new(&[1.0f32], &Device::Cpu)?;
//! let fixed = level(blob(10.0)?);
//! let moving = level(blob(11.5)?.broadcast_mul(&gain)?);
//!
//! let out = RegistrationLayer::default().forward(&LayerInput::new(&fixed, &moving))?;
//! let warped = out.finest().warp(&moving[0].features, &grid, &grid)?;
//! let loss = (warped - &fixed[0].features)?.sqr()?.sum_all()?;
//! let gradients = loss.backward()?;
//! assert!(gradients.get(&gain).is_some());
//!
//! // how the optimum was found, and how its gradient was
//! let report = out.finest().reports[0].as_ref().expect("registered");
//! println!("{:?} after {} products", report.status, report.products);
//! let adjoint = out.finest().adjoints[0].as_ref().and_then(|record| record.info());
//! println!("{adjoint:?}");
//! # let centre = out.finest().displacement.get(0)?.get(0)?.get(10)?.get(10)?;
//! # assert!((centre.to_dtype(DType::F64)?.to_scalar::<f64>()? - 1.5).abs() < 0.3);
//! # Ok(())
//! # }
//! ```
//!
//! Gradients flow to the features (and so to the network and the images), to `lambda` and to channel weights. None flows to
//! the point where a search began: a level starts from the optimum of the coarser one, and does not depend on it. So every
//! level that is to learn needs a loss of its own.
//!
//! `lambda` is relative to the gradient energy of the fixed features, which is taken as a constant: a network cannot gain
//! by making its features louder.
//!
//! # Two modes
//!
//! | | fast: `RegistrationLayer::default()` | certified: `RegistrationLayer::certified()` |
//! |---|---|---|
//! | solve | Gauss-Newton, linear interpolation, early stop | Newton in a trust region, cubic interpolation, to a millionth of the gradient |
//! | precision | single | double |
//! | folds | kept out by the solver | kept out by a barrier in the energy |
//! | gradient | Gauss-Newton system: always solvable | the exact one |
//! | for | training | training where the gradient must be true; research |
//!
//! A certified solve that did not get its certificate falls back to the Gauss-Newton gradient, unless it is told to refuse
//! or to go on ([`RegistrationLayer::uncertified`](crate::RegistrationLayer::uncertified)). A pair of a batch that cannot be
//! registered is listed among the [failures](crate::LayerOutput::failures) and touches no other.
//!
//! # Choosing an adjoint
//!
//! [`Policy`](crate::Policy) is one switch; every policy returns the same optimum.
//!
//! | policy | solves | cost in products | use |
//! |---|---|---|---|
//! | `GaussNewton` | `G q = v`, `G` without the residual's curvature | tens | the default of the fast mode |
//! | `Exact` | `H q = v` by conjugate gradients, by MINRES where `H` is indefinite | tens to hundreds | the default of the certified mode |
//! | `Truncated` | the same, cut off | as given | a cheap compromise: the residual is reported |
//! | `Phantom` | the first terms of its Neumann series | as given | comparison; too short, until there are very many terms |
//! | `JacobianFree` | the first term alone | 1 | comparison; direction fair, length wrong |
//! | `Block` | voxel by voxel, without the regulariser | 0 | comparison with arXiv:2406.07361; depends on its damping |
//! | `Unrolled` | differentiates every step | the steps, and their memory | a reference |
//!
//! `stillpoint gradcheck` measures all of them on a pair of yours, against the exact gradient, and the exact gradient against
//! finite differences of minima that are found again for changed data. Its figure shows that the error of the exact
//! gradient falls with the tolerance of the solve, while that of the Gauss-Newton gradient levels off; and that memory is
//! flat for all but the unrolled one.
//!
//! A linear solve that misses its tolerance is refused, reported or replaced: [`Unconverged`](crate::Unconverged).
//!
//! # The features at test time
//!
//! What was learned through the layer drives every transform and any lambda without training again: the linear stages align the
//! features too. On the command line it is `register --features weights.safetensors`, or `--features synthetic` (any contrast) and
//! `synthetic-same` (one contrast) for the networks that come with the program, [`Shipped`](crate::Shipped); `stillpoint features`
//! shows the maps, and the energy on the line from the identity to the solution.
//!
//! ```
//! use std::sync::Arc;
//! use stillpoint::{Image, NetworkConfig, Phantom, Provenance, Registration, Unet, Velocity, Weights};
//! # fn main() -> stillpoint::Result<()> {
//! # let folder = std::env::temp_dir().join(format!("stillpoint-guide-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! # let path = folder.join("weights.safetensors");
//! // a network that adds nothing yet to MIND; training would change its weights
//! let config = NetworkConfig { widths: vec![4, 8, 8], outputs: 4, base: Some("mind".into()), ..NetworkConfig::unet(2, 1) };
//! let base = stillpoint::named_base("mind");
//! let network = Unet::new(&config, base, 1, candle_core::DType::F32)?;
//! network.save(&path, &Provenance::of(1, "nothing", "public domain"))?;
//!
//! let mut registration = Registration {
//!     network: Some(Arc::new(Weights::read(&path)?.build()?)),
//!     ..Registration::default()
//! };
//! if let Some(deformation) = &mut registration.deformation {
//!     deformation.transform = Arc::new(Velocity::default());
//! }
//! let phantom = Phantom::pair(&[40, 48], &[4.0, 4.0], 3)?;
//! let image = |values: &[f32]| Image::new(phantom.grid.clone(), 1, values.to_vec());
//! let (fixed, moving) = (image(&phantom.fixed)?, image(&phantom.moving)?);
//! let registered = registration.run(&fixed, &moving, &mut |_| Ok(()))?;
//! let before = registered.difference(&fixed, &registered.unregistered(&fixed, &moving)?);
//! let after = registered.difference(&fixed, &registered.warped(&fixed, &moving)?);
//! assert!(after < 0.8 * before, "{before} to {after}");
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! # Your own energy, or a map without one
//!
//! [`attach`](crate::attach) needs an [`ImplicitProblem`](crate::ImplicitProblem), with products in closed form.
//! [`attach_residual`](crate::attach_residual) needs a [`Residual`](crate::Residual) alone: a few lines in the tensor engine's
//! operations, differentiated for you. It takes the gradient of an energy, or `theta - T(theta)` for the fixed points of
//! a map, such as a learned update (deep equilibrium models, Bai, Kolter and Koltun 2019, arXiv:1909.01377):
//!
//! ```
//! use std::sync::Arc;
//! use candle_core::{Device, Tensor, Var};
//! use stillpoint::{attach_residual, Adjoint, Anderson, Residual, Result};
//!
//! /// `theta = tanh(W theta + x)`.
//! struct Equilibrium;
//!
//! impl Residual for Equilibrium {
//!     fn residual(&self, theta: &Tensor, data: &[Tensor]) -> Result<Tensor> {
//!         let inner = (data[0].matmul(theta)? + &data[1])?;
//!         Ok((theta - inner.tanh()?)?)
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! let w = Var::new(&[[0.2f64, -0.5], [0.4, 0.1]], &Device::Cpu)?;
//! let x = Var::new(&[[0.3f64], [-0.7]], &Device::Cpu)?;
//! let data = [w.as_tensor().clone(), x.as_tensor().clone()];
//! let still: Vec<Tensor> = data.iter().map(Tensor::detach).collect();
//! let anderson = Anderson { tolerance: 1e-12, ..Anderson::default() };
//! let found = anderson.solve(
//!     &mut |theta| Ok((theta - Equilibrium.residual(theta, &still)?)?),
//!     &x.as_tensor().zeros_like()?,
//! )?;
//! assert!(found.converged);
//! let (theta, record) =
//!     attach_residual(Arc::new(Equilibrium), &found.theta, &data, Adjoint::exact())?;
//! let gradients = theta.sqr()?.sum_all()?.backward()?;
//! assert!(gradients.get(&w).is_some() && gradients.get(&x).is_some());
//! assert!(record.info().is_some_and(|info| info.residual < 1e-8));
//! # Ok(())
//! # }
//! ```
//!
//! An [`Energy`](crate::Energy) adds its value, and is then a problem for every solver
//! ([`AutodiffProblem`](crate::AutodiffProblem)). `examples/custom_energy.rs` learns a regulariser this way, and
//! `examples/deep_equilibrium.rs` a map.
//!
//! Write `g` forward, never by `backward`: what `backward` returns has lost part of its graph, and differentiating it again
//! gives a wrong number without a word.
