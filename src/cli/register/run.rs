//! From files to files.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;

use super::inputs::Inputs;
use super::outputs::{Outputs, Staged};
use super::page::{draw, figures, Shown};
use super::prompts::dice;
use super::report::{self, Difference, GridReport, Program, Report, Run, Seconds, Settings};
use super::{budget, RegisterArgs};
use crate::cli::budget::announced;
use crate::cli::device::opened;
use crate::cli::memory;
use crate::cli::output::json;
use crate::cli::{print, Compared, Init, Session};
use crate::evaluation::{inverse_consistency, regularity_of};
use crate::image::{write_affine, write_bytes, DisplacementField, Image};
use crate::ops::determinants;
use crate::registration::{Deformation, Registered, Registration};
use crate::solver::AlignmentStart;
use crate::transform::Chain;
use crate::{Error, Result};

/// The command.
pub(in crate::cli) fn run(args: &RegisterArgs, session: &Session) -> Result<()> {
    let report = register(args, 0, session)?;
    if args.json {
        return print(&json(&report)?);
    }
    if !args.run.quiet {
        print(&summary(&report))?;
    }
    Ok(())
}

/// Registers, writes every file and returns the report; `held` are bytes that the caller keeps meanwhile.
pub(in crate::cli) fn register(
    args: &RegisterArgs,
    held: u64,
    session: &Session,
) -> Result<Report> {
    let clock = Instant::now();
    let outputs = Outputs::prepare(&args.out_prefix)?;
    outputs.spare(args.files())?;
    let device = opened(args.device, session, args.run.quiet)?;
    session.progress.begin("reading", 1);
    let mut inputs = Inputs::read(args)?;
    let mut plan = plan(args, &mut inputs, device)?;
    let footprint = budget::kept(args, &mut plan, &inputs, held)?;
    let halved = plan.half_features;
    if let (Some(peak), false) = (footprint.peak(), args.json || args.run.quiet) {
        session.progress.aside(|| print(&announced(peak)))?;
    }
    let read = clock.elapsed().as_secs_f64();
    let registered = solve(plan, &inputs, session)?;
    let solved = clock.elapsed().as_secs_f64();
    session.progress.begin("writing", 1);
    let mut staged = outputs.stage()?;
    let mut report = finish(args, &inputs, &registered, &mut staged, session)?;
    report.outputs = staged.names();
    report
        .outputs
        .push(outputs.path("_report.json").display().to_string());
    if halved && !args.half_features {
        let note = "features are in half precision, to keep within --max-memory";
        report.notes.push(note.into());
    }
    for warning in &report.warnings {
        session.progress.warn(warning);
    }
    for note in &report.notes {
        session.progress.note(note);
    }
    let total = clock.elapsed().as_secs_f64();
    report.run = Run {
        threads: rayon::current_num_threads(),
        seconds: Seconds {
            read,
            register: solved - read,
            levels: registered
                .deformable
                .iter()
                .flat_map(|d| d.levels.iter().map(|level| level.seconds))
                .collect(),
            evaluate_and_write: total - solved,
            total,
        },
        estimated_memory_bytes: footprint.peak().map_or(0, |peak| peak.bytes()),
        peak_allocated_bytes: memory::peak(),
        peak_memory_bytes: memory::resident(),
    };
    let text = json(&report)?;
    staged.write("_report.json", |path| write_bytes(path, text.as_bytes()))?;
    session.proceed()?;
    staged.settle()?;
    Ok(report)
}

