//! Documents read by a real child process: this test program, started again, is the child.
//!
//! The test harness would take the child's word for a filter, so this file has a `main` of its own.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::{
    io::{Cursor, Read as _, Write as _},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use openagents_backend::{
    Backend, BackendError, Extraction, Extractive, Output, Work, conformance, extract_child_main,
};
use openagents_types::{JobKind, Param, ResolvedInput};

const PDF: &[u8] = include_bytes!("../fixtures/market.pdf");
const ODT: &[u8] = include_bytes!("../fixtures/market.odt");
const HTML: &[u8] = include_bytes!("../fixtures/market.html");

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("__extract") {
        return extract_child_main(&arguments.next().unwrap_or_default());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        documents_become_text().await;
        documents_can_be_summarized().await;
        a_document_that_breaks_its_parser_breaks_only_the_child().await;
        a_small_document_that_unpacks_to_a_huge_one_is_given_up().await;
        office_documents_become_text_by_paragraphs().await;
        the_rows_of_a_workbook_become_lines().await;
        an_archive_of_something_else_is_refused_by_what_it_is().await;
        an_archive_that_unpacks_to_too_much_is_refused_whatever_it_says_of_itself().await;
        a_document_that_defines_entities_or_is_cut_off_is_refused().await;
    });
    ExitCode::SUCCESS
}

async fn run(backend: Arc<dyn Backend>, kind: JobKind, bytes: &[u8]) -> Result<Output, BackendError> {
    // The bytes decide what a document is; what its sender calls it does not.
    let input = ResolvedInput {
        bytes: bytes.to_vec(),
        mime: "application/octet-stream".into(),
        source: "test".into(),
    };
    let params = vec![Param::new("length", "1 sentence")];
    let work = Work { kind, inputs: vec![input], params, output: Vec::new() };
    conformance::run(&backend, work).await.map(|(output, _)| output)
}

async fn extract(bytes: &[u8]) -> Result<Output, BackendError> {
    run(Arc::new(Extraction::this_program()), JobKind::TEXT_EXTRACTION, bytes).await
}

async fn documents_become_text() {
    let pdf = extract(PDF).await.unwrap().content;
    assert!(pdf.starts_with("A market for compute sells work that machines do."), "{pdf}");
    assert!(pdf.contains("Both sides keep a signed receipt"), "the second page is missing: {pdf}");
    let html = extract(HTML).await.unwrap().content;
    assert!(html.contains("A locked payment goes back if nothing is delivered; the café"), "{html}");
    assert!(!html.contains("a script is not text") && !html.contains("color"), "{html}");
}

async fn documents_can_be_summarized() {
    for document in [PDF, HTML, ODT] {
        let backend = Arc::new(Extractive::new(Extraction::this_program()));
        let summary = run(backend, JobKind::SUMMARIZATION, document).await.unwrap().content;
        assert!(summary.contains("market") || summary.contains("payment"), "{summary}");
        assert_eq!(summary.matches(". ").count(), 0, "one sentence was asked for: {summary}");
    }
}

async fn a_document_that_breaks_its_parser_breaks_only_the_child() {
    let deep = format!("%PDF-1.4\n1 0 obj\n{}{}\nendobj\n%%EOF", "[".repeat(1 << 20), "]".repeat(1 << 20));
    let wide = format!("<!doctype html><table><tr>{}", "<td>a".repeat(300_000));
    for document in [deep.as_bytes(), wide.as_bytes(), &PDF[..200], b"\0\x01\x02 neither"] {
        let read = extract(document).await;
        assert!(matches!(read, Err(BackendError::BadInput(_))), "{read:?}");
    }
}

