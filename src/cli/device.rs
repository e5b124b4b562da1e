//! The device that a command works on.

use candle_core::Device;

use super::Session;
use crate::{DeviceChoice, Result};

/// The device of a choice. Where `auto` leaves the work to the CPU, a note says why, unless it is to be `quiet`.
pub(super) fn opened(choice: DeviceChoice, session: &Session, quiet: bool) -> Result<Device> {
    let opened = choice.open()?;
    if let (Some(reason), false) = (&opened.instead, quiet) {
        session
            .progress
            .note(&format!("solved on the CPU: {reason}"));
    }
    Ok(opened.device)
}
