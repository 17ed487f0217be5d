//! Values whose form on the wire is not serde's own: binary data and what must not be printed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Binary data: base64 text on the wire. Its `Debug` prints the size alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Bytes);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Blob(bytes.into())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64 text")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Blob, E> {
                STANDARD.decode(text).map(Blob::from).map_err(|_| E::custom("not base64"))
            }
        }
        from.deserialize_str(Base64).map_err(D::Error::custom)
    }
}

/// Stands in `Debug` output for a member that the API model marks as sensitive.
pub(crate) struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<sensitive>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_base64_on_the_wire_and_a_size_in_debug() {
        let blob = Blob::from(b"\x00\xffab".to_vec());
        let text = serde_json::to_string(&blob).unwrap();
        assert_eq!(text, "\"AP9hYg==\"");
        assert_eq!(serde_json::from_str::<Blob>(&text).unwrap(), blob);
        assert_eq!(format!("{blob:?}"), "<4 bytes>");
        assert!(serde_json::from_str::<Blob>("\"AP9hYg\"").is_err(), "padding is required");
        assert!(serde_json::from_str::<Blob>("7").is_err());
    }
}
