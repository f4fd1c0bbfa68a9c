//! Lines from a child process: no longer than they may be, and safe to log.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};
use zeroize::Zeroizing;

use crate::nip47::words::clean;

/// The longest line of an answer, in bytes: a page of a history is far below.
pub(super) const LONGEST: usize = 1 << 20;

/// The longest line of a log that is kept, in bytes.
pub(super) const LONGEST_LOG: usize = 4_096;

/// A secret is 32 bytes in hexadecimal or longer; so are hashes, which a log can do without.
const LONGEST_HEX: usize = 63;

/// One line of what a child writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// As it is, without its end.
    Whole(Vec<u8>),
    /// Longer than allowed; it was read past.
    TooLong,
    /// There are no more.
    End,
}

/// Reads the next line.
pub(super) async fn next(from: &mut (impl AsyncBufRead + Unpin), longest: usize) -> std::io::Result<Line> {
    let (mut line, mut too_long) = (Vec::new(), false);
    loop {
        let part = from.fill_buf().await?;
        if part.is_empty() {
            return Ok(Line::End);
        }
        let end = part.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(part.len());
        too_long |= line.len() + taken > longest;
        if !too_long {
            line.extend_from_slice(&part[..taken]);
        }
        from.consume(taken + usize::from(end.is_some()));
        match (end, too_long) {
            (Some(_), true) => return Ok(Line::TooLong),
            (Some(_), false) => return Ok(Line::Whole(line)),
            (None, _) => {}
        }
    }
}

/// A line for the log, without any of these secrets and without anything that looks like one.
pub(super) fn loggable(line: &[u8], secrets: &[Zeroizing<String>]) -> String {
    let text = String::from_utf8_lossy(line);
    if secrets.iter().any(|secret| !secret.is_empty() && text.contains(secret.as_str())) {
        return "(a line with a secret in it)".into();
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = &*text;
    while !rest.is_empty() {
        let hex = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let plain = rest[hex..].bytes().take_while(|byte| !byte.is_ascii_hexdigit()).count();
        if hex > LONGEST_HEX {
            shown.push_str(&rest[..8]);
            shown.push('…');
        } else {
            shown.push_str(&rest[..hex]);
        }
        shown.push_str(&rest[hex..hex + plain]);
        rest = &rest[hex + plain..];
    }
    clean(&shown)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_too_long_is_read_past() {
        let mut from: &[u8] = b"short\nmuch too long\n\nlast";
        let mut read = Vec::new();
        loop {
            match next(&mut from, 6).await.unwrap() {
                Line::End => break,
                line => read.push(line),
            }
        }
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(read, [whole("short"), Line::TooLong, whole("")], "a cut line is no line");
    }

    #[test]
    fn no_secret_is_logged() {
        let seed = "5e".repeat(64);
        let secrets = [Zeroizing::new("api key".to_owned()), Zeroizing::new(seed.clone())];
        let shown = |line: &str| loggable(line.as_bytes(), &secrets);
        assert_eq!(shown("with the api key"), "(a line with a secret in it)");
        assert_eq!(shown(&format!("seed {seed}")), "(a line with a secret in it)");
        assert_eq!(shown(&format!("paid {} é", "ab".repeat(32))), "paid abababab… é");
        assert_eq!(shown("port 9735\u{1b}[2J deadbeef"), "port 9735[2J deadbeef");
    }
}
