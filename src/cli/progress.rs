//! A progress bar on a terminal; nothing in a pipe.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::borrow::Cow;

/// The progress of a command on standard error. It shows nothing where that is no terminal.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar that waits for its first part; `quiet` hides it.
    pub fn new(quiet: bool) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = "{prefix:<18} {bar:28.cyan/dim} {elapsed:>4}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("━╸━"));
        }
        Self(bar)
    }

    /// A part of the work begins, with so many steps.
    pub fn begin(&self, name: impl Into<Cow<'static, str>>, steps: usize) {
        self.0.set_length(steps as u64);
        self.0.set_position(0);
        self.0.set_message("");
        self.0.set_prefix(name);
    }

    /// So many steps of the part are done.
    pub fn at(&self, step: usize, note: impl Into<Cow<'static, str>>) {
        self.0.set_message(note);
        self.0.set_position(step as u64);
    }

    /// The work is done and the bar goes away.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }

    /// Does something that writes to the terminal, beside the bar.
    pub fn aside<R>(&self, write: impl FnOnce() -> R) -> R {
        self.0.suspend(write)
    }

    /// Says on standard error what the user should know, bar or no bar.
    pub fn warn(&self, sentence: &str) {
        self.0.suspend(|| eprintln!("warning: {sentence}"));
    }

    /// Says on standard error what may be worth a look.
    pub fn note(&self, sentence: &str) {
        self.0.suspend(|| eprintln!("note: {sentence}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
