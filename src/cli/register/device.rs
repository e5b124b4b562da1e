//! The device that a registration is solved on.

use candle_core::Device;

use super::run::deformation;
use super::RegisterArgs;
use crate::cli::Session;
use crate::ops::DeviceChoice;
use crate::registration::Deformation;
use crate::{Error, Result};

/// The device of the arguments, ready and able to solve what they ask for. Where `auto` leaves the work to the CPU, a note
/// says why.
pub(super) fn ready(args: &RegisterArgs, session: &Session) -> Result<Device> {
    let opened = args.device.open()?;
    let Some(reason) = opened.instead.or_else(|| lacking(args, &opened.device)) else {
        return Ok(opened.device);
    };
    if args.device != DeviceChoice::Auto {
        return Err(reason);
    }
    if !args.run.quiet {
        session
            .progress
            .note(&format!("solved on the CPU: {reason}"));
    }
    Ok(Device::Cpu)
}

/// What the device lacks for the stage that the arguments ask for.
fn lacking(args: &RegisterArgs, device: &Device) -> Option<Error> {
    let stage = Deformation {
        device: device.clone(),
        ..deformation(args)?
    };
    stage.check_device().err()
}
