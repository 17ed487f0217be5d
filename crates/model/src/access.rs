//! Who may do what. Rights come with an access key; whoever holds the key has them, in every region.

use serde::{Deserialize, Serialize};

/// The key that belongs to the platform's owner. It is made again at each start, so it cannot be deleted.
pub const ROOT_KEY_NAME: &str = "root";

/// Random bytes that an access key is made of.
pub const KEY_RANDOM_BYTES: usize = ID_DRAWN + SECRET_CHARACTERS;

/// How a long-lived key of AWS begins; some tools check it.
const ID_PREFIX: &str = "AKIA";
/// The letters and digits that AWS's own key ids are made of.
const ID_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SECRET_ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Clients expect an id of 20 characters and a secret of 40.
const ID_DRAWN: usize = 20 - ID_PREFIX.len();
const SECRET_CHARACTERS: usize = 40;

/// What the holder of a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rights {
    /// Everything, the access keys of others included.
    Admin,
    /// See services and all that belongs to them, their variables and logs included.
    ReadOnly,
}

/// What a call does, as far as rights go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Shows services and what belongs to them; changes nothing.
    Read,
    /// Changes something.
    Change,
    /// Shows or changes who has access, or shows who did what.
    Administer,
}

/// Whether the holder of these rights may do this.
pub fn may(rights: Rights, deed: Deed) -> bool {
    match (rights, deed) {
        (Rights::Admin, Deed::Read | Deed::Change | Deed::Administer) => true,
        (Rights::ReadOnly, Deed::Read) => true,
        (Rights::ReadOnly, Deed::Change | Deed::Administer) => false,
    }
}

/// Id and secret of a new access key from random bytes, which must serve for nothing else: who could compute them
/// from anything public would know the secret.
pub fn new_key(random: &[u8; KEY_RANDOM_BYTES]) -> (String, String) {
    // Both alphabets divide 256, so that every letter is as likely as the others.
    let letter = |alphabet: &[u8], byte: &u8| char::from(alphabet[usize::from(*byte) % alphabet.len()]);
    let (for_id, for_secret) = random.split_at(ID_DRAWN);
    let id = ID_PREFIX.chars().chain(for_id.iter().map(|byte| letter(ID_ALPHABET, byte))).collect();
    let secret = for_secret.iter().map(|byte| letter(SECRET_ALPHABET, byte)).collect();
    (id, secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_reads_and_admin_does_all() {
        let deeds = [Deed::Read, Deed::Change, Deed::Administer];
        assert_eq!(deeds.map(|deed| may(Rights::Admin, deed)), [true, true, true]);
        assert_eq!(deeds.map(|deed| may(Rights::ReadOnly, deed)), [true, false, false]);
    }

    #[test]
    fn keys_have_the_form_that_clients_expect_and_use_every_byte() {
        let mut random = [0u8; KEY_RANDOM_BYTES];
        let (id, secret) = new_key(&random);
        assert_eq!((id.len(), secret.len()), (20, 40));
        assert!(id.starts_with("AKIA") && id.bytes().all(|b| ID_ALPHABET.contains(&b)), "{id}");
        for at in 0..random.len() {
            random[at] = 33;
            assert_ne!(new_key(&random), (id.clone(), secret.clone()), "byte {at}");
            random[at] = 0;
        }
    }
}
