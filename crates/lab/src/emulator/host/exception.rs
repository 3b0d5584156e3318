//! .NET exceptions as the host prints them: the queries and the recorded logs know these texts.

use std::{fmt, io};

/// An exception and what caused it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exception {
    /// Full .NET type name.
    pub kind: String,
    /// Message of this layer alone.
    pub message: String,
    /// Native error code, which .NET prints behind the type name.
    pub code: Option<i32>,
    /// The exception this one wraps.
    pub inner: Option<Box<Exception>>,
}

impl Exception {
    /// An exception without a cause.
    pub fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), message: message.into(), code: None, inner: None }
    }

    /// The same exception, caused by another one.
    #[must_use]
    pub fn caused_by(mut self, inner: Self) -> Self {
        self.inner = Some(Box::new(inner));
        self
    }

    /// The exception at the end of the chain.
    pub fn innermost(&self) -> &Self {
        self.inner.as_deref().map_or(self, Self::innermost)
    }

    /// What the host makes of an invocation's failure.
    pub(crate) fn of_invocation(function: &str, cause: Self) -> Self {
        let message = format!("Exception while executing function: Functions.{function}");
        Self::new("Microsoft.Azure.WebJobs.Host.FunctionInvocationException", message).caused_by(cause)
    }

    /// `HttpRequestException`, the face of every failed call to the handler.
    pub(super) fn http_request(message: impl Into<String>) -> Self {
        Self::new("System.Net.Http.HttpRequestException", message)
    }

    /// The handler closed the connection inside an answer.
    pub(super) fn ended_prematurely() -> Self {
        Self::new("System.Net.Http.HttpIOException", "The response ended prematurely. (ResponseEnded)")
    }

    /// A socket error, with the message .NET takes from the system.
    pub(super) fn socket(error: &io::Error) -> Self {
        let mut exception = Self::new("System.Net.Sockets.SocketException", os_message(error));
        exception.code = error.raw_os_error();
        exception
    }

    /// A process that could not be started.
    pub(super) fn start_failed(file: &str, folder: &str, error: &io::Error) -> Self {
        let message = format!(
            "An error occurred trying to start process '{file}' with working directory '{folder}'. {}",
            os_message(error)
        );
        let mut exception = Self::new("System.ComponentModel.Win32Exception", message);
        exception.code = error.raw_os_error();
        exception
    }

    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if let Some(code) = self.code {
            write!(f, " ({code})")?;
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

/// `Exception.ToString()`, without the stack frames.
impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        let mut depth = 0;
        let mut layer = self;
        while let Some(inner) = &layer.inner {
            f.write_str("\n ---> ")?;
            inner.head(f)?;
            layer = inner;
            depth += 1;
        }
        (0..depth).try_for_each(|_| f.write_str("\n   --- End of inner exception stack trace ---"))
    }
}

/// The system's message without Rust's ` (os error N)`.
pub(super) fn os_message(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_printed_as_dotnet_prints_it() {
        let exit = Exception::new("Host.WorkerProcessExitException", "handler exited with code 137 (0x89)");
        assert_eq!(
            exit.caused_by(Exception::new("System.Exception", "")).to_string(),
            "Host.WorkerProcessExitException: handler exited with code 137 (0x89)\n ---> System.Exception\n   \
             --- End of inner exception stack trace ---"
        );
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(
            Exception::socket(&refused).to_string(),
            "System.Net.Sockets.SocketException (111): Connection refused"
        );
    }
}
