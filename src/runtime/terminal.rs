use rustix::termios::Winsize;
use serde::{Deserialize, Serialize};

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

impl Default for TerminalSize {
    /// What terminals have had since there are any.
    fn default() -> TerminalSize {
        TerminalSize { columns: 80, rows: 24 }
    }
}

impl From<TerminalSize> for Winsize {
    fn from(size: TerminalSize) -> Winsize {
        Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
    }
}

impl From<Winsize> for TerminalSize {
    fn from(size: Winsize) -> TerminalSize {
        TerminalSize { columns: size.ws_col, rows: size.ws_row }
    }
}
