//! A greeter: GET / is a page, GET /?name=NAME greets by name.

mod http;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use http::Response;

const ADDRESS: &str = "0.0.0.0:8080";
const PAGE: &str = include_str!("page.html");

/// Return the greeting of a visitor; an empty name is the world.
fn greet(name: &str) -> String {
    let name = if name.is_empty() { "world" } else { name };
    format!("Hello, {}!", escape(name))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn answer(path: &str) -> Response {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let name = query.strip_prefix("name=").unwrap_or("");
    let (status, kind, body) = match path {
        "/" => ("200 OK", "text/html", PAGE.replace("{{ text }}", &greet(name))),
        "/healthz" => ("200 OK", "text/plain", "ok\n".to_string()),
        _ => ("404 Not Found", "text/plain", "not found\n".to_string()),
    };
    Response { status, kind, body }
}

fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let response = match http::read_path(&stream)? {
        Some(path) => answer(&path),
        None => Response {
            status: "405 Method Not Allowed",
            kind: "text/plain",
            body: String::new(),
        },
    };
    http::write(&stream, &response)
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(ADDRESS)?;
    println!("listening on {ADDRESS}");
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visitors_are_greeted_by_name() {
        assert_eq!(greet("Ada"), "Hello, Ada!");
        assert!(answer("/").body.contains("Hello, world!"));
    }

    #[test]
    fn names_are_escaped() {
        assert!(answer("/?name=<b>").body.contains("Hello, &lt;b&gt;!"));
    }

    #[test]
    fn other_paths_are_not_found() {
        assert_eq!(answer("/other").status, "404 Not Found");
    }
}