/// What is asked for.
fn plan(args: &RegisterArgs, inputs: &mut Inputs, device: Device) -> Result<Registration> {
    let trained = inputs
        .network
        .as_ref()
        .and_then(|n| n.report.provenance.lambda);
    let network = match &inputs.network {
        Some(made) if device.is_cpu() => Some(made.network.clone()),
        Some(made) => Some(Arc::new(made.network.to_device(&device)?)),
        None => None,
    };
    Ok(Registration {
        start: match (&args.init, inputs.start) {
            (_, Some(start)) => AlignmentStart::Affine(start),
            (Init::Centres, _) => AlignmentStart::Centres,
            (Init::Moments, _) => AlignmentStart::Moments,
            (Init::Identity | Init::File(_), _) => AlignmentStart::Identity,
        },
        linear: args
            .transform
            .list()
            .iter()
            .filter_map(|stage| stage.linear())
            .collect(),
        deformation: deformation(args).map(|stage| Deformation {
            device,
            lambda: args.lambda.or(trained).unwrap_or(stage.lambda),
            ..stage
        }),
        network: network.map(|network| network as _),
        half_features: args.half_features,
        fixed_mask: inputs.fixed_mask.take(),
        moving_mask: inputs.moving_mask.take(),
        prompts: inputs
            .prompts
            .iter()
            .map(|given| given.prompt.clone())
            .collect(),
    })
}

fn solve(plan: Registration, inputs: &Inputs, session: &Session) -> Result<Registered> {
    let mut stage = "";
    plan.run(&inputs.fixed, &inputs.moving, &mut |step| {
        session.proceed()?;
        if stage != step.stage {
            stage = step.stage;
            session.progress.begin(stage, step.levels);
        }
        let note = format!(
            "level {} of {}, iteration {}, energy {:.4e}",
            step.level + 1,
            step.levels,
            step.iteration.step,
            step.iteration.energy
        );
        session.progress.at(step.level, note);
        Ok(())
    })
}

/// The deformable stage that the arguments alone ask for.
pub(super) fn deformation(args: &RegisterArgs) -> Option<Deformation> {
    let transform = args.transform.list().last()?.transform()?;
    let mode = if args.certify {
        Deformation::certified()
    } else {
        Deformation::default()
    };
    let mut deformation = Deformation {
        levels: args.levels.as_ref().map(|l| l.list().to_vec()),
        iterations: args.iterations.as_ref().map(|i| i.list().to_vec()),
        decrease: args.decrease.unwrap_or(mode.decrease),
        transform,
        ..mode
    };
    let features = args.features.as_ref();
    deformation.features = features
        .and_then(Compared::hand_made)
        .unwrap_or(deformation.features);
    Some(deformation)
}

/// The result on the grids of both images.
struct Results<'a> {
    inputs: &'a Inputs,
    registered: &'a Registered,
    warped: Image,
    total: Arc<DisplacementField>,
    inverse: DisplacementField,
    inverse_missed: f64,
}

/// Measures the result and writes all but the report itself, both at a time.
fn finish(
    args: &RegisterArgs,
    inputs: &Inputs,
    registered: &Registered,
    staged: &mut Staged<'_>,
    session: &Session,
) -> Result<Report> {
    let (fixed, moving) = (&inputs.fixed, &inputs.moving);
    let warped = registered.warped(fixed, moving)?;
    session.proceed()?;
    let total = Arc::new(registered.total_field(fixed)?);
    let (inverse, inverse_missed) = registered.inverse_field(moving)?;
    session.proceed()?;
    let results = Results {
        inputs,
        registered,
        warped,
        total,
        inverse,
        inverse_missed,
    };
    let (written, measured) = rayon::join(
        || results.write(args, staged, session),
        || results.measure(args, session),
    );
    written?;
    let (report, png) = measured?;
    session.proceed()?;
    staged.write("_report.png", |path| write_bytes(path, &png))?;
    Ok(report)
}

