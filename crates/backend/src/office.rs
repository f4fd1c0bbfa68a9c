//! Office documents: the text of the parts of a ZIP archive that hold it, and of nothing else in it.
//!
//! Read are Word (docx), PowerPoint (pptx) and Excel (xlsx) files (ECMA-376) and OpenDocument texts,
//! presentations and sheets (ODF 1.3). An archive can be made to lie about its sizes, to hold a million entries or to unpack
//! to a thousand times of what it weighs: what is unpacked is counted while it comes, whatever its headers
//! say. Archives within it are never opened, addresses in it never followed, and a document type, where
//! XML could define entities, is refused. Runs in the child of `extraction` only.

mod sheet;

use std::io::{BufReader, Cursor, Read};

use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_predefined_entity,
    events::{BytesRef, BytesText, Event},
};
use zip::ZipArchive;

use crate::extraction::Unreadable;
use sheet::Shared;

/// Entries of an archive that is looked at; a hundred slides have some five hundred.
const ENTRIES: usize = 4_096;
/// What all parts that are read may unpack to, in bytes: several novels in Word's verbose XML.
const UNPACKED: u64 = 32 << 20;
/// What a local file header begins with (APPNOTE 4.3.7).
const MAGIC: &[u8] = b"PK\x03\x04";

/// Whether the bytes begin an archive.
pub(crate) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The MIME type of an office document, by the names of its parts as they stand in its first and last bytes.
pub(crate) fn mime(bytes: &[u8]) -> Option<&'static str> {
    if !is_archive(bytes) {
        return None;
    }
    // An OpenDocument file begins with an entry that is not compressed and says what it is.
    let head = &bytes[..bytes.len().min(4 << 10)];
    let tail = &bytes[bytes.len().saturating_sub(64 << 10)..];
    let holds = |part: &[u8], name: &str| part.windows(name.len()).any(|window| window == name.as_bytes());
    let odf = ODF.iter().find(|mime| holds(head, &format!("mimetype{mime}")));
    let ooxml = OOXML.iter().find(|(name, _)| holds(head, name) || holds(tail, name));
    odf.copied().or_else(|| ooxml.map(|(_, mime)| *mime))
}

const ODF: [&str; 3] = [
    "application/vnd.oasis.opendocument.text",
    "application/vnd.oasis.opendocument.presentation",
    "application/vnd.oasis.opendocument.spreadsheet",
];

/// A name that every such archive holds, and the type.
const OOXML: [(&str, &str); 3] = [
    ("word/document", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("ppt/presentation", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("xl/workbook", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
];

/// The text of a document, with an empty line between paragraphs.
///
/// # Errors
/// It is damaged, no document of those, or unpacks to too much.
pub(crate) fn text(bytes: &[u8]) -> Result<String, Unreadable> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|_| Unreadable::Damaged)?;
    if archive.len() > ENTRIES {
        return Err(Unreadable::TooMuch);
    }
    let (mut text, mut shared) = (Text::default(), Shared::default());
    let mut room = UNPACKED;
    for (place, name) in parts(&archive)? {
        let part = archive.by_name(&name).map_err(|_| Unreadable::Damaged)?;
        let mut part = Counted { inner: part, room };
        let reader = BufReader::new(&mut part);
        let read = match place {
            Place::Shared => shared.read(reader),
            Place::Sheet(_) => shared.write_sheet(reader, &mut text.written),
            Place::Body | Place::Slide(_) | Place::Notes => text.read(reader),
        };
        room = part.room;
        if room == 0 {
            return Err(Unreadable::TooMuch);
        }
        read?;
    }
    Ok(text.written)
}

/// The parts that hold text, in the order of reading.
fn parts(archive: &ZipArchive<Cursor<&[u8]>>) -> Result<Vec<(Place, String)>, Unreadable> {
    let mut parts: Vec<(Place, String)> = Vec::new();
    for name in archive.file_names() {
        // A name in no known writing is none of those sought.
        let Ok(name) = name else { continue };
        if let Some(place) = Place::of(&name) {
            parts.push((place, name.into_owned()));
        }
    }
    parts.sort();
    parts.dedup();
    if parts.is_empty() {
        return Err(Unreadable::NoDocument);
    }
    Ok(parts)
}

/// Where a part stands in its document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Body,
    Slide(u32),
    /// The texts that the cells of sheets name.
    Shared,
    Sheet(u32),
    Notes,
}

