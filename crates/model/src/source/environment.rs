//! Variables that a user may set, and the port, which is one of them in disguise.

use super::{InputError, RunInput, invalid, unsupported};
use crate::limits;
use std::collections::BTreeMap;

/// A port from AWS's text form.
pub(super) fn port(text: &str) -> Result<u16, InputError> {
    match text.parse::<u16>() {
        // A sign is no digit.
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => invalid(format!("Port '{text}' is not valid: give a number from 1 to 65535.")),
    }
}

/// Checks variables against the port that the application will have. `port` is None where only
/// `apprunner.yaml` knows it.
pub(super) fn check(env: &BTreeMap<String, String>, port: Option<u16>) -> Result<(), InputError> {
    let mut bytes = 0usize;
    for (key, value) in env {
        bytes = bytes.saturating_add(key.len()).saturating_add(value.len()).saturating_add(2);
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            return invalid(format!(
                "The variable '{}' is not valid: a name is not empty and has no '=', and neither name nor \
                 value has a zero byte.",
                key.replace('\0', "\\0")
            ));
        }
        if key.starts_with("AWSAPPRUNNER") {
            return invalid(format!(
                "The variable '{key}' is reserved: names may not begin with AWSAPPRUNNER."
            ));
        }
        if key == "PORT" && port.is_none_or(|port| *value != port.to_string()) {
            let now = port.map_or("in apprunner.yaml".to_owned(), |port| format!("now {port}"));
            return invalid(format!(
                "The variable PORT is reserved: it always carries the configured port ({now}). Set Port instead."
            ));
        }
    }
    if bytes > limits::ENVIRONMENT_BYTES_MAX {
        return invalid(format!(
            "The variables have {bytes} bytes together; at most {} fit.",
            limits::ENVIRONMENT_BYTES_MAX
        ));
    }
    Ok(())
}

/// A start or build command that can be run: one argument of a program has at most 128 KiB on Linux.
pub(super) fn check_command(member: &str, command: Option<&str>) -> Result<(), InputError> {
    let Some(command) = command else { return Ok(()) };
    if command.contains('\0') {
        return invalid(format!("{member} is not valid: it has a zero byte."));
    }
    if command.len() > limits::COMMAND_BYTES_MAX {
        return invalid(format!(
            "{member} has {} bytes; at most {} are taken.",
            command.len(),
            limits::COMMAND_BYTES_MAX
        ));
    }
    Ok(())
}

/// Secrets are resolved by nothing yet; starting an application without what it was promised helps nobody.
pub(super) fn refuse_secrets(run: &RunInput) -> Result<(), InputError> {
    match run.secrets.as_ref().and_then(|secrets| secrets.keys().next()) {
        None => Ok(()),
        Some(name) => unsupported(format!(
            "RuntimeEnvironmentSecrets is not supported yet: nothing here resolves the secret '{name}' from \
             Secrets Manager or Parameter Store. Pass it in RuntimeEnvironmentVariables instead."
        )),
    }
}
