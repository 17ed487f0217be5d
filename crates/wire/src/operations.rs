//! Tests that hold for every operation of both APIs, by values made from the shapes themselves: rules and
//! typed inputs and outputs come from one model and must agree.

use crate::shape::{Problem, Shape, Text, check};
use crate::{Error, apprunner, apron};
use serde_json::{Map, Value, json};

/// One operation of either API.
#[derive(Clone, Copy)]
struct Operation {
    name: &'static str,
    shape: &'static Shape,
    output_shape: &'static Shape,
    reread: fn(usize, &[u8]) -> Result<Value, Error>,
    reread_output: fn(usize, Value) -> Value,
    index: usize,
}

impl Operation {
    fn reread(self, body: &[u8]) -> Result<Value, Error> {
        (self.reread)(self.index, body)
    }
}

fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    for (index, operation) in apprunner::Operation::ALL.iter().enumerate() {
        all.push(Operation {
            name: operation.name(),
            shape: operation.input_shape(),
            output_shape: operation.output_shape(),
            reread: |index, body| apprunner::Operation::ALL[index].reread(body),
            reread_output: |index, body| apprunner::Operation::ALL[index].reread_output(body),
            index,
        });
    }
    for (index, operation) in apron::Operation::ALL.iter().enumerate() {
        all.push(Operation {
            name: operation.name(),
            shape: operation.input_shape(),
            output_shape: operation.output_shape(),
            reread: |index, body| apron::Operation::ALL[index].reread(body),
            reread_output: |index, body| apron::Operation::ALL[index].reread_output(body),
            index,
        });
    }
    all
}

/// A text that breaks no rule: the first of these that fits.
fn text(rules: &Text) -> Value {
    let long = "x".repeat(rules.length.min);
    let hex = "0123456789abcdef0123456789abcdef";
    let candidates = [
        rules.values.first().copied().unwrap_or(hex),
        "abcd",
        "PYTHON_311",
        "256",
        "2 GB",
        "arn:aws:apprunner:us-east-1:123456789012:service/demo/0123456789abcdef0123456789abcdef",
        "arn:aws:iam::123456789012:role/service-role/demo",
        "arn:aws:kms:us-east-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef",
        "123456789012",
        "1.5",
        &long,
    ];
    let fits = |candidate: &&str| crate::shape::text_rules_broken(rules, candidate).is_empty();
    let found = candidates.into_iter().find(fits);
    found.unwrap_or_else(|| panic!("add a candidate for {rules:?}")).into()
}

/// A value that breaks no rule, with all members or with those that are required.
fn sample(shape: &Shape, all: bool) -> Value {
    match shape {
        Shape::Boolean => json!(true),
        Shape::Timestamp => json!(1.5),
        Shape::Integer(rules) => json!(rules.min.unwrap_or(3)),
        Shape::Text(rules) => text(rules),
        Shape::Blob { .. } => json!("AAAA"),
        Shape::List { member, length } => vec![sample(member, all); length.min.max(1)].into(),
        Shape::Map { key, value, .. } => {
            let Value::String(key) = text(key) else { panic!("keys are texts") };
            json!({ key: text(value) })
        }
        Shape::Structure(members) => {
            let wanted = members.iter().filter(|m| all || m.required);
            wanted.map(|m| (m.name.to_owned(), sample(m.shape, all))).collect::<Map<_, _>>().into()
        }
    }
}

#[test]
fn rules_and_types_agree() {
    for operation in operations() {
        for all in [false, true] {
            let value = sample(operation.shape, all);
            let reread = operation.reread(&serde_json::to_vec(&value).unwrap());
            // Nothing is lost on the way through the typed input, and nothing is added.
            assert_eq!(reread, Ok(value), "{}", operation.name);
            let output = sample(operation.output_shape, all);
            assert_eq!(check(operation.output_shape, &output), Ok(()), "{}", operation.name);
            let reread = (operation.reread_output)(operation.index, output.clone());
            assert_eq!(reread, output, "{}", operation.name);
        }
    }
}

#[test]
fn every_required_member_is_missed() {
    for operation in operations() {
        let Shape::Structure(members) = operation.shape else { panic!("inputs are structures") };
        for member in members.iter().filter(|m| m.required) {
            let mut value = sample(operation.shape, true);
            value[member.name] = Value::Null;
            let Err(Problem::Rules(violations)) = check(operation.shape, &value) else {
                panic!("{} does without {}", operation.name, member.name)
            };
            assert_eq!(violations[0].rule, "Member must not be null");
        }
    }
}

/// Whatever arrives, the answer is an input or one of two errors, and never a panic.
#[test]
fn damaged_bodies_are_refused() {
    const SEED: u64 = 0x5eed_0001;
    let mut state = SEED;
    // Knuth's constants for a linear congruential generator: any spread of bytes will do.
    let mut draw = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let pieces: &[&[u8]] = &[
        b"\"",
        b"{",
        b"}",
        b"[",
        b"]",
        b"null",
        b"1e999",
        b"-1",
        b"\\u0000",
        b"\xff",
        b",",
        b":",
        b"\"\\ud800\"",
    ];
    for operation in operations() {
        let whole = serde_json::to_vec(&sample(operation.shape, true)).unwrap();
        for _ in 0..300 {
            let mut body = whole.clone();
            for _ in 0..=draw(3) {
                let at = draw(body.len());
                let end = (at + draw(8)).min(body.len());
                body.splice(at..end, pieces[draw(pieces.len())].iter().copied());
                if body.is_empty() {
                    break;
                }
            }
            if let Err(error) = operation.reread(&body) {
                let code = error.code.as_ref();
                let known = matches!(code, "SerializationException" | "InvalidRequestException");
                assert!(known && error.status == 400, "seed {SEED:#x}, {}: {error}", operation.name);
            }
        }
    }
}
