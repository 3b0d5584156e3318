//! HTTP from the host to the handler, byte for byte as .NET's `HttpClient` writes it.
//!
//! The request head is written by hand because HTTP libraries lower-case and reorder header names. A connection serves
//! one call.

use std::{io, ops::ControlFlow};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use url::Url;

use super::exception::{Exception, os_message};

/// .NET's `MaxAutomaticRedirections`.
const MAX_REDIRECTS: usize = 50;

/// A call to the handler.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub method: &'static str,
    pub path: String,
    /// Headers between `Host` and those of the body, in the order sent.
    pub headers: Vec<(&'static str, String)>,
    pub traceparent: Option<String>,
    /// A JSON body, sent chunked.
    pub body: Option<Vec<u8>>,
}

impl Request {
    fn to_bytes(&self, port: u16) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.body.is_some() {
            head.push_str("Transfer-Encoding: chunked\r\n");
        }
        if let Some(traceparent) = &self.traceparent {
            head.push_str(&format!("traceparent: {traceparent}\r\n"));
        }
        let Some(body) = &self.body else {
            head.push_str("\r\n");
            return head.into_bytes();
        };
        head.push_str(&format!("Content-Type: application/json; charset=utf-8\r\n\r\n{:X}\r\n", body.len()));
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\r\n0\r\n\r\n");
        bytes
    }
}

/// The handler's whole answer.
#[derive(Debug)]
pub(super) struct Response {
    pub status: u16,
    pub reason: String,
    minor_version: u8,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// `HttpResponseMessage.ToString()`: headers of the answer first, then those of its content.
    pub(super) fn describe(&self) -> String {
        let (content, general): (Vec<_>, Vec<_>) = self.headers.iter().partition(|(name, _)| {
            let name = name.to_ascii_lowercase();
            name.starts_with("content-") || ["allow", "expires", "last-modified"].contains(&name.as_str())
        });
        let headers: String =
            general.iter().chain(&content).map(|(name, value)| format!("  {name}: {value}\n")).collect();
        format!(
            "StatusCode: {}, ReasonPhrase: '{}', Version: 1.{}, Content: System.Net.Http.HttpConnectionResponseContent, \
             Headers:\n{{\n{headers}}}",
            self.status, self.reason, self.minor_version
        )
    }
}

/// Sends a request and follows redirects as `HttpClient` does, as far as they stay with the handler.
///
/// # Errors
/// The exception .NET throws in the same place.
pub(super) async fn send(port: u16, request: Request) -> Result<Response, Exception> {
    let mut request = request;
    let mut response = exchange(port, &request).await?;
    for _ in 0..MAX_REDIRECTS {
        let Some(path) = redirect(port, &request, &response) else {
            break;
        };
        request.path = path;
        if !matches!(response.status, 307 | 308) && request.method == "POST" {
            request.method = "GET";
            request.body = None;
        }
        response = exchange(port, &request).await?;
    }
    Ok(response)
}

/// Where a redirect leads. One that leaves the handler is not followed: the stand-in speaks to loopback alone.
fn redirect(port: u16, request: &Request, response: &Response) -> Option<String> {
    if !matches!(response.status, 300..=303 | 307 | 308) {
        return None;
    }
    let handler = Url::parse(&format!("http://127.0.0.1:{port}{}", request.path)).ok()?;
    let target = handler.join(response.header("location")?).ok()?;
    (target.origin() == handler.origin())
        .then(|| target[url::Position::BeforePath..url::Position::AfterQuery].to_owned())
}

async fn exchange(port: u16, request: &Request) -> Result<Response, Exception> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| connect_failed(port, &error))?;
    let (read, mut write) = stream.into_split();
    let answer = async {
        let mut reader = Reader { stream: read, buffer: Vec::new() };
        let head = reader.head().await.map_err(before_head)?;
        reader.body(head).await.map_err(inside_body)
    };
    tokio::pin!(answer);
    // A handler may answer and hang up before it has read the whole request, so its answer outranks a failed write.
    tokio::select! {
        biased;
        response = &mut answer => response,
        _ = write_all(&mut write, request.to_bytes(port)) => answer.await,
    }
}

async fn write_all(stream: &mut OwnedWriteHalf, bytes: Vec<u8>) -> io::Result<()> {
    stream.write_all(&bytes).await
}

struct Reader {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads more; the end of the stream is an error.
    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn head(&mut self) -> io::Result<Response> {
        loop {
            match parse_head(&mut self.buffer)? {
                ControlFlow::Break(head) if head.status >= 200 => return Ok(head),
                ControlFlow::Break(_) => {}
                ControlFlow::Continue(()) => self.fill().await?,
            }
        }
    }

    async fn body(mut self, mut head: Response) -> io::Result<Response> {
        if matches!(head.status, 204 | 304) {
            return Ok(head);
        }
        let chunked = head.header("transfer-encoding").is_some_and(|it| it.to_ascii_lowercase().contains("chunked"));
        let length = head.header("content-length").and_then(|it| it.parse::<usize>().ok());
        head.body = match (chunked, length) {
            (true, _) => self.chunks().await?,
            (false, Some(length)) => self.take(length).await?,
            (false, None) => self.rest().await?,
        };
        Ok(head)
    }

    async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn rest(&mut self) -> io::Result<Vec<u8>> {
        self.stream.read_to_end(&mut self.buffer).await?;
        Ok(std::mem::take(&mut self.buffer))
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Partial) => self.fill().await?,
                // Trailers, if any, are left unread: the connection is not used again.
                Ok(httparse::Status::Complete((_, 0))) => return Ok(body),
                Ok(httparse::Status::Complete((start, size))) => {
                    self.take(start).await?;
                    let size = usize::try_from(size).map_err(io::Error::other)?;
                    body.extend(self.take(size).await?);
                    self.take(2).await?;
                }
                Err(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "invalid chunk")),
            }
        }
    }
}

/// Takes a complete head off the front of the buffer, if there is one.
fn parse_head(buffer: &mut Vec<u8>) -> io::Result<ControlFlow<Response>> {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Response::new(&mut headers);
    let length = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(ControlFlow::Continue(())),
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let head = Response {
        status: parsed.code.unwrap_or_default(),
        reason: parsed.reason.unwrap_or_default().to_owned(),
        minor_version: parsed.version.unwrap_or(1),
        headers: parsed.headers.iter().map(|it| (it.name.to_owned(), text(it.value))).collect(),
        body: Vec::new(),
    };
    buffer.drain(..length);
    Ok(ControlFlow::Break(head))
}

fn connect_failed(port: u16, error: &io::Error) -> Exception {
    Exception::http_request(format!("{} (127.0.0.1:{port})", os_message(error))).caused_by(Exception::socket(error))
}

fn before_head(error: io::Error) -> Exception {
    Exception::http_request("An error occurred while sending the request.").caused_by(transport(&error))
}

fn inside_body(error: io::Error) -> Exception {
    Exception::http_request("Error while copying content to a stream.").caused_by(transport(&error))
}

fn transport(error: &io::Error) -> Exception {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Exception::ended_prematurely(),
        io::ErrorKind::InvalidData => Exception::new(
            "System.Net.Http.HttpIOException",
            format!("The server returned an invalid or unrecognized response: {error}. (InvalidResponse)"),
        ),
        _ => {
            let message = format!("Unable to read data from the transport connection: {}.", os_message(error));
            Exception::new("System.IO.IOException", message).caused_by(Exception::socket(error))
        }
    }
}
