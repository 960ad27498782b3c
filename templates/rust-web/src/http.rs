//! The part of HTTP/1.1 that the greeter needs: one GET request per connection.

use std::io::{self, BufRead, BufReader, Read, Write};

const LONGEST: u64 = 16 * 1024;

/// A response with its body.
pub struct Response {
    pub status: &'static str,
    pub kind: &'static str,
    pub body: String,
}

/// Read the head of a request and return its path with the query; None for other methods.
pub fn read_path(stream: impl Read) -> io::Result<Option<String>> {
    let mut lines = BufReader::new(stream.take(LONGEST)).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let mut words = first.split(' ');
    Ok(match (words.next(), words.next()) {
        (Some("GET"), Some(path)) => Some(path.to_string()),
        _ => None,
    })
}

/// Write a response and announce the end of the connection.
pub fn write(mut stream: impl Write, response: &Response) -> io::Result<()> {
    let Response { status, kind, body } = response;
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_get_request() {
        let request = "GET /api?name=Ada HTTP/1.1\r\nHost: x\r\n\r\n".as_bytes();
        assert_eq!(read_path(request).unwrap(), Some("/api?name=Ada".into()));
        assert_eq!(read_path("POST / HTTP/1.1\r\n\r\n".as_bytes()).unwrap(), None);
    }
}
