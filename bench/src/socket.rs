//! A WebSocket client that reads and writes text, without Nagle's delay.

use std::net::SocketAddr;

use anyhow::Context;
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

pub(crate) struct Writer(SplitSink<WebSocketStream<TcpStream>, Message>);
pub(crate) struct Reader(SplitStream<WebSocketStream<TcpStream>>);

/// Connects to a relay on this machine.
pub(crate) async fn connect(url: &str) -> anyhow::Result<(Writer, Reader)> {
    let rest = url.strip_prefix("ws://").context("the bench measures relays on this machine: ws://")?;
    let host: SocketAddr = rest.split('/').next().unwrap_or_default().parse()?;
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
    let (writer, reader) = socket.split();
    Ok((Writer(writer), Reader(reader)))
}

impl Writer {
    /// Writes some frames with one flush.
    pub(crate) async fn send(&mut self, frames: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
        for frame in frames {
            self.0.feed(Message::text(frame)).await?;
        }
        Ok(self.0.flush().await?)
    }
}

impl Reader {
    /// The next text frame.
    pub(crate) async fn next(&mut self) -> anyhow::Result<String> {
        loop {
            match self.0.next().await.context("the relay closed the connection")?? {
                Message::Text(text) => return Ok(text.as_str().to_owned()),
                Message::Binary(_)
                | Message::Ping(_)
                | Message::Pong(_)
                | Message::Close(_)
                | Message::Frame(_) => {}
            }
        }
    }
}