/// The child may have 512 MiB and ten seconds of a processor; neither page fits into them.
async fn a_small_document_that_unpacks_to_a_huge_one_is_given_up() {
    let once = repeated(&[0], 1, (1 << 30) / MATCH);
    // Beyond its head the packed page repeats itself every 13 bytes.
    let large = repeated(&[0], 1, (4 << 30) / MATCH);
    let (head, rest) = large.split_at(64);
    let twice = repeated(head, 13, rest.len() / MATCH);
    for (name, packed, filter) in
        [("once", once, "/FlateDecode"), ("twice", twice, "[/FlateDecode /FlateDecode]")]
    {
        let document = page(&packed, filter);
        assert!(document.len() < 8 << 20, "{name}: {} bytes are not small", document.len());
        let started = Instant::now();
        let read = extract(&document).await;
        // A busy machine may run into the clock on the wall before the child's own limits.
        let given_up = matches!(read, Err(BackendError::BadInput(_) | BackendError::Timeout));
        assert!(given_up, "{name}: {read:?}");
        assert!(started.elapsed() < Duration::from_secs(40), "{name} took {:?}", started.elapsed());
    }
}

/// The most that one step of deflate can repeat, in bytes.
const MATCH: usize = 258;

/// A zlib stream (RFC 1950, 1951) of `head` and then `times` times 258 bytes, each copied from `period`
/// bytes before: 1 or 13. Its checksum is wrong; nobody gets that far.
fn repeated(head: &[u8], period: usize, times: usize) -> Vec<u8> {
    let length = u16::try_from(head.len()).unwrap();
    let mut packed = vec![0x78, 0x01, 0];
    packed.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
    packed.extend(head);
    // The last block, with fixed codes: 285 is "258 bytes", 0 and 7 are distances of 1 and 13.
    let start = [true, true, false];
    let distance: &[bool] =
        if period == 1 { &[false; 5] } else { &[false, false, true, true, true, false, false] };
    let copy = [&[true, true, false, false, false, true, false, true], distance].concat();
    let bit = |at: usize| *start.get(at).unwrap_or_else(|| &copy[(at - start.len()) % copy.len()]);
    let byte = |at: usize| (0..8).fold(0, |byte, n| byte | u8::from(bit(8 * at + n)) << n);
    // From the second byte on they repeat after as many bytes as a copy has bits.
    let cycle: Vec<u8> = (1..=copy.len()).map(byte).collect();
    packed.push(byte(0));
    packed.extend(cycle.iter().cycle().take(times * copy.len() / 8));
    packed
}

/// A PDF of one page with this content.
fn page(content: &[u8], filter: &str) -> Vec<u8> {
    let length = content.len();
    let objects = [
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Resources<<>>/Contents 4 0 R>>".to_vec(),
        [format!("<</Length {length}/Filter{filter}>>\nstream\n").as_bytes(), content, b"\nendstream"]
            .concat(),
    ];
    let mut document = b"%PDF-1.4\n".to_vec();
    let mut table = String::from("xref\n0 5\n0000000000 65535 f \n");
    for (number, object) in (1..).zip(objects) {
        table += &format!("{:010} 00000 n \n", document.len());
        document.extend(format!("{number} 0 obj\n").bytes());
        document.extend(object);
        document.extend(b"\nendobj\n");
    }
    let start = document.len();
    document.extend(format!("{table}trailer\n<</Size 5/Root 1 0 R>>\nstartxref\n{start}\n%%EOF").bytes());
    document
}

/// An archive of these files.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// An archive with one file of so many bytes, all the same.
fn bomb(name: &str, bytes: u64) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
    std::io::copy(&mut std::io::repeat(b'a').take(bytes), &mut archive).unwrap();
    archive.finish().unwrap().into_inner()
}

/// A Word file whose body is this.
fn docx(body: &str) -> Vec<u8> {
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\r\n<w:document \
         xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\"><w:body>{body}\
         <w:sectPr/></w:body></w:document>"
    );
    let rels = "<Relationships><Relationship Id=\"rId1\" TargetMode=\"External\" \
                Target=\"http://127.0.0.1:1/never\"/></Relationships>";
    archive(&[
        ("[Content_Types].xml", "<Types/>"),
        ("_rels/.rels", rels),
        ("word/document.xml", &document),
        ("word/styles.xml", "<w:styles><w:t>a style is not text</w:t></w:styles>"),
        ("word/footnotes.xml", "<w:footnotes><w:p><w:r><w:t>A footnote.</w:t></w:r></w:p></w:footnotes>"),
    ])
}