impl Place {
    fn of(name: &str) -> Option<Self> {
        match name {
            "content.xml" | "word/document.xml" | "word/document2.xml" => return Some(Self::Body),
            "word/footnotes.xml" | "word/endnotes.xml" => return Some(Self::Notes),
            "xl/sharedStrings.xml" => return Some(Self::Shared),
            _ => {}
        }
        let numbered = |start| name.strip_prefix(start)?.strip_suffix(".xml")?.parse().ok();
        numbered("ppt/slides/slide")
            .map(Self::Slide)
            .or_else(|| numbered("xl/worksheets/sheet").map(Self::Sheet))
    }
}

/// A part that ends where there is no more room for it.
struct Counted<R> {
    inner: R,
    room: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.room).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..most])?;
        self.room -= read as u64;
        Ok(read)
    }
}

/// What was read so far.
#[derive(Default)]
struct Text {
    written: String,
    /// Elements around this place that hold text: `w:t`, `a:t`, `text:p`, `text:h`.
    speaking: usize,
    /// Elements around this place whose text is said elsewhere, or is none of the document's.
    silent: usize,
}

/// What an element means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Its text is the document's.
    Words,
    /// The same, and it is a paragraph.
    Line,
    /// A paragraph whose text stands in elements within.
    Paragraph,
    /// What was deleted, commented, or stands there a second time.
    Silence,
    /// Something between words.
    Gap(char),
    Nothing,
}

impl Meaning {
    /// By the name with its usual prefix: all writers of these formats use those.
    fn of(name: &str) -> Self {
        match name {
            "w:t" | "a:t" | "m:t" => Self::Words,
            "text:p" | "text:h" => Self::Line,
            "w:p" | "a:p" => Self::Paragraph,
            "text:tracked-changes" | "office:annotation" | "mc:Fallback" | "text:note-citation" => {
                Self::Silence
            }
            "w:tab" | "text:tab" => Self::Gap('\t'),
            "w:br" | "w:cr" | "a:br" | "text:line-break" => Self::Gap('\n'),
            "text:s" | "text:note-body" => Self::Gap(' '),
            _ => Self::Nothing,
        }
    }
}

impl Text {
    fn read(&mut self, part: impl std::io::BufRead) -> Result<(), Unreadable> {
        let mut reader = Reader::from_reader(part);
        let mut buffer = Vec::new();
        (self.speaking, self.silent) = (0, 0);
        loop {
            buffer.clear();
            match reader.read_event_into(&mut buffer).map_err(|_| Unreadable::Damaged)? {
                Event::Start(element) => self.open(Meaning::of(element.name().0)),
                Event::End(element) => self.close(Meaning::of(element.name().0)),
                Event::Empty(element) => {
                    let meaning = Meaning::of(element.name().0);
                    self.open(meaning);
                    self.close(meaning);
                }
                Event::Text(words) => self.say(&content(&words)),
                Event::CData(words) => self.say(&words.xml_content(XmlVersion::Explicit1_0)),
                Event::GeneralRef(reference) => self.say(&character(&reference)?),
                Event::DocType(_) => return Err(Unreadable::Damaged),
                Event::Eof => return Ok(()),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
    }

    fn open(&mut self, meaning: Meaning) {
        match meaning {
            Meaning::Words | Meaning::Line => self.speaking += 1,
            Meaning::Silence => self.silent += 1,
            Meaning::Gap(gap) if self.silent == 0 => self.written.push(gap),
            Meaning::Gap(_) | Meaning::Paragraph | Meaning::Nothing => {}
        }
    }

    fn close(&mut self, meaning: Meaning) {
        match meaning {
            Meaning::Words | Meaning::Line => self.speaking = self.speaking.saturating_sub(1),
            Meaning::Silence => self.silent = self.silent.saturating_sub(1),
            Meaning::Gap(_) | Meaning::Paragraph | Meaning::Nothing => {}
        }
        if matches!(meaning, Meaning::Line | Meaning::Paragraph) && self.silent == 0 {
            // A paragraph within another is a note in the middle of its sentence.
            self.written.push_str(if self.speaking > 0 { " " } else { "\n\n" });
        }
    }

    fn say(&mut self, words: &str) {
        if self.speaking > 0 && self.silent == 0 {
            self.written.push_str(words);
        }
    }
}

/// Words on one line: a line that is broken in the XML is not broken in the document.
fn content(words: &BytesText<'_>) -> String {
    words.xml_content(XmlVersion::Explicit1_0).replace('\n', " ")
}

/// One of the five entities that XML itself knows, or a character by its number. Nothing else is looked up.
fn character(reference: &BytesRef<'_>) -> Result<String, Unreadable> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| Unreadable::Damaged)? {
        return Ok(character.into());
    }
    let name = reference.xml_content(XmlVersion::Explicit1_0);
    resolve_predefined_entity(&name).map(str::to_owned).ok_or(Unreadable::Damaged)
}
