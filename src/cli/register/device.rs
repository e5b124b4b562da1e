//! The device that a registration is solved on.

use candle_core::Device;

use super::RegisterArgs;
use crate::cli::Session;
use crate::Result;

/// The device of the arguments. Where `auto` leaves the work to the CPU, a note says why.
pub(super) fn ready(args: &RegisterArgs, session: &Session) -> Result<Device> {
    let opened = args.device.open()?;
    if let (Some(reason), false) = (&opened.instead, args.run.quiet) {
        session
            .progress
            .note(&format!("solved on the CPU: {reason}"));
    }
    Ok(opened.device)
}
