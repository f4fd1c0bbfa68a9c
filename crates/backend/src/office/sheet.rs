//! Excel workbooks (xlsx, ECMA-376 part 1, 18.3): the rows of each sheet, cells parted by tabs.
//!
//! A cell names its text by a number in a table that the whole workbook shares, so a small file could repeat a
//! long text a million times: what is written is counted, and not only what is unpacked. Formulas are not
//! computed; the value that was saved beside them is read. Dates stay the numbers that Excel keeps.

use std::io::BufRead;

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

use super::{UNPACKED, character, content};
use crate::extraction::Unreadable;

/// The texts that cells name by number, in their order.
#[derive(Default)]
pub(super) struct Shared(Vec<String>);

/// What a cell's value is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Cell {
    /// The number of a shared text.
    Shared,
    /// True or false, as 1 or 0.
    Truth,
    /// What stands there.
    #[default]
    Plain,
}

impl Cell {
    fn of(element: &BytesStart<'_>) -> Self {
        let form = element.attributes().flatten().find(|attribute| attribute.key.0 == "t");
        match form.as_ref().map(|attribute| attribute.value.as_ref()) {
            Some("s") => Self::Shared,
            Some("b") => Self::Truth,
            _ => Self::Plain,
        }
    }
}

impl Shared {
    /// Reads the table (`xl/sharedStrings.xml`).
    pub(super) fn read(&mut self, part: impl BufRead) -> Result<(), Unreadable> {
        let (mut text, mut phonetic) = (String::new(), false);
        each(part, |step| {
            match step {
                Step::Open("si", _) => text.clear(),
                Step::Close("si") => self.0.push(std::mem::take(&mut text)),
                // How a word is spoken stands beside the word.
                Step::Open("rPh", _) => phonetic = true,
                Step::Close("rPh") => phonetic = false,
                Step::Words("t", words) if !phonetic => text.push_str(words),
                Step::Open(..) | Step::Close(_) | Step::Words(..) => {}
            }
            Ok(())
        })
    }

    /// Writes a sheet's rows (`xl/worksheets/sheet1.xml`), and an empty line after them.
    pub(super) fn write_sheet(&self, part: impl BufRead, written: &mut String) -> Result<(), Unreadable> {
        let (mut cell, mut value, mut row) = (Cell::Plain, String::new(), String::new());
        each(part, |step| {
            match step {
                Step::Open("c", element) => {
                    cell = Cell::of(element);
                    value.clear();
                }
                Step::Words("v" | "t", words) => value.push_str(words),
                Step::Close("c") => {
                    let shown = self.shown(cell, &value)?;
                    if (written.len() + row.len() + shown.len()) as u64 > UNPACKED {
                        return Err(Unreadable::TooMuch);
                    }
                    row.push_str(shown);
                    row.push('\t');
                }
                Step::Close("row") => {
                    if !row.trim().is_empty() {
                        written.push_str(row.trim_end());
                        written.push('\n');
                    }
                    row.clear();
                }
                Step::Open(..) | Step::Close(_) | Step::Words(..) => {}
            }
            Ok(())
        })?;
        written.push('\n');
        Ok(())
    }

    fn shown<'a>(&'a self, cell: Cell, value: &'a str) -> Result<&'a str, Unreadable> {
        match cell {
            Cell::Plain => Ok(value),
            Cell::Truth => Ok(if value.trim() == "1" { "TRUE" } else { "FALSE" }),
            Cell::Shared => {
                let number: usize = value.trim().parse().map_err(|_| Unreadable::Damaged)?;
                self.0.get(number).map(String::as_str).ok_or(Unreadable::Damaged)
            }
        }
    }
}

/// A step through a part. Elements go by their names without a prefix.
enum Step<'a> {
    Open(&'a str, &'a BytesStart<'a>),
    Close(&'a str),
    /// Words within the named element.
    Words(&'a str, &'a str),
}

fn each(
    part: impl BufRead,
    mut see: impl FnMut(Step<'_>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let mut reader = Reader::from_reader(part);
    let (mut buffer, mut within) = (Vec::new(), String::new());
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(|_| Unreadable::Damaged)? {
            Event::Start(element) => {
                element.local_name().into_inner().clone_into(&mut within);
                see(Step::Open(&within, &element))?;
            }
            Event::End(element) => {
                within.clear();
                see(Step::Close(element.local_name().into_inner()))?;
            }
            Event::Empty(element) => {
                let name = element.local_name().into_inner();
                see(Step::Open(name, &element))?;
                see(Step::Close(name))?;
            }
            Event::Text(words) => see(Step::Words(&within, &content(&words)))?,
            Event::CData(words) => see(Step::Words(&within, &words.xml_content(XmlVersion::Explicit1_0)))?,
            Event::GeneralRef(reference) => see(Step::Words(&within, &character(&reference)?))?,
            Event::DocType(_) => return Err(Unreadable::Damaged),
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}