impl Results<'_> {
    /// Writes the image and the transforms.
    fn write(&self, args: &RegisterArgs, staged: &mut Staged<'_>, session: &Session) -> Result<()> {
        let (registered, fixed) = (self.registered, &self.inputs.fixed);
        let mut put = |ending: &str, write: &dyn Fn(&Path) -> Result<()>| {
            session.proceed()?;
            staged.write(ending, write)
        };
        put("_warped.nii.gz", &|path| self.warped.write(path))?;
        put("_warp.nii.gz", &|path| self.total.write(path))?;
        put("_inverse_warp.nii.gz", &|path| self.inverse.write(path))?;
        if !args.ants_outputs {
            return Ok(());
        }
        let rank = fixed.grid().rank();
        put("0GenericAffine.mat", &|path| {
            write_affine(path, &registered.affine, rank)
        })?;
        if registered.displacement.is_some() {
            let warp = registered.deformable_field(fixed)?;
            put("1Warp.nii.gz", &|path| warp.write(path))?;
            drop(warp);
            let (inverse, _) = registered.deformable_inverse_field(fixed)?;
            put("1InverseWarp.nii.gz", &|path| inverse.write(path))?;
        }
        Ok(())
    }

    /// The report, and its page as the bytes of a PNG file.
    fn measure(&self, args: &RegisterArgs, session: &Session) -> Result<(Report, Vec<u8>)> {
        let (registered, inputs) = (self.registered, self.inputs);
        let (fixed, moving) = (&inputs.fixed, &inputs.moving);
        let measured = inverse_consistency(
            self.total.values(),
            self.total.grid(),
            self.inverse.values(),
            self.inverse.grid(),
        );
        let (inverse_consistency, unmeasured) = match measured {
            Ok(found) => (Some(found), None),
            // the images of few slices may lie between each other's
            Err(Error::Data { reason, .. }) => (None, Some(reason)),
            Err(other) => return Err(other),
        };
        session.proceed()?;
        let rank = fixed.grid().rank();
        let start = Chain::new(rank)?.then_affine(registered.initial);
        let end = Chain::new(rank)?.then_field(self.total.clone())?;
        let dice = match &inputs.labels {
            Some((of_fixed, of_moving)) => Some(dice((of_fixed, of_moving), None, &start, &end)?),
            None => None,
        };
        let prompts = inputs
            .prompts
            .iter()
            .map(|given| given.report(&start, &end))
            .collect::<Result<_>>()?;
        let before = registered.unregistered(fixed, moving)?;
        session.proceed()?;
        let outlines: Option<Vec<i32>> = inputs
            .labels
            .as_ref()
            .map(|labels| labels.0.values().iter().map(|&v| v as i32).collect());
        registered.in_voxels(|displacement| {
            let determinants = determinants(displacement, fixed.grid().size());
            let mut report = Report {
                program: Program::this(),
                inputs: inputs.files.clone(),
                fixed_grid: GridReport::of(fixed.grid()),
                moving_grid: GridReport::of(moving.grid()),
                settings: Settings::of(args),
                network: inputs.network.as_ref().map(|n| n.report.clone()),
                affine: report::rows(&registered.affine),
                alignment: registered.alignment.clone(),
                deformable: registered.deformable.clone(),
                difference: Difference {
                    before: registered.difference(fixed, &before),
                    after: registered.difference(fixed, &self.warped),
                },
                regularity: regularity_of(&determinants, displacement, fixed.grid().size()),
                inverse_consistency,
                inverse_missed: self.inverse_missed,
                dice,
                prompts,
                warnings: inputs.warnings.clone(),
                notes: report::notes(registered),
                outputs: Vec::new(),
                run: Run::default(),
            };
            report.warnings.extend(report::doubts(registered));
            report
                .warnings
                .extend(unmeasured.map(|reason| format!("no inverse consistency: {reason}")));
            let png = draw(
                args,
                &report,
                &Shown {
                    grid: fixed.grid(),
                    fixed: fixed.channel(0),
                    moving: before.channel(0),
                    warped: self.warped.channel(0),
                    determinant: &determinants,
                    displacement,
                    labels: outlines.as_deref(),
                },
            )?;
            Ok((report, png))
        })?
    }
}

/// The summary for a person.
pub(in crate::cli) fn summary(report: &Report) -> String {
    let figures = figures(report);
    let width = figures.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0);
    let mut lines: Vec<String> = figures
        .iter()
        .map(|(name, value)| format!("{name:<width$}  {value}"))
        .collect();
    let seconds = report.run.seconds.total;
    let memory = report.run.peak_memory_bytes.map_or(String::new(), |bytes| {
        format!(", {:.0} MB at most", bytes as f64 / 1e6)
    });
    lines.push(format!("{:<width$}  {seconds:.2} s{memory}", "Time"));
    lines.push(String::new());
    lines.extend(report.outputs.iter().cloned());
    lines.join("\n")
}
