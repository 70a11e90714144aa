use std::{
    fmt::Display,
    io::{self, Write},
};

use clap::ValueEnum;
use comfy_table::{Cell, ContentArrangement, Table, presets};
use serde::Serialize;

use super::error::Error;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// The columns needed daily.
    #[default]
    Table,
    /// All columns.
    Wide,
    Json,
    Yaml,
}

/// One cell of a row, with its column's title.
pub(super) struct Column {
    title: &'static str,
    text: String,
    wide: bool,
}

impl Column {
    /// A column every table shows.
    pub(super) fn new(title: &'static str, text: impl Display) -> Self {
        Self { title, text: text.to_string(), wide: false }
    }

    /// A column only `-o wide` shows.
    pub(super) fn wide(title: &'static str, text: impl Display) -> Self {
        Self { wide: true, ..Self::new(title, text) }
    }
}

/// Where a command writes.
pub(super) struct Screen<'a> {
    out: &'a mut dyn Write,
    terminal: bool,
}

impl<'a> Screen<'a> {
    /// Writes to `out`, which is or is not a terminal.
    pub(super) fn new(out: &'a mut dyn Write, terminal: bool) -> Self {
        Self { out, terminal }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes a line.
    pub(super) fn line(&mut self, line: impl AsRef<str>) -> Result<(), Error> {
        self.text(&format!("{}\n", line.as_ref()))
    }

    /// On a terminal: shows `line` in place of the line shown last.
    pub(super) fn replace_line(&mut self, line: &str) -> Result<(), Error> {
        self.text(&format!("\r\x1b[K{line}"))
    }

    /// Writes rows of the same columns, as wide as the terminal allows; nothing where there is no row.
    pub(super) fn table(&mut self, rows: &[Vec<Column>], wide: bool) -> Result<(), Error> {
        let Some(first) = rows.first() else { return Ok(()) };
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if !self.terminal {
            table.force_no_tty();
        }
        let shown = |column: &&Column| wide || !column.wide;
        table.set_header(first.iter().filter(shown).map(|column| Cell::new(column.title)));
        for row in rows {
            table.add_row(row.iter().filter(shown).map(|column| Cell::new(&column.text)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.line(table.trim_fmt())
    }

    /// Writes `value` as JSON.
    pub(super) fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(text)
    }

    /// Writes `value` as one YAML document.
    pub(super) fn yaml<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let text = serde_yaml::to_string(value)?;
        self.text(&text)
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        let write = |out: &mut dyn Write| -> io::Result<()> {
            out.write_all(text.as_bytes())?;
            out.flush()
        };
        write(self.out).map_err(Error::Write)
    }
}
