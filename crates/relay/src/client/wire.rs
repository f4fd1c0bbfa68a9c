//! The socket to a relay: dialled with a limit, without delays, with frames that cannot be large.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async_tls_with_config,
    tungstenite::{self, protocol::WebSocketConfig},
};

use crate::{RelayUrl, client::Gate, server::LARGEST_FRAME, text::printable};

/// A WebSocket to a relay.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<PromptTcp>>;

/// Why no connection came to stand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the address has no host")]
    NoHost,
    #[error("{0} did not answer within {1:?}")]
    Silent(RelayUrl, Duration),
    #[error("cannot reach the relay: {0}")]
    Tcp(#[from] io::Error),
    #[error("the relay's address leads where it must not be followed")]
    Gated,
    #[error("the relay refused the connection: {}", printable(&.0.to_string(), 200))]
    Refused(#[from] Box<tungstenite::Error>),
}

/// Connects to `url`, TLS and WebSocket handshake included, in at most `within`.
pub(crate) async fn dial(url: &RelayUrl, within: Duration, gate: Option<&Gate>) -> Result<Socket, DialError> {
    let silent = || DialError::Silent(url.clone(), within);
    // Boxed: the TLS handshake is a large future and rarely polled.
    tokio::time::timeout(within, Box::pin(connect(url, gate))).await.map_err(|_| silent())?
}

async fn connect(url: &RelayUrl, gate: Option<&Gate>) -> Result<Socket, DialError> {
    let tcp = connect_tcp(url, gate).await?;
    tcp.set_nodelay(true)?;
    // tungstenite offers no permessage-deflate, so there is no compressed bomb to unpack.
    let config = WebSocketConfig::default()
        .max_frame_size(Some(LARGEST_FRAME))
        .max_message_size(Some(LARGEST_FRAME))
        .read_buffer_size(32 * 1024)
        .write_buffer_size(64 * 1024);
    let (socket, _) = client_async_tls_with_config(url.as_str(), PromptTcp(tcp), Some(config), None)
        .await
        .map_err(Box::new)?;
    Ok(socket)
}

async fn connect_tcp(url: &RelayUrl, gate: Option<&Gate>) -> Result<TcpStream, DialError> {
    let (host, port) = url.authority().ok_or(DialError::NoHost)?;
    let Some(gate) = gate else { return Ok(TcpStream::connect((host.as_str(), port)).await?) };
    let good = gate.lets_through(&host, port).await?;
    if good.is_empty() { Err(DialError::Gated) } else { Ok(TcpStream::connect(good.as_slice()).await?) }
}

/// A TCP stream that acknowledges at once what it read.
///
/// Most relays leave Nagle's algorithm on: their next small frame waits for our acknowledgement,
/// which the kernel holds back for 40 ms unless it is told not to, again and again.
#[derive(Debug)]
pub(crate) struct PromptTcp(TcpStream);

impl PromptTcp {
    #[cfg(target_os = "linux")]
    fn acknowledge(&self) {
        // Refusal would only mean that frames come later.
        let _ = socket2::SockRef::from(&self.0).set_tcp_quickack(true);
    }

    #[cfg(not(target_os = "linux"))]
    fn acknowledge(&self) {}
}

impl AsyncRead for PromptTcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.0).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.acknowledge();
        }
        outcome
    }
}

impl AsyncWrite for PromptTcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
