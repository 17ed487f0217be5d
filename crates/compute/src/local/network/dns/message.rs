//! What the relay reads of a DNS message: the header and the one question, nothing of answers or options.
//!
//! A query is relayed only if it is one: operation QUERY, one question of class IN, no record but options. Zone
//! transfers and the other types that ask for more than records of one name are refused.

/// Identifier, flags, four counts.
pub(super) const HEADER_BYTES: usize = 12;
/// A name has at most 255 bytes; options, a signature or padding may follow, which libraries keep far below this.
pub(super) const QUERY_BYTES_MAX: usize = 1024;
const NAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: usize = 63;
/// The options record and a signature.
const ADDITIONAL_RECORDS_MAX: u16 = 2;

const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const NOT_IMPLEMENTED: u8 = 4;
const REFUSED: u8 = 5;

const IS_ANSWER: u8 = 0x80;
const OPERATION: u8 = 0x78;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;

/// Key and signature exchange, zone transfers, and the obsolete types for all mail records.
const REFUSED_TYPES: std::ops::RangeInclusive<u16> = 249..=254;
const TYPE_ANY: u16 = 255;
const CLASS_INTERNET: u16 = 1;

/// A query that may be relayed as it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    bytes: Vec<u8>,
    /// Where the question ends.
    end: usize,
}

/// A message that is not relayed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// No query at all: an answer, or less than a header. Nothing is said to it.
    Noise,
    /// The sender is told so.
    Refused(Vec<u8>),
}

