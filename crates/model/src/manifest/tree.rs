//! YAML text to a tree whose every node knows where it stands.
//!
//! Only what a configuration file needs: one document, mappings with plain keys, lists, scalars as their
//! source text. Anchors are refused, because expanding them is how a small text becomes a large one.

use super::{Position, Problem, Severity};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

/// The documented schema is five levels deep.
const DEPTH_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    /// Nothing was written, or `null` or `~`.
    Null,
    Scalar(String),
    List(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) at: Position,
    pub(super) text: String,
}

impl Node {
    /// What a person would call it.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

/// Loads the one document of the text; an empty text is a null node.
pub(super) fn load(text: &str) -> Result<Node, Problem> {
    let mut loader = Loader { parser: Parser::new_from_str(text) };
    loop {
        match loader.next()? {
            (Event::StreamStart | Event::Nothing | Event::DocumentStart(_), _) => continue,
            (Event::StreamEnd, span) => return Ok(Node { at: position(&span.start), value: Value::Null }),
            (event, span) => {
                let node = loader.node(event, span, 0)?;
                loader.end()?;
                return Ok(node);
            }
        }
    }
}

struct Loader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
}

impl<'t> Loader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok(pair)) => Ok(pair),
            Some(Err(e)) => Err(problem(position(e.marker()), format!("not valid YAML: {}", e.info()))),
            None => Ok((Event::StreamEnd, Span::empty(Marker::new(0, 1, 0)))),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Problem> {
        let at = position(&span.start);
        if depth > DEPTH_MAX {
            return Err(problem(at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let value = match event {
            Event::Scalar(text, style, anchor, _) => {
                refuse_anchor(anchor, at)?;
                let null =
                    style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                if null { Value::Null } else { Value::Scalar(text.into_owned()) }
            }
            Event::SequenceStart(anchor, _) => {
                refuse_anchor(anchor, at)?;
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Value::List(items),
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(anchor, _) => {
                refuse_anchor(anchor, at)?;
                self.mapping(depth)?
            }
            Event::Alias(_) => {
                return Err(problem(at, "an alias (`*name`) is not supported; write the value out".into()));
            }
            other => return Err(problem(at, format!("not valid YAML here: {other:?}"))),
        };
        Ok(Node { at, value })
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let at = position(&span.start);
            let text = match event {
                Event::MappingEnd => return Ok(Value::Mapping(entries)),
                Event::Scalar(text, _, anchor, _) => {
                    refuse_anchor(anchor, at)?;
                    text.into_owned()
                }
                _ => return Err(problem(at, "a key must be a plain word".into())),
            };
            if let Some((first, _)) = entries.iter().find(|(k, _)| k.text == text) {
                let line = first.at.line;
                return Err(problem(at, format!("the key {text:?} stands here again; it is on line {line}")));
            }
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            entries.push((Key { at, text }, node));
        }
    }

    /// Nothing may follow the document.
    fn end(&mut self) -> Result<(), Problem> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::DocumentEnd | Event::Nothing, _) => continue,
                (_, span) => {
                    let message = "a second YAML document begins here; the file must hold one".into();
                    return Err(problem(position(&span.start), message));
                }
            }
        }
    }
}

fn refuse_anchor(anchor: usize, at: Position) -> Result<(), Problem> {
    match anchor {
        0 => Ok(()),
        _ => Err(problem(at, "an anchor (`&name`) is not supported; write the value out".into())),
    }
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line().max(1) as u32, column: marker.col() as u32 + 1 }
}

fn problem(at: Position, message: String) -> Problem {
    Problem { severity: Severity::Error, at, message }
}
