//! A server that says what a bitcoin costs, or whatever else it is told to.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// The server. Clones are the same one.
#[derive(Clone, Debug)]
pub struct PriceServer {
    /// Where it is asked.
    pub url: String,
    answer: Arc<Mutex<(u16, String)>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl PriceServer {
    /// Opens one on a port of its own that answers with a status and a body.
    pub async fn open(status: u16, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/price", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new((status, body.to_owned())));
        let server = Self { url, answer, heard: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        server
    }

    /// Answers differently from now on.
    pub fn say(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned());
    }

    /// Every request there was, with its headers.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let mut request = String::new();
        while stream.read_line(&mut request).await.unwrap_or(0) > 2 {}
        self.heard.lock().unwrap().push(request);
        let (status, body) = self.answer.lock().unwrap().clone();
        let head = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}