async fn office_documents_become_text_by_paragraphs() {
    let odt = extract(ODT).await.unwrap().content;
    let lines: Vec<&str> = odt.lines().collect();
    assert_eq!(lines[0], "A market for compute", "{odt}");
    assert!(lines[2].starts_with("Customers name a price; providers & their machines answer"), "{odt}");
    assert!(odt.contains("A locked payment goes back if nothing is delivered."), "{odt}");
    assert!(odt.contains("Over relays.") && odt.contains("\n\ncafé\n\n77 metres\n\n"), "{odt}");
    assert!(odt.ends_with("\n\nBoth sides keep a signed receipt."), "{odt}");
    assert!(!odt.contains("is not read"), "{odt}");

    let body = "<w:p><w:r><w:t>Dear </w:t></w:r><w:r><w:t xml:space=\"preserve\">Ada &amp; all,</w:t></w:r></w:p>\
        <w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r></w:p>\
        <w:p><w:del><w:r><w:delText>what was deleted</w:delText></w:r></w:del><w:r><w:instrText>PAGE</w:instrText></w:r></w:p>\
        <mc:AlternateContent><mc:Choice><w:p><w:t>once</w:t></w:p></mc:Choice>\
        <mc:Fallback><w:p><w:t>twice</w:t></w:p></mc:Fallback></mc:AlternateContent>";
    let text = extract(&docx(body)).await.unwrap().content;
    assert_eq!(text, "Dear Ada & all,\n\na\tb\nc\n\nonce\n\nA footnote.");

    let slide = |words: &str| format!("<p:sld><a:p><a:r><a:t>{words}</a:t></a:r></a:p></p:sld>");
    let (first, second, tenth) = (slide("one"), slide("two"), slide("ten"));
    let slides = archive(&[
        ("ppt/presentation.xml", "<p:presentation/>"),
        ("ppt/slides/slide10.xml", &tenth),
        ("ppt/slides/slide2.xml", &second),
        ("ppt/slides/slide1.xml", &first),
        ("ppt/slides/_rels/slide1.xml.rels", "<Relationships/>"),
    ]);
    assert_eq!(extract(&slides).await.unwrap().content, "one\n\ntwo\n\nten");
}

/// A workbook with these shared texts and this sheet.
fn xlsx(shared: &str, rows: &str) -> Vec<u8> {
    let shared = format!("<?xml version=\"1.0\"?><sst>{shared}</sst>");
    let sheet = format!("<?xml version=\"1.0\"?><worksheet><sheetData>{rows}</sheetData></worksheet>");
    archive(&[
        ("xl/workbook.xml", "<workbook><sheets><sheet name=\"a name\"/></sheets></workbook>"),
        ("xl/worksheets/sheet1.xml", &sheet),
        ("xl/sharedStrings.xml", &shared),
    ])
}

async fn the_rows_of_a_workbook_become_lines() {
    let shared = "<si><t>Name</t></si><si><t>Price &amp; unit</t></si>\
        <si><r><t>es</t></r><r><t>presso</t></r><rPh><t>how it is spoken</t></rPh></si>";
    let rows = "<row><c t=\"s\"><v>0</v></c><c t=\"s\"><v>1</v></c></row>\
        <row><c t=\"s\"><v>2</v></c><c><f>1+1.5</f><v>2.5</v></c><c t=\"b\"><v>1</v></c></row><row/>\
        <row><c t=\"inlineStr\"><is><t>inline</t></is></c><c/><c t=\"str\"><v>said</v></c></row>";
    let text = extract(&xlsx(shared, rows)).await.unwrap().content;
    assert_eq!(text, "Name\tPrice & unit\nespresso\t2.5\tTRUE\ninline\t\tsaid");

    for wrong in ["<row><c t=\"s\"><v>3</v></c></row>", "<row><c t=\"s\"><v>-1</v></c></row>"] {
        assert!(refusal(&xlsx(shared, wrong)).await.contains("cannot be read"));
    }
    // What is written once is named a thousand times.
    let long = format!("<si><t>{}</t></si>", "a".repeat(1 << 20));
    let repeated = format!("<row>{}</row>", "<c t=\"s\"><v>0</v></c>".repeat(1_000));
    assert!(refusal(&xlsx(&long, &repeated)).await.contains("more than is read"));
}

