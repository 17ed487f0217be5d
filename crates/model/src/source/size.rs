//! CPU and memory of an instance: the two notations of AWS and the pairs that exist.

use super::{InputError, invalid};
use crate::instance::InstanceSize;

/// The pairs that AWS sells, as (CPU units, MiB). Tools and bills know no others.
pub const SIZES: [(u32, u32); 11] = [
    (256, 512),
    (256, 1024),
    (512, 1024),
    (1024, 2048),
    (1024, 3072),
    (1024, 4096),
    (2048, 4096),
    (2048, 6144),
    (4096, 8192),
    (4096, 10240),
    (4096, 12288),
];

/// One core and 2 GiB, as on AWS.
pub fn default_size() -> InstanceSize {
    InstanceSize { cpu_units: 1024, memory_mib: 2048 }
}

/// `cpu` and `memory` as written, laid over `base`; the pair that results must exist.
pub(super) fn size(
    base: InstanceSize,
    cpu: Option<&str>,
    memory: Option<&str>,
) -> Result<InstanceSize, InputError> {
    let cpu_units = match cpu {
        None => base.cpu_units,
        Some(text) => number_or_unit(text, "vCPU", SIZES.iter().map(|(cpu, _)| *cpu)).ok_or_else(|| {
            InputError::Invalid(format!(
                "Cpu '{text}' is not valid: give 256, 512, 1024, 2048 or 4096, or '0.25 vCPU' to '4 vCPU'."
            ))
        })?,
    };
    let memory_mib = match memory {
        None => base.memory_mib,
        Some(text) => number_or_unit(text, "GB", SIZES.iter().map(|(_, memory)| *memory)).ok_or_else(|| {
            InputError::Invalid(format!(
                "Memory '{text}' is not valid: give MB, e.g. 2048, or GB, e.g. '2 GB'; sizes are 0.5, 1, 2, 3, \
                 4, 6, 8, 10 and 12 GB."
            ))
        })?,
    };
    if SIZES.contains(&(cpu_units, memory_mib)) {
        return Ok(InstanceSize { cpu_units, memory_mib });
    }
    invalid(format!(
        "Cpu {cpu_units} and Memory {memory_mib} do not go together. Valid pairs (Cpu: Memory): {}.",
        pairs()
    ))
}

/// A whole number, or a decimal number of `unit`s of 1024 each, if it is one of `known`.
fn number_or_unit(text: &str, unit: &str, mut known: impl Iterator<Item = u32>) -> Option<u32> {
    let value = match text.strip_suffix(unit) {
        None => text.parse::<u32>().ok()?,
        Some(amount) => {
            let amount = amount.strip_suffix(' ')?;
            // Quarters and halves are exact in binary, so this is no rounding.
            let scaled = amount.parse::<f64>().ok()? * 1024.0;
            if scaled.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&scaled) {
                return None;
            }
            scaled as u32
        }
    };
    known.any(|size| size == value).then_some(value)
}

/// "256: 512, 1024 · 512: 1024 · …"
fn pairs() -> String {
    let mut text = String::new();
    let mut last = 0;
    for (cpu, memory) in SIZES {
        if cpu == last {
            text.push_str(&format!(", {memory}"));
        } else {
            let gap = if last == 0 { "" } else { "; " };
            text.push_str(&format!("{gap}{cpu}: {memory}"));
        }
        last = cpu;
    }
    text
}