impl Query {
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Query, Unfit> {
        if bytes.len() < HEADER_BYTES || bytes[2] & IS_ANSWER != 0 {
            return Err(Unfit::Noise);
        }
        let refused = |end, code| Err(Unfit::Refused(empty_answer(&bytes[..end], code)));
        if bytes[2] & OPERATION != 0 {
            return refused(HEADER_BYTES, NOT_IMPLEMENTED);
        }
        let counts = [4, 6, 8, 10].map(|at| u16_at(&bytes, at));
        let [Some(1), Some(0), Some(0), Some(0..=ADDITIONAL_RECORDS_MAX)] = counts else {
            return refused(HEADER_BYTES, FORMAT_ERROR);
        };
        let Some(end) = question_end(&bytes).filter(|_| bytes.len() <= QUERY_BYTES_MAX) else {
            return refused(HEADER_BYTES, FORMAT_ERROR);
        };
        let query = Query { end, bytes };
        let (kind, class) = query.kind_and_class();
        if REFUSED_TYPES.contains(&kind) || class != CLASS_INTERNET {
            return Err(Unfit::Refused(empty_answer(&query.bytes[..end], REFUSED)));
        }
        Ok(query)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it asks for everything that is known of a name.
    pub(super) fn asks_for_any(&self) -> bool {
        self.kind_and_class().0 == TYPE_ANY
    }

    /// Whether `message` is an answer to this very question. A resolver that refuses may leave the question out.
    pub(super) fn is_answered_by(&self, message: &[u8]) -> bool {
        if message.len() < HEADER_BYTES
            || message[..2] != self.bytes[..2]
            || message[2] & (IS_ANSWER | OPERATION) != IS_ANSWER
        {
            return false;
        }
        match u16_at(message, 4) {
            Some(0) => code(message) != 0,
            Some(1) => {
                question_end(message) == Some(self.end) && {
                    let (name, rest) = (HEADER_BYTES..self.end - 4, self.end - 4..self.end);
                    // Lengths of labels are no letters, so the whole name may be compared as one.
                    message[name.clone()].eq_ignore_ascii_case(&self.bytes[name])
                        && message[rest.clone()] == self.bytes[rest]
                }
            }
            _ => false,
        }
    }

    /// "Server failure", with the question: without it the GNU C library goes on waiting.
    pub(super) fn failure(&self) -> Vec<u8> {
        empty_answer(&self.bytes[..self.end], SERVER_FAILURE)
    }

    /// An answer that is too long for a datagram: the client has to ask again by TCP.
    pub(super) fn too_long(&self) -> Vec<u8> {
        let mut answer = empty_answer(&self.bytes[..self.end], 0);
        answer[2] |= TRUNCATED;
        answer
    }

    fn kind_and_class(&self) -> (u16, u16) {
        let at = |at| u16_at(&self.bytes, at).unwrap_or_default();
        (at(self.end - 4), at(self.end - 2))
    }
}

/// Whether a resolver's answer says that it cannot or will not answer, so that another one may be asked.
pub(super) fn is_refusal(answer: &[u8]) -> bool {
    matches!(code(answer), SERVER_FAILURE | NOT_IMPLEMENTED | REFUSED)
}

fn code(answer: &[u8]) -> u8 {
    answer.get(3).map_or(0, |flags| flags & 0x0f)
}

/// An answer without a record to the query of which `asked` is the header, and the question unless it is unreadable.
fn empty_answer(asked: &[u8], code: u8) -> Vec<u8> {
    let mut answer = asked.to_vec();
    answer[2] = IS_ANSWER | asked[2] & (OPERATION | RECURSION_DESIRED);
    answer[3] = RECURSION_AVAILABLE | code;
    answer[4..HEADER_BYTES].fill(0);
    answer[5] = u8::from(asked.len() > HEADER_BYTES);
    answer
}

/// Where the question ends that follows the header; none if it is cut off or no plain name.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER_BYTES;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1 + length;
        if length > LABEL_BYTES_MAX || at - HEADER_BYTES > NAME_BYTES_MAX {
            return None;
        }
        if length == 0 {
            return Some(at + 4).filter(|end| *end <= message.len());
        }
    }
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(kind: u16, class: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(b"\x07eXample\x04test\x00");
        message.extend([kind.to_be_bytes(), class.to_be_bytes()].concat());
        message
    }

    /// The code with which a message is refused.
    fn refused(message: Vec<u8>) -> u8 {
        let asked = message.clone();
        match Query::parse(message) {
            Err(Unfit::Refused(answer)) => {
                assert_eq!(answer[..2], asked[..2]);
                assert_eq!(answer[2] & 0x80, 0x80);
                code(&answer)
            }
            other => panic!("{other:?}"),
        }
    }

    fn changed(at: usize, value: u8) -> Vec<u8> {
        let mut message = query(1, 1);
        message[at] = value;
        message
    }

    #[test]
    fn only_plain_queries_are_relayed() {
        assert!(Query::parse(query(1, 1)).is_ok());
        assert!(Query::parse(query(65, 1)).is_ok());
        assert!(!Query::parse(query(28, 1)).unwrap().asks_for_any());
        assert!(Query::parse(query(255, 1)).unwrap().asks_for_any());
        let mut options = changed(11, 1);
        options.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        assert!(Query::parse(options).is_ok());

        assert_eq!(Query::parse(vec![0; 11]), Err(Unfit::Noise));
        assert_eq!(Query::parse(changed(2, 0x81)), Err(Unfit::Noise), "an answer");
        // Inverse query, status, notify, update.
        for operation in [1, 2, 4, 5] {
            assert_eq!(refused(changed(2, operation << 3)), NOT_IMPLEMENTED);
        }
        // No or two questions, an answer, an authority, too many additional records.
        for (at, count) in [(5, 0), (5, 2), (4, 1), (7, 1), (9, 1), (11, 3)] {
            assert_eq!(refused(changed(at, count)), FORMAT_ERROR, "{count} at {at}");
        }
        // A label that points elsewhere, and names that end too late or not at all.
        assert_eq!(refused(changed(12, 0xc0)), FORMAT_ERROR);
        assert_eq!(refused(query(1, 1)[..20].to_vec()), FORMAT_ERROR);
        assert_eq!(refused(query(1, 1)[..query(1, 1).len() - 1].to_vec()), FORMAT_ERROR);
        let mut long = query(1, 1)[..HEADER_BYTES].to_vec();
        long.extend([&b"\x3f"[..], &[b'a'; 63]].concat().repeat(4));
        long.extend([0, 0, 1, 0, 1]);
        assert_eq!(refused(long), FORMAT_ERROR);
        assert_eq!(refused([query(1, 1), vec![0; QUERY_BYTES_MAX]].concat()), FORMAT_ERROR);
        // Transfers, whole and incremental, and the version of a server.
        for (kind, class) in [(252, 1), (251, 1), (249, 1), (16, 3), (1, 255)] {
            assert_eq!(refused(query(kind, class)), REFUSED, "{kind} {class}");
        }
    }

    #[test]
    fn answers_belong_to_their_question() {
        let asked = Query::parse(query(65, 1)).unwrap();
        let answer = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut message = query(65, 1);
            message[2] |= 0x80;
            change(&mut message);
            asked.is_answered_by(&message)
        };
        assert!(answer(&|_| ()));
        assert!(answer(&|message| message[HEADER_BYTES..25].make_ascii_lowercase()));
        assert!(answer(&|message| message.extend([0; 100])), "records follow");
        assert!(!answer(&|message| message[0] ^= 1), "another identifier");
        assert!(!answer(&|message| message[2] &= 0x7f), "a query");
        assert!(!answer(&|message| message[2] |= 0x28), "another operation");
        assert!(!answer(&|message| message[14] = b'y'), "another name");
        let kind = query(65, 1).len() - 3;
        assert!(!answer(&|message| message[kind] = 97), "another type");
        assert!(!answer(&|message| message.truncate(20)));
        assert!(!answer(&|message| message.truncate(5)));
        let without_question = |code: u8| {
            answer(&|message: &mut Vec<u8>| {
                message.truncate(HEADER_BYTES);
                (message[3], message[5]) = (code, 0);
            })
        };
        assert!(without_question(REFUSED) && !without_question(0));
        for own in [asked.failure(), asked.too_long()] {
            assert!(asked.is_answered_by(&own));
        }
        assert_eq!((asked.too_long()[2] & TRUNCATED, code(&asked.failure())), (TRUNCATED, 2));
    }
}