/// Why a document is refused, which must not take long.
async fn refusal(document: &[u8]) -> String {
    let started = Instant::now();
    let read = extract(document).await;
    assert!(started.elapsed() < Duration::from_secs(15), "it took {:?}", started.elapsed());
    match read {
        Err(BackendError::BadInput(why)) => why,
        other => panic!("{other:?}"),
    }
}

async fn an_archive_of_something_else_is_refused_by_what_it_is() {
    let inner = docx("<w:p><w:t>inside</w:t></w:p>");
    let mut nested = zip::ZipWriter::new(Cursor::new(Vec::new()));
    nested.start_file("inner.docx", zip::write::SimpleFileOptions::default()).unwrap();
    nested.write_all(&inner).unwrap();
    let nested = nested.finish().unwrap().into_inner();
    for document in [nested, archive(&[("a.txt", "text"), ("word/other.xml", "<w:t>no</w:t>")])] {
        let why = refusal(&document).await;
        assert!(why.contains("is an archive") && why.contains("docx"), "{why}");
    }
}

async fn an_archive_that_unpacks_to_too_much_is_refused_whatever_it_says_of_itself() {
    let honest = bomb("word/document.xml", 128 << 20);
    assert!(honest.len() < 1 << 20);
    assert!(refusal(&honest).await.contains("more than is read"));
    let many: Vec<String> = (0..5_000).map(|number| format!("word/media/{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
    assert!(refusal(&archive(&many)).await.contains("more than is read"));
    for size in [10, u32::MAX - 1] {
        let lying = with_entries(honest.clone(), |entry| entry[24..28].copy_from_slice(&size.to_le_bytes()));
        refusal(&lying).await;
    }
    // Every slide is the first one: what is packed once is unpacked two hundred times.
    let slide = format!("<p:sld><a:t>{}</a:t></p:sld>", "a".repeat(4 << 20));
    let names: Vec<String> = (1..=200).map(|number| format!("ppt/slides/slide{number}.xml")).collect();
    let slides: Vec<(&str, &str)> = names
        .iter()
        .enumerate()
        .map(|(at, name)| (name.as_str(), if at == 0 { slide.as_str() } else { "" }))
        .collect();
    let mut first = None;
    let overlapping = with_entries(archive(&slides), |entry| {
        let first = *first.get_or_insert_with(|| <[u8; 46]>::try_from(&entry[..46]).unwrap());
        entry[10..28].copy_from_slice(&first[10..28]);
        entry[42..46].copy_from_slice(&first[42..46]);
    });
    assert!(overlapping.len() < 1 << 20);
    refusal(&overlapping).await;
}

/// The archive with every entry of its directory (APPNOTE 4.3.12) changed.
fn with_entries(mut archive: Vec<u8>, mut change: impl FnMut(&mut [u8])) -> Vec<u8> {
    let starts = |archive: &[u8], at: usize| archive[at..].starts_with(b"PK\x01\x02");
    let entries: Vec<usize> = (0..archive.len()).filter(|at| starts(&archive, *at)).collect();
    assert!(!entries.is_empty());
    for at in entries {
        change(&mut archive[at..]);
    }
    archive
}

async fn a_document_that_defines_entities_or_is_cut_off_is_refused() {
    let laughs = "<!DOCTYPE a [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\">]><w:p><w:t>&b;</w:t></w:p>";
    let outside = "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/hostname\">]><w:p><w:t>&b;</w:t></w:p>";
    let unknown = "<w:p><w:t>&b;</w:t></w:p>";
    for xml in [laughs, outside, unknown, "<w:p></w:t>", "<w:p", "\0\x01\x02<<<&&&"] {
        let why = refusal(&archive(&[("word/document.xml", xml)])).await;
        assert!(why.contains("cannot be read"), "{xml}: {why}");
    }
    let whole = docx("<w:p><w:t>whole</w:t></w:p>");
    for length in [4, 30, 100, whole.len() / 2, whole.len() - 1] {
        refusal(&whole[..length]).await;
    }
    let mut garbled = whole;
    let middle = garbled.windows(17).position(|window| window == b"word/document.xml").unwrap() + 20;
    garbled[middle..middle + 8].fill(0xa5);
    refusal(&garbled).await;
}
