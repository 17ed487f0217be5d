//! AWS protocols in and out: which call a request is, who signed it, what its body says, how an answer or an
//! error looks. Shapes are generated from `specs/`; nothing here knows what Apron does with them.
//!
//! A server reads a request in this order, each step with its own AWS-shaped refusal:
//! 1. `detect::detect` says which operation of which service is meant;
//! 2. `sigv4::Presented::read` and `Presented::verify` say who signed it, once the key is looked up;
//! 3. `json::decode` turns the body into the operation's input, checked against every rule of the model;
//! 4. `json::answer` and `json::error` write the response.
//!
//! A client goes the other way with `client::request` and `client::answer`.
//!
//! Time is always an argument: no function here reads a clock, draws a random number or does I/O.

pub mod client;
pub mod conform;
pub mod detect;
pub mod error;
pub mod json;
pub mod parameters;
pub mod shape;
pub mod sigv4;
pub mod time;
pub mod value;

mod generated;
#[cfg(test)]
mod operations;

pub use detect::{Target, detect};
pub use error::Error;
pub use generated::{apprunner, apron};
pub use value::Blob;

/// One operation as its input sees it: what it is called, what its body must be, what it answers.
///
/// Generated for every input shape; it lets `json::decode` and `client::request` be written once.
pub trait Call: serde::Serialize + serde::de::DeserializeOwned {
    type Output: serde::Serialize + serde::de::DeserializeOwned;
    /// The value of `X-Amz-Target`, e.g. `AppRunner.CreateService`.
    const TARGET: &'static str;
    /// The service name that signatures carry, e.g. `apprunner`.
    const SIGNING_NAME: &'static str;
    /// What the body must look like.
    fn shape() -> &'static shape::Shape;
    /// What the answer must look like.
    fn output_shape() -> &'static shape::Shape;
    /// Whether the operation may answer the error of this name. One that the API does not model at all is the
    /// protocol's, and every operation may answer it.
    fn models(error: &str) -> bool;
}
