//! Files as job inputs. NIP-90 knows text and addresses: text goes as it is, a PDF or an office document as
//! a `data:` address (RFC 2397) that the provider reads without a network.

use std::{io::Read, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use openagents_backend::document_type;
use openagents_types::JobInput;

use crate::failure::Failure;

/// The most that all inputs of a request may hold, in bytes: a result quotes its request, and both must
/// stay within the 64 KiB that relays take as one event.
const LARGEST: usize = 40 << 10;

/// How much of a file is read; enough to say that it is too large.
const READ: u64 = 1 << 20;

/// The file at `path`, or standard input for `-`.
pub(super) fn read(path: &str) -> anyhow::Result<JobInput> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("cannot read {path}: {error}"), "name a file that you can read")
    };
    let bytes = if path == "-" {
        limited(std::io::stdin()).map_err(unreadable)?
    } else {
        std::fs::File::open(path).and_then(limited).map_err(unreadable)?
    };
    input(path, bytes)
}

fn limited(source: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(READ).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn input(path: &str, bytes: Vec<u8>) -> anyhow::Result<JobInput> {
    let name = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
    let mut input = if let Some(mime) = document_type(&bytes) {
        JobInput::url(format!("data:{mime};base64,{}", STANDARD.encode(bytes)))
    } else {
        let bytes = whole_characters(bytes);
        match String::from_utf8(bytes) {
            // Archives that hold no document may be short enough to look like text.
            Ok(text) if !text.contains('\0') && !text.starts_with("PK\u{3}\u{4}") => JobInput::text(text),
            _ => return Err(not_text(path).into()),
        }
    };
    input.marker = name.filter(|name| name != "-");
    Ok(input)
}

/// A large file was cut where reading stopped, perhaps inside a character.
fn whole_characters(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() as u64 == READ
        && let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    bytes
}

fn not_text(path: &str) -> Failure {
    Failure::usage(
        format!(
            "{path} is neither text in UTF-8, nor HTML, PDF or an office document (docx, pptx, odt, odp, ods)"
        ),
        "convert it first, or put it on a web server and use --url",
    )
}

/// Whether the inputs fit into one request.
pub(super) fn fits(inputs: &[JobInput]) -> Result<(), Failure> {
    let bytes: usize = inputs.iter().map(|input| input.data.len()).sum();
    if bytes <= LARGEST {
        return Ok(());
    }
    Err(Failure::usage(
        format!(
            "the inputs are larger than a request can carry ({} KiB of text, {} KiB of documents)",
            LARGEST >> 10,
            (LARGEST * 3 / 4) >> 10
        ),
        "put the file on a web server and use --url; for a server on this machine run `python3 -m http.server` beside \
         the file, and allow 127.0.0.1 in the provider's config.toml: allow_private_urls = [\"127.0.0.1:8000\"]",
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use openagents_types::InputType;

    use super::*;

    #[test]
    fn text_and_html_go_as_they_are_and_documents_as_data_addresses() {
        let text = input("a/notes.txt", b"hello".to_vec()).unwrap();
        assert_eq!(
            (text.data.as_str(), text.input_type, text.marker.as_deref()),
            ("hello", InputType::Text, Some("notes.txt"))
        );
        let html = input("-", b"<!doctype html><p>hi".to_vec()).unwrap();
        assert_eq!((html.input_type, html.marker), (InputType::Text, None));
        let pdf = input("a.pdf", b"%PDF-1.7 \xff".to_vec()).unwrap();
        assert_eq!(
            (pdf.data.as_str(), pdf.input_type),
            ("data:application/pdf;base64,JVBERi0xLjcg/w==", InputType::Url)
        );
        let odt = b"PK\x03\x04\0\0mimetypeapplication/vnd.oasis.opendocument.textPK".to_vec();
        let odt = input("a.odt", odt).unwrap();
        assert!(odt.data.starts_with("data:application/vnd.oasis.opendocument.text;base64,UEsDB"), "{odt:?}");
    }

    #[test]
    fn what_is_no_text_is_refused_with_a_way_out() {
        for bytes in [vec![0xff, 0xfe], b"a\0b".to_vec(), b"PK\x03\x04 archive".to_vec()] {
            let error = input("x.bin", bytes).unwrap_err().to_string();
            assert!(error.contains("x.bin") && error.contains("--url"), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_into_a_request_is_refused_before_anything_is_asked() {
        assert!(fits(&[JobInput::text("x".repeat(LARGEST))]).is_ok());
        let error = fits(&[JobInput::text("x".repeat(LARGEST)), JobInput::text("x")]).unwrap_err();
        assert!(error.next.contains("--url"), "{error}");
    }

    #[test]
    fn a_cut_inside_a_character_does_not_make_a_file_binary() {
        let mut bytes = vec![b'x'; usize::try_from(READ).unwrap() - 1];
        bytes.push(0xc3);
        assert_eq!(whole_characters(bytes).len() as u64, READ - 1);
    }
}
