//! What the kernel is asked for that concerns the whole machine.

use std::fs::{self, File};
use std::io::{self, Read};

/// A row of `/proc/meminfo`, KiB. None when the kernel does not say.
pub(crate) fn memory_kib(row: &str) -> Option<u64> {
    row_of(&fs::read_to_string("/proc/meminfo").ok()?, row)
}

/// As many hexadecimal digits as twice the bytes, drawn by chance.
pub(crate) fn random_hex<const BYTES: usize>() -> io::Result<String> {
    let mut random = [0; BYTES];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Which start of the machine this is.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn row_of(meminfo: &str, row: &str) -> Option<u64> {
    let rest = |line: &str| Some(line.strip_prefix(row)?.strip_prefix(':')?.to_owned());
    meminfo.lines().find_map(rest)?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_its_whole_name() {
        let meminfo = "MemFree: 1 kB\nSwapFreely: 2 kB\nSwapFree:         4 kB\nOdd: four\n";
        assert_eq!(row_of(meminfo, "SwapFree"), Some(4));
        assert_eq!(row_of(meminfo, "Swap"), None);
        assert_eq!(row_of(meminfo, "Odd"), None);
        assert!(memory_kib("MemAvailable").unwrap() > 0);
    }

    #[test]
    fn a_start_of_the_machine_has_one_name() {
        let boot_id = boot_id().unwrap();
        assert_eq!((boot_id.len(), boot_id.trim().len()), (36, 36), "{boot_id:?}");
        assert_eq!(super::boot_id().unwrap(), boot_id);
    }

    #[test]
    fn digits_are_drawn_anew() {
        let (one, other) = (random_hex::<8>().unwrap(), random_hex::<8>().unwrap());
        assert_eq!(one.len(), 16);
        assert!(one.bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
