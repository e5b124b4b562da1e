//! What a person knows of a pair: one structure, or five points, and what the rest gains.
//!
//! `cargo run --release --example prompts`
//!
//! The phantom's images are reduced to their outline, as where two scanners agree on nothing else, so that what lies inside
//! must follow from the outline and from what is prompted.

use std::process::ExitCode;

use stillpoint::{
    landmark_errors, overlap, resample_labels, AlignmentStart, Chain, Image, LabelResampling,
    Labels, Phantom, Prompt, Registration, Result, Rng,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let subject = Subject::new(3)?;

    let plain = subject.registered(Vec::new())?;
    let structure = subject.structure("left lateral ventricle");
    let prompt = Prompt::labels(
        subject.fixed_labels.clone(),
        subject.moving_labels.clone(),
        &[structure],
    )?;
    let prompted = subject.registered(vec![prompt])?;
    let [before, after] = [&plain, &prompted].map(|chain| subject.dice(chain, structure));
    let ((before, rest_before), (after, rest_after)) = (before?, after?);
    println!("one structure of {} prompted:", subject.structures());
    println!("  Dice of it          {before:.3} to {after:.3}");
    println!("  Dice of the others  {rest_before:.3} to {rest_after:.3}");

    // of forty points, the five that are worst off
    let (fixed, moving) = subject.landmarks(40);
    let errors = landmark_errors(&plain.apply_all(&fixed), &moving)?.errors;
    let mut order: Vec<usize> = (0..fixed.len()).collect();
    order.sort_by(|a, b| errors[*b].total_cmp(&errors[*a]));
    let (five, others) = order.split_at(5);
    let take = |points: &[[f64; 3]], which: &[usize]| -> Vec<[f64; 3]> {
        which.iter().map(|&k| points[k]).collect()
    };
    let prompt = Prompt::points(take(&fixed, five), take(&moving, five))?;
    let prompted = subject.registered(vec![prompt])?;
    println!("five of {} landmarks prompted:", fixed.len());
    for (name, which) in [("of them       ", five), ("of the others ", others)] {
        let mean = |chain: &Chain| -> Result<f64> {
            let carried = chain.apply_all(&take(&fixed, which));
            Ok(landmark_errors(&carried, &take(&moving, which))?
                .summary
                .mean)
        };
        println!(
            "  error {name}{:.2} to {:.2} mm",
            mean(&plain)?,
            mean(&prompted)?
        );
    }
    Ok(())
}

/// A pair of outlines with labels and the true warp.
struct Subject {
    phantom: Phantom,
    fixed: Image,
    moving: Image,
    fixed_labels: Labels,
    moving_labels: Labels,
}

impl Subject {
    fn new(seed: u64) -> Result<Self> {
        let phantom = Phantom::pair(&[64, 80, 64], &[2.5; 3], seed)?;
        let outline = |values: &[f32]| {
            let inside = values.iter().map(|&v| f32::from(u8::from(v > 0.1)));
            Image::new(phantom.grid.clone(), 1, inside.collect())
        };
        let labels = |values: &[u32]| Labels::new(phantom.grid.clone(), values.to_vec());
        Ok(Self {
            fixed: outline(&phantom.fixed)?,
            moving: outline(&phantom.moving)?,
            fixed_labels: labels(&phantom.fixed_labels)?,
            moving_labels: labels(&phantom.moving_labels)?,
            phantom,
        })
    }

    fn structures(&self) -> usize {
        self.fixed_labels.ids().len()
    }

    fn structure(&self, name: &str) -> u32 {
        let ids = self.fixed_labels.ids();
        let named = |id: &u32| Phantom::label_name(*id) == Some(name);
        ids.into_iter().find(named).unwrap_or(1)
    }

    /// The map from fixed to moving points.
    fn registered(&self, prompts: Vec<Prompt>) -> Result<Chain> {
        let registration = Registration {
            start: AlignmentStart::Identity,
            prompts,
            ..Registration::default()
        };
        let registered = registration.run(&self.fixed, &self.moving, &mut |_| Ok(()))?;
        Chain::new(3)?.then_field(registered.total_field(&self.fixed)?)
    }

    /// Dice of one structure, and the mean of all others.
    fn dice(&self, chain: &Chain, structure: u32) -> Result<(f64, f64)> {
        let nearest = LabelResampling::Nearest;
        let warped = resample_labels(
            &self.moving_labels,
            chain,
            self.fixed_labels.grid(),
            nearest,
            0,
        )?;
        let (mut own, mut rest) = (f64::NAN, Vec::new());
        for label in overlap(self.fixed_labels.values(), warped.values(), None, None)?.labels {
            match label.dice {
                Some(dice) if label.label == structure => own = dice,
                Some(dice) => rest.push(dice),
                None => {}
            }
        }
        Ok((own, stillpoint::mean(&rest)))
    }

    /// Points inside the brain with where the phantom's own warp carries them.
    fn landmarks(&self, count: usize) -> (Vec<[f64; 3]>, Vec<[f64; 3]>) {
        let (grid, mut rng) = (&self.phantom.grid, Rng::new(1));
        let (world, n, size) = (grid.index_to_world(), grid.voxels(), grid.size());
        let (mut fixed, mut moving) = (Vec::new(), Vec::new());
        while fixed.len() < count {
            let voxel = (rng.uniform() * n as f64) as usize % n;
            if self.phantom.fixed_labels[voxel] == 0 {
                continue;
            }
            let index = [
                voxel % size[0],
                voxel / size[0] % size[1],
                voxel / (size[0] * size[1]),
            ];
            let point = world.apply(index.map(|i| i as f64));
            let shift = |a: usize| f64::from(self.phantom.displacement[a * n + voxel]);
            fixed.push(point);
            moving.push(std::array::from_fn(|a| point[a] + shift(a)));
        }
        (fixed, moving)
    }
}
