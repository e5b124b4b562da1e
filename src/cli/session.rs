//! From the words of the command line to an exit code.

use super::{interrupt, Cli, Command, Progress};
use crate::{Error, Result};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a command needs besides its arguments.
#[derive(Debug)]
pub struct Session {
    /// The progress bar.
    pub progress: Progress,
    /// Set when the user asks to stop; the work then returns [`Error::Interrupted`].
    pub interrupt: &'static AtomicBool,
}

impl Session {
    /// Called between the parts of the work.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the user asked to stop.
    pub fn proceed(&self) -> Result<()> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        Ok(())
    }
}

/// Parses and checks the words, prepares threads and Ctrl-C, does the work and reports its errors.
///
/// The code is 0 when all is done, 1 when the work failed, 2 when the command line makes no sense, 130 when interrupted.
pub fn enter<W, T>(words: W, work: impl FnOnce(&Command, &Session) -> Result<()>) -> ExitCode
where
    W: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = Cli::try_parse_from(words).and_then(|cli| {
        cli.command
            .check()
            .map_err(|reason| refusal(&cli.command, reason))?;
        Ok(cli)
    });
    let command = match cli {
        Ok(cli) => cli.command,
        Err(error) => {
            // Help and version are "errors" of the parser too, with exit code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let running = command.running();
        if let Some(threads) = running.threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads.get())
                .build_global()
                .map_err(|error| Error::argument("--threads", error.to_string()))?;
        }
        let session = Session {
            progress: Progress::new(running.quiet),
            interrupt: interrupt::listen(),
        };
        work(&command, &session)
    }));
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("{}", in_words(&error));
            ExitCode::from(match error {
                Error::Interrupted => interrupt::EXIT,
                _ => 1,
            })
        }
        Err(_) => {
            eprintln!("error: this is a fault of stillpoint itself; please report it with the command line");
            ExitCode::FAILURE
        }
    }
}

/// A usage error of the command at hand.
fn refusal(command: &Command, reason: String) -> clap::Error {
    let mut all = Cli::command();
    all.build();
    match all.find_subcommand_mut(command.name()) {
        Some(one) => one.error(ErrorKind::ValueValidation, reason),
        None => all.error(ErrorKind::ValueValidation, reason),
    }
}

/// The error and its causes, without saying anything twice.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = format!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words.push_str("\n  caused by: ");
            words.push_str(&text);
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(words: &str, outcome: Result<()>) -> String {
        let words = words.split_whitespace();
        format!("{:?}", enter(words, |_, _| outcome))
    }

    #[test]
    fn exit_codes_mean_something() {
        let expect = |code: u8| format!("{:?}", ExitCode::from(code));
        let good = "stillpoint info a.nii";
        assert_eq!(code(good, Ok(())), expect(0));
        assert_eq!(code(good, Err(Error::data("a.nii", "empty"))), expect(1));
        assert_eq!(code(good, Err(Error::Interrupted)), expect(130));
        assert_eq!(code("stillpoint", Ok(())), expect(2));
        assert_eq!(code("stillpoint info", Ok(())), expect(2));
        assert_eq!(code("stillpoint evaluate", Ok(())), expect(2));
        assert_eq!(code("stillpoint --help", Ok(())), expect(0));
        assert_eq!(code("stillpoint --version", Ok(())), expect(0));
    }

    #[test]
    fn causes_are_named_once() {
        let inner = std::io::Error::other("disk on fire");
        let words = in_words(&Error::io("a.nii", "read", inner));
        assert_eq!(words, "error: a.nii: cannot read: disk on fire");
    }
}
