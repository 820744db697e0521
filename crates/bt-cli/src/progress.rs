//! Progress of long work: a bar on a terminal, and Ctrl-C.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bt_node::control::{FailureKind, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

/// A progress bar on standard error, visible only when that is a terminal and the work takes a while.
///
/// While it lives, the first Ctrl-C asks the work to stop at the next safe point; a second one ends the process.
pub struct Bar {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    signals: Vec<signal_hook::SigId>,
}

impl Bar {
    /// A bar that shows nothing yet.
    pub fn new() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let code = i32::from(FailureKind::Problem.exit_code());
        let mut signals = Vec::new();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and raises it, the second one finds it up.
            let ends = signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&stop));
            let asks = signal_hook::flag::register(signal, Arc::clone(&stop));
            signals.extend([ends, asks].map(|id| id.expect("these signals can be handled")));
        }
        Self { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()), stop, signals }
    }

    /// Shows one step; `Break` after Ctrl-C.
    pub fn step(&mut self, step: Progress) -> ControlFlow<()> {
        if self.stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        self.bar.set_style(style(step.total > 0));
        if step.total > 0 {
            self.bar.set_length(step.total);
        }
        self.bar.set_message(step.what);
        self.bar.set_position(step.done);
        ControlFlow::Continue(())
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.signals.drain(..).for_each(|id| {
            signal_hook::low_level::unregister(id);
        });
    }
}

fn style(total_known: bool) -> ProgressStyle {
    let template = if total_known {
        "[{elapsed}] {bar:40} {human_pos}/{human_len} {msg}, {eta} left"
    } else {
        "[{elapsed}] {spinner} {human_pos} {msg}"
    };
    ProgressStyle::with_template(template).expect("the template is valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_styles_are_valid() {
        let _ = (style(true), style(false));
    }
}
