//! Text in a buffer of fixed size, since there is no heap.

/// Text that does not fit is cut; whoever chooses `N` chooses it large enough.
pub struct Text<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Text<N> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Text { bytes: [0; N], used: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    pub fn push(&mut self, more: &[u8]) -> &mut Self {
        let length = more.len().min(N - self.used);
        self.bytes[self.used..self.used + length].copy_from_slice(&more[..length]);
        self.used += length;
        self
    }

    pub fn push_number(&mut self, number: u64) -> &mut Self {
        self.push_padded(number, 1)
    }

    /// Decimal, filled with zeros on the left up to `width` digits, 20 at most.
    pub fn push_padded(&mut self, mut number: u64, width: usize) -> &mut Self {
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        while number > 0 {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        let first = first.min(digits.len() - width.clamp(1, digits.len()));
        self.push(&digits[first..])
    }

    /// Fills up with spaces to `length` bytes in all.
    pub fn pad_to(&mut self, length: usize) -> &mut Self {
        while self.used < length.min(N) {
            self.push(b" ");
        }
        self
    }
}

/// A decimal number and nothing else; nothing when it is not one or does not fit.
pub fn parse_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_read() {
        for number in [0, 7, 10, 1_793_264_000_123, u64::MAX] {
            let mut text = Text::<32>::new();
            text.push_number(number);
            assert_eq!(text.bytes(), number.to_string().as_bytes());
            assert_eq!(parse_number(text.bytes()), Some(number));
        }
        let mut padded = Text::<32>::new();
        padded.push_padded(42, 20);
        assert_eq!(padded.bytes(), b"00000000000000000042");
        for wrong in ["", "-1", "1x", "18446744073709551616"] {
            assert_eq!(parse_number(wrong.as_bytes()), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let mut text = Text::<4>::new();
        text.push(b"abc").push(b"def").pad_to(9);
        assert_eq!(text.bytes(), b"abcd");
    }
}
