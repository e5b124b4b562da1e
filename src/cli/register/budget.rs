//! The memory of the command: estimated before the work, and what is done where it is too much.

use super::inputs::Inputs;
use super::{RegisterArgs, Stage};
use crate::cli::budget::{allowed, program, too_little};
use crate::cli::Bytes;
use crate::image::{Image, Labels};
use crate::registration::{Deformation, Footprint, Registration};
use crate::solver::AlignmentStart;
use crate::{Error, Result};

/// What the page and the compression of files take: measured.
const WRITING: u64 = 16_000_000;

/// Bytes of an intensity, a label or a component of a displacement.
const VALUE: u64 = 4;

/// The memory of a run with this plan; `held` is what the caller keeps meanwhile.
pub fn footprint(plan: &Registration, inputs: &Inputs, held: u64) -> Result<Footprint> {
    let (fixed, moving) = (&inputs.fixed, &inputs.moving);
    let mut footprint = plan.footprint(fixed, moving)?;
    let rank = fixed.grid().rank() as u64;
    let [n, m] = [fixed, moving].map(|image| VALUE * image.grid().voxels() as u64);
    let image = VALUE * fixed.values().len() as u64;
    let deforms = u64::from(plan.deformation.is_some());
    // a total displacement in voxels is one more field where it is not the found one
    let still = plan.linear.is_empty() && matches!(plan.start, AlignmentStart::Identity);
    footprint.add(
        "measuring and writing the results",
        vec![
            ("warps", rank * (n + m)),
            ("displacement", rank * n * (deforms + u64::from(!still))),
            ("images before and after", 2 * image),
            ("determinants", n),
            ("outlines", n * u64::from(inputs.labels.is_some())),
            ("page and compression", WRITING),
        ],
    );
    footprint.hold("images", values(fixed) + values(moving));
    let labels = [&plan.fixed_mask, &plan.moving_mask]
        .into_iter()
        .flatten()
        .chain(inputs.labels.iter().flat_map(|(a, b)| [a, b]));
    footprint.hold("labels and masks", labels.map(of_labels).sum());
    let prompts = inputs.prompts.iter().map(|given| given.voxels());
    footprint.hold("prompts", VALUE * prompts.sum::<u64>());
    footprint.hold("what is kept beside", held);
    footprint.hold("program", program());
    Ok(footprint)
}

fn values(image: &Image) -> u64 {
    VALUE * image.values().len() as u64
}

fn of_labels(labels: &Labels) -> u64 {
    VALUE * labels.values().len() as u64
}

/// The memory of a run, which must be within what is allowed: features of a network are kept in half precision before it is
/// refused.
pub fn kept(
    args: &RegisterArgs,
    plan: &mut Registration,
    inputs: &Inputs,
    held: u64,
) -> Result<Footprint> {
    let whole = footprint(plan, inputs, held)?;
    let Some(limit) = args.max_memory.filter(|limit| allowed(&whole) > *limit) else {
        return Ok(whole);
    };
    // elsewhere they are converted back
    let keeps = |stage: &Deformation| !stage.certify && stage.device.is_cpu();
    let mut least = whole;
    if plan.network.is_some() && plan.deformation.as_ref().is_some_and(keeps) {
        plan.half_features = true;
        least = footprint(plan, inputs, held)?;
    }
    match allowed(&least) > limit {
        true => Err(refusal(args, limit, &least)),
        false => Ok(least),
    }
}

/// The error of a run that may take more than is allowed.
fn refusal(args: &RegisterArgs, limit: Bytes, footprint: &Footprint) -> Error {
    let mut remedies = Vec::new();
    let levels = args.levels.as_ref().map(|levels| levels.list());
    if args.transform.deform() && levels.is_none_or(|levels| levels.ends_with(&[1])) {
        remedies.push("leave out the finest level (--levels 4x2)");
    }
    if args
        .features
        .as_ref()
        .is_some_and(|f| f.to_string() != "intensities")
    {
        remedies.push("compare intensities (--features intensities)");
    }
    if args.certify {
        remedies.push("leave out --certify");
    }
    if args.transform.list().last() == Some(&Stage::Velocity) {
        remedies.push("use -t compositive");
    }
    if args.fixed_labels.is_some() {
        remedies.push("leave out the labels");
    }
    remedies.push("resample the images to larger voxels");
    too_little(limit, footprint, &remedies)
}
