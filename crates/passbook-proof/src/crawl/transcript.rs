//! What was asked and answered, as text: a block for each exchange, in order.

use std::fmt::Write as _;

use super::call::Call;
use super::placeholders::Placeholders;
use crate::http::Answer;

/// Headers of answers that follow the real clock, name the request, or count on the real clock.
const LEFT_OUT: [&str; 2] = ["date", "x-request-id"];
const LEFT_OUT_PREFIX: &str = "ratelimit-";
/// Longest request body that is written out, in bytes.
const BODY_MAX: usize = 4_000;

/// One exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Method and path.
    pub request: String,
    /// Everything else of the request, and the answer.
    pub rest: String,
}

/// All exchanges of a run.
#[derive(Default)]
pub struct Transcript {
    /// In the order in which they were asked.
    pub exchanges: Vec<Exchange>,
}

impl Transcript {
    /// Adds an exchange.
    pub fn add(&mut self, call: &Call, answer: &Answer, placeholders: &Placeholders) {
        let request = placeholders.apply(&format!("{} {}", call.method, call.path));
        let mut rest = String::new();
        write_request(&mut rest, call);
        write_answer(&mut rest, call, answer);
        self.exchanges.push(Exchange { request, rest: placeholders.apply(&rest) });
    }

    /// The text of a file.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (position, exchange) in self.exchanges.iter().enumerate() {
            text.push_str(&format!("{}{}\n{}", mark(position), exchange.request, exchange.rest));
        }
        text
    }

    /// Reads what [`render`](Self::render) wrote. Each block begins with a line that holds its own number, so a body
    /// cannot be taken for one.
    pub fn parse(text: &str) -> Self {
        let mut exchanges = Vec::new();
        let mut rest = text.strip_prefix(&mark(0)).unwrap_or_default();
        while !rest.is_empty() {
            let next = format!("\n{}", mark(exchanges.len() + 1));
            let (block, others) = match rest.split_once(&next) {
                Some((block, others)) => (format!("{block}\n"), others),
                None => (rest.to_owned(), ""),
            };
            let (request, of_block) = block.split_once('\n').unwrap_or((&block, ""));
            exchanges.push(Exchange { request: request.to_owned(), rest: of_block.to_owned() });
            rest = others;
        }
        Self { exchanges }
    }
}

fn mark(position: usize) -> String {
    format!("=== {} ", position + 1)
}

fn write_request(text: &mut String, call: &Call) {
    for (name, value) in &call.headers {
        // Base64 hides a secret from the placeholders.
        let value = if value.starts_with("Basic ") { "Basic <credentials>" } else { value };
        push_line(text, format_args!("> {name}: {value}"));
    }
    if call.body.len() > BODY_MAX {
        push_line(text, format_args!("> <{} bytes>", call.body.len()));
    } else if !call.body.is_empty() {
        push_line(text, format_args!("> {}", String::from_utf8_lossy(&call.body)));
    }
}

fn write_answer(text: &mut String, call: &Call, answer: &Answer) {
    push_line(text, format_args!("{}", answer.status));
    let is_metrics = call.path.starts_with("/metrics");
    let mut headers: Vec<_> = answer.head.lines().skip(1).filter(|line| is_kept(line)).collect();
    headers.retain(|line| !(is_metrics && line.starts_with("content-length")));
    headers.sort_unstable();
    for header in headers {
        push_line(text, format_args!("{header}"));
    }
    let body = String::from_utf8_lossy(&answer.body);
    let body = if is_metrics { names_of(&body) } else { body.into_owned() };
    push_line(text, format_args!("\n{body}"));
}

fn is_kept(header: &str) -> bool {
    let name = header.split(':').next().unwrap_or_default().to_ascii_lowercase();
    !name.is_empty() && !LEFT_OUT.contains(&name.as_str()) && !name.starts_with(LEFT_OUT_PREFIX)
}

/// Metrics measure time and memory, and come in any order; what is compared is which there are.
fn names_of(metrics: &str) -> String {
    let name = |line: &str| match line.starts_with('#') {
        true => line.to_owned(),
        false => line.rsplit_once(' ').map_or(line, |(name, _)| name).to_owned(),
    };
    let mut names: Vec<_> = metrics.lines().map(name).collect();
    names.sort_unstable();
    names.join("\n")
}

fn push_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(head: &str, body: &str) -> Answer {
        Answer { status: 200, head: head.to_owned(), body: body.into() }
    }

    fn transcript(bodies: &[&str]) -> Transcript {
        let mut transcript = Transcript::default();
        for body in bodies {
            let head =
                "HTTP/1.1 200 OK\r\nx-b: 2\r\nDate: now\r\nX-Request-Id: 1\r\nRateLimit-Limit: 3\r\na: 1\r\n\r\n";
            transcript.add(&Call::get("/x?y=1"), &answer(head, body), &Placeholders::default());
        }
        transcript
    }

    #[test]
    fn headers_are_sorted_and_those_of_the_moment_are_left_out() {
        assert_eq!(transcript(&["{}"]).render(), "=== 1 GET /x?y=1\n200\na: 1\nx-b: 2\n\n{}\n");
    }

    #[test]
    fn what_is_written_is_read_again_whatever_bodies_hold() {
        let written = transcript(&["{}", "", "line\n=== 2 GET /x\n=== 9 end\n", "\n\n", "last"]);
        let read = Transcript::parse(&written.render());
        assert_eq!(read.exchanges, written.exchanges);
    }

    #[test]
    fn metrics_are_their_names_in_order() {
        assert_eq!(names_of("b 0.5\na{x=\"y z\"} 12\n# HELP a b c\n"), "# HELP a b c\na{x=\"y z\"}\nb");
    }

    #[test]
    fn a_long_request_body_is_replaced_by_its_length() {
        let mut text = String::new();
        write_request(&mut text, &Call::new("POST", "/x").content("text/plain", "y".repeat(BODY_MAX + 1)));
        assert_eq!(text, "> content-type: text/plain\n> <4001 bytes>\n");
    }
}
